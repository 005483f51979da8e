"""Joint trees of HumanML3D and KIT-ML, with the constants that the motion representation needs."""

import functools
import itertools
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Skeleton:
    """A joint tree with the constants that the motion representation needs.

    Args:
        name (`str`): Name in the public API, such as `"humanml3d"`.
        fps (`float`): Frames per second of the data set that defines the skeleton.
        joint_names (`tuple[str]`): Name of each joint.
        chains (`tuple[tuple[int]]`): Kinematic chains; each starts at the root or at a joint of an earlier chain.
        directions (`tuple[tuple[int]]`): Unit direction of each joint's bone, from its parent, in the rest pose.
        bone_lengths (`tuple[float]`): Length of each joint's bone on the reference body, 0 for the root.
        hips, shoulders (`tuple[int]`): Right and left joint.
        left_foot, right_foot (`tuple[int]`): Ankle and toe.
        legs (`tuple[int]`): The two bones whose summed length scales the root's path when a body is retargeted.
        contact_threshold (`float`): A foot joint touches the ground while its squared displacement per frame is below
            this.
        metres (`float`): Metres in one unit of length.
    """

    name: str
    fps: float
    joint_names: tuple[str, ...]
    chains: tuple[tuple[int, ...], ...]
    directions: tuple[tuple[int, int, int], ...]
    bone_lengths: tuple[float, ...]
    hips: tuple[int, int]
    shoulders: tuple[int, int]
    left_foot: tuple[int, int]
    right_foot: tuple[int, int]
    legs: tuple[int, int]
    contact_threshold: float
    metres: float = 1.0

    @property
    def num_joints(self) -> int:
        """Number of joints, the root included."""
        return len(self.joint_names)

    @property
    def num_features(self) -> int:
        """Features per frame: 263 for HumanML3D, 251 for KIT-ML."""
        return 12 * self.num_joints - 1

    @functools.cached_property
    def parents(self) -> tuple[int, ...]:
        """Parent of each joint; -1 for the root."""
        parents = [-1] * self.num_joints
        for chain in self.chains:
            for parent, child in itertools.pairwise(chain):
                parents[child] = parent
        return tuple(parents)

    @property
    def toes(self) -> list[int]:
        """Left and right toe."""
        return [self.left_foot[1], self.right_foot[1]]

    @property
    def feet(self) -> list[int]:
        """Left ankle and toe, right ankle and toe: the joints whose contacts are features."""
        return [*self.left_foot, *self.right_foot]

    def leg(self, toe: int) -> tuple[int, ...]:
        """Return the joints of a leg: hip, knee, ankle and the foot down to `toe`."""
        return next(chain[1:] for chain in self.chains if chain[-1] == toe)

    def bones(self, joints):
        """Return each joint's vector from its parent, 0 for the root.

        Args:
            joints (`torch.Tensor` or `np.ndarray` of shape `(..., num_joints, 3)`): Positions.
        """
        return joints - joints[..., [0, *self.parents[1:]], :]

    @functools.cached_property
    def rotation_parents(self) -> tuple[int, ...]:
        """Joint to which each joint's rotation is relative.

        The data sets restart every chain at the root's rotation, including the arms, which hang from the chest.
        """
        parents = list(self.parents)
        for chain in self.chains:
            parents[chain[1]] = 0
        return tuple(parents)

    @functools.cached_property
    def mirrored_joints(self) -> tuple[int, ...]:
        """Joint on the other side of the body for each joint; joints on the spine are their own."""
        other = {"left": "right", "right": "left"}
        index = {name: i for i, name in enumerate(self.joint_names)}
        sides = [name.split("_") for name in self.joint_names]
        return tuple(index["_".join([other.get(side[0], side[0]), *side[1:]])] for side in sides)

    @functools.cached_property
    def slices(self) -> dict[str, slice]:
        """Columns of each feature group, see [`motion_representation`]."""
        sizes = {
            "root_yaw": 1,
            "root_velocity": 2,
            "root_height": 1,
            "positions": 3 * (self.num_joints - 1),
            "rotations": 6 * (self.num_joints - 1),
            "velocities": 3 * self.num_joints,
            "contacts": 4,
        }
        starts = np.cumsum([0, *sizes.values()]).tolist()
        return {name: slice(start, start + size) for (name, size), start in zip(sizes.items(), starts)}

    @functools.cached_property
    def ancestors(self) -> torch.Tensor:
        """Float matrix `(num_joints, num_joints)`, 1 if the column's bone is between the root and the row's joint."""
        matrix = torch.zeros(self.num_joints, self.num_joints, dtype=torch.float32)
        for joint in range(1, self.num_joints):
            step = joint
            while step > 0:
                matrix[joint, step] = 1
                step = self.parents[step]
        return matrix


_X, _NX, _Y, _NY, _Z = (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1)

# fmt: off
HUMANML3D = Skeleton(
    name="humanml3d",
    fps=20.0,
    joint_names=(
        "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
        "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head",
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    ),
    chains=((0, 2, 5, 8, 11), (0, 1, 4, 7, 10), (0, 3, 6, 9, 12, 15), (9, 14, 17, 19, 21), (9, 13, 16, 18, 20)),
    directions=(
        (0, 0, 0), _X, _NX, _Y, _NY, _NY, _Y, _NY, _NY, _Y, _Z,
        _Z, _Y, _X, _NX, _Z, _NY, _NY, _NY, _NY, _NY, _NY,
    ),
    bone_lengths=(
        0.0, 0.10307, 0.10988, 0.13157, 0.39362, 0.39019, 0.14319, 0.43243, 0.42564, 0.05736, 0.14338,
        0.14942, 0.21936, 0.13749, 0.14338, 0.10304, 0.13161, 0.12298, 0.25684, 0.26309, 0.26601, 0.26988,
    ),
    hips=(2, 1),
    shoulders=(17, 16),
    left_foot=(7, 10),
    right_foot=(8, 11),
    legs=(5, 8),
    contact_threshold=0.002,
)

# KIT-ML's unit is that of the Master Motor Map's reference body; TEMOS gives 480 units for 0.75 m. Its bodies are
# mirror images (an axis swap upstream): joints that are "left" in its names and captions lie at -x, so `hips` and
# `shoulders`, which describe geometry, count them as right.
KIT = Skeleton(
    name="kit",
    fps=12.5,
    joint_names=(
        "pelvis", "spine1", "spine2", "neck", "head", "left_shoulder", "left_elbow", "left_wrist",
        "right_shoulder", "right_elbow", "right_wrist", "left_hip", "left_knee", "left_ankle", "left_heel",
        "left_foot", "right_hip", "right_knee", "right_ankle", "right_heel", "right_foot",
    ),
    chains=((0, 11, 12, 13, 14, 15), (0, 16, 17, 18, 19, 20), (0, 1, 2, 3, 4), (3, 5, 6, 7), (3, 8, 9, 10)),
    directions=(
        (0, 0, 0), _Y, _Y, _Y, _Y, _X, _NY, _NY, _NX, _NY, _NY,
        _X, _NY, _NY, _Z, _Z, _NX, _NY, _NY, _Z, _Z,
    ),
    bone_lengths=(
        0.0, 80.0, 120.0, 44.0, 30.0, 110.0, 188.0, 145.0, 110.0, 188.0, 145.0,
        52.0, 245.0, 246.0, 30.27, 56.29, 52.0, 245.0, 246.0, 30.27, 56.29,
    ),
    hips=(11, 16),
    shoulders=(5, 8),
    left_foot=(19, 20),
    right_foot=(14, 15),
    legs=(17, 18),
    contact_threshold=0.05,
    metres=0.75 / 480,
)
# fmt: on

SKELETONS = {skeleton.name: skeleton for skeleton in (HUMANML3D, KIT)}


def get_skeleton(skeleton: str | Skeleton) -> Skeleton:
    """Look up a skeleton by name, `"humanml3d"` or `"kit"`; a [`Skeleton`] is returned unchanged.

    Raises:
        ValueError: If the name is unknown.
    """
    if isinstance(skeleton, Skeleton):
        return skeleton
    if skeleton not in SKELETONS:
        raise ValueError(f"unknown skeleton {skeleton!r}; known: {', '.join(SKELETONS)}")
    return SKELETONS[skeleton]


__all__ = ["HUMANML3D", "KIT", "SKELETONS", "Skeleton", "get_skeleton"]
