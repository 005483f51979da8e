"""Stages 2 and 2b: LaMP, and its retrieval heads."""

import json

import numpy as np
import pytest
from training_stages import changed_parts, evaluate, tiny_recipe, train, weights
from transformers import pipeline

import lamp_hf


def test_lamp_trains_and_validates(stage_folder):
    numbers = json.loads((stage_folder("lamp") / "evaluations.jsonl").read_text().splitlines()[-1])
    assert numbers["step"] == 4 and all(value == value for value in numbers.values())
    assert lamp_hf.LampQFormerModel.from_pretrained(stage_folder("lamp") / "model").config.hidden_size == 16


@pytest.fixture(scope="module")
def generator_with_retrieval(tmp_path_factory, odd_clips_folder, bert_folder, stage_folder):
    """A generator in which the retrieval heads of its LaMP were trained."""
    folder = tmp_path_factory.mktemp("retrieval")
    paths = ("--lamp", stage_folder("text_to_motion") / "model", "--output", folder)
    train("retrieval", "--recipe", tiny_recipe(folder, "retrieval", bert_folder), "--data", odd_clips_folder, *paths)
    return folder


def test_retrieval_trains_its_heads_only(stage_folder, generator_with_retrieval):
    heads = {"text_head", "motion_head", "motion_summary", "matching_head", "logit_scale"}
    assert changed_parts(weights(stage_folder("lamp")), weights(stage_folder("retrieval"))) == heads
    assert changed_parts(weights(stage_folder("text_to_motion")), weights(generator_with_retrieval)) == heads


def test_a_generator_makes_the_same_motions_after_its_retrieval_heads_were_trained(
    stage_folder, generator_with_retrieval
):
    motions = [
        pipeline("text-to-motion", model=str(folder / "model"))("she bows", duration=1.0, seed=0)["joints"]
        for folder in (stage_folder("text_to_motion"), generator_with_retrieval)
    ]
    np.testing.assert_array_equal(*motions)


def test_retrieval_is_evaluated_by_all_scorings(stage_folder, odd_clips_folder, bert_folder, tmp_path):
    model = stage_folder("retrieval") / "model"
    assert len(lamp_hf.MotionIndex(model).search(text="she bows")) == 0
    options = ("--data", odd_clips_folder, "--model", model, "--rerank", 2, "--sentence-encoder", bert_folder)
    numbers = evaluate("retrieval", tmp_path / "retrieval.json", *options)
    assert set(numbers["scorings"]) == {"max", "mean", "euclidean", "mean, re-ranked"}
    assert numbers["scorings"]["max"]["all"]["text_to_motion"]["gallery"] == numbers["clips"] == 2
