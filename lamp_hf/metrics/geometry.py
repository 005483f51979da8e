"""Measurements of a motion from its joint positions alone: path, turn, hands, feet, flight, height and bend."""

from dataclasses import dataclass

import numpy as np

from ..models.skeleton import HUMANML3D


_INDEX = {name: i for i, name in enumerate(HUMANML3D.joint_names)}
_RAISED = 0.3  # metres; real clips of one raised hand lift it by 0.37 or more and the other hand by 0.15 or less
_SWING = 0.2  # metres above the chest; 95 % of arms swinging in real walks and runs stay below, 15 % of raised hands
_STRETCHED = 0.9  # share of a leg's length between its hip and its ankle


@dataclass(frozen=True)
class Measurements:
    """Measurements of one clip; directions are relative to the facing of its first frame.

    Args:
        turn (`float`): degrees from the first to the last facing, positive to the left, full turns counted.
        forward, left (`float`): metres from the first to the last position of the pelvis.
        path (`float`): metres that the pelvis travels over the ground.
        speed (`float`): `path` per second, in metres.
        left_rise, right_rise (`float`): metres from the wrist's lowest to its highest position, relative to the chest.
        left_reach, right_reach (`float`): greatest height of the wrist above the chest, metres.
        left_waves, right_waves (`float`): metres that the wrist, while in the upper half of its rise, travels sideways
            beyond one movement to and fro: 0 for a hand that goes up and stays there.
        flight (`float`): greatest height in metres of the lower foot above its lowest position.
        bend (`float`): greatest forward tilt of the trunk relative to its first posture, degrees.
        drift (`float`): greatest distance in metres of the pelvis from its first position, over the ground.
        drop (`float`): metres that the pelvis sinks below its height at the start.
        ascent (`float`): metres by which the pelvis ends above its height at the start.
        left_kick, right_kick (`float`): greatest height in metres of an ankle above the other, with a stretched leg.
    """

    turn: float
    forward: float
    left: float
    path: float
    speed: float
    left_rise: float
    right_rise: float
    left_reach: float
    right_reach: float
    left_waves: float
    right_waves: float
    flight: float
    bend: float
    drift: float
    drop: float
    ascent: float
    left_kick: float
    right_kick: float

    @property
    def stands(self) -> bool:
        """True where the body stays roughly in place."""
        return self.path < 0.6


def measure(joints: np.ndarray, fps: float = 20.0) -> Measurements:
    """Measure a clip.

    Args:
        joints (`np.ndarray` of shape `(num_frames, 22, 3)`): positions in metres, Y up, facing any direction.
        fps (`float`): frames per second.
    """
    joints = np.asarray(joints, np.float64)
    heading = facing_angles(joints)
    forward = np.array([np.sin(heading[0]), 0, np.cos(heading[0])])
    left = np.array([np.cos(heading[0]), 0, -np.sin(heading[0])])
    pelvis = joints[:, 0] - joints[0, 0]
    path = np.linalg.norm(np.diff(smoothed(joints[:, 0, [0, 2]]), axis=0), axis=-1).sum()
    trunk = joints[:, _INDEX["neck"]] - joints[:, 0]
    facing = np.stack([np.sin(heading), np.zeros_like(heading), np.cos(heading)], -1)
    tilt = np.degrees(np.arctan2((trunk * facing).sum(-1), trunk[:, 1]))
    ankles = joints[:, [_INDEX["left_ankle"], _INDEX["right_ankle"]], 1]
    height = joints[:, 0, 1]
    start = np.median(height[:5])
    left_rise, left_reach, left_waves = _hand(joints, heading, "left")
    right_rise, right_reach, right_waves = _hand(joints, heading, "right")
    return Measurements(
        turn=float(np.degrees(heading[-1] - heading[0])),
        forward=float(pelvis[-1] @ forward),
        left=float(pelvis[-1] @ left),
        path=float(path),
        speed=float(path * fps / max(len(joints) - 1, 1)),
        left_rise=left_rise,
        right_rise=right_rise,
        left_reach=left_reach,
        right_reach=right_reach,
        left_waves=left_waves,
        right_waves=right_waves,
        flight=float((ankles - ankles.min(0)).min(-1).max()),
        bend=float(tilt.max() - np.median(tilt[:5])),
        drift=float(np.linalg.norm(pelvis[:, [0, 2]], axis=-1).max()),
        drop=float(start - height.min()),
        ascent=float(np.median(height[-5:]) - start),
        left_kick=_kick(joints, "left", "right"),
        right_kick=_kick(joints, "right", "left"),
    )


def facing_angles(joints: np.ndarray) -> np.ndarray:
    """Return the facing of each frame in radians, from Z+ towards X+, without jumps of a full turn."""
    across = joints[:, 1] - joints[:, 2] + joints[:, 16] - joints[:, 17]  # towards the body's left
    return np.unwrap(np.arctan2(-across[:, 2], across[:, 0]))


def _hand(joints: np.ndarray, heading: np.ndarray, side: str) -> tuple[float, float, float]:
    """Return how far the wrist rises, how high it gets, and how far it waves while up, in metres."""
    wrist = joints[:, _INDEX[f"{side}_wrist"]] - joints[:, _INDEX["spine3"]]
    rise = float(np.ptp(wrist[:, 1]))
    across = np.stack([np.cos(heading), -np.sin(heading)], -1)
    sideways = (wrist[:, [0, 2]] * across).sum(-1)[hand_up(joints, side)]
    travelled = np.abs(np.diff(sideways)).sum()
    return rise, float(wrist[:, 1].max()), float(max(travelled - 2 * np.ptp(sideways), 0.0))


def _kick(joints: np.ndarray, side: str, other: str) -> float:
    """Return how high the ankle gets above the other one while its leg is stretched, in metres; 0 if it never does."""
    hip, knee, ankle = (joints[:, _INDEX[f"{side}_{part}"]] for part in ("hip", "knee", "ankle"))
    length = np.linalg.norm(knee - hip, axis=-1) + np.linalg.norm(ankle - knee, axis=-1)
    stretched = np.linalg.norm(ankle - hip, axis=-1) > _STRETCHED * length
    height = ankle[:, 1] - joints[:, _INDEX[f"{other}_ankle"], 1]
    return float(max(height[stretched].max(initial=0.0), 0.0))


def raised(m: Measurements) -> list[str]:
    """Return the sides, `"left"` and `"right"`, whose hand goes up; arms that swing along with a walk do not count."""
    rising = [side for side in ("left", "right") if getattr(m, f"{side}_rise") > _RAISED]
    return rising if m.stands else [side for side in rising if getattr(m, f"{side}_reach") > _SWING]


def hand_up(joints: np.ndarray, side: str) -> np.ndarray:
    """Return a mask `(num_frames,)` of the frames in which a wrist is in the upper half of its rise."""
    height = joints[:, _INDEX[f"{side}_wrist"], 1] - joints[:, _INDEX["spine3"], 1]
    return height >= height.min() + np.ptp(height) / 2


def smoothed(path: np.ndarray) -> np.ndarray:
    """Average `(num_frames, 2)` positions over half a second, so that swaying in place does not count as walking."""
    radius = 5
    padded = np.pad(path, ((radius, radius), (0, 0)), mode="edge")
    kernel = np.ones(2 * radius + 1) / (2 * radius + 1)
    return np.stack([np.convolve(column, kernel, mode="valid") for column in padded.T], -1)
