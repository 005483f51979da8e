"""How the body looks: in GLB and HTML a capsule on each bone, in films limbs that taper, a trunk and a head."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..models.skeleton import Skeleton


BONE_RADII = {  # metres; bones are named by their outer joint, without its side
    "hip": 0.09, "knee": 0.075, "ankle": 0.055, "foot": 0.04, "heel": 0.04, "spine1": 0.11, "spine2": 0.115,
    "spine3": 0.12, "neck": 0.1, "head": 0.085, "collar": 0.07, "shoulder": 0.06, "elbow": 0.048, "wrist": 0.04,
}  # fmt: skip

_TRUNK, _LEFT, _RIGHT = (96, 108, 128), (214, 108, 72), (58, 124, 186)


def bone_colour(joint_name: str) -> tuple[int, int, int]:
    """Left limbs are orange, right limbs blue, the trunk grey; RGB up to 255."""
    return {"left": _LEFT, "right": _RIGHT}.get(joint_name.partition("_")[0], _TRUNK)


@dataclass(frozen=True)
class Part:
    """A capsule of the body that films show; its ends are rows of [`Figure.points`].

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
    """A body of capsules on a skeleton: trunk, limbs, hands, and a head whose face tells front from back."""

    def __init__(self, skeleton: Skeleton):
        names = skeleton.joint_names
        self._joints = {name: i for i, name in enumerate(names)}
        self._parents = skeleton.parents
        extra = ("left_hand", "right_hand", "skull", "face")
        place = self._joints | {name: len(names) + i for i, name in enumerate(extra)}
        spine = [name for name in ("pelvis", "spine1", "spine2", "spine3", "neck") if name in place]
        chest = spine[-2]
        self.parts = [
            *(Part("trunk", place[a], place[b], 0.12, 0.12) for a, b in pairwise(spine[:-1])),
            Part("trunk", place["left_hip"], place["right_hip"], 0.095, 0.095),
            Part("trunk", place[chest], place["left_shoulder"], 0.11, 0.07),
            Part("trunk", place[chest], place["right_shoulder"], 0.11, 0.07),
            Part("neck", place[chest], place["neck"], 0.1, 0.06),
            Part("neck", place["neck"], place["skull"], 0.055, 0.055),
            Part("hair", place["skull"], place["skull"], 0.097, 0.097),
            Part("face", place["face"], place["face"], 0.08, 0.08),
        ]
        for joint, name in enumerate(names):
            side, _, kind = name.partition("_")
            if kind in _LIMBS:
                limb, start, end = _LIMBS[kind]
                self.parts.append(Part(f"{side}_{limb}", self._parents[joint], joint, start, end))
        self.parts += [
            Part(f"{side}_hand", place[f"{side}_wrist"], place[f"{side}_hand"], 0.035, 0.04)
            for side in ("left", "right")
        ]

    def points(self, joints: np.ndarray) -> np.ndarray:
        """Joints `(num_frames, num_joints, 3)`, then hands, skull and face, `(num_frames, num_points, 3)`."""
        of = {name: joints[:, i] for name, i in self._joints.items()}
        hands = [
            of[f"{side}_wrist"] + 0.08 * _unit(of[f"{side}_wrist"] - of[f"{side}_elbow"]) for side in ("left", "right")
        ]
        up = _unit(of["head"] - of["neck"])
        forward = _unit(np.cross(of["left_shoulder"] - of["right_shoulder"], up))
        skull = of["head"] + 0.08 * up
        return np.concatenate([joints, np.stack([*hands, skull, skull + 0.045 * forward - 0.015 * up], 1)], 1)

    def proportioned(self, joints: np.ndarray, factors: dict[str, float]) -> np.ndarray:
        """The same motion by longer or shorter arms, legs and trunk, with the feet where they were in height.

        Args:
            joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres.
            factors (`dict[str, float]`): of the bones that end at an outer joint (`"knee"`, ...); 1 where none.
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
