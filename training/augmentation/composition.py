"""Compose training clips from real ones: two actions of one body at the same time, or one after the other.

In space, as in SINC (Athanasiou et al., 2023), the raised arm of one clip is put on the body of another. In time, as
in TEACH (2022), one clip follows another, aligned in position and facing and blended where poses are most similar.
Positions are blended; converting them to features restores the lengths of bones. Geometry alone decides which clips
fit together; no labels are needed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lamp_hf.metrics.geometry import Measurements, measure, raised
from lamp_hf.models.motion_representation import features_to_joints, joints_to_features
from lamp_hf.models.skeleton import HUMANML3D

from ..progress import progress


IN_SPACE, IN_TIME = "composed in space", "composed in time"
_INDEX = {name: i for i, name in enumerate(HUMANML3D.joint_names)}
_ARMS = {
    side: [_INDEX[f"{side}_{part}"] for part in ("collar", "shoulder", "elbow", "wrist")] for side in ("left", "right")
}
_CAPTIONS = 3  # for each composed clip
_RAMP = 8  # frames in which one clip is blended into the other
_SEAM = 24  # frames at each end that are searched for a seam
_FARTHEST = 0.16  # largest mean distance in metres between the joints of two poses that are blended


@dataclass
class Composed:
    """A composed clip.

    Args:
        motion (`np.ndarray` of shape `(num_frames, 263)`): features.
        captions (`list[str]`): captions of both actions.
        kind (`str`): `IN_SPACE` or `IN_TIME`.
        parts (`tuple[int, int]`): indices of the two real clips.
    """

    motion: np.ndarray
    captions: list[str]
    kind: str
    parts: tuple[int, int]


class Composer:
    """Composes clips from pairs of real ones.

    Args:
        motions (`list[np.ndarray]` of shape `(num_frames, 263)`): features of real clips.
        captions (`list[list[str]]`): captions of each clip; those with quantities, which would not hold, are left out.
        weights (`np.ndarray` of shape `(num_clips,)`): how often each clip is drawn.
        max_frames (`int`): length of the longest composed clip.
    """

    def __init__(self, motions: list[np.ndarray], captions: list[list[str]], weights: np.ndarray, max_frames: int):
        if motions[0].shape[-1] != HUMANML3D.num_features:
            raise ValueError("clips are composed on HumanML3D's skeleton only")
        self.joints = [features_to_joints(motion) for motion in motions]
        self.captions = [[caption for caption in map(plain, row) if caption] for row in captions]
        self.facts = [measure(joints) for joints in progress(self.joints, "measuring clips")]
        usable = np.array([bool(row) for row in self.captions])
        if not (weights * usable).any():
            raise ValueError("nothing to compose: no caption starts with its subject and is free of quantities")
        self.weights = weights * usable / (weights * usable).sum()
        self.max_frames = max_frames

    def __call__(self, count: int, seed: int) -> Iterator[Composed]:
        """Yield `count` clips composed in space, then as many in time; the same for the same seed."""
        rng = np.random.default_rng(seed)
        for compose in (self.in_space, self.in_time):
            made, tries = 0, 0
            while made < count and tries < 50 * count:
                tries += 1
                first, second = (int(row) for row in rng.choice(len(self.joints), 2, p=self.weights))
                if (clip := compose(first, second, rng)) is not None:
                    made += 1
                    yield clip

    def in_space(self, base: int, donor: int, rng: np.random.Generator) -> Composed | None:
        """Put the donor's raised arms on the base's body; None where they do not fit."""
        if not self.fits_in_space(base, donor):
            return None
        sides = raised(self.facts[donor])
        body, arms = (retime(self.joints[row], rng.uniform(0.85, 1.2)) for row in (base, donor))
        start = int(rng.integers(len(body) - len(arms) + 1)) if len(body) > len(arms) else 0
        joints = graft(body, arms, sides, start)
        facts = measure(joints)
        if len(joints) > self.max_frames + 1 or not (
            shows(facts, self.facts[donor], sides) and shows(facts, self.facts[base], raised(self.facts[base]))
        ):
            return None
        pairs = [(self.caption(base, rng), self.caption(donor, rng)) for _ in range(_CAPTIONS)]
        captions = [say(IN_SPACE, *pair, rng) for pair in pairs]
        return Composed(joints_to_features(joints), captions, IN_SPACE, (base, donor))

    def in_time(self, first: int, second: int, rng: np.random.Generator) -> Composed | None:
        """Join two clips one after the other; None where no seam is smooth enough."""
        before, after = (retime(self.joints[row], rng.uniform(0.85, 1.25)) for row in (first, second))
        share = (self.max_frames + 1) / (len(before) + len(after))
        if share < 1:
            before, after = before[len(before) - int(share * len(before)) :], after[: int(share * len(after))]
        if min(len(before), len(after)) < 3 * _RAMP:
            return None
        features = joints_to_features(before), joints_to_features(after)
        end, start, distance = seam(*features)
        if distance > _FARTHEST or not (
            still_shows(measure(before[: end + _RAMP]), self.facts[first])
            and still_shows(measure(after[start:]), self.facts[second])
        ):
            return None
        joints = follow(*features, end, start)
        captions = [say(IN_TIME, self.caption(first, rng), self.caption(second, rng), rng) for _ in range(_CAPTIONS)]
        return Composed(joints_to_features(joints), captions, IN_TIME, (first, second))

    def fits_in_space(self, base: int, donor: int) -> bool:
        """Return True if the donor stands and raises arms that hang down in the base."""
        facts, sides = self.facts[donor], raised(self.facts[donor])
        stays = facts.stands and abs(facts.turn) < 45 and facts.bend < 25
        return stays and bool(sides) and not set(sides) & set(raised(self.facts[base]))

    def caption(self, row: int, rng: np.random.Generator) -> str:
        """Draw one of a clip's captions, in lower case and without quantities."""
        return str(rng.choice(self.captions[row]))


def shows(facts: Measurements, whole: Measurements, sides: list[str]) -> bool:
    """Return True if the hands of these sides still do in a clip what they do in the original."""
    return all(
        side in raised(facts) and getattr(facts, f"{side}_waves") >= 0.4 * getattr(whole, f"{side}_waves")
        for side in sides
    )


def still_shows(cut: Measurements, whole: Measurements) -> bool:
    """Return True if a shortened clip still shows its caption: a walk does, a bow without its end does not."""
    return (
        raised(cut) == raised(whole)
        and shows(cut, whole, raised(whole))
        and abs(cut.turn - whole.turn) < 30
        and cut.bend > 0.8 * whole.bend - 5
        and cut.flight > 0.8 * whole.flight - 0.03
    )


def retime(joints: np.ndarray, speed: float) -> np.ndarray:
    """Resample joints `(num_frames, J, 3)` to play `speed` times as fast."""
    times = np.arange(0, len(joints) - 1 + 1e-6, speed)
    below = np.minimum(times.astype(int), len(joints) - 2)
    share = (times - below)[:, None, None]
    return (joints[below] * (1 - share) + joints[below + 1] * share).astype(np.float32)


def graft(body: np.ndarray, arms: np.ndarray, sides: list[str], start: int) -> np.ndarray:
    """Put the arms of one clip on the body of another from frame `start` on, in the same pose relative to the trunk.

    Args:
        body, arms (`np.ndarray` of shape `(num_frames, 22, 3)`): joints on the reference skeleton; arms
            beyond the end of the body are cut off.
        sides (`list[str]`): `"left"`, `"right"` or both.
        start (`int`): frame of `body` where `arms` starts; its own arms are blended into them and back over 8 frames.
    """
    count = min(len(arms), len(body) - start)
    frames = slice(start, start + count)
    joints = [joint for side in sides for joint in _ARMS[side]]
    chest = _INDEX["spine3"]
    local = np.einsum("tji,tkj->tki", _trunk(arms[:count]), arms[:count, joints] - arms[:count, [chest]])
    placed = body[frames, [chest]] + np.einsum("tij,tkj->tki", _trunk(body[frames]), local)
    ramp = np.ones(count)
    if start:
        ramp = np.minimum(ramp, np.arange(1, count + 1) / _RAMP)
    if start + count < len(body):
        ramp = np.minimum(ramp, np.arange(count, 0, -1) / _RAMP)
    result = body.copy()
    ramp = _ease(ramp)[:, None, None]
    result[frames, joints] = (1 - ramp) * body[frames][:, joints] + ramp * placed
    return result


def seam(before: np.ndarray, after: np.ndarray) -> tuple[int, int, float]:
    """Find where two clips' features are most similar, late in one and early in the other.

    Returns:
        The frame of each where a blend of 8 frames starts, and the mean distance of their joints there, in metres.
    """
    late, early = min(_SEAM, len(before) // 4), min(_SEAM, len(after) // 4)
    ends, starts = before[-late - _RAMP : -_RAMP][:, None], after[:early][None]
    columns = HUMANML3D.slices
    apart, drifting = (
        np.linalg.norm((ends - starts)[..., columns[name]].reshape(late, early, -1, 3), axis=-1).mean(-1)
        for name in ("positions", "velocities")
    )
    cost = apart + _RAMP / 2 * drifting  # metres between joints half a blend later, at constant velocities
    end, start = np.unravel_index(int(cost.argmin()), cost.shape)
    return len(before) - late - _RAMP + int(end), int(start), float(apart[end, start])


def follow(before: np.ndarray, after: np.ndarray, end: int, start: int) -> np.ndarray:
    """Join two clips' features, blended from frame `end` of one and `start` of the other on, and return joints.

    Features hold the root's velocity and the body in its own facing, so one clip continues where the other ends.
    """
    ramp = _ease((np.arange(_RAMP) + 0.5) / _RAMP)[:, None]
    blend = (1 - ramp) * before[end : end + _RAMP] + ramp * after[start : start + _RAMP]
    features = np.concatenate([before[:end], blend, after[start + _RAMP :]])
    return features_to_joints(features.astype(np.float32))


def _trunk(joints: np.ndarray) -> np.ndarray:
    """Return the orientation of the chest, `(num_frames, 3, 3)`, with columns left, up and forward."""
    up = joints[:, _INDEX["neck"]] - joints[:, _INDEX["pelvis"]]
    left = joints[:, _INDEX["left_collar"]] - joints[:, _INDEX["right_collar"]]
    up /= np.linalg.norm(up, axis=-1, keepdims=True)
    left -= (left * up).sum(-1, keepdims=True) * up
    left /= np.linalg.norm(left, axis=-1, keepdims=True)
    return np.stack([left, up, np.cross(left, up)], -1)


def _ease(share: np.ndarray) -> np.ndarray:
    return share * share * (3 - 2 * share)


_SUBJECT = re.compile(
    r"^((?:he|she|someone|somebody|(?:an?|the) (?:\w+ ){0,2}?(?:person|man|woman|human|adult|character|figure|"
    r"performer|child|kid|boy|girl|teenager|lady|guy|individual|actor)) )(.+)$"
)
_QUANTITY = re.compile(
    r"\b(steps?|meters?|degrees?|times|\d+|one|two|three|four|five|six|seven|eight|nine|ten)\b|forever|for a while"
)
_FEMALE, _MALE = "she|woman|girl|lady", "he|man|boy|guy"
_HELD = re.compile(
    r"^(?:raises|lifts|holds|puts|throws|brings|keeps|waves)(?: up)? "
    r"((?:the|his|her|their|both) (?:left |right )?(?:hand|arm)s?)\b"
)


def plain(caption: str) -> str | None:
    """Return a caption in lower case without full stop; None if it has a quantity or does not start with a subject."""
    caption = caption.lower().rstrip(". ")
    return None if _QUANTITY.search(caption) or not _SUBJECT.match(caption) else caption


def predicate(caption: str) -> str:
    """Return the caption without its subject: "walks slowly" for "a man walks slowly"."""
    return _SUBJECT.match(caption).group(2)


def gerund(phrase: str) -> str | None:
    """Return "walking slowly" for "walks slowly"; None where a second verb follows."""
    if re.search(r" and | then |,", phrase):
        return None
    verb, *rest = phrase.split()
    if verb in ("is", "are"):
        return " ".join(rest) if rest and rest[0].endswith("ing") else None
    if not verb.endswith("s"):
        return None
    verb = re.sub(r"ies$", "y", verb) if len(verb) > 4 else verb
    verb = re.sub(r"(?<=ch|sh|ss)es$|(?<=[xo])es$|s$", "", verb) if verb.endswith("s") else verb
    if verb.endswith("e") and not verb.endswith("ee"):
        verb = verb[:-1]
    elif re.fullmatch(r"[^aeiou]*[aeiou][^aeiouwxy]", verb):
        verb += verb[-1]
    return " ".join([f"{verb}ing", *rest])


def say(kind: str, one: str, other: str, rng: np.random.Generator) -> str:
    """Combine two captions into one of the given kind; simultaneous actions are named in either order."""
    if kind == IN_TIME:
        return sequential_caption(one, other, rng)
    return simultaneous_caption(*((one, other) if rng.random() < 0.6 else (other, one)), rng)


def simultaneous_caption(one: str, other: str, rng: np.random.Generator) -> str:
    """Return a caption of two actions at the same time."""
    what, doing, held = predicate(other), gerund(predicate(other)), held_up(predicate(other))
    sentences = [
        f"{one} and {what} at the same time",
        f"{one} and at the same time {what}",
        f"{one} and meanwhile {what}",
        f"{one} as {pronoun(one, rng)} {what}",
    ]
    if doing:
        sentences += [
            f"{one} while {doing}",
            f"{one} while {doing}",
            f"while {doing}, {one}",
            f"{one} and {what}",
            f"{one}, {doing}",
            f"{doing}, {one}",
        ]
    if held:
        sentences += [f"{one} with {held}", f"with {held}, {one}"]
    return str(rng.choice(sentences))


def sequential_caption(one: str, other: str, rng: np.random.Generator) -> str:
    """Return a caption of two actions one after the other."""
    what, doing, before = predicate(other), gerund(predicate(other)), gerund(predicate(one))
    sentences = [
        f"{one}, then {what}",
        f"{one} and then {what}",
        f"{one}, and after that {what}",
        f"{one} and {rng.choice(['next', 'afterwards', 'finally'])} {what}",
        f"first {one}, and next {what}",
        f"{one}, stops and {what}",
    ]
    if doing:
        sentences += [f"{one} before {doing}", f"{one}, followed by {doing}"]
    if before:
        subject = _SUBJECT.match(one).group(1)
        sentences.append(f"after {before}, {subject}{what}")
    return str(rng.choice(sentences))


def pronoun(caption: str, rng: np.random.Generator) -> str:
    """Return the pronoun of a caption's subject, drawn where it may be either."""
    subject = _SUBJECT.match(caption).group(1)
    female, male = (bool(re.search(rf"\b(?:{words})\b", subject)) for words in (_FEMALE, _MALE))
    return str(rng.choice(["he", "she"])) if female == male else "she" if female else "he"


def held_up(phrase: str) -> str | None:
    """Return "the left arm raised" for "lifts the left arm"; None for a phrase that does not say which arms go up."""
    found = _HELD.match(phrase)
    if not found or not re.search(r"left|right|s$", found.group(1)):
        return None
    if "wave" in phrase:
        return f"{found.group(1)} waving"
    return f"{found.group(1)} {'in the air' if 'hand' in found.group(1) else 'raised'}"
