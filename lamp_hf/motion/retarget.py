"""From any rig's joints to the 22 of HumanML3D's skeleton: which bone is which, how large is a unit, where is up."""

import functools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from ..models.skeleton import HUMANML3D, KIT, Skeleton


@dataclass
class Animation:
    """Joints of a rig as a file has them, in its own units and axes.

    Args:
        names (`list[str]`): one a joint; what carries a joint on ends in " end".
        parents (`list[int]`): -1 for the root.
        positions (`np.ndarray` of shape `(num_frames, num_joints, 3)`): in the file's world.
        fps (`float`): frames a second.
    """

    names: list[str]
    parents: list[int]
    positions: np.ndarray
    fps: float


_PAIRS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")  # needed
_OPTIONAL_PAIRS = ("collar", "foot")
_LEG = 0.8  # metres from hip to ankle of a grown-up
# Metric units come first: legs that fit them within a factor of 1.9, children's and giants' too, are in them.
_UNITS = {"metres": 1.0, "centimetres": 0.01, "millimetres": 0.001, "inches": 0.0254, "CMU units": 0.0564444}


def retarget_animation(
    animation: Animation, rig: dict | None = None, unit: float | None = None, up: str | None = None
) -> tuple[np.ndarray, Skeleton]:
    """Picks out HumanML3D's joints (KIT-ML's where the rig is KIT-ML's), in metres and Y up.

    Bone lengths stay the performer's own; `joints_to_features` brings them to the reference body.

    Args:
        animation ([`Animation`]): any rig.
        rig (`dict`, *optional*): bone map, see `rigs.yaml`; found by the joints' names if not given.
        unit (`float`, *optional*): metres in one unit of the file; from the length of the legs if not given.
        up (`str`, *optional*): `"x"`, `"y"` or `"z"`; from the way from feet to head if not given.

    Returns:
        Joints, float32 `(num_frames, num_joints, 3)`, and their skeleton.

    Raises:
        ValueError: when joints have no counterpart, listing them, or the size makes no sense.
    """
    if unit is not None and not 0 < unit < np.inf:
        raise ValueError(f"unit must be a positive number of metres, got {unit}")
    names = {_plain(name): i for i, name in reversed(list(enumerate(animation.names)))}
    if rig is None and all(_plain(name) in names for name in KIT.joint_names) and "leftcollar" not in names:
        joints, skeleton = animation.positions[:, [names[_plain(name)] for name in KIT.joint_names]], KIT
    else:
        rig = find_rig(animation.names) if rig is None else rig
        joints, skeleton = _pick(animation, names, rig), HUMANML3D
    index = {name: i for i, name in enumerate(skeleton.joint_names)}
    joints = _upright(joints, index, up)
    leg = sum(np.linalg.norm(joints[:, index[a]] - joints[:, index[b]], axis=-1).mean() for a, b in _LEG_BONES)
    unit = _find_unit(leg) if unit is None else unit
    return (joints * unit).astype(np.float32), skeleton


_LEG_BONES = (("left_hip", "left_knee"), ("left_knee", "left_ankle"))


def find_rig(names: list[str]) -> dict:
    """The known bone map whose needed joints are all among `names`.

    Raises:
        ValueError: listing what the best of them lacks.
    """
    plain = {_plain(name) for name in names}
    lacking = {rig: [name for name in needed_joints(rigs()[rig]) if _plain(name) not in plain] for rig in rigs()}
    best = min(lacking, key=lambda rig: len(lacking[rig]))
    if lacking[best]:
        missing = ", ".join(lacking[best][:8]) + (", ..." if len(lacking[best]) > 8 else "")
        raise ValueError(f"its rig is not known here; nearest to {best!r}, but without {missing}: give a bone map")
    fitting = [rig for rig in lacking if not lacking[rig]]
    return rigs()[max(fitting, key=lambda rig: sum(_plain(name) in plain for name in _all_joints(rigs()[rig])))]


@functools.cache
def rigs() -> dict[str, dict]:
    """The bone maps that come with the package."""
    return yaml.safe_load(Path(__file__).with_name("rigs.yaml").read_text(encoding="utf-8"))


def load_rig(path: str | Path) -> dict:
    """A bone map from a YAML file with the entries of one rig in `rigs.yaml`.

    Raises:
        ValueError: when the file is no such map; it names what is missing.
    """
    try:
        rig = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        single, pairs = ("pelvis", "neck", "head"), (*_PAIRS, *_OPTIONAL_PAIRS)
        missing = [part for part in ("pelvis", "neck", *_PAIRS) if part not in rig]
        missing += [part for part in single if part in rig and not isinstance(rig[part], str)]
        missing += [part for part in pairs if part in rig and not (_is_list(rig[part]) and len(rig[part]) == 2)]
        missing += ["spine"] * ("spine" in rig and not _is_list(rig["spine"]))
    except (yaml.YAMLError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a bone map: {error}".replace("\n", " ")) from None
    if missing:
        raise ValueError(
            f"{path}: this bone map lacks {', '.join(missing)} (a joint, a pair [left, right], for the spine a list)"
        )
    return rig


def _is_list(names) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def needed_joints(rig: dict) -> list[str]:
    """Joints that a rig must have."""
    return [rig["pelvis"], rig["neck"], *(name for part in _PAIRS for name in rig[part])]


def _all_joints(rig: dict) -> list[str]:
    return [name for names in rig.values() for name in ([names] if isinstance(names, str) else names)]


def _plain(name: str) -> str:
    """A joint's name without namespace, Biped number, blanks, dashes and case."""
    name = re.sub(r"^(mixamorig\d*|character\d+_|[mf]_avg_)", "", name.rpartition(":")[2].lower())
    return re.sub(r"[\W_]+", "", re.sub(r"^bip\d+", "bip", name))


def _pick(animation: Animation, names: dict[str, int], rig: dict) -> np.ndarray:
    """Positions of HumanML3D's joints, `(num_frames, 22, 3)`; what the rig lacks is put in between or carried on."""

    def find(name: str | None) -> np.ndarray | None:
        return animation.positions[:, names[_plain(name)]] if name and _plain(name) in names else None

    missing = [name for name in needed_joints(rig) if find(name) is None]
    if missing:
        raise ValueError(f"these joints of the bone map are not in the file: {', '.join(missing)}")
    found = {"pelvis": find(rig["pelvis"]), "neck": find(rig["neck"])}
    for part in (*_PAIRS, *_OPTIONAL_PAIRS):
        for side, name in zip(("left", "right"), rig.get(part, (None, None))):
            found[f"{side}_{part}"] = find(name)
    spine = [place for place in map(find, rig.get("spine", [])) if place is not None]
    found |= _spine(found["pelvis"], spine, found["neck"])
    found["head"] = find(rig.get("head"))
    if found["head"] is None:
        found["head"] = _end_of(animation, names, rig["neck"], found["neck"] - found["spine3"], 0.1)
    shared_collar = (
        found["left_collar"] is not None
        and found["right_collar"] is not None
        and (
            _distance(found["left_collar"], found["right_collar"])
            < 0.1 * _distance(found["left_shoulder"], found["right_shoulder"])
        )
    )  # CMU's, for one, both lie in the neck
    for i, side in enumerate(("left", "right")):
        if found[f"{side}_foot"] is None:
            shin = found[f"{side}_ankle"] - found[f"{side}_knee"]
            found[f"{side}_foot"] = _end_of(animation, names, rig["ankle"][i], shin, 0.15)
        if found[f"{side}_collar"] is None or shared_collar:
            found[f"{side}_collar"] = 0.7 * found["neck"] + 0.3 * found[f"{side}_shoulder"]
    return np.stack([found[name] for name in HUMANML3D.joint_names], 1)


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.linalg.norm(first - second, axis=-1).mean())


def _spine(pelvis: np.ndarray, between: list[np.ndarray], neck: np.ndarray) -> dict[str, np.ndarray]:
    """Three joints from pelvis to neck: the rig's own if it has three apart, else placed as on the reference body."""
    places = np.stack([pelvis, *between, neck], 1)  # [T, joints, 3]
    lengths = np.linalg.norm(np.diff(places, axis=1), axis=-1).mean(0)
    if len(between) == 3 and lengths.min() > 0.05 * lengths.sum():
        return {f"spine{i + 1}": place for i, place in enumerate(between)}
    along = np.concatenate([[0], np.cumsum(lengths)]) / max(lengths.sum(), 1e-9)
    reference = np.cumsum([HUMANML3D.bone_lengths[joint] for joint in (3, 6, 9, 12)])
    result = {}
    for i, share in enumerate(reference[:3] / reference[3]):
        joint = int(np.clip(np.searchsorted(along, share, side="right") - 1, 0, len(lengths) - 1))
        part = (share - along[joint]) / max(along[joint + 1] - along[joint], 1e-9)
        result[f"spine{i + 1}"] = (1 - part) * places[:, joint] + part * places[:, joint + 1]
    return result


def _end_of(animation: Animation, names: dict[str, int], name: str, direction: np.ndarray, share: float):
    """Where a joint without a mapped child ends: its end site or child, else a bit further on the way it points."""
    joint = names[_plain(name)]
    children = [i for i, parent in enumerate(animation.parents) if parent == joint]
    if children:
        return animation.positions[:, children[0]]
    return animation.positions[:, joint] + share * direction


def _upright(joints: np.ndarray, index: dict[str, int], up: str | None) -> np.ndarray:
    """Turns joints so that Y is up; it is believed to be unless another axis runs from the feet to the head."""
    if up is None:
        feet = (joints[:, index["left_ankle"]] + joints[:, index["right_ankle"]]) / 2
        way = joints[:, index["neck"]] - feet
        share = way / np.linalg.norm(way, axis=-1, keepdims=True).clip(min=1e-9)
        x, y, z = np.quantile(share, 0.9, axis=0)
        up = "y" if y > 0.7 or y >= max(x, z) - 0.2 else "xz"[int(z > x)]
    if up not in ("x", "y", "z"):
        raise ValueError(f"up must be x, y or z, got {up!r}")
    return joints @ {"y": _KEEP, "z": _Z_TO_Y, "x": _X_TO_Y}[up]


_KEEP = np.eye(3)
_Z_TO_Y = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # x, y, z -> x, z, -y
_X_TO_Y = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])  # x, y, z -> -y, x, z


def _find_unit(leg: float) -> float:
    """Metres in a unit of a file whose legs measure `leg` units."""
    for unit in _UNITS.values():
        if 1 / 1.9 < leg * unit / _LEG < 1.9:
            return unit
    raise ValueError(f"legs of {leg:.3g} units fit no grown-up in {', '.join(_UNITS)}: give metres in one unit")
