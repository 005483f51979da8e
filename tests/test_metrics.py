import numpy as np
import pytest

from lamp_hf.metrics.geometry import measure, raised
from lamp_hf.metrics.physics import bone_length_variation, foot_skating, largest_acceleration
from lamp_hf.models.motion_representation import mirror
from lamp_hf.models.skeleton import HUMANML3D
from training.evaluation.action_checks import CHECKS, confuses_sides


def standing(num_frames: int = 60) -> np.ndarray:
    joints = np.zeros((num_frames, 22, 3))
    for joint, parent in enumerate(HUMANML3D.parents):
        if parent >= 0:
            bone = np.array(HUMANML3D.directions[joint]) * HUMANML3D.bone_lengths[joint]
            joints[:, joint] = joints[:, parent] + bone
    return joints + [0, 0.95, 0]


def left_hand_up(waving: bool) -> np.ndarray:
    joints, time = standing(), np.arange(60) / 20
    joints[10:50, [18, 20]] = joints[10:50, [16]] + np.array([[0, 0.26, 0], [0, 0.52, 0]])
    if waving:
        joints[10:50, 20, 0] += 0.15 * np.sin(2 * np.pi * 1.5 * time[10:50])
    return joints


def travelling(speed: float, turn: float = 0.0, sideways: float = 0.0) -> np.ndarray:
    joints = standing()
    angle = np.radians(turn) * np.linspace(0, 1, 60)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x, y, z = joints.transpose(2, 0, 1)
    joints = np.stack([cos * x + sin * z, y, cos * z - sin * x], -1)
    step = np.stack([np.sin(angle) * speed + sideways, 0 * angle, np.cos(angle) * speed], -1) / 20
    return joints + step.cumsum(0)[:, None]


CLIPS = {
    "raise-up-left-hand": left_hand_up(waving=False),
    "wave-left-hand": left_hand_up(waving=True),
    "walk": travelling(1.2),
    "run": travelling(3.0),
    "walk-turn-left": travelling(1.2, turn=90),
    "walk-left": travelling(0.6, sideways=0.6),
    "walk-back": travelling(-0.8),
}


@pytest.mark.parametrize("action", CLIPS)
def test_the_judge_knows_a_clip_and_its_mirror_image(action):
    assert CHECKS[action](measure(CLIPS[action]))
    other = action.replace("left", "right")
    mirrored = mirror(CLIPS[action])
    assert CHECKS[other](measure(mirrored))
    assert not confuses_sides(action, measure(CLIPS[action]))
    assert confuses_sides(action, measure(mirrored)) == ("left" in action)
    if "left" in action:
        assert not CHECKS[action](measure(mirrored))


def test_the_judge_does_not_care_which_way_a_clip_faces():
    joints = CLIPS["walk-turn-left"]
    turned = np.stack([joints[..., 2], joints[..., 1], -joints[..., 0]], -1)
    assert measure(turned).turn == pytest.approx(measure(joints).turn)
    assert measure(turned).forward == pytest.approx(measure(joints).forward)


def test_arms_that_swing_are_not_raised():
    """Hands of a walk rise from the hip to below the shoulder; a standing body that does the same raises a hand."""
    swing, chest = 0.35 * np.sin(2 * np.pi * np.arange(60) / 20) ** 2 - 0.2, standing()[0, 9]
    walk, stand = travelling(1.2), standing()
    for joints in (walk, stand):
        joints[:, 20, 1] = chest[1] + swing
    assert raised(measure(walk)) == [] and raised(measure(stand)) == ["left"]
    walk[:, 20, 1] += 0.2
    assert raised(measure(walk)) == ["left"]


def test_standing_still_is_no_action():
    assert not any(check(measure(standing())) for check in CHECKS.values())


def test_sliding_feet_and_jumping_joints_and_stretching_bones_are_noticed():
    still = standing()
    assert foot_skating(still) == 0 and largest_acceleration(still) == 0
    assert bone_length_variation(still) == pytest.approx(0, abs=1e-12)
    assert foot_skating(travelling(1.0)) == pytest.approx(1.0)
    jumped = still.copy()
    jumped[30, 20] += [0, 0.1, 0]
    assert largest_acceleration(jumped) == pytest.approx(2 * 0.1 * 400)
    assert bone_length_variation(jumped) > 0.1
