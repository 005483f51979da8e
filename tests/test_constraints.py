"""Spatial constraints of generated motion: what they say, what is refused, and how closely they are met."""

import json
import math

import numpy as np
import pytest
import torch
from conftest import make_motion
from transformers import pipeline

import lamp_hf
from lamp_hf.metrics.physics import bone_length_variation, foot_skating, largest_acceleration
from lamp_hf.models.constraint_fitting import ConstraintFit, smooth_line
from lamp_hf.models.foot_placement import place_feet, standing_feet
from lamp_hf.models.key_poses import solve
from lamp_hf.models.motion_representation import headings
from lamp_hf.models.skeleton import HUMANML3D, KIT


Constraint = lamp_hf.Constraint
CIRCLE = [(2 - 2 * math.cos(a), 2 * math.sin(a)) for a in np.linspace(0, math.pi, 13)]
WRIST = HUMANML3D.joint_names.index("right_wrist")


@pytest.fixture(scope="module")
def pipe(model_folder):
    return pipeline("text-to-motion", model=str(model_folder))


@pytest.fixture
def walk() -> np.ndarray:
    """Four seconds on the floor from the origin, on the model's bones."""
    joints = lamp_hf.features_to_joints(lamp_hf.joints_to_features(make_motion(82))).astype(np.float32)
    return joints - [0, joints[..., 1].min(), 0]


def fit(joints: np.ndarray, *constraints: Constraint) -> dict:
    return ConstraintFit(constraints, [len(joints)], 20.0, HUMANML3D)(joints)


def facing(joints: np.ndarray) -> np.ndarray:
    return np.degrees(headings(torch.from_numpy(joints), HUMANML3D).numpy())


# The notion.


@pytest.mark.parametrize(
    "constraint",
    [
        Constraint.path(CIRCLE),
        Constraint.path(CIRCLE, facing=90, speed=1.5),
        Constraint.path([(0, 0), (1, 2)], times=[0, 2.5], facing=[0, 45]),
        Constraint.pose(1, make_motion(1)[0], joints=["left_wrist", "head"], place=True),
        Constraint.pose(1, lamp_hf.Motion(make_motion(1))),
        Constraint.point("right_wrist", 3.0, (0.3, 1.6, 2.2)),
    ],
    ids=str,
)
def test_constraints_are_stored_as_json(constraint):
    assert Constraint.from_dict(json.loads(json.dumps(constraint.to_dict()))) == constraint


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constraint.path([(0, 0)]), "two points or more"),
        (lambda: Constraint.path([(0, 0), (1, math.nan)]), "NaN or infinite"),
        (lambda: Constraint.path([(0, 0, 0), (1, 2, 3)]), r"points \(x, z\), got the shape \[2, 3\]"),
        (lambda: Constraint.path("walk.csv"), r"points \(x, z\)"),
        (lambda: Constraint.path([(0, 0), (1, 1)], times=[0]), "2 points takes as many times"),
        (lambda: Constraint.path([(0, 0), (1, 1)], times=[1, 1]), "must increase"),
        (lambda: Constraint.path([(0, 0), (1, 1)], times=[0, 1], speed=1), "not both"),
        (lambda: Constraint.path([(0, 0), (1, 1)], facing=[1, 2, 3]), "one angle, or one for each of 2"),
        (lambda: Constraint.path([(0, 0), (1, 1)], speed=90), "up to 7"),
        (lambda: Constraint.pose(1.0, make_motion(30)), "a pose is one frame, got 30"),
        (lambda: Constraint.pose("soon", make_motion(1)), "a time is a number of seconds, got 'soon'"),
        (lambda: Constraint.pose(1.0, make_motion(1), joints=[]), "name one or more"),
        (lambda: Constraint.point("head", math.nan, (0, 1, 0)), "a time is a number"),
        (lambda: Constraint.point("head", 1.0, (0, 1)), r"\(x, y, z\)"),
        (lambda: Constraint.point(21, 1.0, (0, 1, 0)), "a joint is given by its name, .* got 21"),
        (lambda: Constraint.pose(1.0, make_motion(1), joints=21), "by its name, .* got 21"),
        (lambda: Constraint.pose(1.0, make_motion(1), joints=["head", None]), "by its name, .* got None"),
        (lambda: Constraint.from_dict({"kind": "circle"}), '"kind": path, pose, point'),
        (lambda: Constraint.from_dict({"kind": ["path"]}), '"kind": path, pose, point'),
        (lambda: Constraint.from_dict({"kind": "point", "joint": "head", "time": 1}), "point: 'position' is missing"),
        (lambda: Constraint.from_dict({"kind": "path", "points": CIRCLE, "pace": 1}), "path: 'pace' is unknown"),
    ],
)
def test_what_makes_no_constraint_is_refused_in_a_line(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


POSE, STRIDE = (frame - [0, frame[:, 1].min(), 0] for frame in make_motion(31)[[0, 30]])


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        ([Constraint.path([(0, 0), (0, 4)], times=[1.0, 1.5])], "4.00 m in 0.50 seconds"),
        ([Constraint.path([(0, 0), (0, 40)])], "40 m in 4 seconds are too fast"),
        ([Constraint.path([(0, 0), (0, 4)], speed=0.5)], "4 m at 0.5 m/s take 8 seconds, the motion lasts 4"),
        ([Constraint.path([(0, 0), (0, 4)], times=[0, 9])], "second 9 is not in a motion of 4 seconds"),
        ([Constraint.path(CIRCLE), Constraint.path(CIRCLE)], "one path"),
        ([Constraint.point("right_wrist", 1.0, (0, 3, 0))], "right_wrist at a height of 3 m"),
        ([Constraint.point("right_wrist", 1.0, (0, -0.5, 0))], "a height of -0.5 m"),
        ([Constraint.point("tail", 1.0, (0, 1, 0))], "no joint 'tail'; known: pelvis"),
        ([Constraint.point("head", 1.0, (30, 1, 0))], "out of reach"),
        ([Constraint.pose(1.0, POSE), Constraint.pose(1.01, POSE)], "pelvis in the same frame, at 1 s: give one"),
        ([Constraint.pose(2.0, POSE), Constraint.pose(2.0, STRIDE)], "pose at 2 s and pose at 2 s want pelvis"),
        ([Constraint.pose(1.0, POSE), Constraint.point("head", 1.0, (0, 1.6, 1))], "head in the same frame"),
        ([Constraint.point("head", 3, (0, 1.5, z)) for z in (1, 1.3)], "head in the same frame, at 3 s: give one"),
        ([Constraint.point("head", t, (0, 1.5, 0)) for t in np.linspace(0, 4, 81)], "at 3.95 s, the last one"),
        ([Constraint.point("left_wrist", 1, (0, 1, 2)), Constraint.point("head", 1, (0, 1, 0))], "2.00 m apart"),
        ([Constraint.point("head", 1, (0, 1.5, 0)), Constraint.point("head", 1.1, (0, 1.5, 2))], "20 m/s"),
        ([Constraint.path(CIRCLE, times=np.arange(13) / 4), Constraint.point("head", 3, (0, 1, 0))], "out of reach"),
        ([Constraint.pose(1.0, np.zeros((21, 3)))], "21 joints, the model's skeleton has 22"),
        ([Constraint.pose(1.0, lamp_hf.Motion(make_motion(1, skeleton=KIT), skeleton="kit"))], "skeleton is 'kit'"),
        ([Constraint.pose(1.0, 100 * POSE)], "1e\\+02 times as long as the model's: give it in metres"),
        ([Constraint.pose(1.0, POSE + [0, 2, 0])], "lowest joint is at 2.00 m"),
        ([{"kind": "path"}], "made by lamp_hf.Constraint, got dict"),
    ],
)
def test_what_no_body_can_meet_is_refused_before_anything_is_generated(pipe, monkeypatch, constraints, message):
    monkeypatch.setattr(pipe.model, "generate", None)
    with pytest.raises(ValueError, match=message) as caught:
        pipe("she bows", duration=4.0, constraints=constraints)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": "she bows"}, "constraints need a duration"),
        ({"inputs": ["she bows", "a man"], "duration": 4.0}, "of one text or one sequence"),
        ({"inputs": "she bows", "duration": 4.0, "prefix": make_motion(30)}, "not of an edit"),
        ({"inputs": "she bows", "duration": 61.0}, "at most 60 seconds"),
    ],
)
def test_calls_that_take_no_constraints_say_so(pipe, arguments, message):
    with pytest.raises(ValueError, match=message):
        pipe(**arguments, constraints=[Constraint.path(CIRCLE)])


def test_a_stream_takes_none(pipe):
    with pytest.raises(ValueError, match="no constraints"):
        pipe.stream("she bows", duration=4.0, constraints=[])


# How they are met.


def test_the_root_is_over_the_points_of_a_path_at_their_times(walk):
    times = np.linspace(0, 4.0, 13)
    made = fit(walk, Constraint.path(CIRCLE, times=times))
    rows = np.minimum(times * 20, len(walk) - 1)
    root = np.stack([np.interp(rows, np.arange(len(walk)), made["joints"][:, 0, axis]) for axis in (0, 2)], 1)
    np.testing.assert_allclose(root, CIRCLE, atol=0.001)
    assert made["constraint_error"] == [pytest.approx(0, abs=1e-3)]


def test_a_path_without_times_is_followed_from_end_to_end(walk):
    made = fit(walk, Constraint.path(CIRCLE))
    line = smooth_line(torch.tensor(CIRCLE, dtype=torch.float64)).numpy()
    root = made["joints"][:, 0, [0, 2]]
    assert np.linalg.norm(root[:, None] - line, axis=-1).min(1).max() < 0.1
    np.testing.assert_allclose(root[[0, -1]], [CIRCLE[0], CIRCLE[-1]], atol=0.1)


def test_a_speed_says_when_the_path_ends(walk):
    made = fit(walk, Constraint.path([(0, 0), (0, 3)], speed=1.5))
    np.testing.assert_allclose(made["joints"][40, 0, [0, 2]], [0, 3], atol=0.1)


def test_the_body_turns_with_its_path(walk):
    """From +z over the left, +x, to -z; the walk itself swings by half a turn over four."""
    turned = facing(fit(walk, Constraint.path(CIRCLE))["joints"])
    assert abs(turned[5]) < 40 and abs(turned[40] - 90) < 40 and abs(abs(turned[75]) - 180) < 40


def test_a_facing_is_kept_whatever_the_path(walk):
    made = fit(walk, Constraint.path(CIRCLE, facing=-90))
    assert np.abs(facing(made["joints"]) + 90).max() < 5


def test_a_pose_is_met_on_the_path_and_leads_back_to_the_motion(walk):
    pose = make_motion(1, seed=3)[0]
    pose -= [0, pose[:, 1].min(), 0]
    made = fit(walk, Constraint.pose(2.0, pose))
    bones = np.diff(
        lamp_hf.features_to_joints(lamp_hf.joints_to_features(np.stack([pose, pose, pose])))[0, [18, 20]], axis=0
    )
    assert made["constraint_error"][0] < 0.005
    assert np.linalg.norm(bones) > 0
    np.testing.assert_allclose(made["joints"][[0, -1], 9:], walk[[0, -1], 9:], atol=0.03)


def test_a_placed_pose_stands_where_it_says(walk):
    pose = POSE + [1.0, 0.0, 1.0]
    made = fit(walk, Constraint.pose(4.0, pose, place=True))
    np.testing.assert_allclose(made["joints"][-1, 0, [0, 2]], pose[0, [0, 2]], atol=0.01)
    assert made["constraint_error"][0] < 0.005


def test_only_the_named_joints_of_a_pose_matter(walk):
    raised = walk[40].copy()
    elbow, shoulder = HUMANML3D.parents[WRIST], HUMANML3D.parents[HUMANML3D.parents[WRIST]]
    raised[elbow] = raised[shoulder] + [-0.16, 0.21, 0]
    raised[WRIST] = raised[elbow] + [0.1, 0.25, 0]
    made = fit(walk, Constraint.pose(2.0, raised, joints=["right_wrist"]))["joints"]
    assert np.linalg.norm(made[40, WRIST] - raised[WRIST]) < 0.01
    assert np.abs(made[40, [4, 5, 20]] - walk[40, [4, 5, 20]]).max() < 0.12  # knees and the other wrist


@pytest.mark.parametrize("place", [(0.2, 1.5, 1.6), (-2.0, 1.2, 1.0), (0.0, 0.3, 2.0)], ids=["near", "far", "low"])
def test_a_hand_is_at_its_point(walk, place):
    made = fit(walk, Constraint.point("right_wrist", 2.5, place))
    np.testing.assert_allclose(made["joints"][50, WRIST], place, atol=0.015)
    np.testing.assert_allclose(made["joints"][0, 0, [0, 2]], 0, atol=0.01)
    assert made["constraint_error"][0] < 0.015


def test_bodies_keep_their_bones_and_do_not_jump(walk):
    pose = Constraint.pose(2.0, make_motion(1, seed=3)[0] - [0, make_motion(1, seed=3)[0, :, 1].min(), 0])
    point = Constraint.point("left_wrist", 3.2, (3.4, 1.3, 1.6))
    joints = fit(walk, Constraint.path(CIRCLE, times=np.linspace(0, 4, 13)), pose, point)["joints"]
    assert bone_length_variation(joints) < 1e-4
    assert largest_acceleration(joints) < 100  # metres per second squared; real clips reach as much


# Parts.


def test_bones_turn_little_to_reach_targets():
    joints = torch.tensor(POSE)[None]
    targets = torch.full_like(joints, torch.nan)
    targets[0, WRIST] = joints[0, WRIST] + torch.tensor([0.05, 0.1, 0.05])
    directions, shift = solve(joints, targets, HUMANML3D)
    lengths = np.linalg.norm(POSE - POSE[[0, *HUMANML3D.parents[1:]]], axis=-1)
    made = (
        joints[:, :1] + shift[:, None] + HUMANML3D.ancestors.double() @ (directions * torch.tensor(lengths)[:, None])
    )
    assert (made[0, WRIST] - targets[0, WRIST]).norm() < 0.002
    assert (made[0, :12] - joints[0, :12]).norm(dim=-1).max() < 0.08  # legs and spine


def test_standing_feet_stay_where_they_stand(walk):
    still = torch.tensor(np.repeat(walk[:1], 41, 0), dtype=torch.float64)
    assert standing_feet(still, HUMANML3D, 20.0).all()
    swaying = still + 0.05 * torch.sin(torch.linspace(0, 6, 41))[:, None, None] * torch.tensor([1.0, 0.0, 0.0])
    stands, held = torch.ones(41, 2, dtype=torch.bool), torch.zeros(41, 2, dtype=torch.bool)
    made = place_feet(swaying, still[:, [10, 11], 1], stands, held, HUMANML3D, 20.0)
    assert foot_skating(made.numpy()) < 0.1 * foot_skating(swaying.numpy())
    torch.testing.assert_close(made[:, 0], swaying[:, 0])


# The pipeline.


def test_the_pipeline_fits_what_it_generates(pipe):
    constraints = [Constraint.path([(0, 0), (1, 2), (0, 3)], times=[0, 2, 4])]
    made = pipe("she bows", duration=4.0, seed=0, constraints=constraints)
    assert made["joints"].shape == (80, 22, 3) and made["features"].shape == (80, 263)
    np.testing.assert_allclose(made["joints"][[0, 40, -1], 0][:, [0, 2]], [(0, 0), (1, 2), (0, 3)], atol=0.01)
    assert made["constraint_error"] == [pytest.approx(0, abs=1e-3)]
    assert lamp_hf.Motion(**made).num_frames == 80


def test_every_sequence_and_candidate_is_fitted_as_alone(pipe):
    constraints = [Constraint.path([(0, 0), (1, 2)])]
    several = pipe("she bows", duration=3.0, seed=4, num_return_sequences=2, num_candidates=2, constraints=constraints)
    for made in several:
        alone = pipe("she bows", duration=3.0, seed=made["seed"], constraints=constraints)
        np.testing.assert_allclose(made["joints"], alone["joints"], atol=1e-4)


def test_an_empty_list_changes_nothing(pipe):
    plain = pipe("she bows", duration=2.0, seed=0)
    np.testing.assert_array_equal(pipe("she bows", duration=2.0, seed=0, constraints=[])["joints"], plain["joints"])


def test_the_end_of_a_sequence_of_odd_durations_is_where_a_constraint_says(pipe):
    constraints = [Constraint.path([(0, 0), (1, 2)], times=[0, 6.15])]
    made = pipe(["she bows", "a man", "she bows"], mode="sequence", duration=2.05, seed=0, constraints=constraints)
    assert len(made["joints"]) == 123
    np.testing.assert_allclose(made["joints"][-1, 0, [0, 2]], (1, 2), atol=0.01)


def test_a_sequence_and_a_long_motion_are_fitted_as_a_whole(pipe):
    constraints = [Constraint.path([(0, 0), (1, 4)])]
    for request in ({"inputs": ["she bows", "a man"], "mode": "sequence", "duration": [2.0, 2.0]},
                    {"inputs": "she bows", "duration": 12.0}):  # fmt: skip
        made = pipe(**request, seed=0, constraints=constraints)
        np.testing.assert_allclose(made["joints"][-1, 0, [0, 2]], (1, 4), atol=0.15)
