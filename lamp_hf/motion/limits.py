"""Limits of what is read or resampled, checked before memory or time is spent on it.

Files may promise far more than they hold: a few bytes of text can stand for gigabytes of joints. The limits allow for
hours of motion capture, and keep one file from bringing down a run over a folder or a server.
"""

MAX_POSITIONS = 25_000_000  # frames times joints, 0.6 GB in double precision; an hour of SMPL-X at 120 fps
MAX_RATE = 1000.0  # frames per second
MAX_SECONDS = 86_400.0


def check_size(num_frames: int, num_joints: int) -> None:
    """Check that a motion is small enough to work on.

    Args:
        num_frames (`int`): its frames.
        num_joints (`int`): joints of each, those included that do not move.

    Raises:
        ValueError: when it has more than `MAX_POSITIONS` joint positions.
    """
    if num_frames * num_joints > MAX_POSITIONS:
        raise ValueError(
            f"{num_frames:,} frames of {num_joints:,} joints are too large: at most {MAX_POSITIONS:,} joint positions "
            "are read, cut the motion into parts"
        )


def check_rate(num_frames: int, fps: float) -> None:
    """Check the frame rate that a file states.

    Args:
        num_frames (`int`): frames of the motion.
        fps (`float`): frames per second.

    Raises:
        ValueError: when the rate is not positive, is above `MAX_RATE`, or makes the motion last longer than a day.
    """
    if not 0 < fps <= MAX_RATE:
        raise ValueError(f"fps must be a number up to {MAX_RATE:g}, got {fps:g}")
    if num_frames > MAX_SECONDS * fps:
        raise ValueError(f"{num_frames:,} frames at {fps:g} fps last longer than a day: the frame rate is wrong")
