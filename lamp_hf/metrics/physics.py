"""How physical a motion looks: feet that slide, joints that jump, bones that stretch."""

import numpy as np

from ..models.motion_representation import HUMANML3D, Skeleton


CONTACT_HEIGHT = 0.05  # metres over the clip's lowest foot, up to which a toe counts as on the ground


def foot_skating(joints: np.ndarray, fps: float = 20.0, skeleton: Skeleton = HUMANML3D) -> float:
    """Mean horizontal speed, metres a second, of the toes while they are on the ground; 0 for a clip that never lands.

    Args:
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres, Y up.
    """
    toes = joints[:, [skeleton.left_foot[1], skeleton.right_foot[1]]]
    grounded = toes[:-1, :, 1] - toes[..., 1].min() < CONTACT_HEIGHT
    grounded &= toes[1:, :, 1] - toes[..., 1].min() < CONTACT_HEIGHT
    speed = np.linalg.norm(np.diff(toes[..., [0, 2]], axis=0), axis=-1) * fps
    return float(speed[grounded].mean()) if grounded.any() else 0.0


def largest_step(joints: np.ndarray) -> float:
    """Longest way, metres, that any joint moves relative to the root from one frame to the next."""
    relative = joints - joints[:, :1]
    return float(np.linalg.norm(np.diff(relative, axis=0), axis=-1).max())


def largest_acceleration(joints: np.ndarray, fps: float = 20.0) -> float:
    """Greatest acceleration, metres a second squared, of any joint: what a jump between frames shows up in."""
    return float(np.linalg.norm(np.diff(joints, 2, axis=0), axis=-1).max() * fps**2)


def bone_length_variation(joints: np.ndarray, skeleton: Skeleton = HUMANML3D) -> float:
    """Largest deviation of any bone from its mean length over the clip, as a share of that length."""
    bones = np.linalg.norm(joints[:, 1:] - joints[:, list(skeleton.parents[1:])], axis=-1)
    return float((np.abs(bones - bones.mean(0)) / bones.mean(0)).max())
