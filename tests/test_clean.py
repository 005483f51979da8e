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


def test_standing_feet_slide_less_by_far_at_no_worse_acceleration(generated):
    before, after = [], []
    for joints in generated:
        cleaned, steps = lamp_hf.Motion(joints).clean().joints, standing_steps(joints)
        before.append([slides(joints, steps), foot_skating(joints), accelerations(joints).mean()])
        after.append([slides(cleaned, steps), foot_skating(cleaned), accelerations(cleaned).mean()])
    share = np.mean(after, 0) / np.mean(before, 0)
    assert share[0] < 0.2  # of the sliding of feet that stand
    assert share[1] < 0.7  # this one also counts steps that are low
    assert share[2] < 1.005


def test_a_leg_that_cannot_reach_straightens_without_a_jump():
    """A body moves away from its foot, which stood before: the foot is held as far as the leg is long."""
    joints = np.repeat(np.zeros((1, 22, 3)), 40, 0)
    joints[:, 1:3] += [[0.1, 0.9, 0], [-0.1, 0.9, 0]]
    joints[:, 0, 1] = 0.95
    for hip, knee, ankle, toe in ((1, 4, 7, 10), (2, 5, 8, 11)):
        joints[:, knee] = joints[:, hip] + [0, -0.43, 0.11]
        joints[:, ankle] = joints[:, hip] + [0, -0.86, 0]
        joints[:, toe] = joints[:, ankle] + [0, -0.04, 0.12]
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
