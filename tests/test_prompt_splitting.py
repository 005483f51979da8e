"""Splitting of a sentence into actions that follow one another."""

import pytest

from lamp_hf.models.prompt_splitting import parts_in_order


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a man bows, then walks away", ["a man bows", "walks away"]),
        ("a man bows and then walks away.", ["a man bows", "walks away"]),
        ("She jumps. Afterwards, she sits down.", ["She jumps", "she sits down"]),
        ("first he crouches, next he jumps and finally he runs", ["he crouches", "he jumps", "he runs"]),
        ("after turning around, the child claps", ["turning around", "the child claps"]),
        ("after walking for a while, the man sits", ["walking for a while", "the man sits"]),
        ("after jumping one time, she bows", ["jumping one time", "she bows"]),
        ("someone stretches before lying down", ["someone stretches", "lying down"]),
        ("a kick followed by a punch", ["a kick", "a punch"]),
        ("a kick, followed by a punch", ["a kick", "a punch"]),
        ("he claps and nods after that", ["he claps", "nods"]),
        ("he lifts a box, then turns it and then walks off", ["he lifts a box, then turns it", "walks off"]),
        ("she lifts her arms and then lowers them", ["she lifts her arms and then lowers them"]),
        ("Mr. Smith bows. Dr. Who waves", ["Mr. Smith bows", "Dr. Who waves"]),
        ("after lifting a box, she drops it", ["after lifting a box, she drops it"]),
        ("he raises an arm and lowers it after that", ["he raises an arm and lowers it after that"]),
        # No order is said.
        ("A man bows.", ["A man bows."]),
        ("First, she bows.", ["First, she bows."]),
        ("a man walks approx. three meters, e.g. slowly", ["a man walks approx. three meters, e.g. slowly"]),
        ("a man bows and waves", ["a man bows and waves"]),
        ("she walks next to a wall while waving", ["she walks next to a wall while waving"]),
        ("he stands before the door", ["he stands before the door"]),
        ("After a few seconds, the person jumps", ["After a few seconds, the person jumps"]),
        ("every now and then a man jumps", ["every now and then a man jumps"]),
        ("a man is followed by a dog", ["a man is followed by a dog"]),
        ("a person takes the first step", ["a person takes the first step"]),
        ("", [""]),
    ],
)
def test_a_sentence_is_split_where_it_says_an_order(text, parts):
    assert parts_in_order(text) == parts
