"""Physical plausibility: bodies whose sliding, floating, sinking and jumping are known."""

import numpy as np
import pytest

from lamp_hf.metrics.physics import (
    bone_length_variation,
    floating,
    foot_skating,
    jitter,
    largest_acceleration,
    penetration,
)
from lamp_hf.models.skeleton import HUMANML3D, KIT


LEFT_TOE, RIGHT_TOE = HUMANML3D.left_foot[1], HUMANML3D.right_foot[1]


def standing(num_frames: int = 21, skeleton=HUMANML3D) -> np.ndarray:
    """Make a body that stands still: feet on the floor, every other joint a metre above it."""
    joints = np.zeros((num_frames, skeleton.num_joints, 3))
    joints[..., 1] = 1.0
    joints[:, list(skeleton.left_foot + skeleton.right_foot), 1] = 0.0
    return joints


def seconds(num_frames: int = 21, fps: float = 20.0) -> np.ndarray:
    return np.arange(num_frames) / fps


class TestFootSkating:
    def test_it_is_the_horizontal_speed_of_toes_on_the_ground(self):
        joints = standing()
        joints[..., 0] += 0.6 * seconds()[:, None]
        joints[..., 2] += 0.8 * seconds()[:, None]
        assert foot_skating(joints) == pytest.approx(1.0)
        assert foot_skating(joints, fps=10.0) == pytest.approx(0.5)
        assert foot_skating(joints + [0, 3, 0]) == pytest.approx(1.0)  # the floor is where the lowest toe is

    @pytest.mark.parametrize(("height", "speed"), [(0.04, 0.5), (0.06, 0.0)])
    def test_a_toe_less_than_five_centimetres_high_is_on_the_ground(self, height, speed):
        joints = standing()
        joints[:, RIGHT_TOE] += np.stack([seconds(), np.full(21, height), 0 * seconds()], -1)
        assert foot_skating(joints) == pytest.approx(speed)

    def test_a_step_counts_only_where_it_begins_and_ends_on_the_ground(self):
        joints = standing()
        joints[:, RIGHT_TOE, 0] = seconds()
        joints[1::2, RIGHT_TOE, 1] = 0.5  # leaves the ground at every other frame
        assert foot_skating(joints) == 0
        flying = standing()
        flying[..., 0] += seconds()[:, None]
        flying[1::2, :, 1] += 0.5
        assert foot_skating(flying) == 0  # never two frames on the ground

    def test_each_skeleton_has_its_own_toes(self):
        joints = standing(skeleton=KIT)
        joints[:, [KIT.left_foot[1], KIT.right_foot[1]], 0] = seconds()[:, None]
        assert foot_skating(joints, skeleton="kit") == pytest.approx(1.0)


class TestFloating:
    def test_it_is_the_share_of_frames_with_both_feet_off_the_ground(self):
        joints = standing(20)
        joints[5:10, :, 1] += 0.11
        assert floating(joints) == pytest.approx(0.25)
        joints[5:10, LEFT_TOE, 1] = 0.0  # one foot stays
        assert floating(joints) == 0
        assert floating(standing(20) + [0, 0.09, 0], floor=0.0) == 0

    def test_the_floor_is_the_lowest_foot_unless_given(self):
        high = standing(20) + [0, 0.5, 0]
        assert floating(high) == 0
        assert floating(high, floor=0.0) == 1


def test_bones_vary_by_a_share_of_their_own_mean_length():
    joints = standing()
    neck, head = 12, 15  # of all bones only this one changes
    joints[:, head] = joints[:, neck] + [0.0, 0.2, 0.0]
    joints[::2, head, 1] += 0.02
    joints[1::2, head, 1] -= 0.02
    joints[:, :, 0] += np.arange(22) * 0.5  # no bone without length
    bones = np.linalg.norm(joints[:, head] - joints[:, neck], axis=-1)
    expected = np.abs(bones / bones.mean() - 1).max()
    assert bone_length_variation(joints) == pytest.approx(expected) and expected > 1e-3


def test_penetration_is_the_mean_depth_of_the_lowest_joint():
    joints = standing(20)
    joints[:5, LEFT_TOE, 1] = -0.2
    joints[:5, RIGHT_TOE, 1] = -0.1
    assert penetration(joints) == pytest.approx(0.05)
    assert penetration(joints, floor=0.1) == pytest.approx(0.15)
    assert penetration(standing() + [0, 1, 0]) == 0


def test_jitter_is_the_mean_third_derivative():
    joints = standing()
    joints[:, :11] += (
        np.array([0.6, 0.0, 0.8]) * seconds()[:, None, None] ** 3 / 6
    )  # a jerk of 1 m/s3, half the joints
    assert jitter(joints) == pytest.approx(0.5)
    assert jitter(joints, fps=10.0) == pytest.approx(0.5 / 8)
    assert jitter(joints[:4]) == pytest.approx(0.5) and jitter(joints[:3]) == 0


def test_the_largest_acceleration_is_that_of_any_joint_at_any_time():
    joints = standing()
    joints[:, 3] += np.array([3.0, 0.0, 4.0]) * seconds()[:, None] ** 2 / 2
    joints[:, 4, 1] += seconds() ** 2 / 2
    assert largest_acceleration(joints) == pytest.approx(5.0)
    assert largest_acceleration(joints, fps=10.0) == pytest.approx(5.0 / 4)
    assert largest_acceleration(joints[:3]) == pytest.approx(5.0) and largest_acceleration(joints[:2]) == 0


@pytest.mark.parametrize("broken", [np.nan, np.inf])
@pytest.mark.parametrize(
    "measure", [foot_skating, floating, penetration, bone_length_variation, jitter, largest_acceleration]
)
def test_a_body_that_is_not_finite_or_has_no_frame_is_refused(measure, broken):
    joints = standing()
    joints[7, RIGHT_TOE, 0] = broken
    with pytest.raises(ValueError, match="frame 7 holds NaN or infinity"):
        measure(joints)
    with pytest.raises(ValueError, match="at least one frame"):
        measure(standing(0))
