"""Shape of the body: a capsule on each bone in GLB and HTML files; tapering limbs, trunk and head in pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..models.skeleton import Skeleton


BONE_RADII = {  # metres; a bone has the name of its outer joint, without the side
    "hip": 0.09, "knee": 0.075, "ankle": 0.055, "foot": 0.04, "heel": 0.04, "spine1": 0.11, "spine2": 0.115,
    "spine3": 0.12, "neck": 0.1, "head": 0.085, "collar": 0.07, "shoulder": 0.06, "elbow": 0.048, "wrist": 0.04,
}  # fmt: skip

_TRUNK, _LEFT, _RIGHT = (96, 108, 128), (214, 108, 72), (58, 124, 186)


def bone_colour(joint_name: str) -> tuple[int, int, int]:
    """Return the colour, RGB up to 255: orange for left limbs, blue for right limbs, grey for the trunk."""
    return {"left": _LEFT, "right": _RIGHT}.get(joint_name.partition("_")[0], _TRUNK)


@dataclass(frozen=True)
class Part:
    """A capsule of the drawn body; its ends are rows of [`Figure.points`].

    Args:
        name (`str`): `"left_thigh"`, `"face"`, ...
        start, end (`int`): points.
        start_radius, end_radius (`float`): metres.
    """

    name: str
    start: int
    end: int
    start_radius: float
    end_radius: float


_LIMBS = {  # outer joint: name, radii
    "knee": ("thigh", 0.085, 0.065), "ankle": ("shin", 0.062, 0.042), "foot": ("foot", 0.04, 0.035),
    "heel": ("foot", 0.045, 0.04), "elbow": ("upper_arm", 0.055, 0.045), "wrist": ("forearm", 0.043, 0.033),
}  # fmt: skip


class Figure:
    """A body of capsules on a skeleton: trunk, limbs, hands, and a head whose face tells front from back.

    Args:
        skeleton ([`Skeleton`]): the joint tree.
    """

    def __init__(self, skeleton: Skeleton):
        names = skeleton.joint_names
        self._joints = {name: i for i, name in enumerate(names)}
        self._parents = skeleton.parents
        added = ("left_hand", "right_hand", "skull", "face")
        row = self._joints | {name: len(names) + i for i, name in enumerate(added)}
        spine = [name for name in ("pelvis", "spine1", "spine2", "spine3", "neck") if name in row]
        chest = spine[-2]
        self.parts = [
            *(Part("trunk", row[lower], row[upper], 0.12, 0.12) for lower, upper in pairwise(spine[:-1])),
            Part("trunk", row["left_hip"], row["right_hip"], 0.095, 0.095),
            Part("trunk", row[chest], row["left_shoulder"], 0.11, 0.07),
            Part("trunk", row[chest], row["right_shoulder"], 0.11, 0.07),
            Part("neck", row[chest], row["neck"], 0.1, 0.06),
            Part("neck", row["neck"], row["skull"], 0.055, 0.055),
            Part("hair", row["skull"], row["skull"], 0.097, 0.097),
            Part("face", row["face"], row["face"], 0.08, 0.08),
        ]
        for joint, name in enumerate(names):
            side, _, kind = name.partition("_")
            if kind in _LIMBS:
                limb, start, end = _LIMBS[kind]
                self.parts.append(Part(f"{side}_{limb}", self._parents[joint], joint, start, end))
        self.parts += [
            Part(f"{side}_hand", row[f"{side}_wrist"], row[f"{side}_hand"], 0.035, 0.04) for side in ("left", "right")
        ]

    def points(self, joints: np.ndarray) -> np.ndarray:
        """Add hands, skull and face to the joints.

        Args:
            joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres.

        Returns:
            `np.ndarray` of shape `(num_frames, num_joints + 4, 3)`.
        """
        at = {name: joints[:, i] for name, i in self._joints.items()}
        hands = [
            at[f"{side}_wrist"] + 0.08 * _unit(at[f"{side}_wrist"] - at[f"{side}_elbow"]) for side in ("left", "right")
        ]
        up = _unit(at["head"] - at["neck"])
        forward = _unit(np.cross(at["left_shoulder"] - at["right_shoulder"], up))
        skull = at["head"] + 0.08 * up
        return np.concatenate([joints, np.stack([*hands, skull, skull + 0.045 * forward - 0.015 * up], 1)], 1)

    def with_proportions(self, joints: np.ndarray, factors: Mapping[str, float]) -> np.ndarray:
        """Give the body longer or shorter bones; in each frame the lowest joint keeps its height.

        Args:
            joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres.
            factors (`Mapping[str, float]`): factor of a bone's length by its outer joint without the side (`"knee"`,
                ...); 1 for joints that are not named.

        Returns:
            `np.ndarray` of the same shape.
        """
        result = joints.copy()
        for name, joint in self._joints.items():
            parent = self._parents[joint]
            if parent >= 0:
                factor = factors.get(name.rpartition("_")[2], 1.0)
                result[:, joint] = result[:, parent] + factor * (joints[:, joint] - joints[:, parent])
        lift = joints[..., 1].min(1) - result[..., 1].min(1)
        return result + lift[:, None, None] * [0, 1, 0]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
