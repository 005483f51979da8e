"""Drawn motions: body, camera, light and background are where a view puts them, and a seed determines the view."""

import dataclasses

import numpy as np
import pytest
from conftest import make_motion

from lamp_hf.models.skeleton import HUMANML3D, KIT, get_skeleton
from lamp_hf.motion.body import Figure
from lamp_hf.motion.render import draw_frames, project_joints, render
from lamp_hf.motion.view import View, random_view


FRONT = View(yaw=0, pitch=0, floor=None)
LEFT_HAND, RIGHT_HAND, HEAD = (HUMANML3D.joint_names.index(name) for name in ("left_wrist", "right_wrist", "head"))


@pytest.fixture(scope="module")
def standing() -> np.ndarray:
    """Make a body that faces Z+ with arms to the sides and the left hand raised; `(1, 22, 3)`."""
    joints = np.zeros((1, 22, 3))
    for joint, parent in enumerate(HUMANML3D.parents):
        if parent >= 0:
            step = np.array(HUMANML3D.directions[joint]) * HUMANML3D.bone_lengths[joint]
            joints[:, joint] = joints[:, parent] + step
    joints -= [0, joints[..., 1].min(), 0]
    shoulder, elbow, wrist = (HUMANML3D.joint_names.index(f"left_{name}") for name in ("shoulder", "elbow", "wrist"))
    joints[:, elbow], joints[:, wrist] = joints[:, shoulder] + [0, 0.3, 0], joints[:, shoulder] + [0, 0.55, 0]
    return joints


def painted(view: View, **colours) -> View:
    """Return the view with every part black except the given ones."""
    return dataclasses.replace(view, colours={"": (0, 0, 0)} | colours, ambient=1.0)


def middle(picture: np.ndarray) -> tuple[float, float]:
    """Return the mean row and column of the painted pixels."""
    rows, columns = np.nonzero(picture.sum(-1) > 100)
    return rows.mean(), columns.mean()


@pytest.mark.parametrize("yaw, side", [(0, 1), (180, -1)], ids=["from the front", "from behind"])
def test_a_raised_left_hand_is_high_and_on_the_side_where_it_is_seen(standing, yaw, side):
    view = painted(dataclasses.replace(FRONT, yaw=yaw), left_hand=(255, 255, 255))
    row, column = middle(render(standing, HUMANML3D, 224, view)[0])
    assert row < 70 and side * (column - 112) > 8


@pytest.mark.parametrize("yaw, seen", [(90, "left"), (-90, "right")])
def test_the_near_leg_hides_the_far_one(standing, yaw, seen):
    view = painted(dataclasses.replace(FRONT, yaw=yaw), left_shin=(255, 0, 0), right_shin=(0, 255, 0))
    picture = render(standing, HUMANML3D, 224, view)[0].astype(int)
    left, right = (picture[..., 0] > 100).sum(), (picture[..., 1] > 100).sum()
    assert min(left, right) < 0.1 * max(left, right) and (left > right) == (seen == "left")


def test_the_face_is_seen_from_the_front_only(standing):
    faces = [
        (
            render(standing, HUMANML3D, 224, painted(dataclasses.replace(FRONT, yaw=yaw), face=(255,) * 3))[0] > 200
        ).sum()
        for yaw in (0, 180)
    ]
    assert faces[0] > 100 and faces[1] < 0.25 * faces[0]


def test_a_body_that_goes_to_its_left_goes_to_the_right_of_a_camera_that_stands(standing):
    walk = standing + np.linspace(0, 1, 5)[:, None, None] * [1, 0, 0]
    pictures = render(walk, HUMANML3D, 224, painted(dataclasses.replace(FRONT, camera="fixed"), trunk=(255,) * 3))
    columns = [middle(picture)[1] for picture in pictures]
    assert (np.diff(columns) > 5).all()


@pytest.mark.parametrize("seed", range(4))
def test_joints_are_drawn_where_they_are_projected_to(seed):
    """Paint one hand alone, in any view without a floor, with a body of any proportions."""
    joints = make_motion(12, seed=seed)
    view = painted(dataclasses.replace(random_view("clip", seed), floor=None, backdrop=None, grain=0, exposure=0))
    view = dataclasses.replace(view, colours={"": (0, 0, 0), "right_hand": (255,) * 3, "right_forearm": (255,) * 3})
    hand_and_elbow = [RIGHT_HAND, HUMANML3D.joint_names.index("right_elbow")]
    projected = project_joints(joints, HUMANML3D, view, [0, 11])[:, hand_and_elbow]
    for number, ends in zip((0, 11), projected):
        (picture,) = draw_frames(joints, HUMANML3D, 224, view, frame_indices=[number])
        rows, columns = np.nonzero(picture.sum(-1) > 300)
        assert len(rows) > 10
        across, up = columns / 112 - 1, 1 - rows / 112
        low, high = ends[:, :2].min(0) - 0.15, ends[:, :2].max(0) + 0.15
        assert (across > low[0]).all() and (across < high[0]).all() and (up > low[1]).all() and (up < high[1]).all()


def test_a_name_and_a_seed_determine_a_view():
    joints = make_motion(6)
    pictures = [render(joints, HUMANML3D, 64, random_view(*key)) for key in (("a", 0), ("a", 0), ("a", 1), ("b", 0))]
    assert pictures[0].tobytes() == pictures[1].tobytes()
    assert all((other != pictures[0]).any() for other in pictures[2:])


def test_random_views_show_the_body_and_differ_in_everything():
    views = [random_view("clip", seed) for seed in range(60)]
    assert {view.camera for view in views} == {"fixed", "follow"}
    for name in ("yaw", "pitch", "distance", "light", "ambient", "girth", "proportions", "colours"):
        assert len({str(getattr(view, name)) for view in views}) > 30, name
    for kind in ("floor", "backdrop"):
        assert len({getattr(view, kind) is None for view in views}) == 2, kind
    for kind in ("grain", "exposure"):
        assert len({getattr(view, kind) > 0 for view in views}) == 2, kind
    joints = make_motion(8)
    for view in views:
        plain = dataclasses.replace(view, grain=0, exposure=0, floor=None, backdrop=None)
        dark, white = (
            render(joints, HUMANML3D, 64, dataclasses.replace(plain, colours={"": (grey,) * 3}, ambient=1.0)).astype(
                int
            )
            for grey in (0, 255)
        )
        body = (white - dark).sum(-1) > 300
        assert (body.mean((1, 2)) > 0.01).all(), view  # a hundredth of each picture at least


def test_grain_is_another_in_every_frame():
    still = make_motion(1).repeat(3, 0)
    grainy, plain = (
        render(still, HUMANML3D, 64, dataclasses.replace(FRONT, grain=grain)).astype(int) for grain in (9, 0)
    )
    first, second, third = grainy - plain
    assert first.std() > 5 and (first != second).mean() > 0.5 and (second != third).mean() > 0.5


def test_a_view_is_the_same_at_any_size():
    """So is the background; grain alone is finer."""
    joints = make_motion(4)
    for seed in range(12):
        view = dataclasses.replace(random_view("clip", seed), grain=0)
        small, large = (render(joints, HUMANML3D, size, view).astype(float) for size in (64, 192))
        smaller = large.reshape(4, 64, 3, 64, 3, 3).mean((2, 4))
        assert np.abs(small - smaller).mean() < 8
        assert render(joints, HUMANML3D, 64, random_view("clip", seed)).shape == (4, 64, 64, 3)


def test_what_has_no_colour_of_its_own_keeps_its_usual_one(standing):
    picture = render(standing, HUMANML3D, 224, dataclasses.replace(FRONT, colours={"hair": (0, 255, 0)}))[0].astype(
        int
    )
    assert (picture[..., 1] - picture[..., [0, 2]].max(-1) > 100).any()  # the hair
    assert (picture[..., 0] - picture[..., 2] > 100).any()  # the left limbs


def test_a_blurred_picture_lies_between_this_and_the_next(standing):
    moving = np.concatenate([standing, standing + [0.3, 0, 0]])
    still = painted(dataclasses.replace(FRONT, camera="fixed"), trunk=(255,) * 3)
    sharp, blurred = (
        middle(render(moving, HUMANML3D, 224, view)[0])[1]
        for view in (still, dataclasses.replace(still, exposure=0.5))
    )
    assert blurred > sharp + 1


def test_longer_legs_stand_on_the_same_ground(standing):
    taller = Figure(HUMANML3D).with_proportions(standing, {"knee": 1.2, "ankle": 1.2})
    assert taller[0, HEAD, 1] > standing[0, HEAD, 1] + 0.1
    assert taller[..., 1].min() == pytest.approx(standing[..., 1].min())


@pytest.mark.parametrize("name", ["humanml3d", "kit"])
def test_degenerate_poses_are_drawn(name):
    """All joints in one point, very far away, or behind the camera."""
    skeleton = get_skeleton(name)
    point = np.zeros((2, skeleton.num_joints, 3))
    for joints in (point, point + 1e3, point - [0, 0, 1e3], point + np.linspace(0, 50, 2)[:, None, None]):
        for view in (View(), View("fixed"), FRONT, random_view(name, 3)):
            assert render(joints, skeleton, 32, view).shape == (2, 32, 32, 3)


def test_a_kit_body_has_all_its_limbs():
    names = {part.name for part in Figure(KIT).parts}
    assert {"left_thigh", "right_shin", "left_forearm", "right_hand", "face", "left_foot"} <= names


def test_an_unknown_camera_is_refused():
    with pytest.raises(ValueError, match="follow, fixed, orbit"):
        View("drone")
