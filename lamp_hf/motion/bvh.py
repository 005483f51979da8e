"""BVH files: joint trees with Euler angles as text, which every animation tool reads."""

import dataclasses
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ..models.skeleton import SKELETONS, Skeleton
from .animation import Animation
from .articulation import articulate, on_root
from .limits import check_size
from .rotations import children_of, forward_kinematics, rest_positions


_CHUNK = 500_000  # joint rotations that are in memory as matrices at the same time
_STATEMENT = re.compile(
    r"""\s*(?: HIERARCHY\b
    | (?P<brace>[{}])
    | (?P<end>End\s*Site)\b [^\n{]*
    | (?P<kind>ROOT|JOINT) [ \t]+ (?P<name>[^\n{]*)  # a name may contain blanks
    | OFFSET (?P<offset>(?:\s+[-+.\w]+){3})
    | CHANNELS \s+ (?P<count>\d+) (?P<channels>(?:\s+[XYZ](?:position|rotation))*)
    )""",
    re.VERBOSE | re.IGNORECASE,
)


@dataclass
class Joint:
    """A joint or an end site of a hierarchy, with its channels in the order of the file."""

    name: str
    parent: int
    offset: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    channels: list[str] = field(default_factory=list)  # e.g. "Xposition"


def write_bvh(path: Path, joints: np.ndarray, fps: float, skeleton: Skeleton, root_motion: bool = False) -> None:
    """Write a motion as rotations from a T-pose; the file's unit is a metre.

    The root alone has position channels, unless a bone changes its length, see [`lamp_hf.motion.articulation`].

    Args:
        path (`Path`): the file.
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres, Y up.
        fps (`float`): frames per second.
        skeleton ([`Skeleton`]): the joint tree.
        root_motion (`bool`): a joint `root` above the pelvis travels over the ground, and the pelvis stays above it.
    """
    tree = articulate(joints, skeleton)
    if root_motion:
        tree = on_root(tree)
    lines, channels = ["HIERARCHY"], []

    def add_joint(joint: int, depth: int) -> None:
        """Add a joint and all below it to the lines, and their channels in the order in which the file lists them."""
        indent, children = "  " * depth, children_of(joint, tree.parents)
        order = _rotation_order(tree.names[joint])
        names = [f"{axis}rotation" for axis in order]
        if joint in tree.positions:
            names = ["Xposition", "Yposition", "Zposition", *names]
            channels.append(tree.positions[joint])
        channels.append(euler_angles(tree.local[joint], order))
        lines.extend(
            [
                f"{indent}{'JOINT' if depth else 'ROOT'} {tree.names[joint]}",
                f"{indent}{{",
                f"{indent}  OFFSET {' '.join(f'{value:.6f}' for value in tree.offsets[joint])}",
                f"{indent}  CHANNELS {len(names)} {' '.join(names)}",
            ]
        )
        for child in children:
            add_joint(child, depth + 1)
        if not children:
            tip = " ".join(f"{value:.6f}" for value in 0.4 * tree.offsets[joint])
            lines.extend([f"{indent}  End Site", f"{indent}  {{", f"{indent}    OFFSET {tip}", f"{indent}  }}"])
        lines.append(f"{indent}}}")

    add_joint(0, depth=0)
    rows = np.concatenate(channels, 1)
    lines += ["MOTION", f"Frames: {len(rows)}", f"Frame Time: {1 / fps:.8f}"]
    row_format = " ".join(["%.6f"] * rows.shape[1])
    lines += [row_format % tuple(row) for row in rows.tolist()]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def _rotation_order(name: str) -> str:
    """Return the order of a joint's Euler angles: the middle one, to stay off 90 degrees, is twist or pitch."""
    name = name.removesuffix("_base")
    if name == "pelvis":
        return "YXZ"
    return "ZXY" if name.endswith(("collar", "shoulder", "elbow", "wrist")) else "ZYX"


def euler_angles(rotations: np.ndarray, order: str) -> np.ndarray:
    """Turn rotations `(T, 3, 3)` into degrees `(T, 3)` that do not jump by a full turn between frames."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # at 90 degrees the angles are not unique, and SciPy reports its choice
        angles = Rotation.from_matrix(rotations).as_euler(order, degrees=True)
    return np.unwrap(angles, axis=0, period=360)


def read_bvh(path: Path) -> Animation:
    """Read any hierarchy in the file's own units and axes; an end site becomes a joint named "<parent> end".

    Several roots become branches of a root without a name; a frame has the channels of all, one root after another.

    Raises:
        ValueError: when the file is not a BVH, or is damaged.
    """
    text = _decode(path.read_bytes())
    start = re.search(r"^[ \t]*MOTION[ \t]*$", text, re.MULTILINE | re.IGNORECASE)
    if start is None or not re.search(r"\bHIERARCHY\b", text[: start.start()], re.IGNORECASE):
        raise ValueError(f"{path}: not a BVH file: it lacks HIERARCHY or MOTION")
    try:
        tree = _parse_hierarchy(text[: start.start()])
        values, fps = _parse_motion(text[start.end() :], tree)
        _interpret_positions(tree, values)
        step = -(-_CHUNK // len(tree))
        chunks = [values[first : first + step] for first in range(0, len(values), step)]
        positions = np.concatenate([_positions(tree, chunk) for chunk in chunks])
    except (IndexError, ValueError) as error:
        raise ValueError(f"{path}: damaged BVH: {error}") from None
    if not np.isfinite(positions).all():
        raise ValueError(f"{path}: damaged BVH: numbers too large")
    parents = [joint.parent for joint in tree]
    rest = rest_positions(np.array([joint.offset for joint in tree]), tuple(parents))
    return Animation([joint.name for joint in tree], parents, positions, fps, rest, _is_ours(tree))


def read_skeleton(path: Path) -> tuple[str, list[Joint], np.ndarray]:
    """Read the hierarchy of a BVH, which may be without frames.

    Returns:
        The text before `MOTION`; the joints, each behind its parent; and the channel values of its first frame
        `(1, num_channels)`, or none `(0, num_channels)`.

    Raises:
        ValueError: when the file is not a BVH, or is damaged.
    """
    text = _decode(path.read_bytes())
    hierarchy, _, motion = re.sub(r"(?im)^[ \t]*MOTION[ \t]*$", "\0", text, count=1).partition("\0")
    if not re.search(r"\bHIERARCHY\b", hierarchy, re.IGNORECASE):
        raise ValueError(f"{path}: not a BVH file: it lacks HIERARCHY")
    try:
        tree = _parse_hierarchy(hierarchy)
        num_channels = sum(len(joint.channels) for joint in tree)
        if not re.match(r"\s*Frames\s*:?\s*[1-9]", motion, re.IGNORECASE):
            return hierarchy, tree, np.zeros((0, num_channels))
        values = _parse_motion(motion, tree)[0]
    except (IndexError, ValueError) as error:
        raise ValueError(f"{path}: damaged BVH: {error}") from None
    _interpret_positions(tree, values)
    return hierarchy, tree, values[:1]


def _is_ours(tree: list[Joint]) -> bool:
    """Tell files of [`write_bvh`] by the names and rotation orders of their joints."""
    turning = [joint for joint in tree if joint.channels]
    orders = ["".join(c[0].upper() for c in joint.channels if c[1:].lower() == "rotation") for joint in turning]
    names = {joint.name for joint in turning}
    return any(names.issuperset(skeleton.joint_names) for skeleton in SKELETONS.values()) and orders == [
        _rotation_order(joint.name) for joint in turning
    ]


def _decode(content: bytes) -> str:
    """Decode a file in UTF-8 or UTF-16, without the end marks of old programs; decimal commas become points."""
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = content.decode(encoding, errors="replace").rstrip("\0\x1a \t\r\n") + "\n"
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if re.search(r"\d\.\d", text) is None:
        text = re.sub(r"(?<=\d),(?=\d)", ".", text)
    return text


def _parse_hierarchy(text: str) -> list[Joint]:
    """Parse what stands before MOTION into joints, each behind its parent.

    Raises:
        ValueError: on a statement that is not BVH, or braces that do not match.
    """
    text = re.sub(r"^[ \t]*(#|//).*$", "", text, flags=re.MULTILINE).rstrip() + "\n"
    tree: list[Joint] = []
    open_joints: list[int] = []  # the current joint and its ancestors, root first
    pending: int | None = None  # a joint whose brace is yet to open
    position = 0
    while position < len(text) - 1:
        found = _STATEMENT.match(text, position)
        if found is None or (pending is None and found["brace"] == "{"):
            raise ValueError(f"unexpected {text[position:].split()[0][:40]!r} in the hierarchy")
        position = found.end()
        if pending is not None and found["brace"] == "{":
            open_joints.append(pending)
            pending = None
        elif found["brace"]:
            open_joints.pop()
        elif found["name"] is not None or found["end"]:
            parent = open_joints[-1] if open_joints else -1
            if parent < 0 and (found["end"] or (tree and found["kind"].upper() != "ROOT")):
                raise ValueError(f"{found[0].split()[-1][:40]!r} has no parent")
            tree.append(Joint((found["name"] or "").strip() or f"{tree[parent].name} end", parent))
            pending = len(tree) - 1
        elif found["offset"]:
            tree[open_joints[-1]].offset = [float(value) for value in found["offset"].split()]
        elif found["count"]:
            channels = found["channels"].split()
            if len(channels) != int(found["count"]):
                raise ValueError(f"{tree[open_joints[-1]].name} has {found['count']} CHANNELS, but names {channels}")
            tree[open_joints[-1]].channels = channels
    if not tree or open_joints or pending is not None:
        raise ValueError("the hierarchy is empty or its braces do not match")
    if any(joint.parent < 0 for joint in tree[1:]):  # several roots hang on a joint that stays at the origin
        tree = [Joint("", -1), *(dataclasses.replace(joint, parent=joint.parent + 1) for joint in tree)]
    return tree


def _parse_motion(text: str, tree: list[Joint]) -> tuple[np.ndarray, float]:
    """Parse what stands after MOTION into channel values `(num_frames, num_channels)` and frames per second."""
    num_channels = sum(len(joint.channels) for joint in tree)
    header = re.match(r"\s*Frames\s*:?\s*(\d+)\s+Frame\s*Time\s*:?\s*(\S+)", text, re.IGNORECASE)
    if header is None:
        raise ValueError("MOTION lacks 'Frames:' or 'Frame Time:'")
    num_frames, seconds = int(header[1]), float(header[2])
    if num_frames < 1 or not 0 <= seconds < np.inf:
        raise ValueError(f"{num_frames} frames of {seconds} seconds each")
    check_size(num_frames, len(tree))
    values = _parse_numbers(text[header.end() :])
    rows, rest = divmod(len(values), max(num_channels, 1))
    if rest or rows < num_frames:  # some programs announce too few
        raise ValueError(f"{num_frames} frames of {num_channels} channels announced, {len(values)} numbers found")
    check_size(rows, len(tree))
    if not np.isfinite(values).all():
        raise ValueError("a channel holds NaN or infinity")
    return values.reshape(rows, num_channels), 1 / seconds if seconds else np.inf


def _parse_numbers(text: str) -> np.ndarray:
    """Parse numbers between blanks or commas; a minus within a number begins the next one, as in fixed columns.

    Raises:
        ValueError: naming the first word that is not a number.
    """
    text = re.sub(r"(?<=[\d.])-", " -", text.replace(",", " "))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy only warns of text that is not a number
        try:
            return np.fromstring(text, dtype=np.float64, sep=" ")
        except (DeprecationWarning, ValueError):
            pass
    for count, word in enumerate(text.split()):
        try:
            float(word)
        except ValueError:
            cause = ": numbers are glued together" if word.count(".") > 1 else ""
            raise ValueError(f"value {count + 1}, {word[:40]!r}, is not a number{cause}") from None
    raise ValueError("a channel value is not a number")


def _interpret_positions(tree: list[Joint], values: np.ndarray) -> None:
    """Rewrite the position channels below the root as places relative to the parent, whatever their writer meant.

    By the rules of BVH a position replaces the joint's offset. Programs also write zeros, rounding noise or a constant
    where they mean the offset, and small displacements from it. Only a bone of no length takes its place from a
    constant.
    """
    column = 0
    for joint in tree:
        columns, axes = channels_of(joint, "position", column)
        column += len(joint.channels)
        length = np.linalg.norm(joint.offset)
        if joint.parent < 0 or not tree[joint.parent].name or not columns or not length:
            continue
        block, offset = values[:, columns], np.array(joint.offset)[axes]
        if len(block) > 1 and np.ptp(block, axis=0).max() < _CONSTANT * length:
            values[:, columns] = offset
        elif np.linalg.norm(block, axis=-1).max() < _NEAR_ZERO * length:
            values[:, columns] = offset + block


_CONSTANT, _NEAR_ZERO = 1e-3, 0.1  # as shares of the bone's length


def channels_of(joint: Joint, kind: str, first: int) -> tuple[list[int], list[int]]:
    """Return the columns of a joint's "position" or "rotation" channels and their axes, 0 to 2."""
    found = [k for k, channel in enumerate(joint.channels) if channel[1:].lower() == kind]
    return [first + k for k in found], ["XYZ".index(joint.channels[k][0].upper()) for k in found]


def _positions(tree: list[Joint], values: np.ndarray) -> np.ndarray:
    """Turn channel values into joint positions `(num_frames, num_joints, 3)` in the file's unit."""
    local, offsets = local_transforms(tree, values)
    return forward_kinematics(offsets[:, 0], local, offsets, tuple(joint.parent for joint in tree))


def local_transforms(tree: list[Joint], values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn channel values into rotations and offsets of joints relative to their parents.

    Args:
        tree (`list[Joint]`): the joints.
        values (`np.ndarray` of shape `(num_frames, num_channels)`): degrees, and the file's unit.

    Returns:
        Rotations `(num_frames, num_joints, 3, 3)` and offsets `(num_frames, num_joints, 3)`.
    """
    offsets = np.tile(np.array([joint.offset for joint in tree]), (len(values), 1, 1))
    local = np.tile(np.eye(3), (len(values), len(tree), 1, 1))
    column = 0
    for i, joint in enumerate(tree):
        turns, turn_axes = channels_of(joint, "rotation", column)
        moves, axes = channels_of(joint, "position", column)
        column += len(joint.channels)
        if turns:
            order = "".join("XYZ"[axis] for axis in turn_axes)
            local[:, i] = Rotation.from_euler(order, values[:, turns], degrees=True).as_matrix()
        if moves:
            offsets[:, i, axes] = values[:, moves]
    return local, offsets
