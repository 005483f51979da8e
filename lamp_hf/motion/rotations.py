"""Joint rotations from joint positions, and back."""

import numpy as np
import torch

from ..models.motion_representation import Skeleton, shortest_rotation


def solve_rotations(joints: np.ndarray, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """Rotations of a rigid body that has its joints where they are.

    A joint with several children (pelvis, chest) is turned so that all of them fit best (Kabsch); one with a single
    child takes its parent's rotation and turns it the shortest way onto the bone. So twist comes from the trunk and
    flows outwards, whatever the body faces.

    Args:
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): positions.

    Returns:
        Rotations `(num_frames, num_joints, 3, 3)` in the world, and offsets `(num_joints, 3)` of each joint from its
        parent in the rest pose. Joints are met exactly where bones keep their length and a branching joint's children
        keep their angles; else `forward_kinematics` tells the error.
    """
    positions = torch.from_numpy(np.asarray(joints, np.float64))
    rest = torch.tensor(skeleton.directions, dtype=torch.float64)
    offsets = torch.zeros_like(rest)
    rotations = torch.eye(3, dtype=torch.float64).expand(*positions.shape[:2], 3, 3).clone()
    children = [[i for i, parent in enumerate(skeleton.parents) if parent == joint] for joint in range(len(rest))]
    for joint in _root_first(skeleton):
        parent = skeleton.parents[joint]
        bones = positions[:, children[joint]] - positions[:, joint, None]  # [T, children, 3]
        inherited = rotations[:, parent] if parent >= 0 else rotations[:, joint]
        if len(children[joint]) > 1:
            rotations[:, joint] = _best_rotation(rest[children[joint]], bones)
            local = (rotations[:, joint, None].mT @ bones[..., None])[..., 0]
            offsets[children[joint]] = local.mean(0)
        elif len(children[joint]) == 1:
            child = children[joint][0]
            length = bones[:, 0].norm(dim=-1, keepdim=True)
            direction = torch.where(length > 1e-8, bones[:, 0] / length.clamp(min=1e-8), inherited @ rest[child])
            rotations[:, joint] = shortest_rotation(inherited @ rest[child], direction) @ inherited
            offsets[child] = rest[child] * length.mean()
        else:
            rotations[:, joint] = inherited
    return rotations.numpy(), offsets.numpy()


def local_rotations(rotations: np.ndarray, parents: tuple[int, ...]) -> np.ndarray:
    """World rotations `(T, J, 3, 3)` to rotations relative to each joint's parent."""
    local = rotations.copy()
    for joint, parent in enumerate(parents):
        if parent >= 0:
            local[:, joint] = rotations[:, parent].swapaxes(-1, -2) @ rotations[:, joint]
    return local


def forward_kinematics(
    root: np.ndarray, local: np.ndarray, offsets: np.ndarray, parents: tuple[int, ...]
) -> np.ndarray:
    """Root path `(T, 3)`, local rotations `(T, J, 3, 3)` and offsets `(J, 3)` to positions `(T, J, 3)`.

    Parents come before their children, the root is joint 0 with parent -1.
    """
    world, positions = local.copy(), np.empty(local.shape[:2] + (3,))
    positions[:, 0] = root
    for joint, parent in enumerate(parents):
        if parent >= 0:
            world[:, joint] = world[:, parent] @ local[:, joint]
            positions[:, joint] = positions[:, parent] + world[:, parent] @ offsets[joint]
    return positions


def _root_first(skeleton: Skeleton) -> list[int]:
    order = [0]
    for joint in order:
        order += [child for child, parent in enumerate(skeleton.parents) if parent == joint]
    return order


def _best_rotation(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Rotations that carry `(N, 3)` vectors nearest to `(T, N, 3)` vectors, all counted as directions (Kabsch)."""
    target = torch.nn.functional.normalize(target, dim=-1)
    u, _, vh = torch.linalg.svd(target.mT @ source)
    sign = torch.ones(len(u), 3, dtype=u.dtype)
    sign[:, 2] = torch.linalg.det(u @ vh)
    return (u * sign[:, None]) @ vh
