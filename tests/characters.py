"""Small characters for tests, with the names, rest poses, axes and scales of the programs that people use.

Each is a body of another build than the motions', with fingers and a tail, in a GLB, VRM or BVH; and a reader of GLB
that shares no code with the package.
"""

import json
import struct
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from lamp_hf.motion.gltf import Gltf


# A short, broad person in a T-pose: Y up, facing Z+, metres. Joint: parent, place.
BODY: dict[str, tuple[str | None, tuple[float, float, float]]] = {
    "pelvis": (None, (0, 0.80, 0)), "spine1": ("pelvis", (0, 0.90, 0.01)), "spine2": ("spine1", (0, 1.05, 0)),
    "neck": ("spine2", (0, 1.30, -0.02)), "head": ("neck", (0, 1.38, 0)), "tail": ("pelvis", (0, 0.8, -0.3)),
}  # fmt: skip
for _side, _sign in (("left", 1), ("right", -1)):
    BODY |= {
        f"{_side}_{part}": (f"{_side}_{parent}" if parent not in ("pelvis", "spine2") else parent, (_sign * x, y, z))
        for part, parent, (x, y, z) in (
            ("hip", "pelvis", (0.12, 0.76, 0)), ("knee", "hip", (0.12, 0.42, 0.01)),
            ("ankle", "knee", (0.12, 0.09, 0)),
            ("foot", "ankle", (0.12, 0.02, 0.14)), ("collar", "spine2", (0.03, 1.24, 0)),
            ("shoulder", "collar", (0.21, 1.24, 0)), ("elbow", "shoulder", (0.45, 1.24, 0)),
            ("wrist", "elbow", (0.68, 1.24, 0)), ("finger", "wrist", (0.76, 1.24, 0)),
        )
    }  # fmt: skip

_MIXAMO = {"pelvis": "Hips", "spine1": "Spine", "spine2": "Spine1", "neck": "Neck", "head": "Head", "hip": "*UpLeg",
           "knee": "*Leg", "ankle": "*Foot", "foot": "*ToeBase", "collar": "*Shoulder", "shoulder": "*Arm",
           "elbow": "*ForeArm", "wrist": "*Hand", "finger": "*HandIndex1"}  # fmt: skip
_UNREAL = {"pelvis": "pelvis", "spine1": "spine_01", "spine2": "spine_02", "neck": "neck_01", "head": "head",
           "hip": "thigh_*", "knee": "calf_*", "ankle": "foot_*", "foot": "ball_*", "collar": "clavicle_*",
           "shoulder": "upperarm_*", "elbow": "lowerarm_*", "wrist": "hand_*", "finger": "index_01_*"}  # fmt: skip
_RIGIFY = {"pelvis": "DEF-spine", "spine1": "DEF-spine.001", "spine2": "DEF-spine.002", "neck": "DEF-spine.004",
           "head": "DEF-spine.006", "hip": "DEF-thigh.*", "knee": "DEF-shin.*", "ankle": "DEF-foot.*",
           "foot": "DEF-toe.*", "collar": "DEF-shoulder.*", "shoulder": "DEF-upper_arm.*", "elbow": "DEF-forearm.*",
           "wrist": "DEF-hand.*", "finger": "DEF-f_index.01.*"}  # fmt: skip
_NAMES = {"mixamo": (_MIXAMO, "mixamorig:", "Left", "Right"), "unreal": (_UNREAL, "", "l", "r"),
          "rigify": (_RIGIFY, "", "L", "R")}  # fmt: skip
_VRM = {"pelvis": "hips", "spine1": "spine", "spine2": "chest", "neck": "neck", "head": "head", "hip": "UpperLeg",
        "knee": "LowerLeg", "ankle": "Foot", "foot": "Toes", "collar": "Shoulder", "shoulder": "UpperArm",
        "elbow": "LowerArm", "wrist": "Hand"}  # fmt: skip
RIGS = {  # names, arms hang by degrees, axes of bones, turn and scale of the armature, up axis of the file
    "mixamo": {"names": "mixamo", "armature": (0.01, Rotation.from_euler("x", -90, degrees=True))},
    "unreal": {"names": "unreal", "arms": 45.0, "odd_axes": True},
    "blender": {"names": "rigify", "arms": 30.0, "odd_axes": True, "matrices": True},
    "vrm0": {"vrm": 0},
    "vrm1": {"vrm": 1, "odd_axes": True},
    "z-up": {"names": "mixamo", "z_up": True},
}


def joint_name(joint: str, names: str | None) -> str:
    """Return what a program calls a joint; without a program, a name that nobody knows."""
    side, _, part = joint.rpartition("_")
    if names is None or joint == "tail":
        return f"bone {list(BODY).index(joint)}"
    words, prefix, *sides = _NAMES[names]
    return prefix + words[part].replace("*", sides[side == "right"])


def rest_pose(
    arms: float = 0.0, z_up: bool = False, vrm: int | None = None, hips: float = 1.0
) -> dict[str, np.ndarray]:
    """Return the place of each joint; the arms hang by some degrees; hips are wider; a VRM of version 0 faces Z-."""
    places = {joint: np.array(place, float) for joint, (_, place) in BODY.items()}
    for joint, place in places.items():
        if joint.endswith(("hip", "knee", "ankle", "foot")):
            place[0] *= hips
    for side, sign in (("left", -1), ("right", 1)):
        turn = Rotation.from_euler("z", sign * arms, degrees=True).as_matrix()
        for part in ("elbow", "wrist", "finger"):
            shoulder = places[f"{side}_shoulder"]
            places[f"{side}_{part}"] = shoulder + turn @ (places[f"{side}_{part}"] - shoulder)
    axes = (
        Rotation.from_euler("x", 90, degrees=True)
        if z_up
        else Rotation.from_euler("y", 180 * (vrm == 0), degrees=True)
    )
    return {joint: axes.apply(place) for joint, place in places.items()}


def write_character(
    path: Path,
    names: str | None = None,
    arms: float = 0.0,
    odd_axes: bool = False,
    armature: tuple[float, Rotation] = (1.0, Rotation.identity()),
    matrices: bool = False,
    vrm: int | None = None,
    z_up: bool = False,
    hips: float = 1.0,
    bodies: int = 1,
    skin: bool = True,
    leave_out: tuple[str, ...] = (),
) -> Path:
    """Write a character of triangles, one a joint; its nodes are listed children first, as some programs do."""
    scene = Gltf()
    joints = [joint for joint in BODY if joint.rpartition("_")[2] not in leave_out]
    for _ in range(bodies):
        _add_character(scene, joints, rest_pose(arms, z_up, vrm, hips), names, odd_axes, armature, matrices, skin)
    if vrm is not None:
        bones = {_vrm_name(joint): joints[::-1].index(joint) for joint in joints if _vrm_name(joint)}
        humanoid = (
            {"VRM": {"humanoid": {"humanBones": [{"bone": bone, "node": node} for bone, node in bones.items()]}}}
            if vrm == 0
            else {"VRMC_vrm": {"humanoid": {"humanBones": {bone: {"node": node} for bone, node in bones.items()}}}}
        )
        scene.document |= {"extensions": humanoid, "extensionsUsed": list(humanoid)}
    path.write_bytes(scene.to_bytes())
    return path


def _vrm_name(joint: str) -> str | None:
    side, _, part = joint.rpartition("_")
    name = _VRM.get(part)
    return name if name is None or not side else side + name


def _add_character(scene, joints, places, names, odd_axes, armature, matrices, skin) -> None:
    first = len(scene.document.get("nodes", []))
    rng = np.random.default_rng(0)
    scale, turn = armature
    world = {joint: Rotation.random(random_state=rng) if odd_axes else Rotation.identity() for joint in joints}
    inside = {joint: turn.inv().apply(places[joint]) / scale for joint in joints}  # of the armature
    rows = {joint: first + row for row, joint in enumerate(joints[::-1])}
    for joint in joints[::-1]:
        parent = BODY[joint][0]
        above, origin = (world[parent], inside[parent]) if parent else (Rotation.identity(), np.zeros(3))
        local, offset = above.inv() * world[joint], above.inv().apply(inside[joint] - origin)
        node = {"name": joint_name(joint, names), "extras": {"kept": True}}
        node["children"] = [rows[child] for child in joints if BODY[child][0] == joint]
        if not node["children"]:
            del node["children"]
        if matrices:
            matrix = np.eye(4)
            matrix[:3, :3], matrix[:3, 3] = local.as_matrix(), offset
            node["matrix"] = matrix.T.reshape(-1).tolist()
        else:
            node |= {"translation": offset.tolist(), "rotation": local.as_quat().tolist()}
        scene.add("nodes", node)
    root = {
        "name": "Armature",
        "children": [rows["pelvis"]],
        "scale": [scale] * 3,
        "rotation": turn.as_quat().tolist(),
    }
    scene.document["scenes"][0]["nodes"].append(scene.add("nodes", root))
    corners = np.concatenate([places[joint] + 0.03 * np.eye(3) for joint in joints]).astype(np.float32)
    influence = np.zeros((len(corners), 4), np.uint8)
    influence[:, 0] = np.repeat(np.arange(len(joints)), 3)
    weights = np.tile(np.array([1, 0, 0, 0], np.float32), (len(corners), 1))
    attributes = {"POSITION": scene.add_accessor(corners, "VEC3", bounds=True)}
    if skin:
        attributes |= {
            "JOINTS_0": scene.add_accessor(influence, "VEC4"),
            "WEIGHTS_0": scene.add_accessor(weights, "VEC4"),
        }
    body: dict = {"name": "body", "mesh": scene.add("meshes", {"primitives": [{"attributes": attributes}]})}
    if skin:
        inverse = np.stack([np.linalg.inv(_globals(scene.document)[rows[joint]]).T for joint in joints])
        matrices_of = scene.add_accessor(inverse.reshape(-1, 16).astype(np.float32), "MAT4")
        body["skin"] = scene.add(
            "skins", {"joints": [rows[joint] for joint in joints], "inverseBindMatrices": matrices_of}
        )
    scene.document["scenes"][0]["nodes"].append(scene.add("nodes", body))


def write_bvh_character(path: Path, names: str = "mixamo", scale: float = 100.0, frames: int = 0, **pose) -> Path:
    """Write a skeleton with odd orders of rotation, in centimetres."""
    places, lines = rest_pose(**pose), ["HIERARCHY"]

    def add(joint: str, depth: int) -> None:
        parent = BODY[joint][0]
        offset = scale * (places[joint] - (places[parent] if parent else 0))
        channels = "Xposition Yposition Zposition " * (parent is None) + "Yrotation Xrotation Zrotation"
        lines.extend([
            f"{'JOINT' if parent else 'ROOT'} {joint_name(joint, names)}", "{",
            "OFFSET " + " ".join(f"{value:.6f}" for value in offset), f"CHANNELS {len(channels.split())} {channels}",
        ])  # fmt: skip
        children = [child for child in BODY if BODY[child][0] == joint]
        for child in children:
            add(child, depth + 1)
        lines.extend(["End Site", "{", "OFFSET 0 0 1", "}"] * (not children) + ["}"])

    add("pelvis", 0)
    if frames:
        numbers = " ".join(["0"] * (3 * len(BODY) + 3))
        lines += ["MOTION", f"Frames: {frames}", "Frame Time: 0.0333333", *[numbers] * frames]
    path.write_text("\n".join(lines) + "\n")
    return path


def read_glb(path: Path) -> tuple[dict, bytes]:
    """Return the JSON and the binary chunk of a GLB."""
    content = path.read_bytes()
    size = struct.unpack_from("<I", content, 12)[0]
    return json.loads(content[20 : 20 + size]), content[28 + size :]


class Played:
    """A GLB as a viewer plays it: world matrices of all nodes in each frame of the first animation."""

    def __init__(self, path: Path):
        self.document, self.binary = read_glb(path)
        self.names = [node.get("name") for node in self.document["nodes"]]
        animation = self.document["animations"][0]
        self.times = self.values(animation["samplers"][0]["input"])[:, 0]
        frames = []
        for frame in range(len(self.times)):
            nodes = [dict(node) for node in self.document["nodes"]]
            for channel in animation["channels"]:
                assert "matrix" not in nodes[channel["target"]["node"]]
                values = self.values(animation["samplers"][channel["sampler"]]["output"])
                nodes[channel["target"]["node"]][channel["target"]["path"]] = values[frame]
            frames.append(_globals({"nodes": nodes}))
        self.world = np.stack(frames)  # [T, nodes, 4, 4]
        self.rest = _globals(self.document)  # [nodes, 4, 4]

    def values(self, accessor: int) -> np.ndarray:
        item = self.document["accessors"][accessor]
        view = self.document["bufferViews"][item["bufferView"]]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[item["type"]]
        values = np.frombuffer(self.binary, np.float32, item["count"] * width, view["byteOffset"])
        return values.reshape(-1, width)

    def places(self, name: str) -> np.ndarray:
        return self.world[:, self.names.index(name), :3, 3]


def _globals(document: dict) -> np.ndarray:
    nodes = document["nodes"]
    parents = {child: node for node, item in enumerate(nodes) for child in item.get("children", [])}
    local = []
    for node in nodes:
        matrix = np.array(node.get("matrix", np.eye(4)), float).reshape(4, 4).T.copy()
        if "matrix" not in node:
            turn = Rotation.from_quat(node.get("rotation", (0, 0, 0, 1))).as_matrix()
            matrix[:3, :3] = turn * np.asarray(node.get("scale", (1, 1, 1)))
            matrix[:3, 3] = node.get("translation", (0, 0, 0))
        local.append(matrix)

    def world(node: int) -> np.ndarray:
        return world(parents[node]) @ local[node] if node in parents else local[node]

    return np.stack([world(node) for node in range(len(nodes))])
