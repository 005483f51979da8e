"""Joints as rotations that every reader of BVH plays alike: a loose joint hangs on a pivot."""

from dataclasses import dataclass, field

import numpy as np
import torch

from ..models.skeleton import Skeleton
from .rotations import STRETCH, rest_directions, root_first, solve_rotations, steady_rotation


@dataclass
class Articulation:
    """A joint tree with rotations, in which each joint comes after its parent.

    Args:
        names (`list[str]`): of the joints; a pivot is named after its joint, `"left_hip_base"`.
        parents (`list[int]`): -1 for the root.
        offsets (`list[np.ndarray]`): `(3,)` from the parent, in the T-pose; zero for root and pivots.
        local (`list[np.ndarray]`): rotations `(num_frames, 3, 3)` relative to the parent.
        positions (`dict[int, np.ndarray]`): by joint, `(num_frames, 3)`: the path of the root, the shift of a pivot.
    """

    names: list[str] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    offsets: list[np.ndarray] = field(default_factory=list)
    local: list[np.ndarray] = field(default_factory=list)
    positions: dict[int, np.ndarray] = field(default_factory=dict)

    def add(self, name: str, parent: int, offset: np.ndarray, local: np.ndarray) -> int:
        """Append a joint and return its number."""
        self.names.append(name)
        self.parents.append(parent)
        self.offsets.append(offset)
        self.local.append(local)
        return len(self.names) - 1


def articulate(joints: np.ndarray, skeleton: Skeleton) -> Articulation:
    """Find rotations that bring every joint within two millimetres of its place.

    The children of a rigid pelvis or chest keep their places in it; those of a generated or measured body do not. A
    joint that the rigid body misses hangs on a pivot: a joint at the parent's place, as CMU's `LHipJoint`, that swings
    the bone. Where the bone changes its length too, the pivot shifts. The offset of a pivot is zero, so readers that
    add positions to offsets and readers that replace offsets by positions agree.

    Args:
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres.
        skeleton ([`Skeleton`]): the joint tree.
    """
    world, offsets = solve_rotations(joints, skeleton, STRETCH)
    reached = np.array(joints, np.float64)
    tree = Articulation()
    rows = {0: tree.add(skeleton.joint_names[0], -1, np.zeros(3), world[:, 0])}  # of the skeleton's joints in the tree
    tree.positions[0] = reached[:, 0]
    for joint in root_first(skeleton.parents)[1:]:
        parent, name, offset = skeleton.parents[joint], skeleton.joint_names[joint], offsets[joint]
        row, start, turn = rows[parent], reached[:, parent], world[:, parent]
        bone = _rotate(turn.swapaxes(-1, -2), joints[:, joint] - start)
        if _missed(bone - offset):
            rest = offset if np.linalg.norm(offset) > 1e-8 else rest_directions(skeleton)[joint]
            offset = rest / np.linalg.norm(rest) * np.linalg.norm(bone, axis=-1).mean()
            swing = _swing(rest, bone)
            row = tree.add(f"{name}_base", row, np.zeros(3), swing)
            shift = bone - swing @ offset
            if _missed(shift):
                tree.positions[row] = shift
                start = start + _rotate(turn, shift)
            turn = turn @ swing
        reached[:, joint] = start + turn @ offset
        rows[joint] = tree.add(name, row, offset, turn.swapaxes(-1, -2) @ world[:, joint])
    return tree


def on_root(tree: Articulation) -> Articulation:
    """Hang a tree on a joint `root` that has its travel over the ground; the pelvis only rises and falls above it."""
    path = tree.positions[0]
    travel = path * [1, 0, 1]
    return Articulation(
        names=["root", *tree.names],
        parents=[-1, *(parent + 1 for parent in tree.parents)],
        offsets=[np.zeros(3), *tree.offsets],
        local=[np.tile(np.eye(3), (len(path), 1, 1)), *tree.local],
        positions={row + 1: place for row, place in tree.positions.items()} | {0: travel, 1: path - travel},
    )


def _missed(distances: np.ndarray) -> bool:
    return bool(np.linalg.norm(distances, axis=-1).max() > STRETCH)


def _rotate(rotations: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return (rotations @ vectors[..., None])[..., 0]


def _swing(rest: np.ndarray, bone: np.ndarray) -> np.ndarray:
    """Return rotations `(T, 3, 3)` that aim `rest` `(3,)` along `bone` `(T, 3)`, which may be of no length."""
    length = np.linalg.norm(bone, axis=-1, keepdims=True)
    unit = rest / np.linalg.norm(rest)
    aim = np.where(length > 1e-8, bone / length.clip(min=1e-8), unit)
    return steady_rotation(torch.from_numpy(unit), torch.from_numpy(aim)).numpy()
