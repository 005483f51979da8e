"""Measures of faults of a motion, frame by frame: what [`lamp_hf.motion.check`] compares with its thresholds.

Each measure takes joints `(num_frames, num_joints, 3)` in metres, Y up, frames per second and a skeleton. It returns a
value for each frame, `(num_frames,)`, or for each joint in it, `(num_frames, num_joints)`; larger is worse. Velocities
are taken over a twentieth of a second at any frame rate, so that values of different rates compare.
"""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import maximum_filter1d, median_filter, minimum_filter1d, uniform_filter1d

from ..models.skeleton import Skeleton
from .clean import STANDING_HEIGHT, STANDING_SPEED


CONTACT_HEIGHT = 0.05  # metres above the floor, or its own lowest height; a lower toe is on the ground
_STILL = 5e-4  # metres a frame; in a frozen frame no joint moves farther
_FLIGHT = 1.0  # seconds; whoever jumps lands within this time
_WINDOW = 1.0  # seconds in which changes of contact are counted
_SLIDE = 0.25  # seconds over which a slide lasts
_POINTED = 30  # degrees between shin and foot from which the foot tells where the knee bends
_SPIKE = 7  # twentieths of a second; a velocity is compared with the median of as many


def bone_length(joints: np.ndarray, fps: float, skeleton: Skeleton) -> np.ndarray:
    """Return how far each bone is from its median length, in metres, at its outer joint."""
    lengths = _lengths(joints, skeleton)
    return np.abs(lengths - np.median(lengths, 0))


def symmetry(joints: np.ndarray, fps: float, skeleton: Skeleton) -> np.ndarray:
    """Return the difference of each bone from that of the other side, as a share of their mean; by median lengths."""
    median = np.median(_lengths(joints, skeleton), 0)
    other = median[list(skeleton.mirrored_joints)]
    share = np.abs(median - other) / ((median + other) / 2).clip(min=1e-6)
    return np.tile(share, (len(joints), 1))


def swapped_sides(joints: np.ndarray, fps: float, skeleton: Skeleton) -> np.ndarray:
    """Return the share of all frames in which the toes point backwards, or hips and shoulders face opposite ways."""
    hips, shoulders = (joints[:, left] - joints[:, right] for right, left in (skeleton.hips, skeleton.shoulders))
    forward = np.cross(hips, joints[:, skeleton.chains[2][1]] - joints[:, 0])  # across times up the spine
    toes = sum(joints[:, toe] - joints[:, ankle] for ankle, toe in (skeleton.left_foot, skeleton.right_foot))
    backwards, twisted = (forward * toes).sum(-1) < 0, (hips * shoulders).sum(-1) < 0
    return np.full(len(joints), max(backwards.mean(), twisted.mean()))


def jump(joints: np.ndarray, fps: float, skeleton: Skeleton) -> np.ndarray:
    """Return how much farther each velocity is from the median of those around than that is from rest, in m/s."""
    velocity = _velocity(joints, fps)
    usual = median_filter(velocity, (_odd(_SPIKE * fps / 20), 1, 1), mode="nearest")
    return np.linalg.norm(velocity - usual, axis=-1) - np.linalg.norm(usual, axis=-1)


def frozen(joints: np.ndarray, fps: float, skeleton: Skeleton) -> np.ndarray:
    """Return for each frame how many seconds the stand-still lasts to which it belongs; 0 where a joint moves."""
    still = np.r_[np.linalg.norm(np.diff(joints, axis=0), axis=-1).max(-1) < _STILL, False]
    seconds = np.zeros(len(joints))
    for start, end in runs(still):
        seconds[start:end] = (end - start) / fps
    return seconds


def foot_sliding(joints: np.ndarray, fps: float, skeleton: Skeleton) -> np.ndarray:
    """Return the speed in m/s, kept for a quarter of a second, at which the slowest toe on the ground slides."""
    toes = joints[:, skeleton.toes]
    speed = np.linalg.norm(_velocity(toes, fps)[..., [0, 2]], axis=-1)
    grounded = toes[..., 1] - np.quantile(toes[..., 1], 0.02, axis=0) < CONTACT_HEIGHT
    slowest = np.where(grounded, speed, np.inf).min(1)
    return minimum_filter1d(np.where(np.isfinite(slowest), slowest, 0.0), _odd(_SLIDE * fps), mode="nearest")


def below_floor(joints: np.ndarray, fps: float, skeleton: Skeleton) -> np.ndarray:
    """Return how deep each joint is below the floor, at height 0, in metres."""
    return np.maximum(-joints[..., 1], 0.0)


def floating(joints: np.ndarray, fps: float, skeleton: Skeleton) -> np.ndarray:
    """Return how high the lowest joint stays above the floor, at 0, in metres, for a second around each frame."""
    lowest = np.maximum(joints[..., 1].min(1), 0.0)
    return minimum_filter1d(lowest, min(_odd(_FLIGHT * fps), 2 * len(lowest) - 1), mode="nearest")


def contact_flicker(joints: np.ndarray, fps: float, skeleton: Skeleton) -> np.ndarray:
    """Return how often a toe starts or stops standing, low and slow, within a second around each frame."""
    toes = joints[:, skeleton.toes]
    low = toes[..., 1] - np.quantile(toes[..., 1], 0.02, axis=0) < STANDING_HEIGHT
    standing = low & (np.linalg.norm(_velocity(toes, fps), axis=-1) < STANDING_SPEED)
    changes = np.zeros(toes.shape[:2])
    changes[1:] = standing[1:] != standing[:-1]
    size = _odd(_WINDOW * fps)
    counts = uniform_filter1d(changes, size, axis=0, mode="constant") * size
    return counts.max(1)


def joint_limit(joints: np.ndarray, fps: float, skeleton: Skeleton) -> np.ndarray:
    """Return how far each joint bends, in degrees between its two bones."""
    bends = np.zeros(joints.shape[:2])
    for chain in skeleton.chains:
        for inner, joint, outer in zip(chain, chain[1:], chain[2:]):
            bends[:, joint] = _angle(joints[:, joint] - joints[:, inner], joints[:, outer] - joints[:, joint])
    return bends


def knee_backwards(joints: np.ndarray, fps: float, skeleton: Skeleton) -> np.ndarray:
    """Return how far each knee bends against its foot, in degrees: forwards, as no knee does."""
    bends = np.zeros(joints.shape[:2])
    for toe in skeleton.toes:
        hip, knee, ankle, *_ = skeleton.leg(toe)
        thigh, shin, foot = (joints[:, b] - joints[:, a] for a, b in ((hip, knee), (knee, ankle), (ankle, toe)))
        axis, hinge = np.cross(thigh, shin), np.cross(shin, foot)
        size = np.linalg.norm(axis, axis=-1) * np.linalg.norm(hinge, axis=-1)
        along = (axis * hinge).sum(-1) / size.clip(min=1e-9)
        pointed = _angle(shin, foot)  # a foot in line with the shin tells nothing
        told = (pointed > _POINTED) & (pointed < 180 - _POINTED)
        bends[:, knee] = _angle(thigh, shin) * along.clip(min=0) * told
    return bends


MEASURES: dict[str, Callable[[np.ndarray, float, Skeleton], np.ndarray]] = {
    "joint_limit": joint_limit,
    "knee_backwards": knee_backwards,
    "foot_sliding": foot_sliding,
    "below_floor": below_floor,
    "floating": floating,
    "jump": jump,
    "bone_length": bone_length,
    "contact_flicker": contact_flicker,
    "symmetry": symmetry,
    "swapped_sides": swapped_sides,
    "frozen": frozen,
}
UNITS = {
    "joint_limit": "degrees",
    "knee_backwards": "degrees",
    "foot_sliding": "m/s",
    "below_floor": "m",
    "floating": "m",
    "jump": "m/s",
    "bone_length": "m",
    "contact_flicker": "changes a second",
    "symmetry": "share of the length",
    "swapped_sides": "share of the frames",
    "frozen": "s",
}


def runs(mask: np.ndarray, gap: int = 0) -> list[tuple[int, int]]:
    """Return the first frame of each run of true values and the one after its last; runs a gap apart are one."""
    if gap:
        mask = minimum_filter1d(maximum_filter1d(np.pad(mask, gap), 2 * gap + 1), 2 * gap + 1)[gap:-gap]
    changes = np.diff(np.r_[False, mask, False].astype(int))
    return list(zip(np.flatnonzero(changes == 1).tolist(), np.flatnonzero(changes == -1).tolist()))


def _lengths(joints: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    return np.linalg.norm(skeleton.bones(joints), axis=-1)


def _velocity(points: np.ndarray, fps: float) -> np.ndarray:
    """Return velocities over a twentieth of a second, or over a frame if that is longer, in m/s."""
    step = min(max(1, round(fps / 20)), max(len(points) - 1, 1))
    velocity = np.zeros_like(points, np.float64)
    velocity[step:] = (points[step:] - points[:-step]) * (fps / step)
    if len(points) > step:
        velocity[:step] = velocity[step]
    return velocity


def _angle(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the angle between vectors `(num_frames, 3)`, in degrees."""
    size = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    return np.degrees(np.arccos(((one * other).sum(-1) / size.clip(min=1e-9)).clip(-1, 1)))


def _odd(frames: float) -> int:
    return 2 * round(frames / 2) + 1
