"""The stage that trains LaMP's matcher anew."""

import json

import pytest
import torch
from training_stages import changed_parts, weights

import lamp_hf
from training.recipe import load_recipe
from training.train_matcher import build


def test_nothing_but_the_matcher_changes(stage_folder):
    before, after = (weights(stage_folder(stage)) for stage in ("lamp", "matcher"))
    assert changed_parts(before, after) == {"matcher"} and before.keys() != after.keys()  # one layer, not two
    numbers = json.loads((stage_folder("matcher") / "evaluations.jsonl").read_text().splitlines()[-1])
    assert numbers["step"] == 4 and numbers["matching_loss"] > 0
    lamp = lamp_hf.LampModel.from_pretrained(stage_folder("matcher") / "model")
    assert lamp.config.num_matcher_layers == 1


def test_the_matcher_starts_anew_with_the_dropout_of_the_recipe(stage_folder):
    recipe = load_recipe("matcher", "small/matcher", ["model.matcher_size=16", "seed=3"])
    folder = stage_folder("lamp") / "model"
    first, again = build(recipe, folder).lamp.matcher, build(recipe, folder).lamp.matcher
    old = lamp_hf.LampModel.from_pretrained(folder).matcher
    assert first.layers[0].attention.dropout == pytest.approx(0.3)
    assert torch.equal(first.words.weight, again.words.weight) and not torch.equal(
        first.words.weight, old.words.weight
    )
