"""Cleaning: feet that stay where they stand, and smoothing. Both keep the lengths of bones."""

import numpy as np
import torch
from scipy.ndimage import binary_closing, binary_opening, distance_transform_edt, gaussian_filter1d, label

from ..models.motion_representation import shortest_rotation
from ..models.skeleton import Skeleton
from .rotations import root_first


STANDING_SPEED = 0.5  # metres a second, up to which a low toe stands
STANDING_HEIGHT = 0.07  # metres over the toe's lowest place
_SHORTEST = 0.1  # seconds; shorter stands and gaps are noise
_BLEND = 0.2  # seconds in which a foot is let go


def foot_contacts(joints: np.ndarray, fps: float, skeleton: Skeleton) -> np.ndarray:
    """Whether the left and the right toe stand, bool `(num_frames, 2)`: low, slow, and for a tenth of a second.

    Args:
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres, Y up.
    """
    toes = joints[:, _toes(skeleton)]
    speed = np.linalg.norm(np.gradient(toes, axis=0), axis=-1) * fps if len(joints) > 1 else np.zeros(toes.shape[:2])
    standing = (speed < STANDING_SPEED) & (toes[..., 1] - np.quantile(toes[..., 1], 0.02, axis=0) < STANDING_HEIGHT)
    count = max(1, round(_SHORTEST * fps))
    padded = np.pad(standing, ((count, count), (0, 0)), mode="edge")  # a clip's ends are no changes
    frames = np.ones(count, bool)
    return np.stack([binary_opening(binary_closing(foot, frames), frames)[count:-count] for foot in padded.T], 1)


def lock_feet(joints: np.ndarray, fps: float, skeleton: Skeleton) -> np.ndarray:
    """Holds standing toes in place: the foot moves as a whole, the knee bends after it (two-bone inverse kinematics).

    Where a foot stands its toe keeps the place that it has on average in that time; it is let go over a fifth of a
    second. A leg too short to reach is stretched out, and the foot then slides by the rest.

    Args:
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres, Y up.

    Returns:
        `np.ndarray` of the same shape.
    """
    joints = np.array(joints, np.float64)
    standing = foot_contacts(joints, fps, skeleton)
    for toe, contact in zip(_toes(skeleton), standing.T):
        joints = _move_foot(joints, toe, _shifts(joints[:, toe], contact, fps), skeleton)
    return joints.astype(np.float32)


def smooth(joints: np.ndarray, fps: float, seconds: float, skeleton: Skeleton) -> np.ndarray:
    """Weighted mean over time, a Gaussian of a deviation of `seconds`; of bones' lengths too, so that none shrinks."""
    original = np.asarray(joints, np.float64)
    blurred = gaussian_filter1d(original, seconds * fps, axis=0, mode="nearest")
    result = blurred.copy()
    for joint in root_first(skeleton.parents)[1:]:
        parent = skeleton.parents[joint]
        bone = blurred[:, joint] - blurred[:, parent]
        length = np.linalg.norm(original[:, joint] - original[:, parent], axis=-1, keepdims=True)
        length = gaussian_filter1d(length, seconds * fps, axis=0, mode="nearest")
        bone *= length / np.linalg.norm(bone, axis=-1, keepdims=True).clip(min=1e-9)
        result[:, joint] = result[:, parent] + bone
    return result.astype(np.float32)


def _toes(skeleton: Skeleton) -> list[int]:
    return [skeleton.joint_names.index("left_foot"), skeleton.joint_names.index("right_foot")]


def _shifts(toe: np.ndarray, contact: np.ndarray, fps: float) -> np.ndarray:
    """How far, over the ground, a toe is to be moved in each frame, `(num_frames, 3)`."""
    stands, count = label(contact)
    shifts, known = np.zeros_like(toe), np.zeros(len(toe), bool)
    for stand in range(1, count + 1):
        frames = stands == stand
        shifts[frames] = (toe[frames].mean(0) - toe[frames]) * [1, 0, 1]
        known |= frames
    # Between two stands the shift goes from the one's last to the other's first, by way of zero if there is time.
    blend = max(1, round(_BLEND * fps))
    if not known.any():
        return shifts
    anchors = np.flatnonzero(known | (distance_transform_edt(~known) >= blend))
    return np.stack([np.interp(np.arange(len(toe)), anchors, shifts[anchors, axis]) for axis in range(3)], -1)


def _move_foot(joints: np.ndarray, toe: int, shifts: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Moves the foot that ends in `toe` and lets the knee follow; thigh, shin and foot keep their lengths."""
    chain = [toe]
    while skeleton.parents[chain[-1]] > 0:
        chain.append(skeleton.parents[chain[-1]])
    hip, knee, ankle, *foot = reversed(chain)
    start, middle, end = joints[:, hip], joints[:, knee], joints[:, ankle]
    thigh, shin = (np.linalg.norm(part, axis=-1, keepdims=True) for part in (middle - start, end - middle))
    old, way = _unit(end - start), end + shifts - start
    direction = _unit(way)
    reach = np.linalg.norm(way, axis=-1, keepdims=True).clip(np.abs(thigh - shin), thigh + shin)
    along = (thigh**2 - shin**2 + reach**2) / (2 * reach.clip(min=1e-9))
    aside = middle - start - ((middle - start) * old).sum(-1, keepdims=True) * old  # where the knee bends to
    straight = np.linalg.norm(aside, axis=-1, keepdims=True) < 0.01 * thigh
    across = joints[:, skeleton.hips[1]] - joints[:, skeleton.hips[0]]  # to the left: a straight knee bends forward
    aside = _unit(np.where(straight, np.cross(across, -old), aside))
    turn = shortest_rotation(torch.from_numpy(old), torch.from_numpy(direction)).numpy()
    aside = (turn @ aside[..., None])[..., 0]
    result = joints.copy()
    result[:, knee] = start + along * direction + np.sqrt((thigh**2 - along**2).clip(min=0)) * aside
    result[:, ankle] = start + reach * direction
    result[:, foot] += (result[:, ankle] - end)[:, None]
    return result


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(min=1e-9)
