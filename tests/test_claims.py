"""Claims of captions that geometry can check."""

import numpy as np
import pytest
from conftest import make_motion

from lamp_hf.metrics.claims import check_claims, claim_numbers, posture
from lamp_hf.models.motion_representation import mirror
from lamp_hf.models.skeleton import HUMANML3D


INDEX = {name: i for i, name in enumerate(HUMANML3D.joint_names)}


@pytest.fixture
def walk() -> np.ndarray:
    """Three seconds of walking ahead, about three metres."""
    return make_motion(60)


def standing(num_frames: int = 40) -> np.ndarray:
    return np.repeat(make_motion(1), num_frames, 0)


def test_a_caption_makes_the_claims_that_its_words_make(walk):
    assert check_claims("a person walks forward for about three meters", walk) == {"forward": True, "metres": True}
    assert check_claims("he walks 2.5 meters", walk) == {"metres": True}
    assert check_claims("he walks 12.5 meters", walk) == {"metres": False}
    assert check_claims("he walks a few meters", walk) == {}  # a number is a claim, other words are none
    assert check_claims("a man walks backwards for nine meters", walk) == {"steps backward": False, "metres": False}
    assert check_claims("somebody does something", walk) == {}


@pytest.mark.parametrize(
    "caption", ["he does a backflip", "a cartwheel", "she stands on a handstand", "someone does a somersault"]
)
def test_an_acrobatic_feat_puts_the_head_below_the_hips(caption, walk):
    assert check_claims(caption, walk)["acrobatic feat"] is False
    upside_down = walk * [1, -1, -1] + [0, 2, 0]
    assert check_claims(caption, upside_down)["acrobatic feat"] is True


def test_the_named_hand_moves_more_than_the_other():
    motion = standing()
    motion[:, INDEX["left_wrist"], 1] += np.linspace(0, 0.8, len(motion))
    assert check_claims("she waves the left hand", motion) == {"hand": True}
    assert check_claims("she waves the right hand", motion) == {"hand": False}
    assert check_claims("she waves the right hand", mirror(motion)) == {"hand": True}
    assert check_claims("first the left hand, then the right hand", motion) == {}


def test_turns_jumps_and_postures_are_seen():
    motion = standing()
    angle = np.linspace(0, np.pi / 2, len(motion))[:, None]
    x, y, z = np.moveaxis(motion, -1, 0)
    turning = np.stack([x * np.cos(angle) + z * np.sin(angle), y, z * np.cos(angle) - x * np.sin(angle)], -1)
    for caption, right in (("he turns to the left", True), ("he turns right", False)):
        assert check_claims(caption, turning) == {"turn": right}
    assert check_claims("he jumps", motion) == {"jump": False}
    jump = motion + np.array([0, 1, 0]) * 0.3 * np.sin(np.linspace(0, np.pi, len(motion)))[:, None, None]
    assert check_claims("he jumps", jump) == {"jump": True}
    assert check_claims("he sits down, then lies on the back", motion) == {"sitting": False, "lying": False}
    flat = motion[..., [0, 2, 1]]
    assert check_claims("he sits down, then lies on the back", flat) == {"sitting": True, "lying": True}


def test_numbers_are_shares_of_captions_and_of_claims(walk):
    numbers = claim_numbers(["walks forward", "a backflip", "walks on", "jumps and flips"], [posture(walk)] * 4)
    assert numbers["forward"] == {"stated": 25, "right": 100}
    assert numbers["acrobatic feat"] == {"stated": 50, "right": 0}
    assert numbers["turn"] == {"stated": 0, "right": None}
    assert numbers["all"]["stated"] == 100
