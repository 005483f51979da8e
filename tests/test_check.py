"""`lamp-hf check` and `Motion.check`: each kind of fault is found where it is, and safe ones are repaired."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_loops import run  # noqa: F401 (a fixture)
from test_metrics import standing

import lamp_hf
from lamp_hf.models.skeleton import HUMANML3D, SKELETONS
from lamp_hf.motion.check import limits_of, thresholds
from lamp_hf.motion.fault_measures import MEASURES, UNITS, runs
from lamp_hf.motion.fix import fix
from training.check_thresholds import evaluate, find_thresholds, worst_values
from training.planted_faults import FAULTS, plant


def stroll(frames: int = 100) -> np.ndarray:
    """Someone who stands on the floor and sways a little."""
    joints = standing(frames)
    joints[:, 15] = joints[:, 12] + [0, 0.1, 0.02]
    sway = 0.02 * np.sin(0.3 * np.arange(frames))[:, None] * [1.0, 0, 0.5]
    joints[:, [joint for joint in range(22) if joint not in (7, 8, 10, 11)]] += sway[:, None]
    for knee, hip, ankle in ((4, 1, 7), (5, 2, 8)):
        joints[:, knee] = (joints[:, hip] + joints[:, ankle]) / 2 + [0, 0, 0.02]
    return joints - [0, joints[..., 1].min(), 0]


def kinds(joints: np.ndarray) -> set[str]:
    return {finding["kind"] for finding in lamp_hf.check(lamp_hf.Motion(joints)).findings}


class TestFindings:
    def test_a_motion_without_faults_passes(self):
        assert lamp_hf.Motion(stroll()).check().passed

    @pytest.mark.parametrize("kind", [kind for kind in FAULTS if kind != "not_finite"])
    def test_a_planted_fault_is_found_by_its_kind(self, kind):
        for seed in range(5):
            joints = plant(kind, stroll(), np.random.default_rng(seed))
            assert joints is not None and kind in kinds(joints), seed

    def test_a_finding_says_where_what_and_what_to_do(self):
        joints = stroll()
        joints[40:42, 20] += [0, 1.0, 0]
        (finding,) = [f for f in lamp_hf.check(lamp_hf.Motion(joints)).findings if f["kind"] == "jump"]
        assert finding["joint"] == "left_wrist" and 1.8 < finding["start"] <= 2.0 < finding["end"] < 2.3
        assert (
            finding["value"] > finding["limit"] > 0 and finding["unit"] == "m/s" and "interpolate" in finding["advice"]
        )

    def test_frame_rate_and_skeleton_do_not_matter(self):
        joints = stroll()
        joints[50:, :] += [0.5, 0, 0]
        assert "jump" in {f["kind"] for f in lamp_hf.Motion(joints).resample(60).check().findings}
        for skeleton in SKELETONS.values():
            for kind in MEASURES:
                assert (
                    limits_of(kind, skeleton).shape == (skeleton.num_joints,) and (limits_of(kind, skeleton) > 0).all()
                )
        assert thresholds().keys() == MEASURES.keys() == UNITS.keys()

    @pytest.mark.parametrize("frames", [1, 2, 3])
    def test_motions_of_any_length_are_checked(self, frames):
        assert isinstance(lamp_hf.Motion(stroll()[:frames]).check().passed, bool)

    def test_runs_with_a_gap_between_them_are_one(self):
        mask = np.array([0, 1, 1, 0, 1, 0, 0, 0, 1], bool)
        assert runs(mask) == [(1, 3), (4, 5), (8, 9)] and runs(mask, gap=1) == [(1, 5), (8, 9)]


class TestFix:
    @pytest.mark.parametrize("kind", ["swapped_sides", "bone_length", "floating"])
    def test_what_is_safe_is_repaired(self, kind):
        joints = plant(kind, stroll(), np.random.default_rng(1))
        motion = lamp_hf.Motion(joints)
        assert not motion.check().passed and fix(motion).check().passed

    def test_frames_that_jump_away_and_back_are_interpolated(self):
        joints = stroll()
        joints[40:42, 20] += [0, 1.0, 0]
        repaired = fix(lamp_hf.Motion(joints))
        assert repaired.check().passed
        np.testing.assert_allclose(repaired.joints, stroll(), atol=5e-3)

    @pytest.mark.parametrize("part", [("collar", "shoulder", "elbow", "wrist"), ("hip", "knee", "ankle", "foot")])
    def test_arms_or_legs_that_alone_are_swapped_do_not_swap_the_others(self, part):
        swapped = [HUMANML3D.mirrored_joints[joint] if name.endswith(part) else joint
                   for joint, name in enumerate(HUMANML3D.joint_names)]  # fmt: skip
        joints = stroll()[:, swapped]
        assert "swapped_sides" in kinds(joints)
        np.testing.assert_allclose(fix(lamp_hf.Motion(joints)).joints, joints, atol=1e-5)

    def test_nothing_is_invented_for_a_body_that_is_elsewhere_from_then_on(self):
        joints = stroll()
        joints[50:] += [0.6, 0, 0]
        np.testing.assert_allclose(fix(lamp_hf.Motion(joints)).joints[:, 0], joints[:, 0], atol=1e-6)


class TestThresholds:
    def test_they_let_the_share_of_clips_pass_and_planted_faults_fail(self):
        clips = [stroll(80 + 5 * i).astype(np.float32) for i in range(12)]
        assert find_thresholds(worst_values(clips)).keys() == MEASURES.keys()
        numbers = evaluate(clips, seed=0)
        assert numbers["real_that_pass"] == 100 and numbers["planted_found_by_kind"]["not_finite"] == 10


class TestCommand:
    @pytest.fixture
    def folder(self, tmp_path):
        folder = tmp_path / "clips"
        (folder / "more").mkdir(parents=True)
        lamp_hf.Motion(stroll()).save(folder / "good.npz")
        lamp_hf.Motion(stroll() + [0, 0.3, 0]).save(folder / "more" / "high.npz")
        joints = stroll()
        joints[7, 3, 1] = np.nan
        np.savez(folder / "nan.npz", joints=joints, fps=20.0, skeleton="humanml3d", text="")
        return folder

    def test_the_exit_code_and_a_line_for_each_fault(self, folder, run):  # noqa: F811
        code, output, _ = run("check", folder)
        assert code == 1 and "3 files, 2 with faults" in output
        assert (
            "high.npz: 0.00-5.00 s: floating" in output and "nan.npz: not_finite: " in output and "frame 7" in output
        )
        assert run("check", folder / "good.npz")[0] == 0

    def test_json_and_a_page_with_plots(self, folder, tmp_path, run):  # noqa: F811
        code, output, _ = run("check", folder, "--json", "--html", tmp_path / "report.html")
        result = json.loads(output)
        assert code == 1 and not result["passed"] and len(result["files"]) == 3
        page = (tmp_path / "report.html").read_text()
        assert page.count("<svg") == 1 and "high.npz" in page and "good.npz" not in page

    def test_repaired_files_are_new_ones(self, folder, tmp_path, run):  # noqa: F811
        before = (folder / "more" / "high.npz").read_bytes()
        code, output, _ = run("check", folder, "--fix", "-o", tmp_path / "fixed", "--json")
        result = json.loads(output)
        assert code == 1 and {Path(name).name for name, found in result["files"].items() if found} == {"nan.npz"}
        assert {Path(name).name for name in result["fixed"]} == {"good.npz", "high.npz"}
        assert all(Path(target).is_file() for target in result["fixed"].values())
        assert (folder / "more" / "high.npz").read_bytes() == before
        assert lamp_hf.Motion.load(tmp_path / "fixed" / "more" / "high.npz").check().passed

    def test_what_cannot_be_done_is_said_in_one_line(self, folder, tmp_path, run):  # noqa: F811
        shutil.rmtree(folder / "more")
        for arguments, reason in (
            ([folder, "--fix"], "say where"),
            ([folder, "--fix", "-o", folder], "would be overwritten"),
            ([folder / "good.npz", "-o", tmp_path / "x.npz"], "give --fix too"),
            ([tmp_path / "missing.npz"], "no such file or folder"),
            ([folder, "--html", "report.pdf"], "give an .html file"),
            ([folder, "--fix", "-o", tmp_path / "x.npz"], "give a folder"),
        ):
            code, _, errors = run("check", *arguments)
            assert code == 1 and reason in errors and len(errors.splitlines()) == 1


def test_the_floor_of_the_measures_is_that_of_the_skeleton():
    assert MEASURES["below_floor"](stroll() - [0, 0.2, 0], 20, HUMANML3D).max() == pytest.approx(0.2, abs=0.01)
