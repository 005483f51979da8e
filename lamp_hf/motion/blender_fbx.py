"""Script for a Python that has Blender's module `bpy`: it turns an animated GLB into an FBX.

Run it as `python -P blender_fbx.py motion.glb motion.fbx FPS`; it needs nothing else of this package.
"""

import math
import sys


def main(glb: str, fbx: str, fps: float) -> None:
    """Import a GLB into an empty scene of a frame rate, and export the first of its animations."""
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.fps = math.ceil(fps)
    scene.render.fps_base = math.ceil(fps) / fps
    bpy.ops.import_scene.gltf(filepath=glb, disable_bone_shape=True)
    actions = [thing.animation_data.action for thing in scene.objects if thing.animation_data]
    ends = [action.frame_range for action in actions if action is not None]
    scene.frame_start = math.floor(min(start for start, _ in ends))
    scene.frame_end = math.ceil(max(end for _, end in ends))
    bpy.ops.export_scene.fbx(
        filepath=fbx,
        object_types={"ARMATURE", "EMPTY", "MESH"},
        path_mode="COPY",
        embed_textures=True,
        add_leaf_bones=False,
        bake_anim_use_nla_strips=False,
        bake_anim_use_all_actions=False,
        bake_anim_simplify_factor=0.0,
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
