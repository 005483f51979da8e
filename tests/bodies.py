"""Bodies that move by formula: a walk with a cycle, a kick without one."""

import numpy as np
from test_metrics import standing


PERIOD, PACE = 20, 0.05  # frames of two steps, metres a frame


def bent(joints: np.ndarray, top: int, moved: list[int], angle: np.ndarray) -> np.ndarray:
    """Swing joints forward about another one, by angles in radians for each frame."""
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x, y, z = (joints[:, moved] - joints[:, [top]]).transpose(2, 0, 1)
    result = joints.copy()
    result[:, moved] = joints[:, [top]] + np.stack([x, cos * y + sin * z, cos * z - sin * y], -1)
    return result


def walking(frames: int = 90, turning: float = 0.0) -> np.ndarray:
    """Joints of a walk of 20 frames for two steps, 5 cm and `turning` degrees a frame."""
    joints, time = standing(frames + 1), np.arange(frames + 1)
    swing = 0.4 * np.sin(2 * np.pi * time / PERIOD)
    for top, moved, side in ((1, [4, 7, 10], 1), (2, [5, 8, 11], -1), (16, [18, 20], -1), (17, [19, 21], 1)):
        joints = bent(joints, top, moved, side * swing)
    angle = np.radians(turning) * time
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x, y, z = joints.transpose(2, 0, 1)
    joints = np.stack([cos * x + sin * z, y, cos * z - sin * x], -1)
    return joints + PACE * np.stack([np.sin(angle), 0 * angle, np.cos(angle)], -1).cumsum(0)[:, None]


def kicking(frames: int = 80) -> np.ndarray:
    """Joints of someone who stands, kicks once and stands again."""
    angle = 1.4 * np.sin(np.clip((np.arange(frames + 1) - 30) / 20, 0, 1) * np.pi) ** 2
    return bent(standing(frames + 1), 2, [5, 8, 11], -angle)
