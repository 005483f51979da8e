"""Characters in GLB and VRM files: read with their bones, written with one more animation and nothing else changed."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from .character import Character, bone_names
from .gltf import Gltf
from .posing import Pose
from .rigs import rigs


class GlbCharacter:
    """A character of a GLB or VRM file: skinned, or a VRM of rigid parts.

    Args:
        path (`Path`): the file.
        rig (`dict`, *optional*): bone map, see `rigs.yaml`; by default the file's own if it is a VRM, or one chosen by
            the names of the joints.

    Raises:
        ValueError: when the file is damaged or does not hold one person's body that moves its meshes.
    """

    def __init__(self, path: Path, rig: dict | None = None):
        self._file = Gltf.read(path)
        document = self._file.document
        try:
            self._read_nodes(document)
            skinned = sorted({joint for skin in document.get("skins", []) for joint in skin["joints"]})
            skinned = [self._rows[node] for node in skinned]
            humanoid = _vrm_bones(document)
        except (AttributeError, IndexError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{path}: damaged GLB: {error!r}") from None
        try:
            if not skinned and not humanoid:
                raise ValueError(
                    "it has no skin: no skeleton moves its meshes; bind them to one, in Blender for example"
                )
            if rig is None and humanoid:
                self.character.set_bones({bone: self._rows[node] for bone, node in humanoid.items()})
            else:
                self.character.find_bones(skinned or list(range(len(self._nodes))), rig)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def _read_nodes(self, document: dict[str, Any]) -> None:
        """Read the tree of nodes, each behind its parent, with where they are at rest."""
        nodes = document.get("nodes", [])
        parents = {child: node for node, item in enumerate(nodes) for child in item.get("children", [])}
        self._nodes = [node for node in range(len(nodes)) if node not in parents]
        for node in self._nodes:
            self._nodes += nodes[node].get("children", [])
            if len(self._nodes) > len(nodes):
                raise KeyError("a node has two parents")
        self._rows = {node: row for row, node in enumerate(self._nodes)}
        local = np.stack([_matrix(nodes[node]) for node in self._nodes]) if nodes else np.zeros((0, 4, 4))
        self._world = local.copy()
        rows = [self._rows[parents[node]] if node in parents else -1 for node in self._nodes]
        for row, parent in enumerate(rows):
            if parent >= 0:
                self._world[row] = self._world[parent] @ local[row]
        names = [str(nodes[node].get("name", f"node {node}")) for node in self._nodes]
        self.character = Character(names, rows, self._world[:, :3, 3], _rotation(self._world), _rotation(local))

    def write(self, path: Path, pose: Pose, fps: float, name: str, extras: dict[str, Any]) -> None:
        """Write the file with an animation before its own.

        Args:
            path (`Path`): the file.
            pose ([`Pose`]): of this character.
            fps (`float`): frames per second.
            name (`str`): of the animation.
            extras (`dict`): facts that the animation carries.
        """
        for joint in pose.local:
            _untie(self._file.document["nodes"][self._nodes[joint]])
        pelvis = self.character.bones["pelvis"]
        parent = self.character.parents[pelvis]
        into = np.linalg.inv(self._world[parent]) if parent >= 0 else np.eye(4)
        positions = {self._nodes[pelvis]: pose.root @ into[:3, :3].T + into[:3, 3]}
        rotations = {self._nodes[joint]: turns for joint, turns in pose.local.items()}
        self._file.add_animation(name, fps, positions, rotations, extras)
        path.write_bytes(self._file.to_bytes())


def _vrm_bones(document: dict[str, Any]) -> dict[str, int]:
    """Return the node of each bone that a VRM, of version 0 or 1, says itself; nothing for other files."""
    extensions = document.get("extensions", {})
    if "VRMC_vrm" in extensions:
        nodes = {bone: item["node"] for bone, item in extensions["VRMC_vrm"]["humanoid"]["humanBones"].items()}
    elif "VRM" in extensions:
        nodes = {item["bone"]: item["node"] for item in extensions["VRM"]["humanoid"]["humanBones"]}
    else:
        return {}
    if "head" in nodes:
        nodes.setdefault("neck", nodes["head"])
    return {bone: nodes[name] for bone, name in bone_names(rigs()["vrm"]).items() if name in nodes}


def _matrix(node: dict[str, Any]) -> np.ndarray:
    """Return the transformation of a node relative to its parent, `(4, 4)`."""
    if "matrix" in node:
        return np.array(node["matrix"], float).reshape(4, 4).T
    matrix = np.eye(4)
    turn = Rotation.from_quat(node.get("rotation", (0, 0, 0, 1))).as_matrix()
    matrix[:3, :3] = turn * np.array(node.get("scale", (1, 1, 1)), float)
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix


def _rotation(matrices: np.ndarray) -> np.ndarray:
    """Return the rotations, or reflections, nearest to matrices `(N, 4, 4)`."""
    u, _, vh = np.linalg.svd(matrices[:, :3, :3])
    return u @ vh


def _untie(node: dict[str, Any]) -> None:
    """Replace a node's matrix by translation, rotation and scale, the only ones that can be animated."""
    if "matrix" not in node:
        return
    matrix = _matrix(node)
    turn = _rotation(matrix[None])[0]
    del node["matrix"]
    node["translation"] = matrix[:3, 3].tolist()
    node["rotation"] = Rotation.from_matrix(turn).as_quat().tolist()
    node["scale"] = np.diag(turn.T @ matrix[:3, :3]).tolist()
