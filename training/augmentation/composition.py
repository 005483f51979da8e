"""New training clips from real ones: one body doing two things at once, or one after the other.

In space as SINC (Athanasiou et al., 2023) does it: a raised arm of one clip on the body of another. In time as TEACH
(2022) does: one clip after another, in place and facing, blended where poses are most alike. Blends are of positions;
making features of them gives each bone its length again. Only what fits is composed, told by geometry alone: labels
are not needed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lamp_hf.metrics.geometry import Measurements, measure, raised
from lamp_hf.models.motion_representation import features_to_joints, joints_to_features
from lamp_hf.models.skeleton import HUMANML3D


IN_SPACE, IN_TIME = "composed in space", "composed in time"
_INDEX = {name: i for i, name in enumerate(HUMANML3D.joint_names)}
_ARMS = {
    side: [_INDEX[f"{side}_{part}"] for part in ("collar", "shoulder", "elbow", "wrist")] for side in ("left", "right")
}
_CAPTIONS = 2  # of each composed clip
_RAMP = 8  # frames in which an arm goes over from one clip to the other
_SEAM = 24  # frames at an end that a seam is looked for in
_FARTHEST = 0.16  # metres between joints of two poses, on average, that a seam bridges


@dataclass
class Composed:
    """Args:
    motion (`np.ndarray` of shape `(num_frames, 263)`): features.
    captions (`list[str]`): what it shows.
    kind (`str`): `IN_SPACE` or `IN_TIME`.
    parts (`tuple[int, int]`): the clips that it was made from.
    """

    motion: np.ndarray
    captions: list[str]
    kind: str
    parts: tuple[int, int]


class Composer:
    """Args:
    motions (`list[np.ndarray]`): features of real clips.
    captions (`list[list[str]]`): of each; quantities are left out of composed ones, they would not hold.
    weights (`np.ndarray`): how often a clip is taken.
    max_frames (`int`): longest clip to make.
    """

    def __init__(self, motions: list[np.ndarray], captions: list[list[str]], weights: np.ndarray, max_frames: int):
        if motions[0].shape[-1] != HUMANML3D.num_features:
            raise ValueError("clips are composed on HumanML3D's skeleton only")
        self.joints = [features_to_joints(motion) for motion in motions]
        self.captions = [[caption for caption in map(plain, row) if caption] for row in captions]
        self.facts = [measure(joints) for joints in self.joints]
        usable = np.array([bool(row) for row in self.captions])
        if not (weights * usable).any():
            raise ValueError("nothing to compose: no caption starts with its subject and is free of quantities")
        self.weights = weights * usable / (weights * usable).sum()
        self.max_frames = max_frames

    def __call__(self, count: int, seed: int) -> Iterator[Composed]:
        """`count` clips composed in space, then as many in time; the same for the same seed."""
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
        """The donor's raised arms on the base's body; None where that does not fit."""
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
        """One clip after another; None where no seam is smooth enough or the sum is too long."""
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
        """Whether the donor stands and raises arms that the base lets hang."""
        facts, sides = self.facts[donor], raised(self.facts[donor])
        stays = facts.stands and abs(facts.turn) < 45 and facts.bend < 25
        return stays and bool(sides) and not set(sides) & set(raised(self.facts[base]))

    def caption(self, row: int, rng: np.random.Generator) -> str:
        """One of a clip's, in lower case and without quantities."""
        return str(rng.choice(self.captions[row]))


def shows(facts: Measurements, whole: Measurements, sides: list[str]) -> bool:
    """Whether the hands of these sides do in a clip what they do in the one that they come from."""
    return all(
        side in raised(facts) and getattr(facts, f"{side}_waves") >= 0.4 * getattr(whole, f"{side}_waves")
        for side in sides
    )


def still_shows(cut: Measurements, whole: Measurements) -> bool:
    """Whether a clip that was cut still does what its caption says: a walk does, a bow without its end does not."""
    return (
        raised(cut) == raised(whole)
        and shows(cut, whole, raised(whole))
        and abs(cut.turn - whole.turn) < 30
        and cut.bend > 0.8 * whole.bend - 5
        and cut.flight > 0.8 * whole.flight - 0.03
    )


def retime(joints: np.ndarray, speed: float) -> np.ndarray:
    """`(num_frames, J, 3)` played `speed` times as fast."""
    times = np.arange(0, len(joints) - 1 + 1e-6, speed)
    below = np.minimum(times.astype(int), len(joints) - 2)
    share = (times - below)[:, None, None]
    return (joints[below] * (1 - share) + joints[below + 1] * share).astype(np.float32)


def graft(body: np.ndarray, arms: np.ndarray, sides: list[str], start: int) -> np.ndarray:
    """`body` with the arms of another clip from frame `start` on, as they are held against its own trunk.

    Args:
        body, arms (`np.ndarray` of shape `(num_frames, 22, 3)`): joints on the reference skeleton; the longer is cut.
        sides (`list[str]`): `"left"`, `"right"` or both.
        start (`int`): frame of `body` where `arms` starts; its own arms go over to them and back within 8 frames.
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
    """Where two clips' features are most alike, late in one and early in the other.

    Returns:
        The frame of each where a blend of 8 frames starts, and how far joints are apart there on average, in metres.
    """
    late, early = min(_SEAM, len(before) // 4), min(_SEAM, len(after) // 4)
    ends, starts = before[-late - _RAMP : -_RAMP][:, None], after[:early][None]
    columns = HUMANML3D.slices
    apart, drifting = (
        np.linalg.norm((ends - starts)[..., columns[name]].reshape(late, early, -1, 3), axis=-1).mean(-1)
        for name in ("positions", "velocities")
    )
    cost = apart + _RAMP / 2 * drifting  # metres between joints half a blend later, if both went on as they do
    end, start = np.unravel_index(int(cost.argmin()), cost.shape)
    return len(before) - late - _RAMP + int(end), int(start), float(apart[end, start])


def follow(before: np.ndarray, after: np.ndarray, end: int, start: int) -> np.ndarray:
    """Joints of two clips' features one after the other, blended from frame `end` of one and `start` of the other on.

    Features hold the root's velocity and the body in its own facing, so that one clip goes on where the other ended.
    """
    ramp = _ease((np.arange(_RAMP) + 0.5) / _RAMP)[:, None]
    blend = (1 - ramp) * before[end : end + _RAMP] + ramp * after[start : start + _RAMP]
    features = np.concatenate([before[:end], blend, after[start + _RAMP :]])
    return features_to_joints(features.astype(np.float32))


def _trunk(joints: np.ndarray) -> np.ndarray:
    """Orientation of the chest, `(num_frames, 3, 3)`, columns left, up and forward."""
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
    """The caption in lower case without its stop, None if it holds a quantity or no subject to take away."""
    caption = caption.lower().rstrip(". ")
    return None if _QUANTITY.search(caption) or not _SUBJECT.match(caption) else caption


def predicate(caption: str) -> str:
    """What is said of the subject: "walks slowly" of "a man walks slowly"."""
    return _SUBJECT.match(caption).group(2)


def gerund(phrase: str) -> str | None:
    """ "walking slowly" of "walks slowly"; None where a second verb follows."""
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
    """A caption of a clip composed of two, by theirs; what is done at once is told in either order."""
    if kind == IN_TIME:
        return in_turn(one, other, rng)
    return at_once(one, other, rng) if rng.random() < 0.6 else at_once(other, one, rng)


def at_once(one: str, other: str, rng: np.random.Generator) -> str:
    """A caption of two things that are done together."""
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


def in_turn(one: str, other: str, rng: np.random.Generator) -> str:
    """A caption of two things that are done one after the other."""
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
    """Of the caption's subject."""
    subject = _SUBJECT.match(caption).group(1)
    female, male = (bool(re.search(rf"\b(?:{words})\b", subject)) for words in (_FEMALE, _MALE))
    return str(rng.choice(["he", "she"])) if female == male else "she" if female else "he"


def held_up(phrase: str) -> str | None:
    """ "the left arm raised" of "lifts the left arm"; None of a phrase that does not say which arms go up."""
    found = _HELD.match(phrase)
    if not found or not re.search(r"left|right|s$", found.group(1)):
        return None
    if "wave" in phrase:
        return f"{found.group(1)} waving"
    return f"{found.group(1)} {'in the air' if 'hand' in found.group(1) else 'raised'}"
