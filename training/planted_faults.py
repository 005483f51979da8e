"""Faults that are planted in real clips, to see if they are found: each at a random place, from a generator.

Sizes are those of faults that one sees: limbs 60 to 100 cm off for one or two frames, a bone 25 to 50 % longer, a
slide of 1.5 to 2.5 m/s, 15 to 30 cm above or below the floor, 1.5 seconds without any movement.
"""

import numpy as np

from lamp_hf.models.motion_representation import mirror
from lamp_hf.models.skeleton import HUMANML3D


_PARENTS = HUMANML3D.parents
_LEGS = {4: (1, 7, (7, 10)), 5: (2, 8, (8, 11))}  # knee: hip, ankle, what moves with the shin
_FPS = 20


def plant(kind: str, joints: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Return a clip with a fault, or None where it has no place for it.

    Args:
        kind (`str`): one of `FAULTS`.
        joints (`np.ndarray` of shape `(num_frames, 22, 3)`): metres, Y up, 20 frames per second.
        rng (`np.random.Generator`): draws place and size.
    """
    if len(joints) < 50:
        return None
    return FAULTS[kind](np.array(joints, np.float64), rng)


def _subtree(joint: int) -> list[int]:
    inside = {joint}
    for other, parent in enumerate(_PARENTS):
        if parent in inside:
            inside.add(other)
    return sorted(inside)


def _span(joints: np.ndarray, seconds: float, rng: np.random.Generator) -> slice:
    frames = round(seconds * _FPS)
    start = int(rng.integers(2, len(joints) - frames - 1))
    return slice(start, start + frames)


def _direction(rng: np.random.Generator) -> np.ndarray:
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)


def _bent(joints: np.ndarray, knee: int, degrees: np.ndarray, span: slice) -> np.ndarray:
    """Turn a shin about its knee, to a bend of some degrees between thigh and shin; positive for backwards."""
    hip, ankle, moved = _LEGS[knee]
    thigh = joints[span, knee] - joints[span, hip]
    shin = joints[span, ankle] - joints[span, knee]
    foot = joints[span, moved[1]] - joints[span, ankle]
    hinge = np.cross(shin, foot)
    hinge /= np.linalg.norm(hinge, axis=-1, keepdims=True)
    axis = np.cross(thigh, shin)
    bend = np.arctan2((axis * hinge).sum(-1), (thigh * shin).sum(-1))
    angle = np.radians(degrees) - bend
    for joint in moved:
        vector = joints[span, joint] - joints[span, knee]
        along = (vector * hinge).sum(-1, keepdims=True) * hinge
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        joints[span, joint] = joints[span, knee] + cos * vector + sin * np.cross(hinge, vector) + (1 - cos) * along
    return joints


def _knee_backwards(joints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    span = _span(joints, 0.6, rng)
    return _bent(joints, int(rng.choice([4, 5])), np.full(12, rng.uniform(60, 90)), span)


def _joint_limit(joints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fold an elbow or a knee until its bones nearly meet, or the neck back to the trunk."""
    joint, inner, outer = ((18, 16, 20), (19, 17, 21), (4, 1, 7), (5, 2, 8), (12, 9, 15))[rng.integers(5)]
    span = _span(joints, 0.6, rng)
    bone, before = joints[span, outer] - joints[span, joint], joints[span, joint] - joints[span, inner]
    aside = np.cross(before, _direction(rng))
    size = np.linalg.norm(bone, axis=-1, keepdims=True)
    folded = -before / np.linalg.norm(before, axis=-1, keepdims=True)
    folded = folded + 0.05 * aside / np.linalg.norm(aside, axis=-1, keepdims=True)
    moved = size * folded / np.linalg.norm(folded, axis=-1, keepdims=True) - bone
    for other in _subtree(outer):
        joints[span, other] += moved
    return joints


def _foot_sliding(joints: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Let the whole body slide for a second in which a foot that hardly moves is on the ground."""
    toes = joints[:, [10, 11]]
    low = toes[..., 1] - np.quantile(toes[..., 1], 0.02, axis=0) < 0.04
    slow = np.linalg.norm(np.gradient(toes, axis=0), axis=-1) * _FPS < 0.3
    span = _span(joints, 1.0, rng)
    if not (low & slow)[span].any(1).all():
        return None
    angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(1.5, 2.5)
    slide = np.zeros(len(joints))
    slide[span] = speed / _FPS
    return joints + slide.cumsum()[:, None, None] * np.array([np.sin(angle), 0, np.cos(angle)])


def _below_floor(joints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    joints[_span(joints, 0.8, rng), :, 1] -= rng.uniform(0.2, 0.3) + joints[..., 1].min()
    return joints


def _floating(joints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return joints + [0, rng.uniform(0.15, 0.3), 0]


def _jump(joints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move the whole body from a frame on, or a limb for one or two frames."""
    if rng.random() < 0.5:
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.6)
        joints[_span(joints, 0.2, rng).start :] += distance * np.array([np.sin(angle), 0, np.cos(angle)])
        return joints
    offset = rng.uniform(0.6, 1.0) * _direction(rng)
    span = _span(joints, float(rng.choice([0.05, 0.1])), rng)
    for joint in _subtree(int(rng.choice([4, 5, 12, 18, 19]))):
        joints[span, joint] += offset
    return joints


def _bone_length(joints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    joint = int(rng.choice([4, 5, 7, 8, 18, 19, 20, 21]))
    span, share = _span(joints, 0.8, rng), rng.uniform(0.3, 0.5)
    bone = joints[span, joint] - joints[span, _PARENTS[joint]]
    for other in _subtree(joint):
        joints[span, other] += share * bone
    return joints


def _contact_flicker(joints: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Let a standing foot tremble for a second, by 3 to 5 cm in every other pair of frames."""
    toes = joints[:, [10, 11]]
    slow = np.linalg.norm(np.gradient(toes, axis=0), axis=-1) * _FPS < 0.2
    low = toes[..., 1] - np.quantile(toes[..., 1], 0.02, axis=0) < 0.03
    span, foot = _span(joints, 1.2, rng), int(rng.integers(2))
    if not (slow & low)[span, foot].all():
        return None
    pattern = np.tile([0, 0, 1, 1], 6)[:, None] * rng.uniform(0.05, 0.08) * np.array([0.0, 0.3, 1.0])
    for joint in ((7, 10), (8, 11))[foot]:
        joints[span, joint] += pattern
    return joints


def _symmetry(joints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Make one thigh, shin, upper arm or forearm 25 to 40 % longer than the other."""
    joint, share = int(rng.choice([4, 5, 7, 8, 18, 19, 20, 21])), rng.uniform(0.25, 0.4)
    bone = joints[:, joint] - joints[:, _PARENTS[joint]]
    for other in _subtree(joint):
        joints[:, other] += share * bone
    return joints


def _swapped_sides(joints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return mirror(joints.astype(np.float32)) * [-1, 1, 1]


def _frozen(joints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    start = int(rng.integers(2, len(joints) - 3))
    held = np.repeat(joints[start : start + 1], round(1.5 * _FPS), 0)
    return np.concatenate([joints[:start], held, joints[start:]])


def _not_finite(joints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    joints[rng.integers(len(joints)), rng.integers(22), rng.integers(3)] = rng.choice([np.nan, np.inf])
    return joints


FAULTS = {
    "joint_limit": _joint_limit,
    "knee_backwards": _knee_backwards,
    "foot_sliding": _foot_sliding,
    "below_floor": _below_floor,
    "floating": _floating,
    "jump": _jump,
    "bone_length": _bone_length,
    "contact_flicker": _contact_flicker,
    "symmetry": _symmetry,
    "swapped_sides": _swapped_sides,
    "frozen": _frozen,
    "not_finite": _not_finite,
}
