"""VRM animations (.vrma): a humanoid's skeleton in VRM's T-pose and its motion, for any VRM character."""

from pathlib import Path

import numpy as np

from ..models.motion_loops import Cycle
from ..models.skeleton import Skeleton
from .character import SIDES, Character, bone_names
from .glb import add_nodes
from .gltf import Gltf
from .limbs import Body, solve_body
from .posing import pose_character
from .rigs import rigs


def write_vrma(
    path: Path,
    joints: np.ndarray,
    fps: float,
    skeleton: Skeleton,
    text: str | None = None,
    cycle: Cycle | None = None,
    extras: dict | None = None,
) -> None:
    """Write a motion by the extension VRMC_vrm_animation 1.0.

    Args:
        path (`Path`): the file.
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres, Y up.
        fps (`float`): frames per second.
        skeleton ([`Skeleton`]): the joint tree.
        text (`str`, *optional*): name of the animation.
        cycle ([`Cycle`], *optional*): of a motion that loops; it then ends with its first pose again.
        extras (`dict`, *optional*): facts that the animation carries.
    """
    humanoid = _humanoid(solve_body(joints, fps, skeleton))
    pose = pose_character(humanoid, joints, fps, skeleton, cycle)
    parents = humanoid.parents
    places = humanoid.positions
    offsets = places - [places[parent] if parent >= 0 else np.zeros(3) for parent in parents]
    scene = Gltf()
    add_nodes(scene, humanoid.names, parents, offsets)
    scene.add_animation(text or "motion", fps, {0: pose.root}, pose.local, extras)
    bones = {name: {"node": node} for node, name in enumerate(humanoid.names)}
    scene.document["extensionsUsed"] = ["VRMC_vrm_animation"]
    scene.document["extensions"] = {"VRMC_vrm_animation": {"specVersion": "1.0", "humanoid": {"humanBones": bones}}}
    path.write_bytes(scene.to_bytes())


_ALONG = {"knee": (0, -1, 0), "ankle": (0, -1, 0), "elbow": (1, 0, 0), "wrist": (1, 0, 0)}  # on the left


def _humanoid(body: Body) -> Character:
    """Return VRM's bones in its T-pose, with the body's proportions, the feet on the floor."""
    names = {bone: name for bone, name in bone_names(rigs()["vrm"]).items() if bone in body.rest}
    chest = [bone for bone in names if bone.startswith("spine")][-1]
    above = {"pelvis": None, "neck": chest, "head": "neck"}
    above |= {f"spine{i}": f"spine{i - 1}" if i > 1 else "pelvis" for i in (1, 2, 3)}
    for side in SIDES:
        collar = f"{side}_collar" if f"{side}_collar" in names else chest
        chains = (
            ("pelvis", "hip", "knee", "ankle", "foot"),
            (chest, "collar"),
            (collar, "shoulder", "elbow", "wrist"),
        )
        for start, *parts in chains:
            bones = [start, *(f"{side}_{part}" for part in parts)]
            above |= dict(zip(bones[1:], bones))
    places: dict[str, np.ndarray] = {}
    order = sorted(names, key=lambda bone: _depth(bone, above))
    for bone in order:
        parent = above[bone]
        offset = body.rest[bone] - (body.rest[parent] if parent else 0)
        side, _, part = bone.partition("_")
        if part in _ALONG:
            offset = np.linalg.norm(offset) * np.array(_ALONG[part]) * [1 if side == "left" else -1, 1, 1]
        places[bone] = offset + (places[parent] if parent else 0)
    positions = np.stack([*places.values()])
    positions -= [0, positions[:, 1].min(), 0]
    straight = np.tile(np.eye(3), (len(order), 1, 1))
    rows = {bone: row for row, bone in enumerate(order)}
    parents = [rows[parent] if (parent := above[bone]) else -1 for bone in order]
    return Character([names[bone] for bone in order], parents, positions, straight, straight, rows)


def _depth(bone: str, above: dict[str, str | None]) -> int:
    parent = above[bone]
    return 0 if parent is None else 1 + _depth(parent, above)
