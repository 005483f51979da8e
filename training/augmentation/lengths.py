"""Make training clips of real ones at other lengths, so that the length of a clip does not tell its content.

Clips with a cycle, such as walks and waves, are cropped, or tiled by repeating the cycle. Others finish early and
stand on in their last pose. Where a clip begins or ends at rest, rests are cut. All may be played a little faster or
slower. The motion alone decides which clips have a cycle; no labels are needed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from lamp_hf.metrics.geometry import facing_angles, measure
from lamp_hf.models.motion_cycles import RAMP, REST, SHORTEST_CYCLE, SHOWN, differences, find_cycles, poses, speeds
from lamp_hf.models.motion_representation import features_to_joints, joints_to_features, rotate_y
from lamp_hf.models.skeleton import HUMANML3D

from .composition import still_shows


CROPPED, TILED, RETIMED, FINISHED, TRIMMED = "cropped", "tiled", "retimed", "finished early", "trimmed"
_SHARES = {CROPPED: 0.25, TILED: 0.25, RETIMED: 0.1, FINISHED: 0.2, TRIMMED: 0.2}
_FROM_START = 0.5  # share of crops that begin where their clip does: a wave begins with the hand that goes up
_SHORTEST = 30  # frames of a cropped clip
_TRIES = 4  # cycles of a clip that are tried
_MARGIN = 1.1  # by which acceleration in a seam may exceed that of the clip
_TURN = 30  # degrees that a part, or repetitions, may turn less or more than the clip
_LEVEL = 0.15  # metres of the pelvis' rise and fall that a part may lack
_UNCHANGED = 0.25  # metres that a joint may move between where a clip comes to rest and its end
_STILL = 0.1  # metres that a joint may move in the rests at both ends of a clip
_TEMPO = (0.85, 1.15)

_ONE_SIDE = r"(?! (?:\w+ )?(?:hand|arm|leg|foot|feet|knee|fist|finger|palm|elbow|shoulder|side|direction)s?\b)"
_NUMBER = re.compile(
    rf"\b(?:(?:one|two){_ONE_SIDE}|\d+|three|four|five|six|seven|eight|nine|ten|dozen|several|couple|few|once|twice|"
    r"thrice|times|steps?|paces?|met(?:er|re)s?|degrees?|seconds?|minutes?|moment|briefly|half|quarter|forever|while"
    r"(?= *[.,]?$))\b"
)


@dataclass
class Lengthened:
    """A clip at another length.

    Args:
        motion (`np.ndarray` of shape `(num_frames, 263)`): features.
        captions (`list[str]`): captions of the real clip that hold at any length.
        kind (`str`): `CROPPED`, `TILED`, `RETIMED`, `FINISHED` or `TRIMMED`.
        source (`int`): index of the real clip.
    """

    motion: np.ndarray
    captions: list[str]
    kind: str
    source: int


class Lengthener:
    """Makes clips at other lengths.

    Args:
        motions (`list[np.ndarray]` of shape `(num_frames, 263)`): features of real clips.
        captions (`list[list[str]]`): captions of each clip; those that state numbers, which would not hold, are left
            out.
        weights (`np.ndarray` of shape `(num_clips,)`): how often each clip is drawn.
        max_frames (`int`): length of the longest clip that is made.
    """

    def __init__(self, motions: list[np.ndarray], captions: list[list[str]], weights: np.ndarray, max_frames: int):
        if motions[0].shape[-1] != HUMANML3D.num_features:
            raise ValueError("clips are made longer and shorter on HumanML3D's skeleton only")
        self.motions, self.max_frames = list(motions), max_frames
        self.captions = [[text for text in texts if not states_number(text)] for texts in captions]
        usable = np.array([bool(texts) for texts in self.captions])
        if not (weights * usable).any():
            raise ValueError("nothing to make longer or shorter: all captions state numbers")
        self.weights = weights * usable / (weights * usable).sum()
        self._idles = [row for row, motion in enumerate(motions) if is_idle(motion)]
        self._cycles: dict[int, np.ndarray] = {}

    def __call__(self, count: int, seed: int) -> Iterator[Lengthened]:
        """Yield up to `count` clips, kind after kind; the same for the same seed."""
        rng = np.random.default_rng(seed)
        made = 0
        for kind, change in (
            (CROPPED, self.crop),
            (TILED, self.tile),
            (FINISHED, self.finish),
            (TRIMMED, self.trim),
            (RETIMED, self.retime),  # fits all clips: makes up for those that were not found
        ):
            wanted = count - made if kind == RETIMED else round(_SHARES[kind] * count)
            found = 0
            for row in rng.choice(len(self.motions), 50 * wanted, p=self.weights).tolist():
                if found == wanted:
                    break
                if (motion := change(row, rng)) is not None:
                    found += 1
                    yield Lengthened(motion, self.captions[row], kind, row)
            made += found

    def cycles(self, row: int) -> np.ndarray:
        """Return the cycles of a clip, see [`find_cycles`]."""
        if row not in self._cycles:
            self._cycles[row] = find_cycles(self.motions[row])
        return self._cycles[row]

    def crop(self, row: int, rng: np.random.Generator) -> np.ndarray | None:
        """Take a random part of a clip with a cycle; None where the part does not show what the clip does."""
        features, cycles = self.motions[row], self.cycles(row)
        shortest = max(_SHORTEST, int((cycles[:, 1] - cycles[:, 0]).min())) if len(cycles) else len(features)
        longest = min(int(0.9 * len(features)), self.max_frames)
        if shortest > longest:
            return None
        frames = int(rng.integers(shortest, longest + 1))
        start = 0 if rng.random() < _FROM_START else int(rng.integers(len(features) - frames))
        part = slice(start, start + frames)
        apart, alike = differences(features)
        shown = np.average(apart[:, part].min(-1) < 2 * alike, weights=speeds(features)) >= SHOWN
        heights = features[:, HUMANML3D.slices["root_height"]]
        level = np.ptp(heights) - np.ptp(heights[part]) < _LEVEL
        if not (shown and level) or abs(turn(features[part]) - turn(features)) > _TURN:
            return None
        return joints_to_features(features_to_joints(features)[start : start + frames + 1])

    def tile(self, row: int, rng: np.random.Generator) -> np.ndarray | None:
        """Repeat one of a clip's cycles up to a random length; None where there is none or a joint would jump."""
        features, cycles = self.motions[row], self.cycles(row)
        room = self.max_frames - len(features)
        if not len(cycles) or room < SHORTEST_CYCLE:
            return None
        wanted = int(rng.integers(SHORTEST_CYCLE, room + 1))
        joints, goes_round = features_to_joints(features), abs(turn(features)) >= 270
        for start, end in rng.permutation(cycles)[:_TRIES].tolist():
            repetitions = round(wanted / (end - start))
            turned = abs(turn(features[start:end])) * repetitions
            if not repetitions or (turned > _TURN and not goes_round):
                continue
            longer = features_to_joints(tiled(features, start, end, repetitions))
            if smooth_at(longer, end, joints):
                speed = np.clip(len(longer) / (len(features) + wanted), *_TEMPO)
                return joints_to_features(resampled(longer, speed))[: self.max_frames]
        return None

    def finish(self, row: int, rng: np.random.Generator) -> np.ndarray | None:
        """Let a clip without a cycle stand on from where it comes to rest, up to a random length; None for others."""
        features = self.motions[row]
        if max(_SHORTEST, len(features) + SHORTEST_CYCLE) > self.max_frames or len(self.cycles(row)):
            return None
        joints = features_to_joints(features)
        rest = last_rest(joints)
        if rest is None or not still_shows(measure(joints[: rest + 1]), measure(joints)):
            return None
        pose, _, _ = poses(features)
        if np.linalg.norm(pose[rest] - pose[-1], axis=-1).max() > _UNCHANGED:
            return None  # an arm is raised, say, but the clip lowers it again
        idle = features_to_joints(self.motions[self._idles[rng.integers(len(self._idles))]]) if self._idles else None
        shortest = max(_SHORTEST, rest + SHORTEST_CYCLE)
        frames = int(rng.integers(shortest, self.max_frames + 1)) - rest
        joints = joints[: rest + 1]
        return joints_to_features(np.concatenate([joints, held(joints, frames, idle, rng)]))

    def trim(self, row: int, rng: np.random.Generator) -> np.ndarray | None:
        """Cut random parts of the rests at both ends of a clip; None where it hardly rests or does nothing else."""
        joints = features_to_joints(self.motions[row])
        left, arrived = _away_from(joints, joints[0]), _away_from(joints, joints[-1])
        if not len(left) or not len(arrived) or len(joints) > self.max_frames + 1:
            return None
        start, end = int(rng.integers(left[0] + 1)), int(rng.integers(arrived[-1] + 2, len(joints) + 1))
        if start + len(joints) - end < SHORTEST_CYCLE or end - start <= _SHORTEST:
            return None
        return joints_to_features(joints[start:end])

    def retime(self, row: int, rng: np.random.Generator) -> np.ndarray | None:
        """Play a clip at 0.85 to 1.15 times its speed; None where it would be too long."""
        motion = joints_to_features(resampled(features_to_joints(self.motions[row]), rng.uniform(*_TEMPO)))
        return motion if len(motion) <= self.max_frames else None


def states_number(caption: str) -> bool:
    """Return True if a caption states a number of steps, repetitions, metres or seconds, or says how long it lasts."""
    return bool(_NUMBER.search(caption.lower()))


def turn(features: np.ndarray) -> float:
    """Return the degrees by which the body turns in all, positive to the left."""
    return float(-2 * np.degrees(features[:, HUMANML3D.slices["root_yaw"]]).sum())


def tiled(features: np.ndarray, start: int, end: int, repetitions: int) -> np.ndarray:
    """Repeat frames `start` to `end` of a clip's features, each time where and as the body faces after the last one.

    Features hold the root's velocity, so repetitions follow each other in space by themselves. The first 8 frames of
    each are blended into from the frames that would have come next.
    """
    share = ((np.arange(RAMP) + 0.5) / RAMP)[:, None]
    ramp = share * share * (3 - 2 * share)
    blend = (1 - ramp) * features[end : end + RAMP] + ramp * features[start : start + RAMP]
    again = [blend, features[start + RAMP : end]] * repetitions
    return np.concatenate([features[:end], *again, features[end:]]).astype(np.float32)


def smooth_at(joints: np.ndarray, frame: int, original: np.ndarray) -> bool:
    """Return True if joints accelerate as little in the blend that starts at a frame as they do in the original."""
    usual = acceleration(original)
    near = acceleration(joints[frame - 2 : frame + RAMP + 2])
    return bool(np.quantile(near, 0.99) <= _MARGIN * np.quantile(usual, 0.99) and near.max() <= _MARGIN * usual.max())


def acceleration(joints: np.ndarray) -> np.ndarray:
    """Return how much the velocity of each joint changes, `(num_frames - 2, J)`, in metres a frame squared."""
    return np.linalg.norm(np.diff(joints, 2, axis=0), axis=-1)


def resampled(joints: np.ndarray, speed: float) -> np.ndarray:
    """Play joints `(num_frames, J, 3)` `speed` times as fast, by cubic interpolation."""
    frames = np.arange(len(joints))
    return CubicSpline(frames, joints)(np.arange(0, frames[-1] + 1e-6, speed)).astype(np.float32)


def is_idle(features: np.ndarray) -> bool:
    """Return True if a clip shows someone who only stands: upright, feet on the ground, every joint near its mean."""
    if len(features) < 2 * SHORTEST_CYCLE:
        return False
    pose, velocity, contacts = poses(features)
    still = np.linalg.norm(velocity, axis=-1).max() < REST and contacts.mean() > 0.98
    return bool(still and _upright(pose).all() and np.linalg.norm(pose - pose.mean(0), axis=-1).max() < 0.1)


def last_rest(joints: np.ndarray) -> int | None:
    """Return the last frame of a clip's last 40 % where it may come to rest: upright, a foot down, no joint fast."""
    step = np.linalg.norm(np.diff(joints, axis=0), axis=-1).max(-1)
    slow = np.convolve(step < REST, np.ones(3), "full")[: len(step)] == 3  # and for two frames before
    feet = joints[1:, HUMANML3D.toes, 1]
    frames = np.flatnonzero(slow & _upright(joints[1:]) & (feet.min(-1) < 0.08)) + 1
    return int(frames[-1]) if len(frames) and frames[-1] >= 0.6 * len(joints) else None


def _away_from(joints: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Return the frames of a clip in which a joint is not where it is in a pose `(22, 3)`."""
    return np.flatnonzero(np.linalg.norm(joints - pose, axis=-1).max(-1) > _STILL)


def _upright(joints: np.ndarray) -> np.ndarray:
    """Return for each frame `(num_frames, 22, 3)` if the pelvis is as high as in standing and the trunk vertical."""
    trunk = joints[:, HUMANML3D.joint_names.index("neck")] - joints[:, 0]
    return (joints[:, 0, 1] > 0.8) & (trunk[:, 1] > 0.85 * np.linalg.norm(trunk, axis=-1))


def held(joints: np.ndarray, frames: int, idle: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Return `frames` more frames `(frames, 22, 3)` of a clip's last pose, with the sway of someone who only stands.

    Args:
        joints (`np.ndarray` of shape `(num_frames, 22, 3)`): the clip; its last velocity fades within some frames.
        frames (`int`): length of what is added.
        idle (`np.ndarray` of shape `(num_frames, 22, 3)`, *optional*): a clip of standing, played to and fro.
        rng (`np.random.Generator`): draws where in it the sway starts.
    """
    time = np.arange(1, frames + 1)[:, None, None]
    pose = joints[-1] + (joints[-1] - joints[-2]) * 3 * (1 - np.exp(-time / 3))
    if idle is not None:
        phase = rng.integers(2 * len(idle)) + np.arange(frames + 1)
        place = np.abs((phase % (2 * len(idle) - 2)) - (len(idle) - 1))
        sway = torch.from_numpy(idle[place[1:]] - idle[place[0]])
        turn = torch.tensor(facing_angles(joints)[-1] - facing_angles(idle)[place[0]], dtype=torch.float32)
        pose = pose + rotate_y(sway, turn).numpy() * np.minimum(time / 20, 1)
    return pose.astype(np.float32)
