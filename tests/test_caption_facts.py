"""What captions state, read from their words."""

import numpy as np
import pytest
from transformers import pipeline

from training.evaluation.caption_facts import (
    CaptionClassifier,
    fact_numbers,
    names_its_side,
    stated_facts,
    stated_styles,
)
from training.evaluation.generation import generate_cached, over_repeats


def test_numbers_are_read_as_words_and_as_digits():
    assert stated_facts("a man walks for nine steps covering roughly 7 meters.") == {"steps": 9, "metres": 7}
    assert stated_facts("She waves about ten times") == {"waves": 10}
    assert stated_facts("he turns left making a ninety degree turn") == {"degrees": 90}
    assert stated_facts("a man waves many times with even steps") == {}


def test_facts_are_right_within_their_tolerance():
    measured = {"measured_steps": 8.0, "measured_osc": 14.0, "measured_path": 5.6, "measured_turn": -95.0}
    captions = ["walks for nine steps for about 7 meters", "waves about ten times", "a ninety degree turn", "walks"]
    numbers = fact_numbers(captions, [measured] * 4)
    assert numbers["steps"] == {"stated": 25, "right": 100} and numbers["metres"] == {"stated": 25, "right": 0}
    assert numbers["waves"]["right"] == 100 and numbers["degrees"]["right"] == 100  # captions count to ten
    assert numbers["several"] == {"stated": 25, "right": 0}


@pytest.mark.parametrize(
    ("caption", "action", "answer"),
    [
        ("she waves her left hand", "wave-left-hand", True),
        ("she veers leftwards", "walk-turn-left", True),
        ("she waves her right hand", "wave-left-hand", False),
        ("she waves both left and right", "wave-left-hand", False),
        ("she waves", "wave-left-hand", False),
        ("she raises her right hand with no energy left", "raise-up-right-hand", True),
        ("she walks", "walk", None),
    ],
)
def test_a_side_is_named_if_it_is_and_the_other_is_not(caption, action, answer):
    assert names_its_side(caption, action) is answer


def test_labels_are_told_by_words():
    captions = [
        "a man walks on",
        "a woman walks away",
        "she runs on",
        "he runs far",
        "a man turns left",
        "he turns left",
    ]
    classifier = CaptionClassifier(captions, ["walk", "walk", "run", "run", "turn", "turn"])
    assert [classifier(text) for text in ("they walk and walks", "who runs", "it turns left")] == [
        "walk",
        "run",
        "turn",
    ]
    training = [["he walks like an old man"] * 6, ["he walks"] * 20, ["he runs"]]
    told = stated_styles(["she waves like an old man", "she waves"], training, ["elderly", "normal", "normal"])
    assert told == ["elderly", "normal"]


def test_repeats_are_made_once_and_give_means_with_intervals(model_folder, tmp_path):
    captions = ["she bows", "a man turns to the right"] * 60
    lengths = np.full(120, 24)
    pipe = pipeline("text-to-motion", model=str(model_folder))
    made = generate_cached(pipe, captions, lengths, range(2), tmp_path / "cache")
    again = generate_cached(pipe, captions, lengths, range(2), tmp_path / "cache")
    assert len(made) == 2 and all(np.array_equal(x, y) for one, two in zip(made, again) for x, y in zip(one, two))
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["seed_0.npz", "seed_1.npz"]
    with pytest.raises(ValueError, match="or of other captions"):
        generate_cached(pipe, captions[::-1], lengths, range(2), tmp_path / "cache")
    pipe.model.config.guidance_scale = 3.0
    with pytest.raises(ValueError, match="way of decoding"):
        generate_cached(pipe, captions, lengths, range(2), tmp_path / "cache")
    rng = np.random.default_rng(0)
    text = rng.normal(size=(120, 4))
    numbers = over_repeats(text, [text + rng.normal(0, 0.1, text.shape) for _ in range(3)], text, seed=0)
    assert numbers["r_precision_1"][0] > 0.8 and numbers["fid"][0] < 0.1 and "multimodality" not in numbers
    assert over_repeats(text, [text] * 3, text, seed=0)["mm_dist"] == (0, 0)
