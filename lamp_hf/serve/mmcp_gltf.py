"""Motions as MMCP sends them: on one fixed skeleton, as a glTF document whose buffer is inside it."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..models.feature_extraction_motion import MotionFeatureExtractor
from ..models.motion_representation import features_to_joints
from ..models.skeleton import Skeleton, get_skeleton
from ..motion.clip import Motion
from ..motion.glb import add_nodes
from ..motion.gltf import Gltf
from ..motion.rotations import local_rotations, rest_positions, solve_rotations


def rest_offsets(extractor: MotionFeatureExtractor) -> np.ndarray:
    """Find the offset of each joint from its parent in a T-pose of the model's bodies, which stands on the floor.

    At the pelvis and the chest, where bones meet at a fixed angle, it is that of the mean pose of the training data.

    Args:
        extractor ([`MotionFeatureExtractor`]): knows the skeleton and the mean.

    Returns:
        `np.ndarray` of shape `(num_joints, 3)`, metres.
    """
    skeleton = get_skeleton(extractor.skeleton)
    mean = np.asarray(extractor.mean, np.float32)
    _, offsets = solve_rotations(features_to_joints(mean[None], skeleton), skeleton)
    lengths = np.linalg.norm(offsets, axis=-1, keepdims=True).clip(min=1e-9)
    offsets = offsets / lengths * (np.array(skeleton.bone_lengths) * skeleton.metres)[:, None]
    offsets[0] = [0.0, -rest_positions(offsets, skeleton.parents)[:, 1].min(), 0.0]
    return offsets


def canonical_skeleton(skeleton: Skeleton, offsets: np.ndarray) -> dict[str, Any]:
    """Describe the skeleton of every answer, as MMCP does.

    Args:
        skeleton ([`Skeleton`]): names and parents of the joints.
        offsets (`np.ndarray` of shape `(num_joints, 3)`): see [`rest_offsets`].
    """
    joints = [
        {
            "name": name,
            "parent": skeleton.joint_names[parent] if parent >= 0 else None,
            "rest_translation": offset.round(6).tolist(),
            "rest_rotation": [0.0, 0.0, 0.0, 1.0],
        }
        for name, parent, offset in zip(skeleton.joint_names, skeleton.parents, offsets)
    ]
    return {"joints": joints, "coordinate_system": "right_handed_y_up", "units": "meters"}


def to_rotations(motion: Motion, offsets: np.ndarray) -> np.ndarray:
    """Find the local rotations `(num_frames, num_joints, 3, 3)` that bring the fixed skeleton to a motion."""
    skeleton = get_skeleton(motion.skeleton)
    rotations, _ = solve_rotations(motion.joints, skeleton, offsets=offsets)
    return local_rotations(rotations, skeleton.parents)


def to_gltf(motions: Sequence[Motion], offsets: np.ndarray, extension: dict[str, Any]) -> dict[str, Any]:
    """Write motions as a glTF document with an animation for each.

    Args:
        motions (`Sequence[Motion]`): of the same skeleton.
        offsets (`np.ndarray` of shape `(num_joints, 3)`): see [`rest_offsets`].
        extension (`dict`): the content of `MMCP_motion`.
    """
    skeleton, scene = get_skeleton(motions[0].skeleton), Gltf()
    add_nodes(scene, skeleton.joint_names, skeleton.parents, offsets.round(6))  # as in the canonical skeleton
    scene.add("skins", {"joints": list(range(skeleton.num_joints)), "skeleton": 0})
    for number, motion in reversed([*enumerate(motions)]):  # each animation is put before those there are
        rotations = dict(enumerate(to_rotations(motion, offsets).swapaxes(0, 1)))
        scene.add_animation(f"sample_{number}", motion.fps, {0: motion.joints[:, 0]}, rotations)
    content = base64.b64encode(scene.buffer).decode("ascii")
    scene.document["buffers"][0]["uri"] = f"data:application/octet-stream;base64,{content}"
    return scene.document | {"extensionsUsed": ["MMCP_motion"], "extensions": {"MMCP_motion": extension}}
