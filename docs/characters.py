"""Measure how motions sit on characters: `python docs/characters.py walk.npz --onto hero.glb robot.vrm`.

Puts motions onto characters, plays the files by kinematics of its own, and prints rows for docs/files.md. Wrists and
ankles are compared with the motion in the character's lengths: the middle of the hips follows the motion's, scaled by
the legs; lines of hips, shoulders, arms and legs point where the motion's do; and from hips to shoulders it is as at
rest, turned with the motion's trunk.
"""

import argparse
import json
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

import lamp_hf
from lamp_hf.models.skeleton import HUMANML3D
from lamp_hf.motion.character_glb import GlbCharacter
from lamp_hf.motion.clean import foot_contacts


SIDES, ARM, LEG = {"left": 1, "right": -1}, ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")
UP, LEVEL = np.array([0, 1, 0]), np.array([1, 0, 1])


def play(path: Path) -> tuple[dict, dict, np.ndarray]:
    """Return bones at rest `(1, 3)`, in the first animation `(T, 3)`, and inverse rotations of what moves there."""
    content = path.read_bytes()
    size = int.from_bytes(content[12:16], "little")
    document, binary = json.loads(content[20 : 20 + size]), content[28 + size :]
    nodes, animation, moves = document["nodes"], document["animations"][0], {}
    for channel in animation["channels"]:
        item = document["accessors"][animation["samplers"][channel["sampler"]]["output"]]
        start, width = document["bufferViews"][item["bufferView"]]["byteOffset"], {"VEC3": 3, "VEC4": 4}[item["type"]]
        values = np.frombuffer(binary, "<f4", item["count"] * width, start).reshape(-1, width)
        moves[channel["target"]["node"], channel["target"]["path"]] = values.astype(float)
    rest, world = _place(nodes, {}), _place(nodes, moves)
    character, names = GlbCharacter(path).character, [item.get("name", f"node {i}") for i, item in enumerate(nodes)]
    bones = {bone: names.index(character.names[joint]) for bone, joint in character.bones.items()}
    left = np.sign(rest[0, bones["left_hip"], 0, 3] - rest[0, bones["right_hip"], 0, 3])  # a VRM 0 faces Z-
    still, moving = ({bone: at[:, i, :3, 3] * [left, 1, left] for bone, i in bones.items()} for at in (rest, world))
    return still, moving, _unit(world[:, sorted({node for node, _ in moves}), :3, :3].swapaxes(-1, -2))


def _place(nodes: list[dict], moves: dict) -> np.ndarray:
    world = np.tile(np.eye(4), (max([1, *map(len, moves.values())]), len(nodes), 1, 1))
    order = sorted(set(range(len(nodes))) - {child for item in nodes for child in item.get("children", [])})
    for node, item in ((node, nodes[node]) for node in order):
        local = np.tile(np.reshape(item.get("matrix", np.eye(4)), (4, 4)).T, (len(world), 1, 1))
        if "matrix" not in item:
            turn = np.reshape(moves.get((node, "rotation"), item.get("rotation", (0, 0, 0, 1))), (-1, 4))
            local[:, :3, :3] = Rotation.from_quat(turn).as_matrix() * np.array(item.get("scale", (1, 1, 1)))
            local[:, :3, 3] = moves.get((node, "translation"), item.get("translation", (0, 0, 0)))
        world[:, node] = world[:, node] @ local
        world[:, item.get("children", [])] = world[:, [node]]
        order += item.get("children", [])
    return world


def measure(path: Path, motion: lamp_hf.Motion) -> dict[str, np.ndarray]:
    """Compare a written file with its motion: centimetres, degrees from frame to frame, centimetres per second."""
    (rest, ours, turns), joints = play(path), motion.joints.astype(float)
    theirs = dict(zip(HUMANML3D.joint_names, joints.swapaxes(0, 1)))
    legs = [(f"{side}_{a}", f"{side}_{b}") for side in SIDES for a, b in pairwise(LEG)]
    scale = sum(_length(rest, *bone) for bone in legs) / sum(_length(theirs, *bone) for bone in legs)
    ground = np.quantile(np.minimum(theirs["left_ankle"], theirs["right_ankle"])[:, 1], 0.2)
    hips = scale * (_middle(theirs, "hip") - ground * UP) + _middle(rest, "hip") * LEVEL + _middle(rest, "ankle") * UP
    lines = {part: theirs[f"left_{part}"] - theirs[f"right_{part}"] for part in ("hip", "shoulder")}
    up = _unit(_middle(theirs, "shoulder") - _middle(theirs, "hip"))
    across = _unit(np.cross(up, np.cross(lines["shoulder"], up)))
    trunk = np.stack([across, up, np.cross(across, up)], -2)  # turns row vectors from rest
    shoulders = hips + ((_middle(rest, "shoulder") - _middle(rest, "hip"))[:, None] @ trunk)[:, 0]
    found = {name: [] for name in ("wrist", "ankle", "floor", "slide", "their slide")}
    for side, stands in zip(SIDES, foot_contacts(motion.joints, motion.fps, HUMANML3D).T):
        for start, limb in ((shoulders, ARM), (hips, LEG)):
            line, bones = lines[limb[0]], [f"{side}_{part}" for part in limb]
            goal = start + SIDES[side] / 2 * _length(rest, *(f"{one}_{limb[0]}" for one in SIDES)) * _unit(line)
            for bone in pairwise(bones):
                goal = goal + _length(rest, *bone) * _unit(theirs[bone[1]] - theirs[bone[0]])
            found[limb[-1]].append(100 * np.linalg.norm(ours[bones[-1]] - goal, axis=-1))
        toes = f"{side}_foot" if f"{side}_foot" in ours else f"{side}_ankle"
        found["floor"] += [100 * (rest[bone] - ours[bone])[:, 1] for bone in (toes, f"{side}_ankle")]
        for name, way in (("slide", ours[toes]), ("their slide", scale * theirs[f"{side}_foot"])):
            speed = 100 * motion.fps * np.linalg.norm(np.diff(way * LEVEL, axis=0), axis=-1)
            found[name].append(speed[stands[1:] & stands[:-1]])
    bones = _unit(np.stack([*lines.values(), *HUMANML3D.bones(joints)[:, 1:].swapaxes(0, 1)]))
    cosines = {"turn": np.trace(turns[:-1].swapaxes(-1, -2) @ turns[1:], axis1=-2, axis2=-1) / 2 - 0.5,
               "their turn": (bones[:, 1:] * bones[:, :-1]).sum(-1)}  # fmt: skip
    found |= {name: [np.degrees(np.arccos(values.clip(-1, 1).min()))] for name, values in cosines.items()}
    return {name: np.concatenate(values, None) for name, values in found.items()}


def _unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _middle(places, part: str):
    return (places[f"left_{part}"] + places[f"right_{part}"]) / 2


def _length(places, start: str, end: str) -> float:
    return np.linalg.norm(places[end] - places[start], axis=-1).mean()


parser = argparse.ArgumentParser()
parser.add_argument("motions", nargs="+", type=Path)
parser.add_argument("--onto", nargs="+", type=Path, required=True)
arguments = parser.parse_args()
for hero in arguments.onto:
    with tempfile.TemporaryDirectory() as folder:
        path, motions = Path(folder) / hero.name, map(lamp_hf.Motion.load, arguments.motions)
        found = [measure(lamp_hf.retarget(motion, hero, path), motion) for motion in motions]
    at = {name: np.concatenate([one[name] for one in found]) for name in found[0]}
    limbs = " | ".join(f"{at[end].mean():.1f} ({np.quantile(at[end], 0.95):.1f})" for end in ("wrist", "ankle"))
    turn, their_turn = max(zip(at["turn"], at["their turn"]), key=lambda turns: turns[0] - turns[1])
    slide, floor = at["slide"].mean() - at["their slide"].mean(), max(at["floor"].max(), 0)
    print(f"| {hero.name} | {limbs} | {floor:.1f} | {slide:+.1f} | {turn:.0f} ({their_turn:.0f}) |")
