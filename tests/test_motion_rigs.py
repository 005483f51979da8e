"""BVH and GLB: files of any rig are read; written rotations are checked by independent readers, where installed."""

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED, make_motion
from hypothesis import given, settings
from hypothesis import strategies as st

from lamp_hf import Motion
from lamp_hf.models.skeleton import HUMANML3D, KIT
from lamp_hf.motion import bvh
from lamp_hf.motion.rigs import find_rig, rigs
from lamp_hf.motion.rotations import forward_kinematics, local_rotations, rest_directions, solve_rotations


BROWSER = Path(__file__).parent / "browser"


def rigid_motion(skeleton=HUMANML3D, **options) -> np.ndarray:
    """Make the walking body of the tests with rigid hips and shoulders, as a BVH's rotations give it."""
    joints = make_motion(skeleton=skeleton, **options) * skeleton.metres
    rotations, offsets = solve_rotations(joints, skeleton)
    return forward_kinematics(joints[:, 0], local_rotations(rotations, skeleton.parents), offsets, skeleton.parents)


def bvh_of_rig(path: Path, rig: dict, joints: np.ndarray) -> Path:
    """Write a motion under the joint names of another rig."""
    names = dict(zip(HUMANML3D.joint_names, HUMANML3D.joint_names))
    for part, joint in rig.items():
        if part == "spine":
            names |= {f"spine{i + 1}": name for i, name in enumerate(joint[:3])}
        elif isinstance(joint, list):
            names |= {f"left_{part}": joint[0], f"right_{part}": joint[1]}
        else:
            names[part] = joint
    bvh.write_bvh(path, joints, 20.0, dataclasses.replace(HUMANML3D, joint_names=tuple(names.values())))
    return path


# Joints of published files: those of the middle, and those of both sides with * for the side.
FILES = {
    "cmu": (
        "Hips, LowerBack, Spine, Spine1, Neck, Neck1, Head",
        "*HipJoint, *UpLeg, *Leg, *Foot, *ToeBase, *Shoulder, *Arm, *ForeArm, *Hand, *FingerBase, *HandIndex1, *Thumb",
    ),
    "mixamo": (
        "mixamorig:Hips, mixamorig:Spine, mixamorig:Spine1, mixamorig:Spine2, mixamorig:Neck, mixamorig:Head",
        "mixamorig:*Shoulder, mixamorig:*Arm, mixamorig:*ForeArm, mixamorig:*Hand, mixamorig:*HandThumb1, "
        "mixamorig:*UpLeg, mixamorig:*Leg, mixamorig:*Foot, mixamorig:*ToeBase",
    ),
    "lafan1": (
        "Hips, Spine, Spine1, Spine2, Neck, Head",
        "*UpLeg, *Leg, *Foot, *Toe, *Shoulder, *Arm, *ForeArm, *Hand",
    ),
    "bandai-namco": (
        "joint_Root, Hips, Spine, Chest, Neck, Head",
        "Shoulder_*, UpperArm_*, LowerArm_*, Hand_*, UpperLeg_*, LowerLeg_*, Foot_*, Toes_*",
    ),
    "xsens": (
        "Hips, Chest, Chest2, Chest3, Chest4, Neck, Head",
        "*Collar, *Shoulder, *Elbow, *Wrist, *Hip, *Knee, *Ankle, *Toe",
    ),
    "rokoko": (
        "Root, Hips, Spine1, Spine2, Spine3, Spine4, Neck, Head",
        "*Shoulder, *Arm, *ForeArm, *Hand, *Thigh, *Shin, *Foot, *Toe, *ToeTip",
    ),
    "biped": (
        "Bip001, Bip001 Pelvis, Bip001 Spine, Bip001 Spine1, Bip001 Spine2, Bip001 Neck, Bip001 Head",
        "Bip001 * Clavicle, Bip001 * UpperArm, Bip001 * Forearm, Bip001 * Hand, Bip001 * Thigh, Bip001 * Calf, "
        "Bip001 * Foot, Bip001 * Toe0, Bip001 * Toe0Nub",
    ),
    "smpl": (
        "m_avg_root, m_avg_Pelvis, m_avg_Spine1, m_avg_Spine2, m_avg_Spine3, m_avg_Neck, m_avg_Head",
        "m_avg_*_Hip, m_avg_*_Knee, m_avg_*_Ankle, m_avg_*_Foot, m_avg_*_Collar, m_avg_*_Shoulder, m_avg_*_Elbow, "
        "m_avg_*_Wrist, m_avg_*_Hand",
    ),
    "humanml3d": (
        "pelvis, spine1, spine2, spine3, neck, head",
        "*_hip, *_knee, *_ankle, *_foot, *_collar, *_shoulder, *_elbow, *_wrist",
    ),
}
SIDES_OF = dict.fromkeys(FILES, ("Left", "Right")) | dict.fromkeys(("bandai-namco", "biped", "smpl"), ("L", "R"))


class TestReading:
    @pytest.mark.parametrize("rig", rigs())
    def test_the_rigs_of_the_world_are_known_by_their_names(self, rig, tmp_path):
        joints = rigid_motion(facing=2.0)
        loaded = Motion.load(bvh_of_rig(tmp_path / "clip.bvh", rigs()[rig], joints))
        spine = [3, 6, 9]
        rest = [joint for joint in range(22) if joint not in spine]
        assert np.abs(loaded.joints[:, rest] - joints[:, rest]).max() < 1e-3
        assert np.abs(loaded.joints[:, spine] - joints[:, spine]).max() < 0.1  # some rigs have fewer

    @pytest.mark.parametrize("rig", FILES)
    def test_a_rig_is_recognised_by_the_joints_of_published_files(self, rig):
        middle, limbs = FILES[rig]
        arms_and_legs = [name.replace("*", side) for name in limbs.split(", ") for side in SIDES_OF[rig]]
        assert find_rig(middle.split(", ") + arms_and_legs) is rigs()[rig]

    def test_collars_that_both_lie_in_the_neck_are_put_apart(self, tmp_path):
        joints = rigid_motion()
        joints[:, [13, 14]] = joints[:, [12]]
        loaded = Motion.load(bvh_of_rig(tmp_path / "clip.bvh", rigs()["cmu"], joints))
        apart, shoulders = (np.linalg.norm(loaded.joints[:, a] - loaded.joints[:, b], axis=-1) for a, b in
                            ((13, 14), (16, 17)))  # fmt: skip
        np.testing.assert_allclose(apart, 0.3 * shoulders, rtol=1e-2)

    def test_namespaces_and_numbers_of_bones_do_not_count(self, tmp_path):
        for old, new, rig in (("Hips", "mixamorig:", "mixamo"), ("Bip01", "Bip001", "biped")):
            path = bvh_of_rig(tmp_path / f"{rig}.bvh", rigs()[rig], rigid_motion())
            text = path.read_text()
            text = text.replace("ROOT ", "ROOT mixamorig:").replace("JOINT ", "JOINT mixamorig:") if rig == "mixamo" \
                else text.replace(old, new)  # fmt: skip
            path.write_text(text.replace("\n", "\r\n"))
            assert Motion.load(path).num_frames == 60

    @pytest.mark.parametrize("scale", [100, 1000, 1 / 0.0254, 1 / 0.0564444])
    def test_units_are_found_by_the_length_of_the_legs(self, scale, tmp_path):
        joints = rigid_motion()
        loaded = Motion.load(bvh_of_rig(tmp_path / "clip.bvh", rigs()["mixamo"], joints * scale))
        assert np.abs(loaded.joints - joints).max() < 2e-3

    @pytest.mark.parametrize("axes", [[[1, 0, 0], [0, 0, 1], [0, -1, 0]], [[0, -1, 0], [1, 0, 0], [0, 0, 1]]])
    def test_the_axis_that_is_up_is_found(self, axes, tmp_path):
        joints = rigid_motion()
        turned = joints @ np.array(axes, float)
        assert np.abs(turned[..., 1] - joints[..., 1]).max() > 0.5
        loaded = Motion.load(bvh_of_rig(tmp_path / "clip.bvh", rigs()["smpl"], turned))
        assert np.abs(loaded.joints - joints).max() < 1e-3

    def test_kit_keeps_its_own_joints(self, tmp_path):
        joints = rigid_motion(KIT)
        loaded = Motion.load(Motion(joints, 12.5, "kit").save(tmp_path / "clip.bvh"))
        assert loaded.skeleton == "kit" and loaded.fps == pytest.approx(12.5)
        assert np.abs(loaded.joints - joints).max() < 2e-3

    def test_angles_positions_and_end_sites_mean_what_they_mean(self, tmp_path):
        path = tmp_path / "clip.bvh"
        path.write_text(
            "# made by hand\nHIERARCHY\nROOT Left Hip {\n  OFFSET 9 9 9\n  CHANNELS 6 Zposition Xposition Yposition"
            " Yrotation Xrotation Zrotation\n  JOINT a\n  {\n    OFFSET 1 0 0\n    CHANNELS 1 Xrotation\n"
            "    JOINT b { OFFSET 0 1 0 CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation\n"
            "    End Site\n    { OFFSET 0 0 2\n } }\n  }\n}\nMOTION\nFrames: 2\nFrame Time: 0.0333333\n"
            "3 1 2 90 0 0 0 0 0 0 0 0 0\n3 1 2 90 0 0 90 5 0 0 0 90 0\n"
        )
        read = bvh.read_bvh(path)
        assert read.names == ["Left Hip", "a", "b", "b end"] and read.parents == [-1, 0, 1, 2]
        assert read.fps == pytest.approx(30, abs=1e-3)
        first = [[1, 2, 3], [1, 2, 2], [1, 2, 2], [3, 2, 2]]  # b writes its place: zeros, but not in all frames
        np.testing.assert_allclose(read.positions[0], first, atol=1e-5)
        # The root's X points along -Z and its Z along X; about that X joint a turns its Y to X; b lies 5 along X and
        # turns about it once more, which carries its Z, and its end, straight down.
        np.testing.assert_allclose(read.positions[1], [[1, 2, 3], [1, 2, 2], [1, 2, -3], [-1, 2, -3]], atol=1e-5)

    def test_a_bone_map_reads_what_has_no_known_names(self, tmp_path):
        odd = {
            part: [name[::-1] for name in joint] if isinstance(joint, list) else joint[::-1]
            for part, joint in rigs()["bandai-namco"].items()
        }
        path = bvh_of_rig(tmp_path / "odd.bvh", odd, rigid_motion())
        with pytest.warns(UserWarning, match="unknown rig.*give a bone map"):
            Motion.load(path)
        (tmp_path / "rig.yaml").write_text(json.dumps(odd))
        assert Motion.load(path, rig=tmp_path / "rig.yaml").num_frames == 60
        (tmp_path / "rig.yaml").write_text("pelvis: xHips\nneck: [")
        with pytest.raises(ValueError, match="not a bone map"):
            Motion.load(path, rig=tmp_path / "rig.yaml")
        (tmp_path / "rig.yaml").write_text(json.dumps(odd | {"knee": ["a", "b"]}))
        with pytest.raises(ValueError, match="not in the file: a, b"):
            Motion.load(path, rig=tmp_path / "rig.yaml")

    HEAD = b"HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\nCHANNELS 3 Xposition Yposition Zposition\n}\n"

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "not a BVH"),
            (b"\x00\xff" * 50, "not a BVH"),
            (b"HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\nMOTION\nFrames: 1\nFrame Time: 0.05\n0\n", "braces do not match"),
            (b"HIERARCHY\nROOT a\n{ { }\nMOTION\nFrames: 1\nFrame Time: 0.05\n", "unexpected '{'"),
            (b"HIERARCHY\n}\nMOTION\nFrames: 1\nFrame Time: 0.05\n", "damaged BVH"),
            (b"HIERARCHY\nROOT a\n{\nOFFSET 0 0\n}\nMOTION\nFrames: 1\nFrame Time: 0.05\n", "unexpected 'OFFSET'"),
            (HEAD.replace(b"3 X", b"4 X") + b"MOTION\nFrames: 1\nFrame Time: 0.05\n0 0 0\n", "4 CHANNELS"),
            (HEAD + b"MOTION\nFrames: 2\nFrame Time: 0.05\n0 0 0\n", "3 numbers found"),
            (HEAD + b"MOTION\nFrames: 0\nFrame Time: 0.05\n", "0 frames"),
            (HEAD + b"MOTION\nFrames: 1\nFrame Time: nan\n0 0 0\n", "of nan seconds"),
            (HEAD + b"MOTION\nFrames: 1\nFrame Time: 0.05\n0 nan 0\n", "NaN or infinity"),
            (HEAD + b"MOTION\nFrames: 1\nFrame Time: 0.05\n0 x 0\n", "damaged BVH"),
            (HEAD + HEAD[10:] + b"MOTION\nFrames: 1\nFrame Time: 0.05\n0 0 0 0 0 0\n", "unknown rig"),
            (HEAD + b"JOINT" + HEAD[14:] + b"MOTION\nFrames: 1\nFrame Time: 0.05\n0 0 0 0 0 0\n", "has no parent"),
            (HEAD + b"MOTION\nFrames: 1\nFrame Time: 0.05\n0 0 0\n", "unknown rig"),
        ],
    )
    def test_damaged_files_are_refused_by_name(self, tmp_path, content, message):
        path = tmp_path / "clip.bvh"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message) as caught:
            Motion.load(path)
        assert "clip.bvh" in str(caught.value)

    @pytest.mark.parametrize("leg", [1e-6, 1e5])
    def test_a_body_of_no_human_size_is_refused(self, leg, tmp_path):
        path = bvh_of_rig(tmp_path / "clip.bvh", rigs()["smpl"], rigid_motion() * leg)
        with pytest.raises(ValueError, match="metres in one unit"):
            Motion.load(path)


@settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", 40)), deadline=None)
@given(data=st.data())
def test_a_mangled_bvh_is_read_or_refused_and_nothing_else(data, tmp_path_factory):
    """Set FUZZ_EXAMPLES for a long run."""
    path = tmp_path_factory.mktemp("fuzz") / "clip.bvh"
    content = bytearray(Motion(make_motion(3)).save(path).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, min(start + data.draw(st.sampled_from([0, 1, 5, 40, 4000])), len(content))))
        content[start:end] = data.draw(st.binary(max_size=8) | st.sampled_from(_NASTY))
    path.write_bytes(bytes(content))
    with contextlib.suppress(ValueError):
        motion = Motion.load(path)
        assert np.isfinite(motion.joints).all() and motion.num_frames > 0


_NASTY = [
    b"{",
    b"}",
    b"\n",
    b"JOINT a\n",
    b"nan",
    b"1e999",
    b"-",
    b"CHANNELS 99999999999 ",
    b"End Site",
    b"Frames: 9e9\n",
]


class TestWriting:
    @pytest.mark.parametrize("facing", [0.0, 1.6, 3.14, -2.5])
    def test_bvh_has_every_joint_in_place_whatever_the_body_faces(self, tmp_path, facing):
        joints = make_motion(facing=facing)  # its hips and collars are not rigid
        loaded = Motion.load(Motion(joints).save(tmp_path / "clip.bvh"))
        assert np.abs(loaded.joints - joints).max() < 2.1e-3

    def test_another_reader_of_bvh_finds_the_same_joints(self, tmp_path):
        bvhio = pytest.importorskip("bvhio")
        joints = make_motion(facing=2.0)
        root = bvhio.readAsHierarchy(str(Motion(joints).save(tmp_path / "clip.bvh")))
        root.loadPose(40)
        found = {joint.Name: np.array(joint.PositionWorld) for joint, _, _ in root.layout()}
        for name, place in zip(HUMANML3D.joint_names, joints[40]):
            assert np.abs(found[name] - place).max() < 2.1e-3

    def test_only_bones_that_stretch_have_positions(self, tmp_path):
        text = Motion(rigid_motion()).save(tmp_path / "clip.bvh").read_text()
        assert text.count("Xposition") == 1
        stretched = rigid_motion()
        stretched[30:, 15] += [0, 0.05, 0]
        text = Motion(stretched).save(tmp_path / "clip.bvh").read_text()
        assert text.count("Xposition") == 2

    def test_rotations_turn_no_further_than_their_bones(self):
        """Compare each step with the smallest rotation of the bone from frame to frame; wrists must not spin."""
        joints = rigid_motion()
        joints[:, [18, 20]] = joints[:, [16]] + np.stack([circle(0.26), circle(0.53)], 1)  # an arm goes round
        turned, least = turns(joints)
        assert turned.max() <= 1.5 * least.max()

    def test_a_rest_pose_is_a_t_pose(self):
        rest = dict(zip(HUMANML3D.joint_names, rest_directions(HUMANML3D)))
        assert rest["left_elbow"][0] > 0.98 and rest["right_wrist"][0] < -0.98
        assert rest["left_knee"][1] < -0.98 and rest["left_foot"][2] > 0.8

    def test_three_js_animates_a_glb_as_the_motion_goes(self, tmp_path):
        joints = make_motion(facing=1.0)
        path = Motion(joints, text="a person walks").save(tmp_path / "clip.glb")
        seen = node("glb.mjs", path, 20, len(joints))
        assert seen["errors"] == 0 and seen["warnings"] == 0
        assert tuple(seen["names"]) == HUMANML3D.joint_names
        assert np.abs(np.array(seen["joints"]) - joints).max() < 2.1e-3
        skin = np.array(seen["skin"])  # in the last frame, near the body
        assert np.linalg.norm(skin[:, None] - joints[-1], axis=-1).min(1).max() < 0.35

    @pytest.mark.slow
    def test_a_glb_is_drawn_and_moves_in_a_browser(self, tmp_path):
        seen = in_browser("glb_page.mjs", Motion(make_motion()).save(tmp_path / "clip.glb"))
        assert seen["errors"] == [] and seen["seconds"] == pytest.approx(59 / 20, abs=1e-3)
        assert min(seen["orange"]) > 200 and seen["moved"] > 500

    @pytest.mark.slow
    def test_the_html_page_plays_in_a_browser_without_network(self, tmp_path):
        text = 'a <script>alert("x")</script> walks'
        path = Motion(make_motion(), text=text).save(tmp_path / "clip.html")
        seen = in_browser("page.mjs", path.as_uri())
        assert seen["errors"] == [] and seen["requests"] == [path.as_uri()]
        assert seen["coloured"] > 500 and seen["moved"] > 500 and seen["turned"] > 500


def turns(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rotation of joints from frame to frame and the least that their bones need, degrees `(T - 1, J)`."""
    rotations, _ = solve_rotations(joints, HUMANML3D)
    steps = rotations[:-1].swapaxes(-1, -2) @ rotations[1:]
    turned = np.degrees(np.arccos(np.clip((np.trace(steps, axis1=-2, axis2=-1) - 1) / 2, -1, 1)))
    least = np.zeros_like(turned)
    for joint, parent in enumerate(HUMANML3D.parents[1:], start=1):
        bone = joints[:, joint] - joints[:, parent]
        bone = bone / np.linalg.norm(bone, axis=-1, keepdims=True)
        swing = np.degrees(np.arccos(np.clip((bone[1:] * bone[:-1]).sum(-1), -1, 1)))
        least[:, parent] = np.maximum(least[:, parent], swing)
    return turned, least


def circle(radius: float) -> np.ndarray:
    """Swing an arm once around in 60 frames: sideways, up, and down again."""
    angle = np.linspace(0, 2 * np.pi, 60)
    return radius * np.stack([np.cos(angle), np.sin(angle), 0 * angle], -1)


def in_browser(script: str, *arguments) -> dict:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not chromium:
        pytest.skip("needs Chromium")
    return node(script, *arguments, CHROMIUM=chromium)


def node(script: str, *arguments, **environment: str) -> dict:
    if not (shutil.which("node") and (BROWSER / "node_modules").is_dir()):
        pytest.skip("needs node and `npm install --prefix tests/browser`")
    done = subprocess.run(
        ["node", BROWSER / script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "mocap.parquet").is_file(), reason="needs the motion capture")
def test_real_clips_go_through_bvh_within_two_millimetres_and_without_flips(tmp_path):
    from datasets import Dataset

    rows = Dataset.from_parquet(str(SHARED / "mocap.parquet"), columns=["joints_mm"]).with_format("numpy")
    means, facings, ratios = [], [], []
    for row in rows.select(range(0, len(rows), 100)):
        joints = row["joints_mm"].astype(np.float32).reshape(-1, 22, 3) / 1000
        loaded = Motion.load(Motion(joints).save(tmp_path / "clip.bvh"))
        error = np.linalg.norm(loaded.joints - joints, axis=-1)
        means.append(error.mean())
        across = joints[:, 1] - joints[:, 2]
        facings.append(np.ptp(np.unwrap(np.arctan2(across[:, 2], across[:, 0]))))
        assert error.max() < 0.01
        turned, least = turns(joints)
        ratios.append(turned.max() / max(least.max(), 5.0))
    assert np.mean(means) < 0.002 and max(facings) > np.pi / 2
    assert np.quantile(ratios, 0.95) < 1.5 and max(ratios) < 2
