"""The usual feature script and a plain BVH exporter, restated step by step in numpy, for timing alone."""

from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ..models.skeleton import HUMANML3D


_UP, _AHEAD = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])
ITERATIONS = 100  # of inverse kinematics, as the exporters of the field run it


def featurise_plainly(joints: np.ndarray) -> np.ndarray:
    """Compute features one clip at a time by quaternions and a loop over chains, as HumanML3D's script does.

    Args:
        joints (`np.ndarray` of shape `(num_frames, 22, 3)`): metres, of the reference body.

    Returns:
        `np.ndarray` of shape `(num_frames - 1, 263)`.
    """
    tree, joints = HUMANML3D, np.array(joints, np.float64)
    joints[..., 1] -= joints[..., 1].min()
    joints -= joints[0, 0] * [1, 0, 1]
    start = _between(_unit(_forward(joints[:1], 1)), _AHEAD[None])
    joints = _rotate(np.broadcast_to(start[:, None], (*joints.shape[:2], 4)), joints)
    feet = joints[:, tree.feet]
    contacts = ((feet[1:] - feet[:-1]) ** 2).sum(-1) < tree.contact_threshold
    forward = _unit(gaussian_filter1d(_forward(joints, -1), 20, axis=0, mode="nearest"))
    root = _between(forward, np.broadcast_to(_AHEAD, forward.shape))
    root[0] = [1, 0, 0, 0]
    local = np.zeros((*joints.shape[:2], 4))
    for chain in tree.chains:
        whole = root
        for parent, child in pairwise(chain):
            bone = joints[:, child] - joints[:, parent]
            bone /= np.linalg.norm(bone, axis=-1, keepdims=True)
            turned = _between(np.broadcast_to(np.array(tree.directions[child], float), bone.shape), bone)
            local[:, child] = _multiply(_inverse(whole), turned)
            whole = _multiply(whole, local[:, child])
    every = np.broadcast_to(root[:, None], local.shape)
    steps = joints[1:] - joints[:-1]
    path = _rotate(root[1:], steps[:, 0])
    yaw = np.arcsin(np.clip(_multiply(root[1:], _inverse(root[:-1]))[:, 2:3], -1, 1))
    positions = _rotate(every, joints - joints[:, :1] * [1, 0, 1])[:-1, 1:]
    first, second = (_rotate(local, np.broadcast_to(axis, joints.shape))[:-1, 1:] for axis in np.eye(3)[:2])
    parts = (
        yaw,
        path[:, [0, 2]],
        joints[:-1, 0, 1:2],
        positions,
        np.concatenate([first, second], -1),
        _rotate(every[:-1], steps),
        contacts.astype(float),
    )
    return np.concatenate([part.reshape(len(steps), -1) for part in parts], -1)


def export_plainly(joints: np.ndarray, path: Path, iterations: int | None = None, fps: float = 20.0) -> np.ndarray:
    """Write a BVH file by inverse kinematics that turns one joint after another, many times over.

    Before each joint's turn the whole body is posed anew, as exporters of this kind do.

    Args:
        joints (`np.ndarray` of shape `(num_frames, 22, 3)`): metres.
        path (`Path`): the file.
        iterations (`int`, *optional*): passes over the joints, `ITERATIONS` by default.
        fps (`float`): frames per second.

    Returns:
        `np.ndarray` of shape `(num_frames, 22, 3)`: the joints that the file describes.
    """
    tree, joints = HUMANML3D, np.asarray(joints, np.float64)
    lengths = np.linalg.norm(tree.bones(joints[0])[1:], axis=-1)
    offsets = np.zeros((tree.num_joints, 3))
    offsets[1:] = np.array(tree.directions[1:]) * lengths[:, None]
    children = {
        joint: [i for i, parent in enumerate(tree.parents) if parent == joint] for joint in range(len(offsets))
    }
    rotations = np.tile([1.0, 0.0, 0.0, 0.0], (len(joints), tree.num_joints, 1))
    for _ in range(ITERATIONS if iterations is None else iterations):
        for joint, below in children.items():
            if not below:
                continue
            posed, whole = _pose(rotations, offsets, joints[:, 0])
            turns = [
                _between(_unit(posed[:, child] - posed[:, joint]), _unit(joints[:, child] - joints[:, joint]))
                for child in below
            ]
            turns = [turn * np.where(turn[:, :1] < 0, -1, 1) for turn in turns]
            turn = _unit(np.sum(turns, 0))
            turned = _multiply(_multiply(_inverse(whole[:, joint]), turn), whole[:, joint])
            rotations[:, joint] = _unit(_multiply(rotations[:, joint], turned))  # lengths would drift apart
    _write_bvh(path, rotations, offsets, joints[:, 0], children, fps)
    return _pose(rotations, offsets, joints[:, 0])[0]


def _pose(rotations: np.ndarray, offsets: np.ndarray, root: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and global rotations of the joints, parents first."""
    positions, whole = np.zeros((*rotations.shape[:2], 3)), rotations.copy()
    positions[:, 0] = root
    for joint, parent in enumerate(HUMANML3D.parents):
        if parent >= 0:
            whole[:, joint] = _multiply(whole[:, parent], rotations[:, joint])
            offset = np.broadcast_to(offsets[joint], root.shape)
            positions[:, joint] = positions[:, parent] + _rotate(whole[:, parent], offset)
    return positions, whole


def _write_bvh(path: Path, rotations, offsets: np.ndarray, root: np.ndarray, children: dict, fps: float) -> None:
    from scipy.spatial.transform import Rotation

    lines, order = ["HIERARCHY"], []

    def describe(joint: int, depth: int) -> None:
        pad = "  " * depth
        order.append(joint)
        lines.extend([f"{pad}{'JOINT' if depth else 'ROOT'} {HUMANML3D.joint_names[joint]}", pad + "{"])
        lines.append(f"{pad}  OFFSET {' '.join(f'{value:.6f}' for value in offsets[joint])}")
        place = "" if depth else "Xposition Yposition Zposition "
        lines.append(f"{pad}  CHANNELS {3 if depth else 6} {place}Zrotation Yrotation Xrotation")
        for child in children[joint]:
            describe(child, depth + 1)
        if not children[joint]:
            lines.extend([f"{pad}  End Site", f"{pad}  {{", f"{pad}    OFFSET 0 0 0", f"{pad}  }}"])
        lines.append(pad + "}")

    describe(0, 0)
    lines += ["MOTION", f"Frames: {len(root)}", f"Frame Time: {1 / fps:.6f}"]
    for place, frame in zip(root, rotations):
        angles = [Rotation.from_quat(frame[joint][[1, 2, 3, 0]]).as_euler("ZYX", degrees=True) for joint in order]
        lines.append(" ".join(f"{value:.6f}" for value in [*place, *np.concatenate(angles)]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _forward(joints: np.ndarray, hips: int) -> np.ndarray:
    """Return where the body faces; the script counts the hips with the wrong sign once it smooths."""
    (right_hip, left_hip), (right_shoulder, left_shoulder) = HUMANML3D.hips, HUMANML3D.shoulders
    across = joints[:, right_shoulder] - joints[:, left_shoulder] + hips * (joints[:, right_hip] - joints[:, left_hip])
    return np.cross(_UP, _unit(across))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _between(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the quaternions, real part first, that turn unit vectors into others by the shortest way."""
    real = 1 + (source * target).sum(-1, keepdims=True)
    return _unit(np.concatenate([real, np.cross(source, target)], -1))


def _multiply(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    a, b, u, v = left[..., :1], right[..., :1], left[..., 1:], right[..., 1:]
    return np.concatenate([a * b - (u * v).sum(-1, keepdims=True), a * v + b * u + np.cross(u, v)], -1)


def _inverse(quaternions: np.ndarray) -> np.ndarray:
    return quaternions * [1, -1, -1, -1]


def _rotate(quaternions: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    real, axis = quaternions[..., :1], quaternions[..., 1:]
    twice = 2 * np.cross(axis, vectors)
    return vectors + real * twice + np.cross(axis, twice)
