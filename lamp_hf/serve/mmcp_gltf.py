"""Motions as MMCP sends them: on one fixed skeleton, as a glTF document whose buffer is inside it."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..models.feature_extraction_motion import MotionFeatureExtractor
from ..models.motion_representation import features_to_joints
from ..models.skeleton import Skeleton, get_skeleton
from ..motion.clip import Motion
from ..motion.gltf import continuous_quaternions
from ..motion.rotations import local_rotations, rest_positions, solve_rotations


_FLOAT = 5126  # glTF's number for float32
_KINDS = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}


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
    """Find the local rotations `(num_frames, num_joints, 4)` that bring the fixed skeleton to a motion."""
    skeleton = get_skeleton(motion.skeleton)
    rotations, _ = solve_rotations(motion.joints, skeleton, offsets=offsets)
    local = local_rotations(rotations, skeleton.parents)
    return np.stack([continuous_quaternions(turns) for turns in local.swapaxes(0, 1)], 1)


def to_gltf(motions: Sequence[Motion], offsets: np.ndarray, extension: dict[str, Any]) -> dict[str, Any]:
    """Write motions of equal length as a glTF document with an animation for each.

    Args:
        motions (`Sequence[Motion]`): of the same skeleton.
        offsets (`np.ndarray` of shape `(num_joints, 3)`): see [`rest_offsets`].
        extension (`dict`): the content of `MMCP_motion`.
    """
    skeleton, buffer = get_skeleton(motions[0].skeleton), _Buffer()
    times = buffer.add(np.arange(motions[0].num_frames)[:, None] / motions[0].fps, bounds=True)
    animations = []
    for number, motion in enumerate(motions):
        tracks = [
            (joint, "rotation", track) for joint, track in enumerate(to_rotations(motion, offsets).swapaxes(0, 1))
        ]
        tracks.append((0, "translation", motion.joints[:, 0]))
        samplers = [
            {"input": times, "output": buffer.add(values), "interpolation": "LINEAR"} for _, _, values in tracks
        ]
        channels = [
            {"sampler": row, "target": {"node": joint, "path": path}} for row, (joint, path, _) in enumerate(tracks)
        ]
        animations.append({"name": f"sample_{number}", "samplers": samplers, "channels": channels})
    return {
        "asset": {"version": "2.0", "generator": "lamp-hf"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": _nodes(skeleton, offsets),
        "skins": [{"joints": list(range(skeleton.num_joints)), "skeleton": 0}],
        "animations": animations,
        **buffer.parts(),
        "extensionsUsed": ["MMCP_motion"],
        "extensions": {"MMCP_motion": extension},
    }


def _nodes(skeleton: Skeleton, offsets: np.ndarray) -> list[dict[str, Any]]:
    nodes = []
    for number, joint in enumerate(canonical_skeleton(skeleton, offsets)["joints"]):
        children = [child for child, parent in enumerate(skeleton.parents) if parent == number]
        node = {"name": joint["name"], "translation": joint["rest_translation"], "rotation": joint["rest_rotation"]}
        nodes.append(node | ({"children": children} if children else {}))  # glTF allows no empty list
    return nodes


class _Buffer:
    """The numbers of a document, with what describes them."""

    def __init__(self):
        self._data = bytearray()
        self._views: list[dict] = []
        self._accessors: list[dict] = []

    def add(self, values: np.ndarray, bounds: bool = False) -> int:
        """Append rows `(num_rows, size)` and return the number of their accessor."""
        values = np.ascontiguousarray(values, "<f4")
        self._views.append({"buffer": 0, "byteOffset": len(self._data), "byteLength": values.nbytes})
        self._data += values.tobytes()
        accessor: dict[str, Any] = {"bufferView": len(self._views) - 1, "componentType": _FLOAT, "count": len(values)}
        accessor["type"] = _KINDS[values.shape[1]]
        if bounds:
            accessor |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        self._accessors.append(accessor)
        return len(self._accessors) - 1

    def parts(self) -> dict[str, Any]:
        """Return the parts of the document."""
        uri = "data:application/octet-stream;base64," + base64.b64encode(self._data).decode("ascii")
        buffers = [{"byteLength": len(self._data), "uri": uri}]
        return {"accessors": self._accessors, "bufferViews": self._views, "buffers": buffers}
