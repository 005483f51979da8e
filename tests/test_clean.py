"""`Motion.clean` on generated motions: feet that stand stay, and nothing else becomes rougher."""

import numpy as np
import pytest
from transformers import pipeline

import lamp_hf
from lamp_hf.metrics.physics import foot_skating
from lamp_hf.models.skeleton import HUMANML3D
from lamp_hf.motion.clean import foot_contacts, lock_feet


TEXTS = ["a person walks forward", "someone kicks with the right leg", "a person sneaks", "a person turns around"]


@pytest.fixture(scope="module")
def generated() -> list[np.ndarray]:
    """Generate motions with the bundled model."""
    pipe = pipeline("text-to-motion", model=lamp_hf.bundled())
    return [out["joints"] for out in pipe(TEXTS, duration=4.0, seed=[0, 1, 2, 3], batch_size=4)]


def slides(joints: np.ndarray, standing: np.ndarray) -> float:
    """Sum the paths of toes on the floor between the frames in which they stand."""
    toes = joints[:, [HUMANML3D.left_foot[1], HUMANML3D.right_foot[1]]][..., [0, 2]]
    return float(np.linalg.norm(np.diff(toes, axis=0), axis=-1)[standing].sum())


def standing_steps(joints: np.ndarray) -> np.ndarray:
    """Find the steps of a toe that is less than 5 cm high and too slow, below 0.8 m/s, for a step of the leg."""
    toes = joints[:, [HUMANML3D.left_foot[1], HUMANML3D.right_foot[1]]]
    low = toes[..., 1] - toes[..., 1].min() < 0.05
    return low[:-1] & low[1:] & (np.linalg.norm(np.diff(toes[..., [0, 2]], axis=0), axis=-1) * 20 < 0.8)


def accelerations(joints: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.diff(joints, 2, axis=0), axis=-1) * 20**2


def standing_body(num_frames: int) -> np.ndarray:
    """Make legs that stand with their knees a little bent; all other joints are between the hips."""
    joints = np.zeros((num_frames, 22, 3))
    joints[..., 1] = 0.95
    joints[:, 1:3] = [[0.1, 0.9, 0], [-0.1, 0.9, 0]]
    for hip, knee, ankle, toe in ((1, 4, 7, 10), (2, 5, 8, 11)):
        joints[:, knee] = joints[:, hip] + [0, -0.43, 0.11]
        joints[:, ankle] = joints[:, hip] + [0, -0.86, 0]
        joints[:, toe] = joints[:, ankle] + [0, -0.04, 0.12]
    return joints


def test_standing_feet_slide_less_by_far_at_no_worse_acceleration(generated):
    cleaned = [lamp_hf.Motion(joints).clean().joints for joints in generated]
    steps = [standing_steps(joints) for joints in generated]
    before, after = (
        np.mean([[slides(joints, standing), foot_skating(joints)] for joints, standing in zip(clips, steps)], 0)
        for clips in (generated, cleaned)
    )
    share = after / before
    assert share[0] < 0.15  # of the sliding of feet that stand
    assert share[1] < 0.65  # this one also counts steps that are low
    before, after = (np.concatenate([accelerations(joints) for joints in clips]) for clips in (generated, cleaned))
    assert after.mean() < before.mean()
    assert np.quantile(after, 0.99) <= np.quantile(before, 0.99)


def test_a_foot_that_stands_keeps_one_place_to_the_millimetre_and_a_raised_one_its_path():
    """A body stands on its left foot, which slides to and fro by 10 cm, and kicks with the right one."""
    joints = standing_body(60)
    time = np.arange(60)
    joints[:, 10, 2] += 0.05 * np.sin(2 * np.pi * time / 60)
    kick = np.exp(-0.5 * ((time - 30) / 6) ** 2)[:, None] * [0.0, 0.5, 0.4]
    joints[:, [8, 11]] += kick[:, None]
    joints[:, 5] = (joints[:, 2] + joints[:, 8]) / 2 + [0, 0, 0.2]
    cleaned = lock_feet(joints, 20, HUMANML3D)
    assert np.ptp(cleaned[:, 10], axis=0).max() < 1e-3 < np.ptp(joints[:, 10, 2])
    raised = joints[:, 11, 1] - joints[0, 11, 1] > 0.4
    assert raised.sum() > 5
    assert np.linalg.norm(cleaned - joints, axis=-1)[raised][:, [2, 5, 8, 11]].max() < 0.005


@pytest.mark.parametrize("backwards", [False, True])
def test_a_low_step_at_an_end_of_the_clip_starts_and_ends_on_its_path(backwards):
    """A foot comes in low at 3 m/s and stands: where the clip begins, nothing leads up to the step."""
    joints = standing_body(40)
    step = np.interp(np.arange(40), [0, 4], [-0.6, 0])
    joints[:, [2, 5, 8, 11], 2] += step[:, None]
    joints[:4, [2, 5, 8, 11], 1] += 0.04
    joints = joints[::-1] if backwards else joints
    moved = np.linalg.norm(lock_feet(joints, 20, HUMANML3D) - joints, axis=-1)[:, 11]
    assert moved[-1 if backwards else 0] < 0.06


def test_a_leg_that_cannot_reach_straightens_without_a_jump():
    """A body moves away from its foot, which stood before: the foot is held as far as the leg is long."""
    joints = standing_body(40)
    travel = np.interp(np.arange(40), [10, 30], [0, 0.6])
    joints[..., 2] += travel[:, None]
    cleaned = lock_feet(joints, 20, HUMANML3D)
    lengths = [np.linalg.norm(clip[:, [4, 7]] - clip[:, [1, 4]], axis=-1) for clip in (joints, cleaned)]
    np.testing.assert_allclose(lengths[0], lengths[1], atol=1e-5)
    assert np.ptp(cleaned[:, 10, 2]) < 0.5 * np.ptp(joints[:, 10, 2])
    assert accelerations(cleaned)[:, [4, 7]].max() < 20  # 0.6 m/s from one frame to the next are 12


def test_a_slide_before_and_after_a_stand_belongs_to_the_contact():
    joints = np.zeros((40, 22, 3))
    joints[..., 1] = 1.0
    joints[:, [10, 11], 1] = 0.0
    speed = np.r_[np.full(5, 2.0), np.full(10, 0.7), np.full(10, 0.1), np.full(10, 0.7), np.full(5, 2.0)]
    joints[:, 10, 0] = speed.cumsum() / 20
    joints[:, 11, 0] = np.full(40, 0.7).cumsum() / 20  # never stands
    contacts = foot_contacts(joints, 20, HUMANML3D)
    assert contacts[6:33, 0].all() and not contacts[:4, 0].any() and not contacts[36:, 0].any()
    assert not contacts[:, 1].any()
