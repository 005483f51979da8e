"""The container of GLB, VRM and VRMA files: glTF's JSON with one binary buffer, to which things are appended.

What a file holds stays as it is, unknown extensions and all, which libraries of typed objects do not promise.
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation


FLOAT, UNSIGNED_BYTE, UNSIGNED_SHORT = 5126, 5121, 5123  # glTF's numbers of component types
VERTICES, INDICES = 34962, 34963  # and of what a buffer view is for
_COMPONENTS = {np.float32: FLOAT, np.uint8: UNSIGNED_BYTE, np.uint16: UNSIGNED_SHORT}
_MAGIC, _JSON, _BINARY = b"glTF", b"JSON", b"BIN\0"


class Gltf:
    """A glTF document and its binary buffer.

    Args:
        document (`dict`, *optional*): the JSON; an empty scene by default.
        buffer (`bytes`): the binary chunk.
    """

    def __init__(self, document: dict[str, Any] | None = None, buffer: bytes = b""):
        self.document = document or {
            "asset": {"version": "2.0", "generator": "lamp_hf"},
            "scene": 0,
            "scenes": [{"nodes": []}],
        }
        self.buffer = bytearray(buffer)

    @classmethod
    def read(cls, path: Path) -> "Gltf":
        """Read a binary file.

        Raises:
            ValueError: when it is no GLB, is damaged, or keeps its meshes in other files.
        """
        content = path.read_bytes()
        if content[:4] != _MAGIC:
            raise ValueError(f"{path}: not a GLB or VRM file")
        chunks: dict[bytes, bytes] = {}
        try:
            version, length = struct.unpack_from("<2I", content, 4)
            position = 12
            while position < length:
                size, kind = struct.unpack_from("<I4s", content, position)
                chunks.setdefault(kind, content[position + 8 : position + 8 + size])
                position += 8 + size
            document = json.loads(chunks[_JSON])
        except (KeyError, ValueError, struct.error) as error:
            raise ValueError(f"{path}: damaged GLB: {error}") from None
        if version != 2 or position > len(content) or not isinstance(document, dict):
            raise ValueError(f"{path}: damaged GLB, or not of version 2")
        if any("uri" in buffer for buffer in document.get("buffers", []) if isinstance(buffer, dict)):
            raise ValueError(f"{path}: its meshes are outside of its binary chunk; export it again as one .glb")
        return cls(document, chunks.get(_BINARY, b""))

    def add(self, kind: str, item: dict[str, Any]) -> int:
        """Append an item, a node or a mesh for instance, and return its number."""
        items = self.document.setdefault(kind, [])
        items.append(item)
        return len(items) - 1

    def add_accessor(self, values: np.ndarray, kind: str, target: int | None = None, bounds: bool = False) -> int:
        """Append values to the buffer and return the number of their accessor.

        Args:
            values (`np.ndarray`): float32, uint8 or uint16; one row an element.
            kind (`str`): `"SCALAR"`, `"VEC3"`, ...
            target (`int`, *optional*): `VERTICES` or `INDICES`.
            bounds (`bool`): state the least and the greatest value.
        """
        if not self.document.get("buffers"):
            self.document["buffers"] = [{"byteLength": 0}]
        self.buffer += bytes(-len(self.buffer) % 4)
        view = {"buffer": 0, "byteOffset": len(self.buffer), "byteLength": values.nbytes}
        if target is not None:
            view["target"] = target
        self.buffer += values.tobytes()
        self.document["buffers"][0]["byteLength"] = len(self.buffer)
        accessor = {
            "bufferView": self.add("bufferViews", view),
            "componentType": _COMPONENTS[values.dtype.type],
            "count": len(values),
            "type": kind,
        }
        if bounds:
            columns = values.reshape(len(values), -1)
            accessor |= {"min": columns.min(0).tolist(), "max": columns.max(0).tolist()}
        return self.add("accessors", accessor)

    def add_root(self) -> int:
        """Hang the scene's first node on a node `root`, which engines take root motion from; return its number."""
        roots = self.document["scenes"][0]["nodes"]
        roots[0] = self.add("nodes", {"name": "root", "translation": [0.0, 0.0, 0.0], "children": [roots[0]]})
        return roots[0]

    def add_animation(
        self,
        name: str,
        fps: float,
        positions: dict[int, np.ndarray],
        rotations: dict[int, np.ndarray],
        extras: dict[str, Any] | None = None,
    ) -> None:
        """Put an animation before those there are: viewers play the first.

        Args:
            name (`str`): what programs list it as.
            fps (`float`): frames per second.
            positions (`dict[int, np.ndarray]`): by node, `(num_frames, 3)`, relative to its parent.
            rotations (`dict[int, np.ndarray]`): by node, `(num_frames, 3, 3)`, relative to its parent.
            extras (`dict`, *optional*): facts that the animation carries.
        """
        num_frames = len(next(iter(rotations.values())))
        times = self.add_accessor((np.arange(num_frames) / fps).astype(np.float32), "SCALAR", bounds=True)
        samplers: list[dict[str, int]] = []
        channels: list[dict[str, Any]] = []
        tracks = [(node, "translation", path, "VEC3") for node, path in positions.items()]
        tracks += [(node, "rotation", continuous_quaternions(turns), "VEC4") for node, turns in rotations.items()]
        for node, path, values, kind in tracks:
            channels.append({"sampler": len(samplers), "target": {"node": node, "path": path}})
            samplers.append({"input": times, "output": self.add_accessor(values.astype(np.float32), kind)})
        animation = {"name": name, "samplers": samplers, "channels": channels} | ({"extras": extras} if extras else {})
        self.document.setdefault("animations", []).insert(0, animation)

    def to_bytes(self) -> bytes:
        """Return the binary file."""
        text = json.dumps(self.document, separators=(",", ":")).encode()
        chunks = [(_JSON, text + b" " * (-len(text) % 4))]
        if self.buffer:
            chunks.append((_BINARY, bytes(self.buffer) + bytes(-len(self.buffer) % 4)))
        body = b"".join(struct.pack("<I4s", len(data), kind) + data for kind, data in chunks)
        return struct.pack("<4sII", _MAGIC, 2, 12 + len(body)) + body


def continuous_quaternions(matrices: np.ndarray) -> np.ndarray:
    """Turn rotations `(T, 3, 3)` into quaternions `(T, 4)` as x, y, z, w, with signs that change least over time."""
    quaternions = Rotation.from_matrix(matrices).as_quat()
    flips = np.sign((quaternions[1:] * quaternions[:-1]).sum(-1))
    quaternions[1:] *= np.cumprod(np.where(flips == 0, 1, flips))[:, None]
    return quaternions
