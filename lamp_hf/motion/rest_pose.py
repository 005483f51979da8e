"""Rest pose of the body that a motion shows: a T-pose, with the build that is seen where trunk and arms are straight.

Recordings place joints differently: the toes' in the ball of the foot or in the sole, collars level with the shoulders
or below them, hips beside the pelvis or under it. Against one T-pose for all, a character would tilt its hips, look
up, droop its shoulders and stand on its toes.
"""

import numpy as np

from ..models.skeleton import KIT, Skeleton
from .clean import STANDING_HEIGHT
from .rotations import rest_directions


def find_rest_directions(joints: np.ndarray, fps: float, skeleton: Skeleton) -> np.ndarray:
    """Return the direction of each joint's bone at rest, `(num_joints, 3)`, zero for the root.

    Limbs are those of a T-pose. The trunk is as it is where it is longest, with the middle of the shoulders above that
    of the hips, and collars are as the trunk has them where the arms are lowest. The head is as it mostly is while the
    trunk is upright, and soles are as they mostly are while feet stand still, unless that is less than a quarter of a
    second, or farther from a T-pose than builds differ: whoever looks down or stands on the toes all the time still
    does so. Both sides are alike.

    Args:
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres, Y up.
        fps (`float`): frames per second.
        skeleton ([`Skeleton`]): the joint tree.
    """
    names, mirrored = names_by_side(skeleton), list(skeleton.mirrored_joints)
    rest, joints = rest_directions(skeleton), joints.astype(float)
    seen, weights = _seen(joints, rest, skeleton), _show_rest(joints, fps, skeleton)
    total, count = (weights[..., None] * seen).sum(0), weights.sum(0)
    found, count = _unit(total + total[mirrored] * [-1, 1, 1]), (count + count[mirrored]) / 2
    needed = np.array([_SHOWN * fps if name.endswith(("head", "foot")) else 0 for name in names])
    near = ((found * rest).sum(-1) > _BUILDS) | (needed == 0)
    return np.where(((count > 0) & (count >= needed) & near)[:, None], found, rest)


def _seen(joints: np.ndarray, rest: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Return directions of bones in the axes of the trunk, the head in upright ones, and feet headed as at rest."""
    axes = trunk_axes(dict(zip(names_by_side(skeleton), joints.swapaxes(0, 1))))
    upright = _axes(np.zeros_like(axes[..., 1]) + [0, 1, 0], axes[..., 0])
    bones, head, feet = _unit(skeleton.bones(joints)), skeleton.joint_names.index("head"), skeleton.toes
    seen = bones @ axes
    seen[:, head] = (bones[:, [head]] @ upright)[:, 0]
    height, ahead = bones[:, feet, 1:2], _unit(rest[feet] * [1, 0, 1])
    seen[:, feet] = np.sqrt(1 - height**2) * ahead + height * [0, 1, 0]
    return seen


def _show_rest(joints: np.ndarray, fps: float, skeleton: Skeleton) -> np.ndarray:
    """Tell in which frames each bone is as at rest, `(num_frames, num_joints)`; no bone of a limb ever is."""
    names = names_by_side(skeleton)
    trunk = _trunk(dict(zip(names, joints.swapaxes(0, 1))))
    length, up = np.linalg.norm(trunk, axis=-1, keepdims=True), _unit(trunk)
    shows = np.zeros(joints.shape[:2], bool)
    shows[:, [name.rpartition("_")[2] in _TRUNK for name in names]] = length > _LONG * np.quantile(length, 0.9)
    collars, arms = ([names.index(f"{side}_{end}") for side in ("left", "right")] for end in ("shoulder", "elbow"))
    raised = (_unit(joints[:, arms] - joints[:, collars]) * up[:, None]).sum(-1)
    shows[:, collars] = raised <= max(-_HANGING, np.quantile(raised, _LOWEST))
    shows[:, names.index("head")] = up[:, 1] > _UPRIGHT
    shows[:, skeleton.toes] = _still(joints, fps, skeleton)
    return shows


def _still(joints: np.ndarray, fps: float, skeleton: Skeleton) -> np.ndarray:
    """Tell in which frames each foot stands still with heel and toes, `(num_frames, 2)`."""
    toes, heels = skeleton.toes, [skeleton.parents[toe] for toe in skeleton.toes]
    speed = np.linalg.norm(np.gradient(joints, axis=0), axis=-1) * fps if len(joints) > 1 else 0 * joints[..., 0]
    low = joints[:, toes, 1] - np.quantile(joints[:, toes, 1], 0.02, axis=0) < STANDING_HEIGHT
    return low & (speed[:, toes] < _STILL) & (speed[:, heels] < _STILL)


_TRUNK = ("spine1", "spine2", "spine3", "neck", "hip", "collar")
_LONG = 0.98  # share of the length that the trunk has where it is longest
_HANGING, _LOWEST = 0.7, 0.2  # cosine between arm and trunk; or the share of frames in which it is lowest
_UPRIGHT, _BUILDS = np.cos(np.radians([25, 30]))  # from the vertical; from the T-pose
_STILL, _SHOWN = 0.3, 0.25  # metres per second; seconds


def names_by_side(skeleton: Skeleton) -> list[str]:
    """Return the names of joints, left for those at X+, which KIT-ML calls right."""
    if skeleton is not KIT:
        return list(skeleton.joint_names)
    return [skeleton.joint_names[joint] for joint in skeleton.mirrored_joints]


def trunk_axes(places: dict[str, np.ndarray]) -> np.ndarray:
    """Return the directions in which a trunk's left, upper and front side look, as columns `(num_frames, 3, 3)`.

    Up is from the middle of the hips to that of the shoulders.
    """
    across = sum(places[f"left_{part}"] - places[f"right_{part}"] for part in ("hip", "shoulder"))
    return _axes(_unit(_trunk(places)), across)


def _trunk(places: dict[str, np.ndarray]) -> np.ndarray:
    return sum(places[f"{side}_shoulder"] - places[f"{side}_hip"] for side in ("left", "right"))


def _axes(up: np.ndarray, across: np.ndarray) -> np.ndarray:
    forward = _unit(np.cross(across, up))
    return np.stack([np.cross(up, forward), up, forward], -1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(min=1e-9)
