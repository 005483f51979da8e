"""GLB files for Blender, game engines and browsers: a body of capsules with skeleton, skin and animation."""

from pathlib import Path

import numpy as np
import pygltflib as gltf
from scipy.spatial.transform import Rotation

from ..models.skeleton import Skeleton
from .body import BONE_RADII, bone_colour
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
    rest = rest_positions(offsets, skeleton.parents)
    rest += [0, -rest[:, 1].min(), 0]
    scene = _Scene()
    mesh = scene.add_body(rest, skeleton)
    scene.add_skeleton(rest, skeleton, mesh, text or "motion")
    positions = {0: joints[:, 0]} | stretching_bones(joints, rotations, offsets, skeleton.parents)
    if root_motion:
        travel = joints[:, 0] * [1, 0, 1]
        positions |= {0: joints[:, 0] - travel, scene.add_root(): travel}
    scene.add_animation(positions, local, fps, extras or {})
    path.write_bytes(scene.to_bytes())


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


class _Scene:
    """A glTF document under construction, with its one binary buffer."""

    def __init__(self):
        self.document = gltf.GLTF2(
            asset=gltf.Asset(version="2.0", generator="lamp_hf"), scene=0, scenes=[gltf.Scene(nodes=[])]
        )
        self.buffer = bytearray()

    def add_body(self, rest: np.ndarray, skeleton: Skeleton) -> int:
        """Add the skinned mesh and return its number."""
        vertices, normals, colours, owners, triangles = capsules(rest, skeleton)
        influence = np.zeros((len(vertices), 4), np.uint8)
        influence[:, 0] = owners
        weights = np.zeros((len(vertices), 4), np.float32)
        weights[:, 0] = 1
        attributes = gltf.Attributes(
            POSITION=self._accessor(vertices.astype(np.float32), gltf.VEC3, gltf.ARRAY_BUFFER, bounds=True),
            NORMAL=self._accessor(normals.astype(np.float32), gltf.VEC3, gltf.ARRAY_BUFFER),
            COLOR_0=self._accessor(colours.astype(np.float32), gltf.VEC3, gltf.ARRAY_BUFFER),
            JOINTS_0=self._accessor(influence, gltf.VEC4, gltf.ARRAY_BUFFER),
            WEIGHTS_0=self._accessor(weights, gltf.VEC4, gltf.ARRAY_BUFFER),
        )
        indices = self._accessor(triangles.astype(np.uint16).reshape(-1), gltf.SCALAR, gltf.ELEMENT_ARRAY_BUFFER)
        material = gltf.PbrMetallicRoughness(metallicFactor=0.0, roughnessFactor=0.8)
        self.document.materials.append(gltf.Material(pbrMetallicRoughness=material, name="body"))
        primitive = gltf.Primitive(attributes=attributes, indices=indices, material=0)
        self.document.meshes.append(gltf.Mesh(primitives=[primitive], name="body"))
        return 0

    def add_skeleton(self, rest: np.ndarray, skeleton: Skeleton, mesh: int, text: str) -> None:
        """Add the joints as nodes 0 to num_joints - 1 and the body as the next node."""
        for joint, parent in enumerate(skeleton.parents):
            offset = rest[joint] - (rest[parent] if parent >= 0 else 0)
            children = children_of(joint, skeleton.parents)
            self.document.nodes.append(
                gltf.Node(name=skeleton.joint_names[joint], translation=offset.tolist(), children=children)
            )
        inverse = np.tile(np.eye(4, dtype=np.float32), (len(rest), 1, 1))
        inverse[:, 3, :3] = -rest  # column-major, as glTF stores matrices
        matrices = self._accessor(inverse.reshape(-1, 16), gltf.MAT4)
        joints = list(range(len(rest)))
        self.document.skins.append(gltf.Skin(joints=joints, inverseBindMatrices=matrices, skeleton=0))
        self.document.nodes.append(gltf.Node(mesh=mesh, skin=0, name=text))
        self.document.scenes[0].nodes = [0, len(rest)]

    def add_root(self) -> int:
        """Hang the skeleton on a node `root`, which engines take root motion from, and return its number."""
        self.document.nodes.append(gltf.Node(name="root", translation=[0.0, 0.0, 0.0], children=[0]))
        number = len(self.document.nodes) - 1
        self.document.scenes[0].nodes[0] = number
        return number

    def add_animation(self, positions: dict[int, np.ndarray], local: np.ndarray, fps: float, extras: dict) -> None:
        times = self._accessor((np.arange(len(local)) / fps).astype(np.float32), gltf.SCALAR, bounds=True)
        animation = gltf.Animation(name="motion", samplers=[], channels=[], extras=extras)

        def add(joint: int, target_path: str, values: np.ndarray, kind: str) -> None:
            animation.samplers.append(
                gltf.AnimationSampler(input=times, output=self._accessor(values.astype(np.float32), kind))
            )
            target = gltf.AnimationChannelTarget(node=joint, path=target_path)
            animation.channels.append(gltf.AnimationChannel(sampler=len(animation.samplers) - 1, target=target))

        for joint, path in positions.items():
            add(joint, "translation", path, gltf.VEC3)
        for joint in range(local.shape[1]):
            add(joint, "rotation", _continuous_quaternions(local[:, joint]), gltf.VEC4)
        self.document.animations.append(animation)

    def to_bytes(self) -> bytes:
        """Return the binary file."""
        self.document.buffers.append(gltf.Buffer(byteLength=len(self.buffer)))
        self.document.set_binary_blob(bytes(self.buffer))
        return b"".join(self.document.save_to_bytes())

    def _accessor(self, values: np.ndarray, kind: str, target: int | None = None, bounds: bool = False) -> int:
        """Append values to the buffer and return the number of their accessor."""
        self.buffer += bytes(-len(self.buffer) % 4)
        view = gltf.BufferView(buffer=0, byteOffset=len(self.buffer), byteLength=values.nbytes, target=target)
        self.document.bufferViews.append(view)
        self.buffer += values.tobytes()
        types = {np.float32: gltf.FLOAT, np.uint8: gltf.UNSIGNED_BYTE, np.uint16: gltf.UNSIGNED_SHORT}
        accessor = gltf.Accessor(
            bufferView=len(self.document.bufferViews) - 1,
            componentType=types[values.dtype.type],
            count=len(values),
            type=kind,
        )
        if bounds:
            columns = values.reshape(len(values), -1)
            accessor.min, accessor.max = columns.min(0).tolist(), columns.max(0).tolist()
        self.document.accessors.append(accessor)
        return len(self.document.accessors) - 1


def _continuous_quaternions(matrices: np.ndarray) -> np.ndarray:
    """Turn rotations `(T, 3, 3)` into quaternions `(T, 4)` as x, y, z, w, with signs that change least over time."""
    quaternions = Rotation.from_matrix(matrices).as_quat()
    flips = np.sign((quaternions[1:] * quaternions[:-1]).sum(-1))
    quaternions[1:] *= np.cumprod(np.where(flips == 0, 1, flips))[:, None]
    return quaternions
