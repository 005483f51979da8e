"""Cleaning: hold standing feet in place, and smooth. Both keep bone lengths."""

import numpy as np
import torch
from scipy import sparse
from scipy.ndimage import binary_closing, binary_opening, binary_propagation, gaussian_filter1d

from ..models.foot_placement import move_foot
from ..models.skeleton import Skeleton
from .rotations import root_first


STANDING_SPEED = 0.5  # metres per second; a low toe that is slower stands
SLIDING_SPEED = 1.0  # metres per second; up to this speed it slides, before and after it stands
STANDING_HEIGHT = 0.07  # metres above the lowest height of the toe
_SHORTEST_CONTACT = 0.1  # seconds; shorter contacts and gaps are noise
# Where a foot does not stand, how closely it keeps to its own path.
_RAISED = 0.2  # metres; a foot this high keeps to its path as closely as the mean of a stand keeps to its place
_LOOSE = 0.01  # share of this at the floor; it grows with the fourth power of the height
_RETURN = 0.1  # seconds; the time scale in which a raised foot is back on its path


def foot_contacts(joints: np.ndarray, fps: float, skeleton: Skeleton) -> np.ndarray:
    """Detect the frames in which the left and the right toe stand: low and slow for at least a tenth of a second.

    The frames before and after, in which the toe is still low and slides, belong to the contact.

    Args:
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres, Y up.
        fps (`float`): frames per second.
        skeleton ([`Skeleton`]): the joint tree.

    Returns:
        `np.ndarray` of shape `(num_frames, 2)`, bool.
    """
    toes = joints[:, _toes(skeleton)]
    speed = np.linalg.norm(np.gradient(toes, axis=0), axis=-1) * fps if len(joints) > 1 else np.zeros(toes.shape[:2])
    low = toes[..., 1] - np.quantile(toes[..., 1], 0.02, axis=0) < STANDING_HEIGHT
    slow, sliding = (low & (speed < limit) for limit in (STANDING_SPEED, SLIDING_SPEED))
    standing = np.stack([binary_propagation(core, mask=mask) for core, mask in zip(slow.T, sliding.T)], 1)
    count = max(1, round(_SHORTEST_CONTACT * fps))
    padded = np.pad(standing, ((count, count), (0, 0)), mode="edge")  # the ends of a clip are not changes of contact
    frames = np.ones(count, bool)
    return np.stack([binary_opening(binary_closing(foot, frames), frames)[count:-count] for foot in padded.T], 1)


def lock_feet(joints: np.ndarray, fps: float, skeleton: Skeleton) -> np.ndarray:
    """Hold standing toes in place: the foot moves as a whole and the knee follows (two-bone inverse kinematics).

    While a foot stands, its toe keeps one place, close to its mean over that time. Between, the foot comes and leaves
    with as little acceleration as it can; a raised one, as in a kick, keeps to its own path. A leg that is too short
    to reach straightens as far as it can do so smoothly, and the foot slides by the rest.

    Args:
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres, Y up.
        fps (`float`): frames per second.
        skeleton ([`Skeleton`]): the joint tree.

    Returns:
        `np.ndarray` of the same shape.
    """
    joints = np.array(joints, np.float64)
    standing = foot_contacts(joints, fps, skeleton)
    for toe, contact in zip(_toes(skeleton), standing.T):
        foot = (joints[:, toe] + joints[:, skeleton.parents[toe]]) / 2
        shifts = torch.from_numpy(_shifts(joints[:, toe], foot, contact, fps))
        joints = move_foot(torch.from_numpy(joints), toe, shifts, skeleton).numpy()
    return joints.astype(np.float32)


def smooth(joints: np.ndarray, fps: float, seconds: float, skeleton: Skeleton) -> np.ndarray:
    """Smooth joints over time by a Gaussian; bone lengths are smoothed separately, so that no bone shrinks.

    Args:
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): positions.
        fps (`float`): frames per second.
        seconds (`float`): standard deviation of the Gaussian.
        skeleton ([`Skeleton`]): the joint tree.

    Returns:
        `np.ndarray` of the same shape, float32.
    """
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


def _shifts(toe: np.ndarray, foot: np.ndarray, contact: np.ndarray, fps: float) -> np.ndarray:
    """Return the horizontal shift that a foot needs in each frame, `(num_frames, 3)`.

    The shifts minimise, by least squares, the accelerations of the foot and of its shifts and, weighted, the shifts
    themselves, where the toe stays in one place through each contact. Each place is an unknown, as is each frame's
    shift between.
    """
    num_frames, level = len(toe), [0, 2]
    shifts = np.zeros_like(toe)
    if num_frames < 3 or not contact.any():
        return shifts
    unknown = np.r_[0, np.cumsum(~(contact[1:] & contact[:-1]))]  # of each frame; frames of a contact share one
    spread = sparse.csr_matrix((np.ones(num_frames), (np.arange(num_frames), unknown)))
    fixed = np.where(contact[:, None], -toe[:, level], 0.0)  # shift = spread @ unknowns + fixed
    second = sparse.diags([1.0, -2.0, 1.0], [0, 1, 2], shape=(num_frames - 2, num_frames)) * fps**2
    curvature = second.T @ second
    height = (toe[:, 1] - np.quantile(toe[:, 1], 0.02)).clip(0)
    weight = (height / _RAISED) ** 4 + _LOOSE
    frames = np.arange(num_frames)
    at_end = np.minimum(frames, frames[::-1]) < _RETURN * fps  # without neighbours, acceleration says little of it
    weight = sparse.diags(np.where(contact | at_end, weight.clip(min=1), weight) / _RETURN**4)
    # |second (shift + foot)|^2 + |second shift|^2 = 2 |second (shift + foot / 2)|^2 + a constant
    target = curvature @ (fixed + foot[:, level] / 2) + weight @ fixed
    places = sparse.linalg.spsolve((spread.T @ (curvature + weight) @ spread).tocsc(), -spread.T @ target)
    shifts[:, level] = spread @ places.reshape(-1, 2) + fixed
    return shifts
