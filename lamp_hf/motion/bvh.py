"""BVH files: a text format of a joint tree and Euler angles that every animation tool reads."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ..models.motion_representation import SKELETONS, Skeleton
from .rotations import forward_kinematics, local_rotations, solve_rotations


# Orders whose middle angle stays far from 90 degrees: pitch for the root, which may turn any way, and twist elsewhere.
_ROOT_ORDER, _JOINT_ORDER = "YXZ", "ZYX"
_CENTIMETRE_BODY = 10.0  # a bone chain longer than this many units cannot be in metres


@dataclass
class _Joint:
    name: str
    parent: int
    offset: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    channels: list[str] = field(default_factory=list)


def write_bvh(path: Path, joints: np.ndarray, fps: float, skeleton: Skeleton) -> None:
    """Writes joints `(num_frames, num_joints, 3)` in metres as rotations; one unit of the file is a metre."""
    rotations, offsets = solve_rotations(joints, skeleton)
    local = local_rotations(rotations, skeleton.parents)
    orders = [_ROOT_ORDER] + [_JOINT_ORDER] * (skeleton.num_joints - 1)
    angles = np.stack(
        [Rotation.from_matrix(local[:, i]).as_euler(order, degrees=True) for i, order in enumerate(orders)], 1
    )
    angles = np.unwrap(angles, axis=0, period=360)  # no jumps by a full turn between frames
    lines, order = ["HIERARCHY"], []
    _write_joint(lines, order, 0, skeleton, offsets, orders, depth=0)
    rows = np.concatenate([joints[:, 0], angles[:, order].reshape(len(joints), -1)], 1)
    lines += ["MOTION", f"Frames: {len(rows)}", f"Frame Time: {1 / fps:.8f}"]
    lines += [" ".join(f"{value:.6f}" for value in row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def _write_joint(lines, order, joint: int, skeleton: Skeleton, offsets, orders, depth: int) -> None:
    """Adds a joint and all below it; `order` collects joints as the file lists them."""
    indent = "  " * depth
    children = [i for i, parent in enumerate(skeleton.parents) if parent == joint]
    channels = [f"{axis}rotation" for axis in orders[joint]]
    if depth == 0:
        channels = ["Xposition", "Yposition", "Zposition", *channels]
    order.append(joint)
    lines += [
        f"{indent}{'JOINT' if depth else 'ROOT'} {skeleton.joint_names[joint]}",
        f"{indent}{{",
        f"{indent}  OFFSET {' '.join(f'{value:.6f}' for value in offsets[joint])}",
        f"{indent}  CHANNELS {len(channels)} {' '.join(channels)}",
    ]
    for child in children:
        _write_joint(lines, order, child, skeleton, offsets, orders, depth + 1)
    if not children:
        tip = 0.1 * np.asarray(skeleton.directions[joint])
        tip = " ".join(f"{value:.6f}" for value in tip)
        lines += [f"{indent}  End Site", f"{indent}  {{", f"{indent}    OFFSET {tip}", f"{indent}  }}"]
    lines.append(f"{indent}}}")


def read_bvh(path: Path) -> tuple[np.ndarray, float, Skeleton]:
    """Reads joints `(num_frames, num_joints, 3)` in metres, frames per second, and the skeleton they belong to.

    Raises:
        ValueError: when the file is not a BVH, is damaged, or has other joints than ours.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    head, found, motion = text.partition("MOTION")
    if "HIERARCHY" not in head or not found:
        raise ValueError(f"{path}: not a BVH file: it lacks HIERARCHY or MOTION")
    try:
        tree = _parse_hierarchy(head.split())
        values, fps = _parse_motion(motion, sum(len(joint.channels) for joint in tree))
        positions = _positions(tree, values)
    except (IndexError, ValueError) as error:
        raise ValueError(f"{path}: damaged BVH: {error}") from None
    names = {joint.name.lower(): i for i, joint in enumerate(tree)}
    for skeleton in SKELETONS.values():
        if all(name in names for name in skeleton.joint_names):
            positions = positions[:, [names[name] for name in skeleton.joint_names]]
            return positions.astype(np.float32), fps, skeleton
    missing = [name for name in SKELETONS["humanml3d"].joint_names if name not in names]
    raise ValueError(f"{path}: its rig is not known here; it has no joint named {', '.join(missing)}")


def _parse_hierarchy(tokens: list[str]) -> list[_Joint]:
    tree: list[_Joint] = []
    open_joints: list[int] = []  # from the root to the joint at hand; -1 for an end site
    position = 1
    while position < len(tokens):
        word = tokens[position]
        if word in ("ROOT", "JOINT"):
            tree.append(_Joint(tokens[position + 1], open_joints[-1] if open_joints else -1))
            open_joints.append(len(tree) - 1)
            position += 3  # its name and the brace
        elif word == "End":
            open_joints.append(-1)
            position += 3  # "Site" and the brace
        elif word == "OFFSET":
            if open_joints[-1] >= 0:
                tree[open_joints[-1]].offset = [float(value) for value in tokens[position + 1 : position + 4]]
            position += 4
        elif word == "CHANNELS":
            count = int(tokens[position + 1])
            tree[open_joints[-1]].channels = tokens[position + 2 : position + 2 + count]
            position += 2 + count
        elif word == "}":
            open_joints.pop()
            position += 1
        else:
            raise ValueError(f"unexpected {word[:40]!r} in the hierarchy")
    if not tree or open_joints:
        raise ValueError("the hierarchy is empty or its braces do not match")
    return tree


def _parse_motion(text: str, num_channels: int) -> tuple[np.ndarray, float]:
    words = text.split()
    if words[0] != "Frames:" or words[2:4] != ["Frame", "Time:"]:
        raise ValueError("MOTION lacks 'Frames:' or 'Frame Time:'")
    num_frames, seconds = int(words[1]), float(words[4])
    if num_frames < 1 or not seconds > 0:
        raise ValueError(f"{num_frames} frames of {seconds} seconds")
    values = np.array(words[5:], dtype=np.float64)
    if len(values) != num_frames * num_channels:
        raise ValueError(f"{num_frames} frames of {num_channels} channels announced, {len(values)} numbers found")
    if not np.isfinite(values).all():
        raise ValueError("a channel holds NaN or infinity")
    return values.reshape(num_frames, num_channels), 1 / seconds


def _positions(tree: list[_Joint], values: np.ndarray) -> np.ndarray:
    offsets = np.array([joint.offset for joint in tree])
    local = np.tile(np.eye(3), (len(values), len(tree), 1, 1))
    root, column = np.tile(offsets[0], (len(values), 1)), 0
    for i, joint in enumerate(tree):
        block = values[:, column : column + len(joint.channels)]
        column += len(joint.channels)
        order = "".join(channel[0] for channel in joint.channels if channel.endswith("rotation"))
        turns = [k for k, channel in enumerate(joint.channels) if channel.endswith("rotation")]
        if order:
            local[:, i] = Rotation.from_euler(order, block[:, turns], degrees=True).as_matrix()
        for k, channel in enumerate(joint.channels):
            if i == 0 and channel.endswith("position"):
                root[:, "XYZ".index(channel[0])] = block[:, k]
    positions = forward_kinematics(root, local, offsets, tuple(joint.parent for joint in tree))
    chain = np.linalg.norm(offsets[1:], axis=-1).sum()
    return positions / 100 if chain > _CENTIMETRE_BODY else positions
