"""Rotations of a body whose knees and elbows bend as hinges, and whose trunk twists along all of the spine.

Positions leave the twist of a bone open. [`lamp_hf.motion.rotations.solve_rotations`] takes the least, which is enough
for joints; a skin shows where a kneecap looks.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import solveh_banded
from scipy.spatial.transform import Rotation

from ..models.skeleton import Skeleton
from .rest_pose import find_rest_directions, names_by_side
from .rotations import rest_positions, solve_rotations, steady_rotation


@dataclass
class Body:
    """A motion by the names of HumanML3D's joints, in metres, Y up, left at X+ at rest, in a T-pose of its own build.

    Args:
        places (`dict[str, np.ndarray]`): of joints, `(num_frames, 3)`.
        turns (`dict[str, np.ndarray]`): rotations from rest, in the world, `(num_frames, 3, 3)`.
        rest (`dict[str, np.ndarray]`): positions at rest, `(3,)`, see [`lamp_hf.motion.rest_pose`].
    """

    places: dict[str, np.ndarray]
    turns: dict[str, np.ndarray]
    rest: dict[str, np.ndarray]

    def direction(self, start: str, end: str) -> np.ndarray:
        """Return the unit vector from one joint to another at rest."""
        bone = self.rest[end] - self.rest[start]
        return bone / np.linalg.norm(bone)


_HINGES = {  # of the upper bone: the joint where it bends, and the axis about which it does in the T-pose
    "left_hip": ("left_knee", "left_ankle", (1, 0, 0)),
    "right_hip": ("right_knee", "right_ankle", (1, 0, 0)),
    "left_shoulder": ("left_elbow", "left_wrist", (0, -1, 0)),
    "right_shoulder": ("right_elbow", "right_wrist", (0, 1, 0)),
}


def solve_body(joints: np.ndarray, fps: float, skeleton: Skeleton) -> Body:
    """Find the rotations of a body that bring a character's skin where a person's would be.

    Args:
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres, Y up.
        fps (`float`): frames per second.
        skeleton ([`Skeleton`]): the joint tree.
    """
    directions = find_rest_directions(joints, fps, skeleton)
    # Each bone is aimed from its own joint.
    rotations, offsets = solve_rotations(joints, skeleton, tolerance=0, directions=directions)
    names = names_by_side(skeleton)
    rest = dict(zip(names, rest_positions(offsets, skeleton.parents)))
    body = Body(
        dict(zip(names, joints.astype(float).swapaxes(0, 1))), dict(zip(names, rotations.swapaxes(0, 1))), rest
    )
    _spread_twist(body, skeleton)
    for upper, (middle, end, axis) in _HINGES.items():
        _bend_as_hinge(
            body, fps, upper, middle, end, np.array(axis, float), limit=np.pi / 2 if "hip" in upper else np.inf
        )
    for side in ("left", "right"):
        toes = [f"{side}_{part}" for part in ("ankle", "heel", "foot") if f"{side}_{part}" in rest]
        for parent, joint, end in zip([f"{side}_knee", *toes], toes, toes[1:]):
            _aim(body, parent, joint, end)
        _level(body, toes[-2], toes[-1])
    return body


def spine_turns(body: Body, count: int) -> list[np.ndarray]:
    """Return rotations `(num_frames, 3, 3)` for bones between pelvis and neck; the last is the chest's."""
    chain = [body.turns[joint] for joint in ("pelvis", *_trunk(body))]
    result = []
    for i in range(1, count + 1):
        place = i / count * (len(chain) - 1)
        below = min(int(place), len(chain) - 2)
        step = Rotation.from_matrix(chain[below].swapaxes(-1, -2) @ chain[below + 1]).as_rotvec()
        result.append(chain[below] @ Rotation.from_rotvec((place - below) * step).as_matrix())
    return result


def _trunk(body: Body) -> list[str]:
    """List the joints from above the pelvis to the chest, on which the arms hang; KIT-ML's is its neck."""
    return ["spine1", "spine2", "spine3" if "spine3" in body.turns else "neck"]


def _spread_twist(body: Body, skeleton: Skeleton) -> None:
    """Twist each joint of the spine by its share of what is between the shoulders and the hips."""
    *lower, chest = _trunk(body)
    above = "neck" if chest != "neck" else "head"
    axis = body.direction(chest, above)
    below = body.turns[lower[-1]]
    untwisted = below @ _steady(axis, (below.swapaxes(-1, -2) @ body.turns[chest] @ axis))
    # More than half a turn, as of a body that is not quite right, must not jump to the other side.
    twist = np.unwrap(Rotation.from_matrix(untwisted.swapaxes(-1, -2) @ body.turns[chest]).as_rotvec() @ axis)
    for i, joint in enumerate(lower, start=1):
        bone = body.direction(joint, (*lower, chest)[i])
        share = i / (len(lower) + 1) * twist
        body.turns[joint] = body.turns[joint] @ Rotation.from_rotvec(share[:, None] * bone).as_matrix()


def _bend_as_hinge(body: Body, fps: float, upper: str, middle: str, end: str, axis: np.ndarray, limit: float) -> None:
    """Twist the upper bone so that the lower one bends about the axis; where it is straight, as before and after."""
    bone = body.direction(upper, middle)
    axis = axis - (axis @ bone) * bone
    axis /= np.linalg.norm(axis)
    along = _unit(body.places[middle] - body.places[upper])
    normal = np.cross(along, _unit(body.places[end] - body.places[middle]))
    bend = np.linalg.norm(normal, axis=-1)  # sine
    now = body.turns[upper] @ axis
    angle = np.arctan2((np.cross(now, normal) * along).sum(-1), (now * normal).sum(-1))
    trust = np.clip((bend - _STRAIGHT) / (_BENT - _STRAIGHT), 0, 1)
    trust = trust * (np.abs(angle) < limit)
    twist = _steady_angles(angle, trust, fps)
    body.turns[upper] = body.turns[upper] @ Rotation.from_rotvec(twist[:, None] * bone).as_matrix()
    _aim(body, upper, middle, end)


# Sines: below the one the axis of a bend is noise (straight legs of SMPL have 0.17), above the other it is sure.
_STRAIGHT, _BENT = 0.2, 0.5
_SECONDS, _UNTWIST = 0.1, 0.01  # over which angles are smoothed; weight of no twist


def _steady_angles(angles: np.ndarray, trust: np.ndarray, fps: float) -> np.ndarray:
    """Return the angles nearest to those which can be trusted that change little; least squares, `(num_frames,)`."""
    sure = np.flatnonzero(trust > 0)
    if len(angles) < 2 or not len(sure):
        return trust * angles
    wanted = np.zeros(len(angles))
    wanted[sure] = np.unwrap(angles[sure])
    wanted -= 2 * np.pi * np.round(np.average(wanted[sure], weights=trust[sure]) / (2 * np.pi))
    stiffness = (_SECONDS * fps) ** 2
    bands = np.zeros((2, len(angles)))
    bands[0, 1:] = -stiffness
    bands[1] = trust + _UNTWIST
    bands[1, 1:] += stiffness
    bands[1, :-1] += stiffness
    return solveh_banded(bands, trust * wanted)


def _aim(body: Body, parent: str, joint: str, end: str) -> None:
    """Give a joint its parent's rotation, followed by the shortest one onto its bone."""
    inherited = body.turns[parent]
    bone = _unit(body.places[end] - body.places[joint])
    turned = (inherited.swapaxes(-1, -2) @ bone[..., None])[..., 0]
    body.turns[joint] = inherited @ _steady(body.direction(joint, end), turned)


def _level(body: Body, joint: str, end: str) -> None:
    """Roll a foot so that its sole is level from side to side, as far as its ankle can roll, unless it is upright."""
    bone = body.direction(joint, end)
    up = np.array([0.0, 1.0, 0.0])
    ahead = body.turns[joint] @ bone
    level = np.cross(up, ahead)
    now = body.turns[joint] @ _unit(np.cross(up, bone))
    roll = np.arctan2((np.cross(now, level) * ahead).sum(-1), (now * level).sum(-1))
    share = np.clip((_LOCKED - np.abs(roll)) / (_LOCKED - _FREE), 0, 1)
    share = share * np.clip((np.linalg.norm(level, axis=-1) - _STRAIGHT) / (_BENT - _STRAIGHT), 0, 1)
    body.turns[joint] = body.turns[joint] @ Rotation.from_rotvec((share * roll)[:, None] * bone).as_matrix()


_FREE, _LOCKED = np.radians(40), np.radians(80)  # up to where a foot is levelled wholly, and from where not at all


def _steady(rest: np.ndarray, directions: np.ndarray) -> np.ndarray:
    return steady_rotation(torch.from_numpy(rest), torch.from_numpy(directions)).numpy()


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(min=1e-9)
