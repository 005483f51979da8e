"""LAVIMO and its vision encoder."""

import json

import numpy as np
import pytest
import torch
from training_stages import evaluate, tiny_recipe, train, weights

import lamp_hf
from training.evaluation.lavimo import DEGRADATIONS
from training.train_lavimo import image_statistics


@pytest.fixture
def changed(tmp_path, odd_clips_folder, bert_folder, stage_folder):
    """Trains LAVIMO with a change of the recipe."""

    def run(change: str, cache):
        paths = ("--vision", stage_folder("vision") / "model", "--cache", cache, "--output", tmp_path)
        recipe = tiny_recipe(tmp_path, "lavimo", bert_folder)
        train("lavimo", "--recipe", recipe, "--data", odd_clips_folder, *paths, "--set", change)
        return tmp_path

    return run


def test_both_stages_learn_and_the_vision_encoder_stays_as_it_was(stage_folder):
    folders = {stage: stage_folder(stage) for stage in ("vision", "lavimo")}
    for folder in folders.values():
        numbers = json.loads((folder / "evaluations.jsonl").read_text().splitlines()[-1])
        assert numbers["step"] == 4 and all(value == value for value in numbers.values())
    vision, model = (weights(folder) for folder in folders.values())
    assert (vision["embedder.embedder.normalization.weight"] != 1).any()
    assert all(torch.equal(values, model[f"vision_encoder.{name}"]) for name, values in vision.items())
    assert model["logit_scale"] != pytest.approx(np.log(1 / 0.07), abs=1e-6)
    assert len(list((folders["lavimo"].parent / "cache").glob("videos-*"))) == 2  # of training and of validation


def test_pixels_are_normalised_as_the_vision_encoder_expects(tmp_path):
    assert image_statistics(str(tmp_path)) == (None, None)
    values = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.2, 0.2, 0.2]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    assert image_statistics(str(tmp_path)) == tuple(values.values())


def test_the_text_encoder_may_be_trained_too(stage_folder, changed):
    cache = stage_folder("lavimo").parent / "cache"
    frozen, trained = weights(stage_folder("lavimo")), weights(changed("model.freeze_text=false", cache))
    name = "text_encoder.encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(frozen[name], trained[name])


def test_text_and_motion_alone(changed, humanml3d_folder, bert_folder, tmp_path):
    model = changed("model.use_video=false", tmp_path / "cache") / "model"
    options = ("--data", humanml3d_folder, "--model", model, "--sentence-encoder", bert_folder)
    assert set(evaluate("lavimo", tmp_path / "numbers.json", *options)["pairs"]) == {"text / motion"}
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
def test_all_pairs_and_videos_of_another_renderer_are_evaluated(stage_folder, humanml3d_folder, bert_folder, tmp_path):
    for name in ("000010", "000011"):
        motion = lamp_hf.Motion.load(humanml3d_folder / "new_joint_vecs" / f"{name}.npy")
        motion.save(tmp_path / f"{name}.mp4", size=64)
    options = ("--data", humanml3d_folder, "--model", stage_folder("lavimo") / "model", "--videos", tmp_path)
    numbers = evaluate("lavimo", tmp_path / "numbers.json", *options, "--sentence-encoder", bert_folder)
    others, pairs = numbers["other_renderer"], numbers["pairs"]
    assert others["videos"] == others["motions"] == 2 and set(others) > set(DEGRADATIONS)
    assert all(others[kind]["among_all"]["R@2"] == 100 for kind in DEGRADATIONS)
    assert set(pairs) == {
        "text / motion", "text / fixed view", "text / unseen views", "fixed view / motion", "unseen views / motion"
    }  # fmt: skip
    assert pairs["fixed view / motion"]["all"]["forth"]["gallery"] == 2
