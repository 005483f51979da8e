"""Acclaim's ASF and AMC, in which the CMU database comes: a skeleton in one file, its motions in others."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from .animation import Animation
from .limits import check_size


CMU_RATE = 120.0  # frames per second; an AMC does not say, and nearly all of CMU's have 120


@dataclass
class _Bone:
    name: str
    direction: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    length: float = 0.0
    axis: list[str] = field(default_factory=lambda: ["0", "0", "0", "XYZ"])
    dof: list[str] = field(default_factory=list)  # e.g. "rx"
    parent: str = ""


def read_amc(path: Path) -> Animation:
    """Read a motion and the skeleton beside it, in the file's own units.

    The skeleton is the ASF with the motion's name, or else with the part of it before "_" (`01_04.amc`, `01.asf`), or
    else the only one in the folder. A joint has the name of the bone that it begins.

    Raises:
        ValueError: when there is no such skeleton, or a file is damaged.
    """
    skeleton = _find_skeleton(path)
    try:
        bones, in_degrees = _parse_skeleton(skeleton.read_text(encoding="utf-8", errors="replace"))
    except (IndexError, KeyError, ValueError) as error:
        raise ValueError(f"{skeleton}: damaged ASF: {error}") from None
    try:
        frames, degrees = _parse_frames(path.read_text(encoding="utf-8", errors="replace"), bones)
        positions = _positions(bones, frames, in_degrees, degrees)
        still = {name: np.zeros((1, len(bone.dof))) for name, bone in bones.items()}
        rest = _positions(bones, still, in_degrees, degrees)[0]
    except (IndexError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: damaged AMC: {error}") from None
    names = list(bones)
    rows = {name: row for row, name in enumerate(names)}
    parents = [rows.get(bone.parent, -1) for bone in bones.values()]
    ends = [name for name in names if name not in {bone.parent for bone in bones.values()}]
    return Animation(
        names + [f"{name} end" for name in ends],
        parents + [rows[name] for name in ends],
        positions,
        CMU_RATE,
        rest,
        states_rate=False,
    )


def _find_skeleton(path: Path) -> Path:
    """Return the ASF of an AMC.

    Raises:
        ValueError: when there is none, or it is not clear which.
    """
    found = {file.stem.lower(): file for file in sorted(path.parent.iterdir()) if file.suffix.lower() == ".asf"}
    stem = path.stem.lower()
    skeleton = found.get(stem) or found.get(stem.rpartition("_")[0])
    if skeleton is None and len(found) == 1:
        (skeleton,) = found.values()
    if skeleton is None:
        raise ValueError(f"{path}: an AMC needs its skeleton beside it: {path.stem}.asf")
    return skeleton


def _parse_skeleton(text: str) -> tuple[dict[str, _Bone], bool]:
    """Parse an ASF into its root and bones, each behind its parent, and tell if its angles are degrees."""
    sections = dict(re.findall(r"^\s*:(\w+)((?:.*\n(?!\s*:))*.*)", re.sub(r"#.*", "", text), re.MULTILINE))
    root = {words[0]: words[1:] for line in sections["root"].splitlines() if (words := line.split())}
    found = {
        "root": _Bone("root", axis=[*root["orientation"], root["axis"][0]], dof=[c.lower() for c in root["order"]])
    }
    for block in re.findall(r"\bbegin\b(.*?)\bend\b", sections["bonedata"], re.DOTALL):
        lines = {words[0]: words[1:] for line in block.splitlines() if (words := line.split())}
        name = lines["name"][0]
        found[name] = _Bone(
            name,
            [float(value) for value in lines["direction"]],
            float(lines["length"][0]),
            lines["axis"],
            [channel.lower() for channel in lines.get("dof", [])],
        )
    bones = {"root": found["root"]}
    for line in sections["hierarchy"].splitlines():
        parent, *children = line.split() or [""]
        for child in children:
            if parent not in bones or child in bones:
                raise ValueError(f"the hierarchy puts {child!r} below {parent!r}, which is not a tree")
            bones[child] = found[child]
            bones[child].parent = parent
    return bones, "rad" not in sections.get("units", "")


def _parse_frames(text: str, bones: dict[str, _Bone]) -> tuple[dict[str, np.ndarray], bool]:
    """Parse an AMC into values `(num_frames, num_channels)` by bone, and tell if its angles are degrees."""
    frames: list[dict[str, list[float]]] = []
    for line in text.splitlines():
        words = line.split()
        if not words or words[0][0] in "#:":
            continue
        if words[0].isdigit() and len(words) == 1:
            frames.append({})
            continue
        channels = bones[words[0]].dof if words[0] in bones else None
        if channels is None or len(words) - 1 != len(channels) or not frames:
            raise ValueError(f"unexpected line in frame {len(frames)}: {line[:60]!r}")
        frames[-1][words[0]] = [float(word) for word in words[1:]]
    if not frames:
        raise ValueError("it has no frames")
    check_size(len(frames), 2 * len(bones))
    values = {}
    for name, bone in bones.items():
        if any(name not in frame for frame in frames) and bone.dof:
            raise ValueError(f"some frames lack {name!r}")
        values[name] = np.array([frame.get(name, []) for frame in frames], float)
    if not all(np.isfinite(block).all() for block in values.values()):
        raise ValueError("a channel holds NaN or infinity")
    return values, not re.search(r"^\s*:radians", text, re.MULTILINE | re.IGNORECASE)


def _positions(bones: dict[str, _Bone], frames: dict[str, np.ndarray], in_degrees: bool, degrees: bool) -> np.ndarray:
    """Return where bones begin, and then where those without a child end, `(num_frames, num_joints, 3)`.

    A bone turns about its own axes, given relative to the world at rest; angles apply in the order of their names.
    """
    turns: dict[str, Rotation] = {}
    starts: dict[str, np.ndarray] = {}
    ends: dict[str, np.ndarray] = {}
    for name, bone in bones.items():
        *angles, order = bone.axis
        axes = Rotation.from_euler(order.lower(), [float(angle) for angle in angles], degrees=in_degrees)
        values = frames[name]
        turning = [k for k, channel in enumerate(bone.dof) if channel[0] == "r"]
        turn = Rotation.identity(len(values))
        if turning:
            sequence = "".join(bone.dof[k][1] for k in turning)
            turn = axes * Rotation.from_euler(sequence, values[:, turning], degrees=degrees) * axes.inv()
        turns[name] = turns[bone.parent] * turn if bone.parent else turn
        if bone.parent:
            starts[name] = ends[bone.parent]
        else:
            places = [bone.dof.index(channel) for channel in ("tx", "ty", "tz")]
            starts[name] = values[:, places]
        ends[name] = starts[name] + turns[name].apply(np.array(bone.direction) * bone.length)
    leaves = [name for name in bones if name not in {bone.parent for bone in bones.values()}]
    return np.stack([starts[name] for name in bones] + [ends[name] for name in leaves], 1)
