"""Does a motion do what the sentence says? A judge that looks at joint positions alone, no learned model."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..models.skeleton import HUMANML3D


_INDEX = {name: i for i, name in enumerate(HUMANML3D.joint_names)}
_RAISED = 0.3  # metres; real clips of one raised hand lift it by 0.37 or more and the other by 0.15 or less
_SWING = 0.2  # metres over the chest; 95 % of arms that swing in real walks and runs stay lower, 15 % of raised hands


@dataclass(frozen=True)
class Measurements:
    """Facts about a clip; positions in the facing of its first frame.

    Args:
        turn (`float`): degrees from the first to the last facing, left positive, full turns counted.
        forward, left (`float`): metres from the first to the last place of the pelvis.
        path (`float`): metres walked by the pelvis over the ground.
        speed (`float`): path per second.
        left_rise, right_rise (`float`): metres from the wrist's lowest to its highest place, relative to the chest.
        left_reach, right_reach (`float`): greatest height of the wrist over the chest, metres.
        left_waves, right_waves (`float`): metres that the wrist, in the upper half of its rise, travels sideways
            beyond one way to and fro: 0 for a hand that goes up and stays.
        flight (`float`): greatest height in metres of the lower foot over its lowest place.
        bend (`float`): greatest forward tilt of the trunk against its first posture, degrees.
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

    @property
    def stands(self) -> bool:
        """Whether the body stays about where it is."""
        return self.path < 0.6


def measure(joints: np.ndarray, fps: float = 20.0) -> Measurements:
    """Measures a clip of `(num_frames, 22, 3)` joints in metres, Y up, facing any way at the start."""
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
    )


def facing_angles(joints: np.ndarray) -> np.ndarray:
    """Facing in radians from Z+ towards X+, without jumps by a full turn."""
    across = joints[:, 1] - joints[:, 2] + joints[:, 16] - joints[:, 17]  # towards the body's left
    return np.unwrap(np.arctan2(-across[:, 2], across[:, 0]))


def _hand(joints: np.ndarray, heading: np.ndarray, side: str) -> tuple[float, float, float]:
    """How far the wrist rises, how high it gets, and how far it waves while up."""
    wrist = joints[:, _INDEX[f"{side}_wrist"]] - joints[:, _INDEX["spine3"]]
    rise = float(np.ptp(wrist[:, 1]))
    across = np.stack([np.cos(heading), -np.sin(heading)], -1)
    sideways = (wrist[:, [0, 2]] * across).sum(-1)[hand_up(joints, side)]
    travelled = np.abs(np.diff(sideways)).sum()
    return rise, float(wrist[:, 1].max()), float(max(travelled - 2 * np.ptp(sideways), 0.0))


def raised(m: Measurements) -> list[str]:
    """The sides, `"left"` and `"right"`, whose hand goes up; arms that swing with a walk do not."""
    rising = [side for side in ("left", "right") if getattr(m, f"{side}_rise") > _RAISED]
    return rising if m.stands else [side for side in rising if getattr(m, f"{side}_reach") > _SWING]


def hand_up(joints: np.ndarray, side: str) -> np.ndarray:
    """In which frames, `(num_frames,)`, a wrist is in the upper half of its rise."""
    height = joints[:, _INDEX[f"{side}_wrist"], 1] - joints[:, _INDEX["spine3"], 1]
    return height >= height.min() + np.ptp(height) / 2


def smoothed(path: np.ndarray) -> np.ndarray:
    """`(num_frames, 2)` places, the mean over half a second, so that swaying on the spot is no walk."""
    radius = 5
    padded = np.pad(path, ((radius, radius), (0, 0)), mode="edge")
    kernel = np.ones(2 * radius + 1) / (2 * radius + 1)
    return np.stack([np.convolve(column, kernel, mode="valid") for column in padded.T], -1)


def _raises(m: Measurements, left: bool, right: bool) -> bool:
    return raised(m) == ["left"] * left + ["right"] * right


def _waves(m: Measurements, left: bool, right: bool) -> bool:
    return _raises(m, left, right) and (m.left_waves > 0.2 or not left) and (m.right_waves > 0.2 or not right)


def _travels(m: Measurements, slowest: float, fastest: float) -> bool:
    return slowest <= m.speed <= fastest and m.forward > 0.5 * m.path


CHECKS: dict[str, Callable[[Measurements], bool]] = {
    "raise-up-left-hand": lambda m: _raises(m, left=True, right=False),
    "raise-up-right-hand": lambda m: _raises(m, left=False, right=True),
    "raise-up-both-hands": lambda m: _raises(m, left=True, right=True),
    "wave-left-hand": lambda m: _waves(m, left=True, right=False),
    "wave-right-hand": lambda m: _waves(m, left=False, right=True),
    "wave-both-hands": lambda m: _waves(m, left=True, right=True),
    "walk": lambda m: _travels(m, 0.4, 2.0) and abs(m.turn) < 45,
    "run": lambda m: _travels(m, 1.3, 6.0) and abs(m.turn) < 45,
    "walk-turn-left": lambda m: 45 < m.turn < 150 and m.path > 1,
    "walk-turn-right": lambda m: -150 < m.turn < -45 and m.path > 1,
    "walk-back": lambda m: m.forward < -0.5 and abs(m.turn) < 60,
    "walk-left": lambda m: m.left > 0.5 and abs(m.turn) < 60,
    "walk-right": lambda m: m.left < -0.5 and abs(m.turn) < 60,
    "bow": lambda m: m.bend > 18 and m.path < 1,
    "jumping": lambda m: m.flight > 0.12 and m.path < 3,
}
"""Whether a clip does an action, by the action's label; thresholds from the training clips."""

WELL_COVERED = (
    "raise-up-left-hand", "raise-up-right-hand", "raise-up-both-hands", "wave-left-hand", "wave-right-hand",
    "wave-both-hands", "walk", "run", "walk-turn-left", "walk-turn-right",
)  # fmt: skip
"""Actions with more than 100 training clips in the bundled model's data."""

SIDES = {
    "raise-up-left-hand": lambda m: m.left_rise - m.right_rise,
    "wave-left-hand": lambda m: m.left_rise - m.right_rise,
    "walk-turn-left": lambda m: m.turn,
    "walk-left": lambda m: m.left,
}
"""For actions of the left side, a number that is positive for left and negative for right."""


def confuses_sides(action: str, measurements: Measurements) -> bool:
    """Whether a clip of a one-sided action does it on the other side."""
    left = action.replace("right", "left")
    if left not in SIDES:
        return False
    side = SIDES[left](measurements)
    return side < 0 if left == action else side > 0
