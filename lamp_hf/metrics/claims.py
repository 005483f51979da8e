"""Claims of captions that geometry can check: does the motion do what the caption says?

A caption makes a claim of a kind if its words match the kind's pattern; a caption that names both sides makes no claim
about a side. The patterns are for English captions, the thresholds were set on real clips and their captions.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..models.skeleton import HUMANML3D
from .geometry import Measurements, facing_angles, measure


_INDEX = {name: i for i, name in enumerate(HUMANML3D.joint_names)}
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {word: i for i, word in enumerate(_WORDS)}
NUMBER = rf"(?<![\d.])(\d+(?:\.\d+)?|{'|'.join(_WORDS)})"
"""Pattern of a number in a caption, which [`read_number`] reads."""


@dataclass(frozen=True)
class Posture:
    """Measurements that claims need beside [`Measurements`].

    Args:
        measured ([`Measurements`]): of the same clip.
        headlong (`float`): greatest height in metres of the hips above the head; negative if the head stays above.
        crouch (`float`): lowest height of the hips above the lower foot, as a share of a leg's length.
        lowest_head (`float`): lowest height of the head above the lowest joint of the clip, metres.
        forward, backward (`float`): greatest distance in metres of the pelvis before, and behind, its first position.
        hand, foot (`float`): how much further the left wrist travels than the right one, relative to the chest, and
            the left ankle than the right one, relative to the pelvis, as shares of both: -1 to 1.
        spin (`float`): greatest turn to the left, and to the right as a negative number, whichever is larger, degrees.
    """

    measured: Measurements
    headlong: float
    crouch: float
    lowest_head: float
    forward: float
    backward: float
    hand: float
    foot: float
    spin: float


def posture(joints: np.ndarray, fps: float = 20.0) -> Posture:
    """Measure a clip of joints `(num_frames, 22, 3)` in metres, Y up."""
    joints = np.asarray(joints, np.float64)
    place = {name: joints[:, row] for name, row in _INDEX.items()}
    hips = (place["left_hip"] + place["right_hip"]) / 2
    leg = np.linalg.norm(place["left_hip"] - place["left_knee"], axis=-1)
    leg = np.median(leg + np.linalg.norm(place["left_knee"] - place["left_ankle"], axis=-1))
    feet = np.minimum(place["left_ankle"][:, 1], place["right_ankle"][:, 1])
    heading = facing_angles(joints)
    ahead = np.array([np.sin(heading[0]), np.cos(heading[0])])
    along = (joints[:, 0, [0, 2]] - joints[0, 0, [0, 2]]) @ ahead
    turned = np.degrees(heading - heading[0])
    return Posture(
        measured=measure(joints, fps),
        headlong=float((hips[:, 1] - place["head"][:, 1]).max()),
        crouch=float((hips[:, 1] - feet).min() / leg),
        lowest_head=float(place["head"][:, 1].min() - joints[..., 1].min()),
        forward=float(along.max()),
        backward=float(-along.min()),
        hand=_lead(place["left_wrist"], place["right_wrist"], place["spine3"]),
        foot=_lead(place["left_ankle"], place["right_ankle"], joints[:, 0]),
        spin=float(turned[np.abs(turned).argmax()]),
    )


@dataclass(frozen=True)
class Claim:
    """A kind of claim.

    Args:
        pattern (`str`): of captions that make it; group 1, where there is one, is a side or a number.
        holds (`Callable`): from a posture and the match to whether the claim is right.
        unless (`str`, *optional*): pattern of captions that do not make it all the same.
    """

    pattern: str
    holds: Callable[[Posture, re.Match], bool]
    unless: str | None = None

    def find(self, caption: str) -> re.Match | None:
        """Return the first match in a caption in lower case, None if it makes no such claim."""
        return None if self.unless and re.search(self.unless, caption) else re.search(self.pattern, caption)


_GOES = r"\b(?:walk|step|run|jog|march|mov|go|goes|hop|jump|stride|hurr|rush)\w*"
_BOTH_SIDES = r"\bleft\w*\b.*\bright|\bright\w*\b.*\bleft|\bboth\b|\bsideways\b"
_TURN = (
    r"\b(?:turn|veer|curve|pivot|circle|spin)s?(?:ing)?\b(?: \w+){0,4}? (left|right)\w*\b(?! (?:hand|arm|foot|leg))"
)
_SIGN = {"left": 1, "right": -1}

CLAIMS: dict[str, Claim] = {
    "acrobatic feat": Claim(
        r"\b(?:back|front|side)?-?flip|\bsomersault|\bcartwheel|\bhandstand|\bheadstand|\bupside down",
        lambda p, _: p.headlong > 0,
        r"\bflips? (?:the|his|her|a) (?:hand|arm|wrist)",
    ),
    "lying": Claim(r"\b(?:lie|lies|lying|laying)\b", lambda p, _: p.lowest_head < 0.5, r"\blying (?:in|on the table)"),
    "sitting": Claim(r"\b(?:sit|sits|sitting|squats?|squatting|kneels?|kneeling)\b", lambda p, _: p.crouch < 0.8),
    "jump": Claim(
        r"\b(?:jump|hop|leap)(?:s|ing)?\b", lambda p, _: p.measured.flight > 0.05, r"\bjumping jack|skip|about to"
    ),
    "steps backward": Claim(
        rf"{_GOES} (?:\w+ ){{0,2}}backwards?\b|\bbackwards? (?:walk|run|jog|step)|in a backward direction",
        lambda p, _: p.backward > 0.15,
    ),
    "forward": Claim(rf"{_GOES} (?:\w+ )?(?:forward|ahead|straight on)\b", lambda p, _: p.forward > 0.2, r"\bback"),
    "turn": Claim(_TURN, lambda p, side: p.spin * _SIGN[side[1]] > 20, _BOTH_SIDES),
    "hand": Claim(r"\b(left|right) (?:hand|arm|fist)\b", lambda p, side: p.hand * _SIGN[side[1]] > 0, _BOTH_SIDES),
    "foot": Claim(
        r"\bkick\w*\b.*\b(left|right) (?:foot|leg)\b", lambda p, side: p.foot * _SIGN[side[1]] > 0, _BOTH_SIDES
    ),
    "metres": Claim(
        rf"\b{NUMBER} met(?:er|re)s?\b", lambda p, said: _close(p.measured.path, read_number(said[1])), r"\bhalf"
    ),
}
"""By name, the kinds of claims."""


def read_number(word: str) -> float:
    """Return the value of a match of [`NUMBER`]."""
    return float(_NUMBERS.get(word, word))


def check_claims(caption: str, motion: np.ndarray | Posture) -> dict[str, bool]:
    """Return the kinds of claims of [`CLAIMS`] that a caption makes, and whether the motion does what each says.

    Args:
        caption (`str`): a caption in English.
        motion (`np.ndarray` of shape `(num_frames, 22, 3)` or [`Posture`]): joints in metres, Y up, at 20 frames per
            second, or what was measured of them.
    """
    found = motion if isinstance(motion, Posture) else posture(motion)
    matches = {kind: claim.find(caption.lower()) for kind, claim in CLAIMS.items()}
    return {kind: bool(CLAIMS[kind].holds(found, match)) for kind, match in matches.items() if match}


def claim_numbers(captions: list[str], postures: list[Posture]) -> dict[str, dict[str, float | None]]:
    """Return, for each kind of claim and for `all`, the share of captions that make it and of these that hold.

    Args:
        captions (`list[str]`): one caption a clip.
        postures (`list[Posture]`): of the clips.

    Returns:
        `stated` in percent of the captions, for `all` the claims per hundred captions; `right` in percent of the
        claims, None where no caption makes one.
    """
    checked = [check_claims(caption, found) for caption, found in zip(captions, postures, strict=True)]
    kinds = {kind: [claims[kind] for claims in checked if kind in claims] for kind in CLAIMS}
    kinds["all"] = [right for claims in checked for right in claims.values()]
    return {
        kind: {
            "stated": 100 * len(answers) / len(captions),
            "right": 100 * sum(answers) / len(answers) if answers else None,
        }
        for kind, answers in kinds.items()
    }


def _lead(left: np.ndarray, right: np.ndarray, centre: np.ndarray) -> float:
    """Return how much further the left joint travels than the right one, as a share of both."""
    one, other = (np.linalg.norm(np.diff(joint - centre, axis=0), axis=-1).sum() for joint in (left, right))
    return float((one - other) / max(one + other, 1e-6))


def _close(path: float, stated: float) -> bool:
    """Tell whether a stated distance is right within a metre or a quarter."""
    return abs(path - stated) <= max(1.0, 0.25 * stated)
