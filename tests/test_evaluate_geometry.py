"""Simple prompts judged by geometry: measurements, checks, lengths and directions."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from test_metrics import CLIPS, standing, travelling
from transformers import pipeline

from lamp_hf.metrics.geometry import measure
from lamp_hf.models.motion_representation import mirror
from training.evaluation import action_checks, geometry
from training.evaluation.action_checks import DIRECTIONS, PROMPT_CHECKS, stays
from training.evaluation.text_to_motion import physics_numbers, sinks


PROMPTS = yaml.safe_load(Path(geometry.__file__).with_name("geometry_prompts.yaml").read_text())
SIDED = {"turn": "walk-turn-left", "circle": "walk-turn-left", "hand": "wave-left-hand", "side": "walk-left"}


def kicking(height: float = 0.5) -> np.ndarray:
    """A standing body whose left leg, stretched, goes up in front."""
    joints = standing()
    hip, length = joints[0, 1], joints[0, 1, 1] - joints[0, 7, 1]
    angle = np.arccos(1 - height / length) * np.sin(np.pi * np.linspace(0, 1, 60)) ** 2
    down = np.stack([0 * angle, -np.cos(angle), np.sin(angle)], -1)
    for joint, share in ((4, 0.5), (7, 1.0), (10, 1.05)):
        joints[:, joint] = hip + share * length * down
    return joints


def sinking(metres: float) -> np.ndarray:
    """A standing body that goes down and stays there."""
    return standing() - np.array([0, 1, 0]) * metres * np.clip(np.linspace(-1, 2, 60), 0, 1)[:, None, None]


def test_feet_height_and_drift_are_measured():
    m = measure(kicking(0.5))
    left, right = standing()[0, [7, 8], 1]
    assert m.left_kick == pytest.approx(0.5, abs=0.02) and m.right_kick == pytest.approx(right - left, abs=1e-3)
    m = measure(sinking(0.4))
    assert m.drop == pytest.approx(0.4) and m.ascent == pytest.approx(-0.4)
    there_and_back = standing()
    there_and_back[:, :, 2] += np.sin(np.pi * np.linspace(0, 1, 60))[:, None]
    m = measure(there_and_back)
    assert m.drift == pytest.approx(1, abs=0.01) and m.forward == pytest.approx(0, abs=0.01)


def test_a_bent_leg_is_no_kick():
    joints = standing()
    joints[:, [7, 10], 1] += 0.45  # the foot behind the body, as in a run
    joints[:, [7, 10], 2] -= 0.3
    assert measure(joints).left_kick == 0


def test_checks_of_prompts_know_their_actions_and_not_each_other():
    clips = {"kick": kicking(), "sit": sinking(0.4), "stand": standing(), "turn-left": travelling(1.2, turn=200)}
    for action, joints in clips.items():
        passed = {name for name in clips if PROMPT_CHECKS[name](measure(joints))}
        assert action in passed
        assert passed <= {"kick", "stand"} if action == "kick" else passed == {action}
    assert stays(measure(standing())) and not stays(measure(travelling(0.2)))


@pytest.mark.parametrize("kind", DIRECTIONS)
def test_a_direction_is_positive_for_left_forward_and_up_and_negative_for_its_opposite(kind):
    value, least = DIRECTIONS[kind]
    if kind in SIDED or kind == "foot":
        joints = kicking() if kind == "foot" else CLIPS[SIDED[kind]]
        opposite = mirror(joints)
    elif kind == "forward":
        joints, opposite = CLIPS["walk"], CLIPS["walk-back"]
    else:
        joints, opposite = sinking(0.4)[::-1], sinking(0.4)
    assert value(measure(joints)) >= least and value(measure(opposite)) <= -least
    assert abs(value(measure(standing()))) < least


def test_prompts_name_checks_and_the_splits_share_none():
    texts = {}
    for split, kinds in PROMPTS.items():
        assert set(kinds["lengths"].values()) <= set(PROMPT_CHECKS) and len(kinds["lengths"]) == 8
        assert set(kinds["directions"]) == set(DIRECTIONS)
        sides = [text for kind in kinds["directions"].values() for side in kind.values() for text in side]
        assert len(sides) == len(set(sides))
        texts[split] = {*kinds["lengths"], *kinds["standing"], *sides}
    assert not texts["val"] & texts["test"]


def test_every_prompt_is_judged_at_every_length_and_on_both_sides(model_folder, monkeypatch):
    monkeypatch.setattr(geometry, "SECONDS", (1.0, 2.0))
    monkeypatch.setitem(action_checks.DIRECTIONS, "any", (lambda m: 1.0, 0.5))
    pipe = pipeline("text-to-motion", model=str(model_folder))
    durations = []
    checks = {"she bows": lambda m: durations.append(m) or True, "a person walks forward": lambda m: False}
    numbers = geometry.grid(pipe, checks, seed=0, num_return_sequences=2)
    assert numbers["all"] == 50 and numbers["worst_cell"] == 0 and len(durations) == 4
    assert numbers["by_prompt"]["she bows"] == {"1": 100, "2": 100}
    prompts = {"any": {"positive": ["she bows"], "negative": ["a person walks forward"]}}
    for seeds in (1, 2):
        numbers = geometry.direction_numbers(pipe, prompts, seed=0, num_return_sequences=seeds)
        assert numbers["shown"] == numbers["swapped"] == 50
        assert numbers["by_kind"]["any"]["swapped_by_prompt"] == {"she bows": 0, "a person walks forward": 100}


def test_first_frames_and_feet_under_the_floor_are_compared_to_real_clips():
    floor = standing()[..., 1].min()
    real, sunk = standing() - [0, floor, 0], standing() - [0, floor + 0.04, 0]
    assert sinks(sunk) and not sinks(real)
    real = [real + 0.001 * np.random.default_rng(seed).normal(size=real.shape) for seed in range(4)]
    popping = real[0].copy()
    popping[2:] += 0.1
    late = real[1].copy()
    late[30:] += 0.1
    numbers = physics_numbers([popping, late, sunk, real[3]], real)
    assert numbers["first_frames_within_percent"] == 75
    assert numbers["feet_sink_percent_where_real_do_not"] == 25 and numbers["feet_sink_percent_of_real"] == 0
