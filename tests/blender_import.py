"""Write down what arrives in Blender: `blender_import.py FILE... -o FOUND.npz`, with a Python that has `bpy`.

Imports nothing of the package. Each file is imported into an empty scene with the importer's own defaults; a Python
file is run there instead. `FOUND.npz` then has, after the file's name and a slash:

    bones        names of the armature's bones
    heads        [keys, bones, 3], where the bones begin in each frame that has a key: metres, in Blender's axes
    keys         [keys], these frames, which need not be whole
    fps          frames per second of the scene
    frame_range  first and last frame of the scene
    scale        [3], of the armature
    skinned      share of the meshes' vertices that the armature's bones move, with weights that sum to one
    bounds       [keys, 2, 3], least and greatest coordinates of the moved meshes; NaN without a mesh
"""

import argparse
import runpy
from pathlib import Path

import bpy
import numpy as np


IMPORTERS = {
    ".bvh": lambda path: bpy.ops.import_anim.bvh(filepath=path, update_scene_fps=True, update_scene_duration=True),
    ".glb": lambda path: bpy.ops.import_scene.gltf(filepath=path),
    ".fbx": lambda path: bpy.ops.import_scene.fbx(filepath=path),
    ".py": lambda path: runpy.run_path(path),
}


def arrived() -> dict:
    """Describe the scene, whose only armature is the body."""
    scene = bpy.context.scene
    (body,) = (thing for thing in scene.objects if thing.type == "ARMATURE")
    meshes = [thing for thing in scene.objects if any(change.type == "ARMATURE" for change in thing.modifiers)]
    keys = key_frames(scene)
    heads, bounds = zip(*(pose(scene, body, meshes, frame) for frame in keys))
    return {
        "bones": [bone.name for bone in body.pose.bones],
        "heads": heads,
        "keys": keys,
        "fps": scene.render.fps / scene.render.fps_base,
        "frame_range": (scene.frame_start, scene.frame_end),
        "scale": body.matrix_world.to_scale(),
        "skinned": np.mean([share_skinned(mesh, body) for mesh in meshes]) if meshes else np.nan,
        "bounds": bounds,
    }


def key_frames(scene) -> np.ndarray:
    """List the frames in which the actions now playing have keys, `(num_keys,)`."""
    moved = [thing.animation_data for thing in scene.objects if thing.animation_data and thing.animation_data.action]
    frames = [
        key.co[0]
        for data in moved
        for layer in data.action.layers
        for strip in layer.strips
        for curve in strip.channelbag(data.action_slot).fcurves
        for key in curve.keyframe_points
    ]
    return np.unique(np.round(frames, 3))


def pose(scene, body, meshes: list, frame: float) -> tuple[np.ndarray, np.ndarray]:
    """Return where the bones begin `(num_bones, 3)`, and the bounds of the meshes `(2, 3)`, in one frame."""
    scene.frame_set(int(frame), subframe=frame % 1)
    heads = in_world([bone.head for bone in body.pose.bones], body)
    now = bpy.context.evaluated_depsgraph_get()
    corners = [in_world([corner.co for corner in mesh.evaluated_get(now).data.vertices], mesh) for mesh in meshes]
    points = np.concatenate(corners) if corners else np.full((1, 3), np.nan)
    return heads, np.stack([points.min(0), points.max(0)])


def in_world(points: list, thing) -> np.ndarray:
    matrix = np.array(thing.matrix_world)
    return np.array(points) @ matrix[:3, :3].T + matrix[:3, 3]


def share_skinned(mesh, body) -> float:
    """Return the share of a mesh's vertices that hang on bones of the body, and on nothing else."""
    ours = {group.index for group in mesh.vertex_groups if group.name in body.data.bones}
    moved = any(change.type == "ARMATURE" and change.object == body for change in mesh.modifiers)
    weights = [sum(part.weight for part in corner.groups if part.group in ours) for corner in mesh.data.vertices]
    return moved * float(np.mean(np.abs(np.array(weights) - 1) < 1e-3))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    found = {}
    for path in arguments.files:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        IMPORTERS[path.suffix](str(path))
        found |= {f"{path.name}/{name}": np.array(value) for name, value in arrived().items()}
    np.savez(arguments.output, **found)


if __name__ == "__main__":
    main()
