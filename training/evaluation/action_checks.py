"""Checks of actions by geometry: does a motion do what its label says?

The labels are those of the bundled model's data, and the thresholds were set on its training clips.
"""

from collections.abc import Callable

from lamp_hf.metrics.geometry import Measurements, raised


def _raises(m: Measurements, left: bool, right: bool) -> bool:
    return raised(m) == ["left"] * left + ["right"] * right


def _waves(m: Measurements, left: bool, right: bool) -> bool:
    return _raises(m, left, right) and (m.left_waves > 0.2 or not left) and (m.right_waves > 0.2 or not right)


def _travels(m: Measurements, slowest: float, fastest: float) -> bool:
    return slowest <= m.speed <= fastest and m.forward > 0.5 * m.path


def stays(m: Measurements) -> bool:
    """Return True if the body stays where it is; 98 % of real clips of standing people drift by less than 0.2 m."""
    return m.drift <= 0.3


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
"""By label, a function that tells if a clip shows the action."""

PROMPT_CHECKS: dict[str, Callable[[Measurements], bool]] = CHECKS | {
    "turn-left": lambda m: 45 < m.turn < 270 and m.path > 1,
    "stand": lambda m: stays(m) and m.drop < 0.1,
    "sit": lambda m: m.drop > 0.1 and m.flight < 0.5 and m.path < 3,
    "kick": lambda m: max(m.left_kick, m.right_kick) > 0.2 and m.speed < 1.5,
}
"""By name, the checks of simple prompts: [`CHECKS`] and more. A deep squat passes for sitting down."""

DIRECTIONS: dict[str, tuple[Callable[[Measurements], float], float]] = {
    "circle": (lambda m: m.turn, 45),
    "turn": (lambda m: m.turn, 30),
    "hand": (lambda m: m.left_rise - m.right_rise, 0.1),
    "foot": (lambda m: m.left_kick - m.right_kick, 0.1),
    "forward": (lambda m: m.forward, 0.3),
    "side": (lambda m: m.left, 0.3),
    "up": (lambda m: m.ascent, 0.15),
}
"""By name, a measurement that is positive for left, forward or up, and its smallest size, in degrees or metres, that
shows a direction."""

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
"""By label of the left side, a measurement that is positive for left and negative for right."""


def confuses_sides(action: str, measurements: Measurements) -> bool:
    """Return True if a clip of a one-sided action does it on the other side."""
    left = action.replace("right", "left")
    if left not in SIDES:
        return False
    side = SIDES[left](measurements)
    return side < 0 if left == action else side > 0
