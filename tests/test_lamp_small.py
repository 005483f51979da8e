"""The parts of the bundled lamp-small are in the model: take one away, and something changes."""

import pytest
import torch
from transformers import pipeline

import lamp_hf
from lamp_hf.metrics.geometry import measure
from lamp_hf.metrics.queries import query_statistics
from training.evaluation.action_checks import CHECKS
from training.evaluation.knockouts import condition_changed


PROMPTS = {
    "wave-left-hand": "a person waves with the left hand",
    "wave-right-hand": "a person waves with the right hand",
    "raise-up-both-hands": "a person raises both hands",
    "walk": "a person walks forward",
    "walk-back": "a person walks backward",
    "walk-turn-left": "a person walks forward and turns left",
    "walk-turn-right": "a person walks forward and turns right",
    "run": "a person runs forward",
}


@pytest.fixture(scope="module")
def pipe():
    return pipeline("text-to-motion", model=lamp_hf.bundled())


def right(pipe) -> int:
    """Return how many of the prompts are shown, judged by geometry."""
    motions = pipe(list(PROMPTS.values()), duration=6.0, seed=0)
    return sum(bool(CHECKS[action](measure(motion["joints"]))) for action, motion in zip(PROMPTS, motions))


def test_a_generator_without_its_condition_shows_what_it_is_told_no_more(pipe):
    assert right(pipe) >= 7
    with condition_changed(pipe.model, lambda condition, mask: condition.mean(0, keepdim=True).expand_as(condition)):
        assert right(pipe) <= 3


@torch.no_grad()
def test_the_queries_of_a_motion_differ(pipe):
    motions = [pipe(text, duration=4.0, seed=seed)["joints"] for text in PROMPTS.values() for seed in (0, 1)]
    numbers = query_statistics(pipe.model.lamp.get_motion_queries(**pipe.processor(motion=motions)).numpy())
    assert numbers["cosine"] < 0.5 and numbers["rank"] > 5 and numbers["interaction"] > 0.25
