"""Physical plausibility of a motion: feet that slide, float or sink, joints that jump, bones that stretch.

A metric is one number of a whole clip, for evaluations; `lamp_hf.motion.fault_measures` has values of each frame, for
thresholds. Every metric takes joints `(num_frames, num_joints, 3)` in metres, Y up, and raises ValueError when there
is no frame or a value is NaN or infinite.
"""

import numpy as np

from ..models.motion_representation import check_motion
from ..models.skeleton import HUMANML3D, Skeleton, get_skeleton
from ..motion.fault_measures import CONTACT_HEIGHT


FLOAT_HEIGHT = 0.1  # metres above the floor; higher feet are off the ground


def foot_skating(joints: np.ndarray, fps: float = 20.0, skeleton: str | Skeleton = HUMANML3D) -> float:
    """Return the mean horizontal speed, in m/s, of the toes while they are on the ground; 0 if they never are.

    The floor is at the lowest height of a toe in the clip.
    """
    skeleton = get_skeleton(skeleton)
    check_motion(joints, (skeleton.num_joints, 3))
    toes = joints[:, skeleton.toes]
    grounded = toes[:-1, :, 1] - toes[..., 1].min() < CONTACT_HEIGHT
    grounded &= toes[1:, :, 1] - toes[..., 1].min() < CONTACT_HEIGHT
    speed = np.linalg.norm(np.diff(toes[..., [0, 2]], axis=0), axis=-1) * fps
    return float(speed[grounded].mean()) if grounded.any() else 0.0


def floating(joints: np.ndarray, floor: float | None = None, skeleton: str | Skeleton = HUMANML3D) -> float:
    """Return the share of frames, 0 to 1, with both feet more than 10 cm above the floor: jumps, running, or errors.

    The floor is at the lowest height of a foot in the clip, unless given in metres.
    """
    skeleton = get_skeleton(skeleton)
    check_motion(joints, (skeleton.num_joints, 3))
    feet = joints[:, skeleton.feet, 1]
    floor = feet.min() if floor is None else floor
    return float((feet.min(1) - floor > FLOAT_HEIGHT).mean())


def penetration(joints: np.ndarray, floor: float = 0.0) -> float:
    """Return the mean depth in metres of the lowest joint below the floor; frames without a joint below it count 0."""
    check_motion(joints, (joints.shape[-2], 3))
    return float(np.maximum(floor - joints[..., 1].min(1), 0).mean())


def jitter(joints: np.ndarray, fps: float = 20.0) -> float:
    """Return the mean jerk of all joints, in m/s³, by the third difference of positions."""
    check_motion(joints, (joints.shape[-2], 3))
    if len(joints) < 4:
        return 0.0
    return float(np.linalg.norm(np.diff(joints, 3, axis=0), axis=-1).mean() * fps**3)


def largest_acceleration(joints: np.ndarray, fps: float = 20.0) -> float:
    """Return the greatest acceleration of any joint, in m/s²; a jump between frames makes it large."""
    check_motion(joints, (joints.shape[-2], 3))
    if len(joints) < 3:
        return 0.0
    return float(np.linalg.norm(np.diff(joints, 2, axis=0), axis=-1).max() * fps**2)


def bone_length_variation(joints: np.ndarray, skeleton: str | Skeleton = HUMANML3D) -> float:
    """Return the largest deviation of any bone from its mean length over the clip, as a share of that length."""
    skeleton = get_skeleton(skeleton)
    check_motion(joints, (skeleton.num_joints, 3))
    bones = np.linalg.norm(skeleton.bones(joints)[:, 1:], axis=-1)
    return float((np.abs(bones - bones.mean(0)) / bones.mean(0)).max())
