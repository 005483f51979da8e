"""Unit, axes, handedness and frame rate of motion files: what is read as what, and what is refused with its cause."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import make_motion
from scipy.spatial.transform import Rotation
from test_motion_rigs import bvh_of_rig, rigid_motion
from typer.testing import CliRunner

import lamp_hf
from lamp_hf import Motion
from lamp_hf.cli import app
from lamp_hf.models.skeleton import HUMANML3D, KIT
from lamp_hf.motion.bvh import channels_of, euler_angles, local_transforms, read_skeleton
from lamp_hf.motion.rigs import rigs
from lamp_hf.motion.smpl import SMPL_PELVIS
from lamp_hf.motion.world import AXES, rotation_to_y_up


Z_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # Y-up row vectors to Z up
CENTIMETRES = 100


def turned(joints: np.ndarray, degrees: float) -> np.ndarray:
    """Turn the world about X."""
    return joints @ Rotation.from_euler("x", degrees, degrees=True).as_matrix().T


def mixamo(path, joints, unit=CENTIMETRES):
    return bvh_of_rig(path, rigs()["mixamo"], joints * unit)


def through_blender(path: Path) -> Path:
    """Turn a BVH as Blender does that imports and exports it: names and orders stay, Z is up in rest and rotations.

    The importer applies its turn to the bones, and the exporter writes the axes of the armature.
    """
    _, tree, _ = read_skeleton(path)
    hierarchy, motion = path.read_text().split("MOTION\n")
    *header, frames = motion.split("\n", 2)
    local, offsets = local_transforms(tree, np.loadtxt(frames.splitlines(), ndmin=2))
    local, offsets = Z_UP.T @ local @ Z_UP, offsets @ Z_UP
    columns = []
    for joint, turns, places in zip(tree, local.swapaxes(0, 1), offsets.swapaxes(0, 1)):
        if joint.channels:
            order = "".join("XYZ"[axis] for axis in channels_of(joint, "rotation", 0)[1])
            columns += [places] * (len(joint.channels) == 6) + [euler_angles(turns, order)]
    hierarchy = re.sub(r"OFFSET (\S+) (\S+) (\S+)", lambda at: f"OFFSET {at[1]} {-float(at[3])} {at[2]}", hierarchy)
    lines = [" ".join(map(str, row)) for row in np.concatenate(columns, 1)]
    path.write_text("\n".join([f"{hierarchy}MOTION", *header, *lines]))
    return path


def worst(motion: Motion, joints: np.ndarray) -> float:
    return float(np.abs(motion.joints - joints).max())


class TestAxes:
    @pytest.mark.parametrize("degrees", [60, 75, 90, 180, 270])
    @pytest.mark.parametrize("suffix", ["bvh", "npz"])
    def test_a_body_that_lies_or_hangs_comes_back_where_it_was(self, degrees, suffix, tmp_path):
        joints = turned(make_motion(), degrees)
        loaded = Motion.load(Motion(joints).save(tmp_path / f"clip.{suffix}"))
        assert worst(loaded, joints) < 2.1e-3 and str(loaded.assumptions.up) == "y (stated)"

    @pytest.mark.parametrize("skeleton", [HUMANML3D, KIT], ids=lambda skeleton: skeleton.name)
    def test_our_bvh_that_blender_has_turned_stands(self, skeleton, tmp_path):
        joints = make_motion(skeleton=skeleton) * skeleton.metres
        loaded = Motion.load(through_blender(Motion(joints, skeleton.fps, skeleton).save(tmp_path / "clip.bvh")))
        assert worst(loaded, joints) < 2.1e-3
        assert str(loaded.assumptions.up) == "z (sure, rest pose and floor)"
        assert loaded.assumptions.unit.value == "metres"

    def test_archives_say_their_axes_and_are_believed(self, tmp_path):
        joints = turned(make_motion(), 90)
        archive = dict(np.load(Motion(joints).save(tmp_path / "clip.npz")))
        assert str(archive["up"]) == "y" and str(archive["poses_up"]) == "z"
        old = {name: archive[name] for name in archive if name not in ("up", "poses_up")}
        np.savez(tmp_path / "old.npz", **old)  # as version 0.1 wrote it
        assert worst(Motion.load(tmp_path / "old.npz"), joints) < 1e-6
        np.savez(tmp_path / "z.npz", **archive | {"joints": joints @ Z_UP, "up": "z"})
        assert worst(Motion.load(tmp_path / "z.npz"), joints) < 1e-6

    def test_a_foreign_body_lies_where_its_rest_pose_and_the_floor_say(self, tmp_path):
        joints = rigid_motion()
        path = joints[:, :1]
        lying = turned(joints - path, 90) + [0.5, 0.2, 3.0]
        hanging = turned(joints - path, 180) + [0.5, 2.2, 3.0]
        crawling = turned(joints - path, 90) + path * [1, 0, 1] + [0, 0.3, 0]
        for body in (lying, crawling):
            assert worst(Motion.load(mixamo(tmp_path / "clip.bvh", body)), body) < 2e-3
        with pytest.warns(UserWarning, match=r"clip\.bvh: up is y \(guessed, rest pose and floor\); give --up"):
            assert worst(Motion.load(mixamo(tmp_path / "clip.bvh", hanging)), hanging) < 2e-3

    @pytest.mark.parametrize("up", AXES)
    def test_the_axis_along_which_a_body_walks_on_a_floor_is_up(self, up, tmp_path):
        joints = rigid_motion()
        path = mixamo(tmp_path / "clip.bvh", joints @ rotation_to_y_up(up).T)
        for loaded in (Motion.load(path), Motion.load(path, up=up)):
            assert worst(loaded, joints) < 2e-3 and loaded.assumptions.up.value == up

    @pytest.mark.parametrize("up", AXES)
    def test_no_rotation_to_y_up_mirrors(self, up):
        matrix = rotation_to_y_up(up)
        assert np.linalg.det(matrix) == pytest.approx(1)
        vector = np.eye(3)["xyz".index(up[-1])] * (-1 if up[0] == "-" else 1)
        assert (vector @ matrix).tolist() == [0, 1, 0]

    def test_a_given_axis_counts_in_every_format(self, tmp_path):
        joints = rigid_motion()
        np.save(tmp_path / "clip.npy", joints @ Z_UP)
        np.savez(tmp_path / "clip.npz", joints=joints @ Z_UP, fps=30.0)
        for name in ("clip.npy", "clip.npz"):
            with pytest.raises(ValueError, match=rf"{name}: its body stands along z.*--up z"):
                Motion.load(tmp_path / name)
            assert worst(Motion.load(tmp_path / name, up="z"), joints) < 1e-5
            lies = Motion.load(tmp_path / name, up="y")
            assert worst(lies, joints @ Z_UP) < 1e-5
            with pytest.raises(ValueError, match="up must be one of x, y, z, -x, -y, -z, got 'banana'"):
                Motion.load(tmp_path / name, up="banana")

    def test_poses_with_y_up_are_not_turned_again(self, tmp_path):
        archive = dict(np.load(Motion(rigid_motion()).save(tmp_path / "clip.npz")))
        amass = {name: archive[name] for name in ("poses", "trans", "mocap_framerate")}
        np.savez(tmp_path / "amass.npz", **amass)
        expected = Motion.load(tmp_path / "amass.npz")
        assert expected.assumptions.up.value == "z" and expected.joints[:, 0, 1].min() > 0.9
        turn = Rotation.from_matrix(Z_UP)
        poses = amass["poses"].astype(float)
        poses[:, :3] = (turn * Rotation.from_rotvec(poses[:, :3])).as_rotvec()
        path = turn.apply(amass["trans"] + SMPL_PELVIS) - SMPL_PELVIS  # the body turns about its pelvis
        np.savez(tmp_path / "y.npz", **amass | {"poses": poses, "trans": path})
        loaded = Motion.load(tmp_path / "y.npz")
        assert worst(loaded, expected.joints) < 1e-5 and loaded.assumptions.up.value == "y"

    def test_a_body_of_poses_that_lies_on_the_floor_stays_there(self, tmp_path):
        still = np.repeat(make_motion()[:1], 40, 0)
        lying = turned(still - still[:, :1], 90) + [0.4, 0.2, 1.7]
        archive = dict(np.load(Motion(lying).save(tmp_path / "clip.npz")))
        np.savez(tmp_path / "amass.npz", **{name: archive[name] for name in ("poses", "trans", "mocap_framerate")})
        assert Motion.load(tmp_path / "amass.npz").joints[..., 1].max() < 0.8


class TestHandedness:
    @pytest.mark.parametrize("mirror", [[-1, 1, 1], [1, 1, -1]])
    def test_a_left_handed_file_is_mirrored_because_its_toes_point_backward(self, mirror, tmp_path):
        joints = rigid_motion()
        loaded = Motion.load(mixamo(tmp_path / "clip.bvh", joints * mirror))
        assert loaded.assumptions.handedness.value == "left"
        assert worst(loaded, joints * mirror * [-1, 1, 1]) < 2e-3

    def test_a_right_handed_file_is_not(self, tmp_path):
        joints = turned(rigid_motion(), 90)
        loaded = Motion.load(mixamo(tmp_path / "clip.bvh", joints))
        assert str(loaded.assumptions.handedness) == "right (sure, toes point forward)"


class TestUnits:
    @pytest.mark.parametrize(
        ("unit", "name"),
        [
            (1.0, "metres"),
            (0.1, "decimetres"),
            (0.01, "centimetres"),
            (0.001, "millimetres"),
            (0.0254, "inches"),
            (0.3048, "feet"),
            (0.0564444, "CMU units"),
        ],
    )
    def test_the_unit_is_the_one_that_fits_the_body_best(self, unit, name, tmp_path):
        joints = rigid_motion()
        loaded = Motion.load(mixamo(tmp_path / "clip.bvh", joints, 1 / unit))
        assert loaded.assumptions.unit.value == name and worst(loaded, joints) < 2e-3

    def test_a_long_leg_in_cmu_units_is_not_a_short_one_in_inches(self, tmp_path):
        joints = rigid_motion() * (17.6 * 0.0564444 / 0.826)
        loaded = Motion.load(mixamo(tmp_path / "clip.bvh", joints, 1 / 0.0564444))
        assert worst(loaded, joints) < 2e-3

    def test_children_in_common_units_are_children(self, tmp_path):
        joints = rigid_motion() * 0.65
        for unit in (1.0, 100, 1000):
            assert worst(Motion.load(mixamo(tmp_path / "clip.bvh", joints, unit)), joints) < 2e-3

    def test_our_own_bvh_states_metres_whatever_the_size(self, tmp_path):
        giant = make_motion() * 4
        assert worst(Motion.load(Motion(giant).save(tmp_path / "clip.bvh")), giant) < 8.1e-3

    def test_joints_in_centimetres_are_no_giant(self, tmp_path):
        joints = rigid_motion()
        np.save(tmp_path / "clip.npy", joints * 100)
        np.savez(tmp_path / "clip.npz", joints=joints * 100, fps=30.0)
        for name in ("clip.npy", "clip.npz"):
            loaded = Motion.load(tmp_path / name)
            assert worst(loaded, joints) < 1e-4 and loaded.assumptions.unit.value == "centimetres"
        np.save(tmp_path / "clip.npy", joints * 12)
        with pytest.raises(ValueError, match=r"clip\.npy: a body of 20.* units is no person"):
            Motion.load(tmp_path / "clip.npy")
        assert worst(Motion.load(tmp_path / "clip.npy", unit=1 / 12), joints) < 1e-4

    def test_a_given_unit_that_makes_no_body_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match=r"unit of 0\.01 m its body would measure 0\.017 m"):
            Motion.load(Motion(make_motion()).save(tmp_path / "clip.npz"), unit=0.01)

    def test_the_unit_of_poses_is_that_of_their_path(self, tmp_path):
        archive = dict(np.load(Motion(rigid_motion()).save(tmp_path / "clip.npz")))
        amass = {name: archive[name] for name in ("poses", "trans", "mocap_framerate")}
        np.savez(tmp_path / "metres.npz", **amass)
        np.savez(tmp_path / "centimetres.npz", **amass | {"trans": amass["trans"] * 100})
        expected = Motion.load(tmp_path / "metres.npz").joints
        assert worst(Motion.load(tmp_path / "centimetres.npz", unit=0.01), expected) < 1e-4

    def test_kit_keeps_its_unit(self, tmp_path):
        np.save(tmp_path / "kit.npy", make_motion(skeleton=KIT))
        assert worst(Motion.load(tmp_path / "kit.npy"), make_motion(skeleton=KIT) * KIT.metres) < 1e-5


class TestRates:
    @pytest.mark.parametrize(
        ("frame_time", "message"),
        [
            ("30", "probably frames per second.*--source-fps 30 "),
            ("120", "probably frames per second.*--source-fps 120 "),
            ("33.3333", "probably milliseconds.*--source-fps 30 "),
            ("8.33333", "probably milliseconds.*--source-fps 120 "),
            ("7", "7 seconds per frame are not plausible"),
            ("0", "give the right one, --source-fps"),
            ("0.0001", "at most|up to 1000"),
        ],
    )
    def test_a_frame_time_that_no_recording_has_is_refused_unless_the_rate_is_given(
        self, frame_time, message, tmp_path
    ):
        path = mixamo(tmp_path / "clip.bvh", rigid_motion())
        text = path.read_text()
        path.write_text(text.replace("Frame Time: 0.05000000", f"Frame Time: {frame_time}"))
        with pytest.raises(ValueError, match=message):
            Motion.load(path)
        loaded = Motion.load(path, fps=30)
        assert loaded.fps == 30 and loaded.num_frames == 60 and loaded.duration == 2

    def test_poses_without_a_rate_need_one(self, tmp_path):
        archive = dict(np.load(Motion(make_motion()).save(tmp_path / "clip.npz")))
        np.savez(tmp_path / "bare.npz", poses=archive["poses"], trans=archive["trans"])
        with pytest.raises(ValueError, match=r"no frame rate.*--source-fps"):
            Motion.load(tmp_path / "bare.npz")
        assert Motion.load(tmp_path / "bare.npz", fps=60).fps == 60


class TestPlausibility:
    def test_normalised_features_are_refused(self, tmp_path):
        clips = [lamp_hf.joints_to_features(make_motion(seed=seed)) for seed in range(4)]
        mean, std = np.concatenate(clips).mean(0), np.concatenate(clips).std(0).clip(1e-3)
        for clip in clips:
            np.save(tmp_path / "clip.npy", (clip - mean) / std)
            with pytest.raises(ValueError, match=r"clip\.npy: .*probably normalised.*Mean\.npy"):
                Motion.load(tmp_path / "clip.npy")
            np.save(tmp_path / "clip.npy", clip)
            assert Motion.load(tmp_path / "clip.npy").num_frames == len(clip)

    def test_poses_of_other_kinds_are_read_where_that_is_certain(self, tmp_path):
        archive = dict(np.load(Motion(rigid_motion()).save(tmp_path / "clip.npz")))
        amass = {name: archive[name] for name in ("poses", "trans", "mocap_framerate")}
        np.savez(tmp_path / "amass.npz", **amass)
        expected = Motion.load(tmp_path / "amass.npz").joints
        rotations = Rotation.from_rotvec(amass["poses"][:, :66].reshape(-1, 3))
        matrices = rotations.as_matrix().reshape(len(expected), 22, 3, 3)
        for poses in (matrices, matrices.reshape(-1, 198), amass["poses"].reshape(-1, 52, 3)):
            np.savez(tmp_path / "clip.npz", **amass | {"poses": poses})
            assert worst(Motion.load(tmp_path / "clip.npz"), expected) < 1e-5
        for poses, cause in (
            (np.degrees(amass["poses"]), "probably degrees"),
            (rotations.as_quat().reshape(-1, 88), "probably quaternions"),
            (matrices[..., :2].swapaxes(-1, -2).reshape(-1, 132), "probably 6D rotations"),
        ):
            np.savez(tmp_path / "clip.npz", **amass | {"poses": poses})
            with pytest.raises(ValueError, match=cause):
                Motion.load(tmp_path / "clip.npz")


class TestCommands:
    def run(self, *arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    def test_info_says_what_was_assumed_and_how_sure_that_is(self, tmp_path):
        path = mixamo(tmp_path / "clip.bvh", rigid_motion() @ Z_UP)
        lines = self.run("info", path).output
        assert "assumed_unit: centimetres (sure, a body of 1.70 m)" in lines
        assert "assumed_up: z (sure, rest pose and floor)" in lines
        assert "assumed_handedness: right (sure, toes point forward)" in lines
        assert "assumed_rig: mixamo (sure)" in lines and "assumed_rate: 20 (stated)" in lines
        result = json.loads(self.run("info", path, "--up", "-y", "--unit", 0.01, "--source-fps", 60, "--json").output)
        assert result["assumed_up"] == "-y (given)" and result["fps"] == 60
        assert result["assumed_unit"] == "0.01 m (given, a body of 1.70 m)"

    def test_the_rate_of_a_source_can_be_given_beside_resampling(self, tmp_path):
        path = mixamo(tmp_path / "clip.bvh", rigid_motion())
        done = self.run("convert", path, tmp_path / "clip.npz", "--source-fps", 60, "--fps", 20, "--up", "y")
        assert done.exit_code == 0
        loaded = Motion.load(tmp_path / "clip.npz")
        assert loaded.fps == 20 and loaded.duration == pytest.approx(1, abs=0.06)

    def test_a_wrong_option_is_refused_before_any_file_of_a_folder_is_read(self, tmp_path):
        mixamo(tmp_path / "clip.bvh", rigid_motion())
        for command in (("prepare", tmp_path, "-o", tmp_path / "data"), ("index", tmp_path, "-o", tmp_path / "index")):
            assert "up must be one of" in str(self.run(*command, "--up", "banana").exception)
        assert not (tmp_path / "data").exists()


def test_every_interpretation_is_kept_with_the_motion(tmp_path):
    assert Motion(make_motion()).assumptions is None
    loaded = Motion.load(Motion(make_motion()).save(tmp_path / "clip.bvh"))
    assert str(loaded.assumptions.unit) == "metres (stated)" and loaded.assumptions.rig.value == HUMANML3D.name
