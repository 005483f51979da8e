"""Names of joints: the bone maps of known rigs, and which of them a file has."""

import functools
import re
from collections import Counter
from pathlib import Path

import yaml

from ..models.skeleton import KIT


PAIRS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist", "collar", "foot")  # [left, right]
_REQUIRED_PAIRS = ("hip", "knee", "ankle", "shoulder", "elbow")


@functools.cache
def rigs() -> dict[str, dict]:
    """Read the bone maps that come with the package."""
    return yaml.safe_load(Path(__file__).with_name("rigs.yaml").read_text(encoding="utf-8"))


def load_rig(path: str | Path) -> dict:
    """Read a bone map from a YAML file with the entries of one rig in `rigs.yaml`.

    Raises:
        ValueError: when the file is not such a map, naming what is missing.
    """
    try:
        rig = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        missing = [part for part in ("pelvis", "neck", *_REQUIRED_PAIRS) if part not in rig]
        missing += [part for part in ("pelvis", "neck", "head") if part in rig and not isinstance(rig[part], str)]
        missing += [part for part in PAIRS if part in rig and not (_is_list(rig[part]) and len(rig[part]) == 2)]
        missing += ["spine"] * ("spine" in rig and not _is_list(rig["spine"]))
    except (yaml.YAMLError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a bone map: {error}".replace("\n", " ")) from None
    if missing:
        raise ValueError(
            f"{path}: the bone map lacks {', '.join(missing)} (a joint, a pair [left, right], or a list for the spine)"
        )
    return rig


def _is_list(names) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def required_joints(rig: dict) -> list[str]:
    """List the joints of a bone map that a file must have."""
    return [rig["pelvis"], rig["neck"], *(name for part in _REQUIRED_PAIRS for name in rig[part])]


def find_rig(names: list[str]) -> dict:
    """Return the bundled bone map whose required joints are all among `names`; the most detailed one if several fit.

    Raises:
        ValueError: listing the joints that the closest map requires in vain.
    """
    known = index_joints(names)
    missing = {rig: _missing(bones, known) for rig, bones in rigs().items()}
    best = min(missing, key=lambda rig: len(missing[rig]))
    if missing[best]:
        listed = ", ".join(missing[best][:8]) + (", ..." if len(missing[best]) > 8 else "")
        raise ValueError(
            f"unknown rig; the closest is {best!r}, but these joints are missing: {listed}: give a bone map"
        )
    fitting = [rig for rig in missing if not missing[rig]]
    return rigs()[max(fitting, key=lambda rig: sum(plain_name(name) in known for name in _all_joints(rigs()[rig])))]


def fits(names: list[str], rig: dict | None = None) -> bool:
    """Tell if joints are those of a bone map, or of any known rig."""
    known = index_joints(names)
    if rig is not None:
        return not _missing(rig, known)
    return is_kit(known) or any(not _missing(bones, known) for bones in rigs().values())


def is_kit(known: dict[str, int]) -> bool:
    """Tell if joints, by their plain names, are those of KIT-ML's skeleton."""
    return all(plain_name(name) in known for name in KIT.joint_names) and "leftcollar" not in known


def index_joints(names: list[str]) -> dict[str, int]:
    """Return the first joint of each name, and of each plain name with and without what most names begin and end with.

    Read it with [`joint_of`].
    """
    index: dict[str, int] = {}
    for joint, name in enumerate(names):
        index.setdefault(name, joint)
    for variant in (names, _without_affixes(names)):
        for joint, name in enumerate(variant):
            index.setdefault(plain_name(name), joint)
    return index


def joint_of(known: dict[str, int], name: str) -> int | None:
    """Return the joint of a name in the result of [`index_joints`], or else the one whose plain name is the same."""
    return known.get(name, known.get(plain_name(name)))


def plain_name(name: str) -> str:
    """Strip a joint's name of namespace, the beginnings that known rigs put before it, blanks, dashes and case."""
    name = name.rpartition(":")[2].lower()
    name = re.sub(r"^(mixamorig\d*|character\d+_|[mf]_avg_|cc_base_|j_bip_|bip\d+)", "", name)
    return re.sub(r"[\W_]+", "", name)


def _missing(rig: dict, known: dict[str, int]) -> list[str]:
    return [name for name in required_joints(rig) if plain_name(name) not in known]


def _all_joints(rig: dict) -> list[str]:
    return [name for names in rig.values() for name in ([names] if isinstance(names, str) else names)]


def _without_affixes(names: list[str]) -> list[str]:
    """Cut off the beginning and the end that most names share, e.g. "Actor1_" and "_jnt"."""
    own = [name for name in names if not name.endswith(" end")]
    prefix = _common_start(own)
    suffix = _common_start([name.removeprefix(prefix)[::-1] for name in own])[::-1]
    return [name.removeprefix(prefix).removesuffix(suffix) for name in names]


def _common_start(names: list[str]) -> str:
    """Return the longest beginning that at least four of five names share."""
    start = ""
    while True:
        following = Counter(name[len(start)] for name in names if name.startswith(start) and len(name) > len(start))
        if not following:
            return start
        letter, count = following.most_common(1)[0]
        if count < 0.8 * len(names):
            return start
        start += letter
