"""A user's character moves as a motion does, whatever its names, build, rest pose, axes and scale."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from characters import BODY, RIGS, Played, joint_name, read_glb, rest_pose, write_bvh_character, write_character
from conftest import make_motion
from scipy.spatial.transform import Rotation
from test_motion_rigs import node

import lamp_hf
from lamp_hf import Motion
from lamp_hf.models.skeleton import HUMANML3D, KIT
from lamp_hf.motion.gltf import Gltf
from lamp_hf.motion.rotations import rest_directions, rest_positions


ARMS = [f"{side}_{part}" for side in ("left", "right") for part in ("shoulder", "elbow")]
END = {"shoulder": "elbow", "elbow": "wrist"}


def squat(num_frames: int = 60) -> Motion:
    """A person whose feet stand, toes out, while the pelvis goes down by 30 cm and up again; knees go outward."""
    offsets = rest_directions(HUMANML3D) * np.array(HUMANML3D.bone_lengths)[:, None]
    joints = np.tile(rest_positions(offsets, HUMANML3D.parents), (num_frames, 1, 1))
    joints[..., 1] -= joints[..., 1].min()
    depth = 0.02 + 0.15 * (1 - np.cos(np.linspace(0, 2 * np.pi, num_frames)))
    legs = [1, 2, 4, 5, 7, 8, 10, 11]
    trunk = [joint for joint in range(22) if joint not in legs]
    joints[:, [*trunk, 1, 2], 1] -= depth[:, None]
    for hip, knee, ankle in ((1, 4, 7), (2, 5, 8)):
        upper, lower = HUMANML3D.bone_lengths[knee], HUMANML3D.bone_lengths[ankle]
        way = joints[:, ankle] - joints[:, hip]
        reach = np.linalg.norm(way, axis=-1, keepdims=True)
        along = (reach**2 + upper**2 - lower**2) / (2 * reach)
        way /= reach
        forward = np.array([0.5 if hip == 1 else -0.5, 0, 1.0])
        forward = forward - (way @ forward)[:, None] * way
        forward /= np.linalg.norm(forward, axis=-1, keepdims=True)
        joints[:, knee] = joints[:, hip] + along * way + np.sqrt(upper**2 - along**2) * forward
    return Motion(joints, fps=20)


def expected_ankle(motion: Motion, side: str, shin_and_thigh: float = 0.67014) -> np.ndarray:
    """Return where the ankle of the characters belongs in a squat: as it was, by the legs, but under wider hips."""
    names = HUMANML3D.joint_names
    lengths = np.array(HUMANML3D.bone_lengths)
    scale = 2 * shin_and_thigh / lengths[[4, 5, 7, 8]].sum()
    joints = motion.joints.astype(float)
    hips = joints[:, [1, 2]].mean(1)
    wider = BODY[f"{side}_hip"][1][0] - scale * (joints[0, names.index(f"{side}_hip")] - hips[0])[0]
    return scale * (joints[:, names.index(f"{side}_ankle")] - hips * [1, 0, 1]) + [wider, 0, 0]


def directions(places, side_and_part: str) -> np.ndarray:
    side, _, part = side_and_part.partition("_")
    bone = places(f"{side}_{END[part]}") - places(side_and_part)
    return bone / np.linalg.norm(bone, axis=-1, keepdims=True)


def play(tmp_path: Path, rig: str, motion: Motion) -> tuple[Played, dict, np.ndarray]:
    """Put a motion on a character; return what a viewer plays, what is special of the rig, and its axes."""
    options = RIGS[rig]
    hero = write_character(tmp_path / "hero.glb", **options)
    played = Played(lamp_hf.retarget(motion, onto=hero, output=tmp_path / "moving.glb"))
    axes = Rotation.from_euler("x", 90 * options.get("z_up", False), degrees=True)
    axes = axes * Rotation.from_euler("y", 180 * (options.get("vrm") == 0), degrees=True)
    return played, options, axes.as_matrix()


@pytest.mark.parametrize("rig", RIGS)
class TestGlb:
    def test_arms_point_where_the_motions_do(self, rig, tmp_path):
        motion = Motion(make_motion(facing=1.0))
        played, options, axes = play(tmp_path, rig, motion)
        joints = dict(zip(HUMANML3D.joint_names, motion.joints.astype(float).swapaxes(0, 1)))
        for limb in ARMS:
            wanted = directions(joints.__getitem__, limb) @ axes.T
            found = directions(lambda joint: played.places(joint_name(joint, options.get("names"))), limb)
            angle = np.degrees(np.arccos(np.clip((wanted * found).sum(-1), -1, 1)))
            assert angle.max() < 0.1, limb

    def test_feet_that_stand_stay_on_the_floor_while_the_knees_bend(self, rig, tmp_path):
        motion = squat()
        played, options, axes = play(tmp_path, rig, motion)
        rest = rest_pose(options.get("arms", 0.0), options.get("z_up", False), options.get("vrm"))
        for side in ("left", "right"):
            ankle, toes = (
                played.places(joint_name(f"{side}_{part}", options.get("names"))) for part in ("ankle", "foot")
            )
            for place in (ankle, toes):
                assert np.ptp(place, axis=0).max() < 0.002
            assert abs((ankle - rest[f"{side}_ankle"]) @ axes[:, 1]).max() < 0.002
            assert np.linalg.norm(((ankle @ axes) - expected_ankle(motion, side))[:, [0, 2]], axis=-1).max() < 0.03
        pelvis = played.places(joint_name("pelvis", options.get("names"))) @ axes
        assert np.ptp(pelvis[:, 1]) == pytest.approx(0.3 * 0.67 / 0.82, abs=0.01)

    def test_kneecaps_look_where_the_knees_go(self, rig, tmp_path):
        played, options, axes = play(tmp_path, rig, squat())
        for side in ("left", "right"):
            hip, knee, ankle = (played.names.index(joint_name(f"{side}_{part}", options.get("names"))) for part in
                                ("hip", "knee", "ankle"))  # fmt: skip
            still = played.rest[hip]
            turn = played.world[30, hip, :3, :3] @ np.linalg.inv(still[:3, :3])
            cap = turn @ axes @ [0, 0, 1]
            place = played.world[30, [hip, knee, ankle], :3, 3]
            along = (place[2] - place[0]) / np.linalg.norm(place[2] - place[0])
            bend = place[1] - place[0] - ((place[1] - place[0]) @ along) * along
            across = np.cross(cap, place[1] - place[0])
            assert abs(bend @ across) / np.linalg.norm(bend) / np.linalg.norm(across) < np.sin(np.radians(8))
            assert cap @ bend > 0

    def test_nothing_jumps(self, rig, tmp_path):
        played, _, _ = play(tmp_path, rig, Motion(make_motion(facing=2.5)))
        turns = played.world[..., :3, :3] / np.linalg.norm(played.world[..., :3, :1], axis=-2, keepdims=True)
        steps = turns[:-1].swapaxes(-1, -2) @ turns[1:]
        assert np.degrees(np.arccos(np.clip((np.trace(steps, axis1=-2, axis2=-1) - 1) / 2, -1, 1))).max() < 45

    def test_all_else_of_the_file_is_kept(self, rig, tmp_path):
        played, _, _ = play(tmp_path, rig, squat())
        before, after = (read_glb(tmp_path / name) for name in ("hero.glb", "moving.glb"))
        assert after[1].startswith(before[1])
        for kind, items in before[0].items():
            if kind == "nodes":
                assert [node["extras"] for node in items if "extras" in node] == [
                    node["extras"] for node in after[0][kind] if "extras" in node
                ]
            elif kind == "buffers":
                assert after[0][kind][0]["byteLength"] > items[0]["byteLength"]
            elif isinstance(items, list):
                assert after[0][kind][: len(items)] == items
            else:
                assert after[0][kind] == items
        np.testing.assert_allclose(np.diff(played.times), 0.05, atol=1e-6)

    def test_other_bones_keep_their_rest_pose(self, rig, tmp_path):
        played, options, _ = play(tmp_path, rig, squat())
        moved = {channel["target"]["node"] for channel in played.document["animations"][0]["channels"]}
        for joint in ("tail", "left_finger", "right_wrist", "head"):
            assert played.names.index(joint_name(joint, options.get("names"))) not in moved


def test_a_vrm_of_rigid_parts_needs_no_skin(tmp_path):
    hero = write_character(tmp_path / "hero.vrm", skin=False, **RIGS["vrm1"])
    played = Played(lamp_hf.retarget(squat(), hero, tmp_path / "moving.vrm"))
    assert np.ptp(played.places(joint_name("pelvis", None))[:, 1]) > 0.2


@pytest.mark.parametrize("rig", RIGS)
def test_three_js_plays_a_character_alike(rig, tmp_path):
    played, _, _ = play(tmp_path, rig, squat())
    seen = node("glb.mjs", tmp_path / "moving.glb", 20, 60)
    assert seen["errors"] == 0
    for name, places in zip(seen["names"], np.array(seen["joints"]).swapaxes(0, 1)):
        named = [bone for bone in played.names if re.sub(r"[:.]", "", bone.replace(" ", "_")) == name]
        assert np.abs(places - played.places(named[0])).max() < 1e-3


def test_the_new_animation_comes_before_those_there_are(tmp_path):
    hero = write_character(tmp_path / "hero.glb", **RIGS["mixamo"])
    once = lamp_hf.retarget(squat(), hero, tmp_path / "once.glb")
    motion = squat()
    motion.text = "a person squats"
    twice = Played(lamp_hf.retarget(motion, once, tmp_path / "twice.glb"))
    assert [animation["name"] for animation in twice.document["animations"]] == ["a person squats", "motion"]


def test_a_motion_of_kit_moves_the_limbs_on_the_same_sides(tmp_path):
    joints = make_motion(skeleton=KIT) * KIT.metres
    hero = write_character(tmp_path / "hero.glb", **RIGS["unreal"])
    played = Played(lamp_hf.retarget(Motion(joints, fps=12.5, skeleton="kit"), hero, tmp_path / "moving.glb"))
    names = KIT.joint_names  # "left" is at X-
    wanted = joints[:, names.index("right_wrist")] - joints[:, names.index("right_elbow")]
    found = played.places("hand_l") - played.places("lowerarm_l")
    cosine = (wanted * found).sum(-1) / np.linalg.norm(wanted, axis=-1) / np.linalg.norm(found, axis=-1)
    assert cosine.min() > 0.999
    np.testing.assert_allclose(np.diff(played.times), 1 / 12.5, atol=1e-6)


def test_our_own_glb_is_a_character_too(tmp_path):
    joints = make_motion()
    hero = Motion(make_motion(seed=3)).save(tmp_path / "hero.glb")
    played = Played(lamp_hf.retarget(Motion(joints), hero, tmp_path / "moving.glb"))
    found = played.places("left_wrist") - played.places("left_elbow")
    wanted = joints[:, 20] - joints[:, 18]
    assert np.abs(found / np.linalg.norm(found[0]) - wanted / np.linalg.norm(wanted[0])).max() < 1e-2


@pytest.mark.parametrize("pose", [{}, {"arms": 45.0}, {"z_up": True}], ids=["T-pose", "A-pose", "Z up"])
@pytest.mark.parametrize("frames", [0, 2])
def test_a_skeleton_of_a_bvh_moves_as_the_motion_does(pose, frames, tmp_path):
    motion = squat()
    skeleton = write_bvh_character(tmp_path / "mine.bvh", frames=frames, **pose)
    output = lamp_hf.retarget(motion, onto=skeleton, output=tmp_path / "moving.bvh")
    assert output.read_text().startswith(skeleton.read_text().partition("MOTION")[0].rstrip())
    loaded = Motion.load(output, unit=0.01, up="z" if pose.get("z_up") else "y")
    assert loaded.fps == pytest.approx(20) and loaded.num_frames == 60
    for start, end in ((16, 18), (18, 20), (17, 19), (19, 21)):
        bones = [m.joints[:, end] - m.joints[:, start] for m in (motion, loaded)]
        bones = [bone / np.linalg.norm(bone, axis=-1, keepdims=True) for bone in bones]
        assert (bones[0] * bones[1]).sum(-1).min() > 0.9999
    assert np.ptp(loaded.joints[:, [7, 8, 10, 11]], axis=0).max() < 0.003


def test_a_vrm_animation_is_in_vrms_t_pose_and_plays_the_motion(tmp_path):
    joints = make_motion(facing=1.0)
    played = Played(Motion(joints, text="a person walks").save(tmp_path / "walk.vrma"))
    bones = played.document["extensions"]["VRMC_vrm_animation"]["humanoid"]["humanBones"]
    assert played.document["extensionsUsed"] == ["VRMC_vrm_animation"] and len(bones) == 22
    assert all(played.names[item["node"]] == name for name, item in bones.items())
    rest = dict(zip(played.names, played.rest[:, :3, 3]))
    for start, end, axis in (("UpperArm", "LowerArm", 0), ("LowerArm", "Hand", 0), ("UpperLeg", "LowerLeg", 1)):
        bone = rest[f"left{end}"] - rest[f"left{start}"]
        assert np.abs(np.delete(bone, axis)).max() < 1e-6
    assert min(place[1] for place in rest.values()) == pytest.approx(0)
    assert all(channel["target"]["path"] == "rotation" or channel["target"]["node"] == bones["hips"]["node"]
               for channel in played.document["animations"][0]["channels"])  # fmt: skip
    found = played.places("rightHand") - played.places("rightLowerArm")
    wanted = joints[:, 21] - joints[:, 19]
    assert np.abs(found - wanted).max() < 0.01
    assert np.linalg.norm(played.places("hips") - joints[:, 0], axis=-1).std() < 0.02


def as_glb(document: dict) -> bytes:
    return Gltf(document).to_bytes()


class TestBadInput:
    @pytest.mark.parametrize(
        "options, message",
        [
            ({"names": "mixamo", "skin": False}, "has no skin"),
            ({"names": "mixamo", "bodies": 2}, "holds 2 characters"),
            ({"names": "mixamo", "leave_out": ("hip", "knee", "ankle", "foot")}, "LeftUpLeg"),
            ({"vrm": 1, "leave_out": ("wrist", "finger")}, "no bone for left_wrist, right_wrist"),
        ],
    )
    def test_a_character_that_cannot_be_moved(self, options, message, tmp_path):
        hero = write_character(tmp_path / "hero.glb", **options)
        with pytest.raises(ValueError, match=message) as caught:
            lamp_hf.retarget(squat(), hero, tmp_path / "out.glb")
        assert str(caught.value).startswith(str(hero)) and "\n" not in str(caught.value)
        assert not (tmp_path / "out.glb").exists()

    @pytest.mark.parametrize(
        "name, content, message",
        [
            ("hero.glb", b"solid ascii", "not a GLB"),
            ("hero.glb", b"", "not a GLB"),
            ("hero.glb", b"glTF\x02\0\0\0\xff\0\0\0", "damaged GLB"),
            ("hero.glb", as_glb({"nodes": [{"children": [1]}, {"children": [2]}, {"children": [1]}]}), "two parents"),
            ("hero.glb", as_glb({"buffers": [{"uri": "hero.bin"}]}), "export it again as one .glb"),
            ("hero.fbx", b"Kaydara", "export it as a .glb"),
            ("hero.obj", b"v 0 0 0", "known suffixes"),
        ],
    )
    def test_a_file_that_is_no_character(self, name, content, message, tmp_path):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message) as caught:
            lamp_hf.retarget(squat(), tmp_path / name, tmp_path / "out.glb")
        assert name in str(caught.value)

    def test_a_bvh_without_frames_and_legs(self, tmp_path):
        joint = "CHANNELS 3 Zrotation Xrotation Yrotation"
        (tmp_path / "mine.bvh").write_text(
            f"HIERARCHY\nROOT a\n{{\nOFFSET 0 0 0\n{joint}\nJOINT b\n{{\nOFFSET 0 1 0\n{joint}\nJOINT c\n{{\n"
            f"OFFSET 0 1 0\n{joint}\n}}\n}}\n}}\n"
        )
        with pytest.raises(ValueError, match="not those of two legs, two arms and a head"):
            lamp_hf.retarget(squat(), tmp_path / "mine.bvh", tmp_path / "out.bvh")

    def test_other_kinds_of_output_and_missing_files(self, tmp_path):
        hero = write_character(tmp_path / "hero.glb", **RIGS["mixamo"])
        with pytest.raises(ValueError, match="becomes a"):
            lamp_hf.retarget(squat(), hero, tmp_path / "out.bvh")
        with pytest.raises(FileNotFoundError, match="no such file"):
            lamp_hf.retarget(squat(), tmp_path / "missing.glb", tmp_path / "out.glb")
        with pytest.raises(FileNotFoundError, match="no folder"):
            lamp_hf.retarget(squat(), hero, tmp_path / "missing" / "out.glb")


@pytest.mark.slow
def test_the_command_puts_a_motion_on_a_character(tmp_path):
    squat().save(tmp_path / "squat.npz")
    write_character(tmp_path / "hero.vrm", **RIGS["vrm1"])
    command = [sys.executable, "-m", "lamp_hf", "convert", "squat.npz", "--onto", "hero.vrm", "-o", "moving.vrm"]
    done = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, text=True)
    assert json.loads(done.stdout)["frames"] == 60, done.stderr
    assert Played(tmp_path / "moving.vrm").world.shape[0] == 60
    done = subprocess.run(command[:-2], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "give one file" in done.stderr


@pytest.mark.slow
def test_the_measure_of_the_pages_finds_little(tmp_path):
    squat().save(tmp_path / "squat.npz")
    write_character(tmp_path / "hero.vrm", **RIGS["vrm0"])
    script = Path(__file__).parents[1] / "docs/characters.py"
    command = [sys.executable, script, tmp_path / "squat.npz", "--onto", tmp_path / "hero.vrm"]
    done = subprocess.run(command, capture_output=True, text=True)
    name, wrists, ankles, floor, slide, turn = done.stdout.strip("| \n").split(" | ")
    assert name == "hero.vrm" and float(floor) == 0 and float(slide) == 0
    assert float(wrists.split()[0]) < 1 and float(ankles.split()[0]) < 3 and float(turn.split()[0]) < 5


@pytest.mark.slow
@pytest.mark.skipif("LAMP_HF_CHARACTERS" not in os.environ, reason="LAMP_HF_CHARACTERS names no folder of characters")
def test_characters_of_a_folder_stand_and_do_not_jump(tmp_path):
    """Set LAMP_HF_CHARACTERS to a folder of GLB and VRM files of people."""
    folder = Path(os.environ["LAMP_HF_CHARACTERS"])
    for hero in sorted([*folder.glob("*.glb"), *folder.glob("*.vrm")]):
        played = Played(lamp_hf.retarget(squat(), hero, tmp_path / "moving.glb"))
        moved = [channel["target"]["node"] for channel in played.document["animations"][0]["channels"]]
        places = played.world[:, moved][..., :3, 3]
        assert np.linalg.norm(np.diff(places, axis=0), axis=-1).max() < 0.05, hero
        still = np.sort(np.ptp(places, axis=0).max(-1))
        assert still[1] < 0.005, hero  # both ankles
