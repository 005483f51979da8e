"""LaMP's stage: it trains, validates, and reads texts as the encoder that it starts from."""

import json

import pytest
import torch
from conftest import CAPTIONS
from training_stages import evaluate, tiny_recipe
from transformers import BertModel, BertTokenizer

import lamp_hf
from training.recipe import load_recipe
from training.train_lamp import OBJECTIVES, build


def test_it_trains_validates_and_reports_what_its_queries_are_like(stage_folder):
    folder = stage_folder("lamp")
    numbers = json.loads((folder / "evaluations.jsonl").read_text().splitlines()[-1])
    assert numbers["step"] == 4 and all(value == value for value in numbers.values())
    assert {"query_cosine", "query_rank", "text_to_motion_R@1"} <= set(numbers)
    assert {f"{name}_loss" for name in OBJECTIVES} <= set(numbers)
    lamp = lamp_hf.LampModel.from_pretrained(folder / "model")
    whitening = lamp.trunk.latent_whitening
    assert not torch.equal(whitening, torch.eye(len(whitening)))  # taken from the training clips


def test_an_index_and_a_pipeline_read_its_folder(stage_folder):
    index = lamp_hf.MotionIndex(stage_folder("lamp") / "model")
    assert index.search(text="she bows") == []


def test_the_frozen_encoder_is_the_one_that_the_recipe_names(stage_folder, bert_folder, tmp_path):
    """Also where its vocabulary was trimmed: the same words have the same states."""
    recipe = load_recipe("lamp", str(tiny_recipe(tmp_path, "lamp", bert_folder)), ["data.vocabulary_size=12"])
    tokenizer = lamp_hf.MotionVQVAEModel.from_pretrained(stage_folder("tokenizer") / "model")
    model, words = build(recipe, CAPTIONS[:2], tokenizer)
    bert = BertModel.from_pretrained(bert_folder, add_pooling_layer=False).eval()
    theirs = BertTokenizer.from_pretrained(bert_folder)
    assert len(words) < len(theirs)
    for caption in CAPTIONS[:2]:
        states = bert(**theirs(caption, return_tensors="pt")).last_hidden_state
        inputs = words(caption, return_tensors="pt", return_token_type_ids=False)
        torch.testing.assert_close(model.lamp.encode_text(**inputs), states)
    assert torch.equal(model.lamp.motion_encoder.conv_in.weight, tokenizer.encoder.conv_in.weight)


@pytest.mark.parametrize(
    ("stage", "scorings"),
    [
        ("lamp", {"whole", "words", "words, mean query", "both", "re-ranked"}),
        ("lamp_qformer", {"max", "mean", "euclidean", "re-ranked"}),
    ],
)
def test_retrieval_is_evaluated_by_all_scorings(
    stage, scorings, stage_folder, odd_clips_folder, bert_folder, tmp_path
):
    model = stage_folder(stage) / "model"
    options = ("--data", odd_clips_folder, "--model", model, "--rerank", 2, "--sentence-encoder", bert_folder)
    numbers = evaluate("retrieval", tmp_path / "retrieval.json", *options)
    assert set(numbers["scorings"]) == scorings
    for found in numbers["scorings"].values():
        assert found["all"]["text_to_motion"]["gallery"] == numbers["clips"] == 2
    assert numbers["new_captions"] == {"clips": 0, "scorings": {}}  # the folder repeats four captions
