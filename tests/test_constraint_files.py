"""Constraints that `lamp-hf generate` reads from files."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import make_motion

import lamp_hf
from lamp_hf.cli.constraint_files import read_constraints
from lamp_hf.models.constraints import check_constraints
from lamp_hf.models.skeleton import HUMANML3D
from lamp_hf.serve.timeline import read_poses
from training.evaluation import constraints as evaluation


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lamp_hf.Motion(make_motion(60)).save("walk.npz")
    lamp_hf.Motion(make_motion(1)).save("pose.npz")
    Path("path.csv").write_text("x,z,time\n0,0,0\n1,2,1.5\n")
    return tmp_path


def test_a_path_is_a_table_of_points_and_if_given_times_and_facings(folder):
    assert read_constraints(None, Path("path.csv"), [], None) == [
        lamp_hf.Constraint.path([(0, 0), (1, 2)], times=[0, 1.5])
    ]
    Path("bare.csv").write_text("z,x,facing\n0,0,10\n2,1,20\n")
    assert read_constraints(None, Path("bare.csv"), [], 1.2) == [
        lamp_hf.Constraint.path([(0, 0), (1, 2)], facing=[10, 20], speed=1.2)
    ]


def test_a_pose_is_a_file_of_one_frame_or_a_second_of_a_clip(folder):
    alone, frame = read_constraints(None, None, ["2.0:pose.npz", ".5:walk.npz@1.5"], None)
    np.testing.assert_allclose(alone.positions, lamp_hf.Motion.load("pose.npz").pose_at(0).joints[0], atol=1e-6)
    np.testing.assert_allclose(frame.positions, lamp_hf.Motion.load("walk.npz").pose_at(1.5).joints[0], atol=1e-6)
    assert (alone.times, frame.times, frame.skeleton) == ((2.0,), (0.5,), "humanml3d")


@pytest.mark.parametrize("floor", [-0.08, 0.0, 0.6])
def test_the_floor_of_a_recording_is_at_its_lowest_joint_on_the_page_and_on_the_command_line(folder, floor):
    walk = make_motion(60)
    walk[..., 1] -= walk[..., 1].min()
    lamp_hf.Motion(walk + [0, floor, 0]).save("walk.npz")
    read = [*read_constraints(None, None, ["1:walk.npz@1.5"], None), *read_poses([(folder / "walk.npz", 1.0, 1.5)])]
    for pose in read:
        np.testing.assert_allclose(pose.positions, walk[30], atol=1e-6)
    assert check_constraints(read[:1], 2.0, 20.0, HUMANML3D)


def test_the_end_of_a_clip_is_its_last_frame_on_the_page_and_on_the_command_line(folder):
    last = lamp_hf.Motion.load("walk.npz").pose_at(2.95)
    for pose in (
        *read_constraints(None, None, ["1:walk.npz@3"], None),
        *read_poses([(folder / "walk.npz", 1.0, 3.0)]),
    ):
        np.testing.assert_array_equal(pose.positions, last.joints[0])


def test_a_json_file_holds_all_kinds_and_poses_beside_it(folder):
    made = [lamp_hf.Constraint.path([(0, 0), (1, 2)]), lamp_hf.Constraint.point("head", 1, (0, 1.5, 0))]
    (folder / "all").mkdir()
    lamp_hf.Motion(make_motion(1)).save("all/beside.npz")
    rows = [*(one.to_dict() for one in made), {"kind": "pose", "time": 1, "pose": "beside.npz", "joints": ["head"]}]
    Path("all/constraints.json").write_text(json.dumps(rows))
    read = read_constraints(Path("all/constraints.json"), None, [], None)
    assert read[:2] == made and read[2].joints == ("head",)


@pytest.mark.parametrize(
    ("arguments", "content", "message"),
    [
        ({"path": Path("bad.csv")}, "a,b\n1,2\n", "columns x and z"),
        ({"path": Path("bad.csv")}, "x,z\n1,two\n", "empty or no number"),
        ({"path": Path("bad.csv")}, "x,z\n1,2\n", "bad.csv: a path without times needs two points"),
        ({"poses": ["pose.npz"]}, "", "give a second and a file, 2.0:pose.npz"),
        ({"poses": ["1:walk.npz"]}, "", "has 60 frames and a pose is one: name its second, walk.npz@1.5"),
        ({"poses": ["1:walk.npz@9"]}, "", "there is no pose at second 9"),
        ({"speed": 1.0}, "", "--speed is that of --path"),
        ({"file": Path("bad.csv")}, "{", "bad.csv: not JSON"),
        ({"file": Path("bad.csv")}, "{}", "expected a list"),
        ({"file": Path("bad.csv")}, '[{"kind": "path"}]', "constraint 1: path: 'points' is missing"),
        ({"file": Path("bad.csv")}, '[{"kind": "point", "joint": 21, "time": 1, "position": [0, 1, 0]}]', "its name"),
    ],
)
def test_what_holds_no_constraint_is_refused_in_a_line(folder, arguments, content, message):
    Path("bad.csv").write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_constraints(**({"file": None, "path": None, "poses": [], "speed": None} | arguments))
    assert "\n" not in str(caught.value)


# Their evaluation.


def test_errors_are_told_in_centimetres_by_what_is_constrained():
    outputs = [{"constraint_error": [0.01, 0.02, 0.04]}, None, {"constraint_error": [0.03, 0.06, 0.08]}]
    numbers = evaluation.errors(outputs)
    assert numbers["root_error_cm"] == pytest.approx(2) and numbers["joints_error_cm"] == pytest.approx(5)
    assert numbers["root_error_95th_cm"] == pytest.approx(2.9)
    assert evaluation.errors([{"joints": 0}]) == {}


def test_a_path_comes_from_another_clip_of_the_same_family():
    clips, rng = [make_motion(30)] * 5, np.random.default_rng(0)
    families = ["walk", "bow", "walk", "bow", "kick"]
    assert {evaluation.draw_source(0, clips, families, False, rng) for _ in range(20)} == {2}
    assert {evaluation.draw_source(4, clips, families, False, rng) for _ in range(50)} == {0, 1, 2, 3}
    assert {evaluation.draw_source(0, clips, families, True, rng) for _ in range(50)} == {1, 2, 3, 4}


def test_a_clip_is_played_in_another_time():
    clip = make_motion(41)
    made = evaluation.played(clip, 81)
    np.testing.assert_allclose(made[::2], clip, atol=1e-9)
