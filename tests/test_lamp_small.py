"""The parts of the bundled lamp-small are in the model: take one away, and something changes."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from transformers import pipeline

import lamp_hf
from lamp_hf.metrics.geometry import measure
from lamp_hf.metrics.queries import query_statistics
from training.evaluation import composition
from training.evaluation.action_checks import CHECKS
from training.evaluation.composition import generate, shares_with_both
from training.evaluation.knockouts import condition_changed


TASKS = Path(composition.__file__).parent
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


@pytest.mark.slow
def test_the_order_of_two_actions_is_heard_from_the_words(pipe):
    """Without the states of single words, half as many motions show two actions one after the other."""
    prompts = yaml.safe_load((TASKS / "composed_prompts.yaml").read_text())["time"]
    inputs = pipe.processor(text=[prompt["text"] for prompt in prompts])
    words = pipe.model.encode_text(**inputs)[:, 1:][inputs["attention_mask"].bool()].mean(0)

    def without_words(condition, mask):
        return torch.cat([condition[:, :1], words * mask[..., None]], 1)

    def percentage() -> float:
        return float(np.mean(shares_with_both(generate(pipe, prompts, "time", 0, 4), prompts, "time")))

    whole = percentage()
    with condition_changed(pipe.model, without_words):
        assert percentage() < whole - 5


@torch.no_grad()
def test_the_queries_of_a_motion_differ(pipe):
    motions = [pipe(text, duration=4.0, seed=seed)["joints"] for text in PROMPTS.values() for seed in (0, 1)]
    numbers = query_statistics(pipe.model.lamp.get_motion_queries(**pipe.processor(motion=motions)).numpy())
    assert numbers["cosine"] < 0.5 and numbers["rank"] > 5 and numbers["interaction"] > 0.25
