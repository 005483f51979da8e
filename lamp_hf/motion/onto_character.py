"""`retarget`: a motion onto a user's own character."""

from pathlib import Path
from typing import Protocol

import numpy as np

from .character import Character
from .clip import Motion
from .engine_data import engine_data
from .files import write_atomically
from .posing import Pose, pose_character


class _CharacterFile(Protocol):
    """The file of a character, of either kind."""

    character: Character

    def write(self, path: Path, pose: Pose, fps: float, name: str, extras: dict) -> None: ...


_KINDS = {".glb": (".glb", ".vrm"), ".vrm": (".vrm", ".glb"), ".bvh": (".bvh",)}


def retarget(motion: Motion, onto: str | Path, output: str | Path, rig: str | Path | None = None) -> Path:
    """Write a character that moves as a motion does.

    A GLB or VRM keeps its meshes, skins, materials and animations; the new animation comes first, and viewers play it.
    A BVH keeps its hierarchy; its own frames are replaced. Bones point where the motion's do, whatever their rest pose
    and axes are; the path is scaled by the length of the legs, and feet are kept on the floor. Fingers, and bones that
    are no person's, keep their rest pose. The animation of a GLB or VRM carries the facts of
    [`lamp_hf.motion.engine_data`], and that of a loop ends with its first pose again.

    Args:
        motion ([`Motion`]): the motion.
        onto (`str` or `Path`): the character, a .glb, a .vrm (0.x or 1.0) or a .bvh.
        output (`str` or `Path`): the file to write: a .glb or .vrm; from a .bvh, a .bvh.
        rig (`str` or `Path`, *optional*): bone map of the character in YAML, see `rigs.yaml`; found by default.

    Returns:
        `Path`: the file written.

    Raises:
        ValueError: when the character cannot be read, is not one person's body, or moves no mesh.
        OSError: when a file is missing or cannot be written. No half-written file is left behind.
    """
    onto, output = Path(onto), Path(output)
    check_character_path(onto, output)
    character = _read(onto, rig)
    try:
        pose = pose_character(character.character, motion.joints, motion.fps, motion._skeleton, motion.cycle)
    except ValueError as error:
        raise ValueError(f"{onto}: {error}") from None
    facts, name = _facts(motion, character.character, pose), motion.text or "motion"
    if output.suffix.lower() == ".bvh":
        pose = pose.part(0, motion.num_frames)  # without the first pose again
    write_atomically(output, lambda path: character.write(path, pose, motion.fps, name, facts))
    return output


def _facts(motion: Motion, character: Character, pose: Pose) -> dict:
    """Return the facts for engines; a loop travels as far as the character's legs take it."""
    facts = engine_data(motion)
    if motion.cycle is not None:
        up = int(np.abs(character.axes()[:, 1]).argmax())
        travel = np.delete(pose.root[-1] - pose.root[0], up)
        facts["loop"]["travel"] = [round(float(way), 4) for way in travel]
    return facts


def check_character_path(onto: Path, output: Path) -> None:
    """Check that a character can be read from one path and written to the other, before time is spent.

    Raises:
        ValueError: when a suffix is not that of a character.
        FileNotFoundError: when the character or the folder is missing.
    """
    kinds = _KINDS.get(onto.suffix.lower())
    if kinds is None:
        advice = (
            "export it as a .glb"
            if onto.suffix.lower() in (".gltf", ".fbx", ".blend", ".dae", ".usdz")
            else (f"known suffixes of characters are {', '.join(_KINDS)}")
        )
        raise ValueError(f"cannot read the character {onto}: {advice}")
    if output.suffix.lower() not in kinds:
        raise ValueError(f"cannot write {output}: a character from a {onto.suffix} becomes a {' or '.join(kinds)}")
    if not onto.is_file():
        raise FileNotFoundError(f"no such file: {onto}")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"cannot write {output}: there is no folder {output.parent}")


def _read(path: Path, rig: str | Path | None) -> _CharacterFile:
    from .character_bvh import BvhCharacter
    from .character_glb import GlbCharacter
    from .rigs import load_rig

    bone_map = None if rig is None else load_rig(rig)
    return (BvhCharacter if path.suffix.lower() == ".bvh" else GlbCharacter)(path, bone_map)
