"""GLB files for Blender, game engines and browsers: a body of capsules with skeleton, skin and animation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..models.skeleton import Skeleton
from .body import BONE_RADII, bone_colour
from .gltf import INDICES, VERTICES, Gltf
from .rotations import STRETCH, children_of, local_rotations, rest_positions, solve_rotations, stretching_bones


_SEGMENTS, _RINGS = 12, 4  # around a capsule, and on each of its caps


def write_glb(
    path: Path,
    joints: np.ndarray,
    fps: float,
    skeleton: Skeleton,
    text: str | None = None,
    extras: dict | None = None,
    root_motion: bool = False,
) -> None:
    """Write a motion as an animated, skinned body whose rest pose is a T-pose.

    Args:
        path (`Path`): the file.
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres, Y up.
        fps (`float`): frames per second.
        skeleton ([`Skeleton`]): the joint tree.
        text (`str`, *optional*): name of the body's node.
        extras (`dict`, *optional*): facts that the animation carries.
        root_motion (`bool`): a node `root` above the pelvis travels over the ground, and the pelvis stays above it.
    """
    rotations, offsets = solve_rotations(joints, skeleton, STRETCH)
    local = local_rotations(rotations, skeleton.parents)
    offsets[0] -= [0, rest_positions(offsets, skeleton.parents)[:, 1].min(), 0]  # stands on the floor at rest
    rest = rest_positions(offsets, skeleton.parents)
    scene = Gltf()
    add_nodes(scene, skeleton.joint_names, skeleton.parents, offsets)
    _add_body(scene, rest, skeleton, text or "motion")
    positions = {0: joints[:, 0]} | stretching_bones(joints, rotations, offsets, skeleton.parents)
    if root_motion:
        travel = joints[:, 0] * [1, 0, 1]
        positions |= {0: joints[:, 0] - travel, scene.add_root(): travel}
    scene.add_animation("motion", fps, positions, dict(enumerate(local.swapaxes(0, 1))), extras)
    path.write_bytes(scene.to_bytes())


def add_nodes(scene: Gltf, names: Sequence[str], parents: Sequence[int], offsets: np.ndarray) -> None:
    """Add joints as nodes 0 to num_joints - 1, the first of which is the scene's root.

    Args:
        scene ([`Gltf`]): without nodes.
        names (`Sequence[str]`): of the joints.
        parents (`Sequence[int]`): -1 for joint 0.
        offsets (`np.ndarray` of shape `(num_joints, 3)`): from the parent, metres.
    """
    for joint, (name, offset) in enumerate(zip(names, offsets)):
        node = {"name": name, "translation": np.asarray(offset, float).tolist()}
        scene.add("nodes", node | ({"children": below} if (below := children_of(joint, parents)) else {}))
    scene.document["scenes"][0]["nodes"].append(0)


def _add_body(scene: Gltf, rest: np.ndarray, skeleton: Skeleton, name: str) -> None:
    """Add the body of capsules, moved by nodes 0 to num_joints - 1."""
    vertices, normals, colours, owners, triangles = capsules(rest, skeleton)
    influence = np.zeros((len(vertices), 4), np.uint8)
    influence[:, 0] = owners
    weights = np.zeros((len(vertices), 4), np.float32)
    weights[:, 0] = 1
    attributes = {
        "POSITION": scene.add_accessor(vertices.astype(np.float32), "VEC3", VERTICES, bounds=True),
        "NORMAL": scene.add_accessor(normals.astype(np.float32), "VEC3", VERTICES),
        "COLOR_0": scene.add_accessor(colours.astype(np.float32), "VEC3", VERTICES),
        "JOINTS_0": scene.add_accessor(influence, "VEC4", VERTICES),
        "WEIGHTS_0": scene.add_accessor(weights, "VEC4", VERTICES),
    }
    indices = scene.add_accessor(triangles.astype(np.uint16).reshape(-1), "SCALAR", INDICES)
    surface = {"metallicFactor": 0.0, "roughnessFactor": 0.8}
    material = scene.add("materials", {"name": "body", "pbrMetallicRoughness": surface})
    primitive = {"attributes": attributes, "indices": indices, "material": material}
    mesh = scene.add("meshes", {"name": "body", "primitives": [primitive]})
    inverse = np.tile(np.eye(4, dtype=np.float32), (len(rest), 1, 1))
    inverse[:, 3, :3] = -rest  # column-major, as glTF stores matrices
    matrices = scene.add_accessor(inverse.reshape(-1, 16), "MAT4")
    skin = scene.add("skins", {"joints": list(range(len(rest))), "inverseBindMatrices": matrices, "skeleton": 0})
    scene.document["scenes"][0]["nodes"].append(scene.add("nodes", {"name": name, "mesh": mesh, "skin": skin}))


def capsules(rest: np.ndarray, skeleton: Skeleton) -> tuple[np.ndarray, ...]:
    """Build the mesh of the body at rest.

    Args:
        rest (`np.ndarray` of shape `(num_joints, 3)`): joints at rest, metres.
        skeleton ([`Skeleton`]): the joint tree.

    Returns:
        Vertices, normals and colours `(N, 3)`, the joint that moves each vertex `(N,)`, and triangles `(M, 3)`.
    """
    parts, start = [], 0
    for joint, parent in enumerate(skeleton.parents):
        if parent < 0:
            continue
        radius = BONE_RADII[skeleton.joint_names[joint].rpartition("_")[2]]
        vertices, normals, triangles = _capsule(rest[parent], rest[joint], radius)
        linear = (np.array(bone_colour(skeleton.joint_names[joint])) / 255) ** 2.2  # glTF's colours are not sRGB
        colour = np.tile(linear, (len(vertices), 1))
        parts.append((vertices, normals, colour, np.full(len(vertices), parent), triangles + start))
        start += len(vertices)
    return tuple(np.concatenate(part) for part in zip(*parts))


def _capsule(start: np.ndarray, end: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return vertices, normals and outward triangles of a capsule between two points."""
    bone = end - start
    axis = bone / max(np.linalg.norm(bone), 1e-9)
    side = np.cross(axis, [0, 0, 1.0] if abs(axis[2]) < 0.9 else [1.0, 0, 0])
    side /= np.linalg.norm(side)
    around = np.linspace(0, 2 * np.pi, _SEGMENTS, endpoint=False)
    circle = np.cos(around)[:, None] * side + np.sin(around)[:, None] * np.cross(axis, side)
    angles = np.concatenate([np.linspace(-np.pi / 2, 0, _RINGS + 1), np.linspace(0, np.pi / 2, _RINGS + 1)])
    centres = [start] * (_RINGS + 1) + [end] * (_RINGS + 1)
    normals = np.stack([np.cos(angle) * circle + np.sin(angle) * axis for angle in angles])  # [rings, segments, 3]
    vertices = np.array(centres)[:, None] + radius * normals
    ring = np.arange(len(angles) - 1)[:, None] * _SEGMENTS
    here = np.arange(_SEGMENTS)
    beside = (here + 1) % _SEGMENTS
    a, b, c, d = ring + here, ring + beside, ring + _SEGMENTS + here, ring + _SEGMENTS + beside
    triangles = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])
    return vertices.reshape(-1, 3), normals.reshape(-1, 3), triangles
