"""Joint rotations from joint positions, and back."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, Slerp

from ..models.motion_representation import shortest_rotation
from ..models.skeleton import Skeleton
from .limits import check_size


# Bones in a T-pose that faces Z+. Rotations are solved against it rather than against the data sets' own rest pose
# with hanging arms: a raised arm is half a turn away from that, where the shortest rotation is not unique.
# HumanML3D's joints are SMPL's, so their offsets from the parent are those of SMPL's mean body, in metres.
_T_POSES = {
    "humanml3d": (
        (0, 0, 0), (0.059, -0.082, -0.018), (-0.060, -0.091, -0.014), (0.004, 0.124, -0.038),
        (0.043, -0.386, 0.008), (-0.043, -0.384, -0.005), (0.004, 0.138, 0.027), (-0.015, -0.427, -0.037),
        (0.019, -0.420, -0.035), (-0.002, 0.056, 0.003), (0.041, -0.060, 0.122), (-0.035, -0.062, 0.130),
        (-0.013, 0.212, -0.034), (0.072, 0.114, -0.019), (-0.083, 0.112, -0.024), (0.010, 0.089, 0.050),
        (0.123, 0.045, -0.019), (-0.113, 0.047, -0.009), (0.255, -0.016, -0.023), (-0.260, -0.014, -0.031),
        (0.266, 0.013, -0.007), (-0.269, 0.007, -0.006),
    ),
    "kit": (
        (0, 0, 0), (0, 1, 0), (0, 1, 0), (0, 1, 0), (0, 1, 0), (-1, 0, 0), (-1, 0, 0), (-1, 0, 0),
        (1, 0, 0), (1, 0, 0), (1, 0, 0), (-1, 0, 0), (0, -1, 0), (0, -1, 0), (0, -1, 0), (0, 0, 1),
        (1, 0, 0), (0, -1, 0), (0, -1, 0), (0, -1, 0), (0, 0, 1),
    ),
}  # fmt: skip


def rest_directions(skeleton: Skeleton) -> np.ndarray:
    """Return the unit direction of each joint's bone in a T-pose, `(num_joints, 3)`; the root's is zero."""
    offsets = np.array(_T_POSES[skeleton.name], float)
    return offsets / np.linalg.norm(offsets, axis=-1, keepdims=True).clip(min=1e-9)


def rest_positions(offsets: np.ndarray, parents: tuple[int, ...]) -> np.ndarray:
    """Turn offsets of joints from their parents `(num_joints, 3)` into positions at rest, the root at its offset."""
    rest = np.array(offsets, float)
    for joint in root_first(parents)[1:]:
        rest[joint] = rest[parents[joint]] + offsets[joint]
    return rest


def solve_rotations(
    joints: np.ndarray,
    skeleton: Skeleton,
    tolerance: float = math.inf,
    offsets: np.ndarray | None = None,
    directions: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the rotations of a rigid body that brings its joints to the given positions.

    A joint with several children (pelvis, chest) takes the rotation that fits all of them best (Kabsch). A joint with
    one child takes its parent's rotation, followed by the shortest rotation onto the bone, without jumps. A joint
    without a child takes its parent's. Twist thus comes from the trunk and flows outwards, whichever way the body
    faces. Bones are aimed from where the rigid body has the joint, so that deviations do not accumulate.

    Args:
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): positions.
        skeleton ([`Skeleton`]): the joint tree.
        tolerance (`float`): metres; bones that start at a joint which the rigid body misses by more are aimed from its
            true position, for callers that bring the joint there: [`stretching_bones`] and
            [`lamp_hf.motion.articulation.articulate`].
        offsets (`np.ndarray` of shape `(num_joints, 3)`, *optional*): the body, in a T-pose: offset of each joint
            from its parent. By default it is found from the joints.
        directions (`np.ndarray` of shape `(num_joints, 3)`, *optional*): of the bones in the T-pose, unit vectors;
            [`rest_directions`] by default.

    Returns:
        Rotations `(num_frames, num_joints, 3, 3)` in the world, and offsets `(num_joints, 3)` of each joint from its
        parent in the T-pose. They reproduce the joints exactly where bones keep their length and the children of a
        branching joint keep their angles; for the error otherwise, compare with [`forward_kinematics`].
    """
    positions = torch.from_numpy(np.asarray(joints, np.float64))
    rest = torch.from_numpy(rest_directions(skeleton) if directions is None else directions)
    bones_at_rest = torch.zeros_like(rest) if offsets is None else torch.from_numpy(np.array(offsets, np.float64))
    reached = positions.clone()
    rotations = torch.eye(3, dtype=torch.float64).expand(*positions.shape[:2], 3, 3).clone()
    for joint in root_first(skeleton.parents):
        parent, children = skeleton.parents[joint], children_of(joint, skeleton.parents)
        inherited = rotations[:, parent] if parent >= 0 else rotations[:, joint]
        if parent >= 0:
            rigid = reached[:, parent] + inherited @ bones_at_rest[joint]
            missed = float((rigid - positions[:, joint]).norm(dim=-1).max()) > tolerance
            reached[:, joint] = positions[:, joint] if missed else rigid
        bones = positions[:, children] - reached[:, joint, None]  # [T, children, 3]
        if len(children) > 1:
            rotations[:, joint] = _best_rotation(rest[children], bones)
            if offsets is None:
                local = (rotations[:, joint, None].mT @ bones[..., None])[..., 0]
                bones_at_rest[children] = local.mean(0)
        elif children:
            child = children[0]
            length = bones[:, 0].norm(dim=-1, keepdim=True)
            direction = torch.where(length > 1e-8, bones[:, 0] / length.clamp(min=1e-8), inherited @ rest[child])
            local = (inherited.mT @ direction[..., None])[..., 0]
            rotations[:, joint] = inherited @ steady_rotation(rest[child], local)
            if offsets is None:
                length_at_rest = (positions[:, child] - positions[:, joint]).norm(dim=-1).mean()
                bones_at_rest[child] = rest[child] * length_at_rest
        else:
            rotations[:, joint] = inherited
    return rotations.numpy(), bones_at_rest.numpy()


def stretching_bones(
    joints: np.ndarray, rotations: np.ndarray, offsets: np.ndarray, parents: tuple[int, ...]
) -> dict[int, np.ndarray]:
    """Find joints that a rigid body misses by more than two millimetres; files then store their offset in each frame.

    Motion capture has some, from sliding markers or interpolated frames.

    Args:
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): positions.
        rotations, offsets (`np.ndarray`): of the rigid body, see [`solve_rotations`].
        parents (`tuple[int, ...]`): parent of each joint.

    Returns:
        `dict[int, np.ndarray]`: by joint, the offset from its parent in each frame, `(num_frames, 3)`.
    """
    reached, stretching = joints.astype(np.float64), {}
    for joint in root_first(parents)[1:]:
        turn = rotations[:, parents[joint]]
        exact = (turn.swapaxes(-1, -2) @ (joints[:, joint] - reached[:, parents[joint]])[..., None])[..., 0]
        if np.linalg.norm(exact - offsets[joint], axis=-1).max() > STRETCH:
            stretching[joint] = exact
        else:
            reached[:, joint] = reached[:, parents[joint]] + turn @ offsets[joint]
    return stretching


STRETCH = 0.002  # metres


def local_rotations(rotations: np.ndarray, parents: tuple[int, ...]) -> np.ndarray:
    """Turn world rotations `(T, J, 3, 3)` into rotations relative to each joint's parent."""
    local = rotations.copy()
    for joint, parent in enumerate(parents):
        if parent >= 0:
            local[:, joint] = rotations[:, parent].swapaxes(-1, -2) @ rotations[:, joint]
    return local


def forward_kinematics(
    root: np.ndarray, local: np.ndarray, offsets: np.ndarray, parents: tuple[int, ...]
) -> np.ndarray:
    """Turn local rotations into positions.

    Args:
        root (`np.ndarray` of shape `(num_frames, 3)`): path of the root.
        local (`np.ndarray` of shape `(num_frames, num_joints, 3, 3)`): rotations relative to the parent.
        offsets (`np.ndarray` of shape `(num_joints, 3)` or `(num_frames, num_joints, 3)`): from the parent.
        parents (`tuple[int, ...]`): parent of each joint, which comes before it; -1 for joint 0, the root.

    Returns:
        `np.ndarray` of shape `(num_frames, num_joints, 3)`.
    """
    world, positions = local.copy(), np.empty(local.shape[:2] + (3,))
    positions[:, 0] = root
    for joint, parent in enumerate(parents):
        if parent >= 0:
            world[:, joint] = world[:, parent] @ local[:, joint]
            bone = (world[:, parent] @ offsets[..., joint, :, None])[..., 0]
            positions[:, joint] = positions[:, parent] + bone
    return positions


def resample(joints: np.ndarray, fps: float, new_fps: float, skeleton: Skeleton) -> np.ndarray:
    """Bring joints to another frame rate by interpolating rotations, so that bones keep their length.

    The clip begins at the same instant and ends at most one frame earlier.

    Args:
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): positions.
        fps, new_fps (`float`): frames per second, before and after.
        skeleton ([`Skeleton`]): the joint tree.

    Returns:
        `np.ndarray` of shape `(new_num_frames, num_joints, 3)`, float32.

    Raises:
        ValueError: when the result would be too large.
    """
    if len(joints) < 2:
        return np.asarray(joints)
    times = np.arange(len(joints)) / fps
    num_frames = int(times[-1] * new_fps + 1e-6) + 1
    check_size(num_frames, skeleton.num_joints)
    new_times = np.arange(num_frames) / new_fps
    rotations, offsets = solve_rotations(joints, skeleton)
    local = local_rotations(rotations, skeleton.parents)
    new_times = np.minimum(new_times, times[-1])
    rotated = [Slerp(times, Rotation.from_matrix(local[:, j]))(new_times).as_matrix() for j in range(local.shape[1])]
    bones = np.tile(offsets, (len(new_times), 1, 1))
    for joint, stretching in stretching_bones(joints, rotations, offsets, skeleton.parents).items():
        bones[:, joint] = np.stack([np.interp(new_times, times, axis) for axis in stretching.T], -1)
    root = CubicSpline(times, joints[:, 0])(new_times)
    return forward_kinematics(root, np.stack(rotated, 1), bones, skeleton.parents).astype(np.float32)


def children_of(joint: int, parents: Sequence[int]) -> list[int]:
    """List the children of a joint."""
    return [child for child, parent in enumerate(parents) if parent == joint]


def root_first(parents: tuple[int, ...]) -> list[int]:
    """List joints so that each comes after its parent."""
    order = [0]
    for joint in order:
        order += children_of(joint, parents)
    return order


def steady_rotation(rest: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    """Return rotations from `rest` `(3,)` to `(T, 3)` directions: the shortest ones, twisted where those would jump.

    Close to the direction opposite to `rest`, the shortest rotation changes sides from one frame to the next. There
    the bone continues without twist, and the remaining twist is undone slowly.
    """
    shortest = shortest_rotation(rest.expand_as(directions), directions)
    carried = shortest_rotation(directions[:-1], directions[1:]) @ shortest[:-1]
    change = shortest[1:] @ carried.mT  # a rotation about the bone
    axis = torch.stack([change[:, 2, 1] - change[:, 1, 2], change[:, 0, 2] - change[:, 2, 0],
                        change[:, 1, 0] - change[:, 0, 1]], -1)  # fmt: skip
    cosine = change.diagonal(dim1=-2, dim2=-1).sum(-1) - 1
    jumps = torch.atan2((axis * directions[1:]).sum(-1), cosine).tolist()
    twists = [0.0]
    for jump in jumps:
        steady = math.remainder(twists[-1] - jump, 2 * math.pi)
        twists.append(steady - min(max(steady, -_UNTWIST), _UNTWIST))
    if not any(twists):
        return shortest
    twist = Rotation.from_rotvec(np.array(twists)[:, None] * directions.numpy()).as_matrix()
    return torch.from_numpy(twist) @ shortest


_UNTWIST = math.radians(8)  # per frame


def _best_rotation(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return rotations that bring `(N, 3)` vectors nearest to `(T, N, 3)` directions (Kabsch)."""
    target = torch.nn.functional.normalize(target, dim=-1)
    u, _, vh = torch.linalg.svd(target.mT @ source)
    sign = torch.ones(len(u), 3, dtype=u.dtype)
    sign[:, 2] = torch.linalg.det(u @ vh)
    return (u * sign[:, None]) @ vh
