"""Script for a Python with Blender's module `bpy`: prints what Blender makes of a motion file, as JSON.

Joints are in metres in glTF's axes, X, Y up and Z, in every frame.
"""

import json
import math
import sys

import bpy


IMPORTERS = {
    "bvh": lambda path: bpy.ops.import_anim.bvh(filepath=path, update_scene_fps=True, update_scene_duration=True),
    "fbx": lambda path: bpy.ops.import_scene.fbx(filepath=path),
    "glb": lambda path: bpy.ops.import_scene.gltf(filepath=path, disable_bone_shape=True),
}


def main(path: str, fps: float) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    kind = path.rpartition(".")[2]
    if kind == "glb":  # its times are seconds, which fall onto the frames of the scene
        scene.render.fps, scene.render.fps_base = math.ceil(fps), math.ceil(fps) / fps
    IMPORTERS[kind](path)
    (body,) = [thing for thing in bpy.data.objects if thing.type == "ARMATURE"]
    start, end = body.animation_data.action.frame_range
    frames = range(round(start), round(end) + 1)
    joints = []
    for frame in frames:
        scene.frame_set(frame)
        places = [body.matrix_world @ bone.head for bone in body.pose.bones]
        joints.append([(x, z, -y) for x, y, z in places])
    skinned = [
        thing.name
        for thing in bpy.data.objects
        if thing.type == "MESH" and any(modifier.type == "ARMATURE" for modifier in thing.modifiers)
    ]
    found = {
        "names": [bone.name for bone in body.pose.bones],
        "joints": joints,
        "fps": scene.render.fps / scene.render.fps_base,
        "scale": list(body.scale),
        "skinned": skinned,
        "actions": [action.name for action in bpy.data.actions],
    }
    print("JSON" + json.dumps(found))


main(sys.argv[1], float(sys.argv[2]))
