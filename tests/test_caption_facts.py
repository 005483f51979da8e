"""Statements of captions, read from their words."""

import pytest

from training.evaluation.caption_facts import (
    CaptionClassifier,
    fact_numbers,
    names_its_side,
    stated_facts,
    stated_styles,
    style_numbers,
)


def test_numbers_are_read_as_words_and_as_digits():
    assert stated_facts("she walks 1.5 meters in several steps") == {"metres": 1.5}
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


def test_clips_of_unknown_style_are_neither_named_nor_right():
    training = [["she walks like an old man"] * 5, ["she walks"] * 9, ["she waves"], ["she dances salsa"] * 5]
    captions, styles = ["walks like an old man", "walks", "dances salsa"], ["elderly", "normal", ""]
    numbers = style_numbers(captions, styles, training, ["elderly", "normal", "normal", ""])
    assert numbers == {"style_named": 50, "style": 100}
    assert style_numbers(["dances salsa"], [""], training, [""] * 4) == {"style_named": None, "style": None}
