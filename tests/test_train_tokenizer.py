"""Stage 1: the motion tokenizer."""

import json

import pytest
import torch
from bodies import walking
from training_stages import changed_parts, evaluate, tiny_recipe, train, weights

import lamp_hf
from lamp_hf.models.skeleton import HUMANML3D
from training.train_tokenizer import TokenizerObjective, renormalise


def test_it_trains_and_validates(stage_folder):
    numbers = json.loads((stage_folder("tokenizer") / "evaluations.jsonl").read_text().splitlines()[-1])
    assert numbers["step"] == 4 and numbers["joint_error_mm"] > 0 and all(value == value for value in numbers.values())
    assert lamp_hf.MotionVQVAEModel.from_pretrained(stage_folder("tokenizer") / "model").config.width == 16


def test_it_is_evaluated(stage_folder, humanml3d_folder, tmp_path):
    model = stage_folder("tokenizer") / "model"
    numbers = evaluate("tokenizer", tmp_path / "numbers.json", "--data", humanml3d_folder, "--model", model)
    assert numbers["task"] == "tokenizer" and numbers["split"] == "test" and numbers["joint_error_mm"] > 0
    assert numbers["shown"].keys() == {"real", "decoded"}


def test_a_trained_tokenizer_is_continued(tmp_path, odd_clips_folder, bert_folder, stage_folder):
    start = ("--set", f"start={stage_folder('tokenizer') / 'model'}", "optimization.learning_rate=0")
    recipe = tiny_recipe(tmp_path, "tokenizer", bert_folder)
    train("tokenizer", "--recipe", recipe, "--data", odd_clips_folder, "--output", tmp_path, *start)
    before, after = weights(stage_folder("tokenizer")), weights(tmp_path)
    assert changed_parts(before, after) == {"quantizer"}  # codes follow averages, at any learning rate


def test_codes_and_motions_stay_when_statistics_change(stage_folder):
    folder = stage_folder("tokenizer") / "model"
    extractor = lamp_hf.MotionFeatureExtractor.from_pretrained(folder)
    other = lamp_hf.MotionFeatureExtractor.from_pretrained(folder)
    other.mean = [value + 0.3 * std for value, std in zip(extractor.mean, extractor.std)]
    other.std = [4 * std for std in extractor.std]
    features = extractor.denormalise(torch.randn(1, 120, 263, generator=torch.Generator().manual_seed(0)))
    model = lamp_hf.MotionVQVAEModel.from_pretrained(folder)
    codes = model.encode(extractor.normalise(features))[0]
    decoded = extractor.denormalise(model.decode(codes))
    renormalise(model, extractor, other)
    inner = slice(6, -6)  # tokens that no padding reaches
    torch.testing.assert_close(model.encode(other.normalise(features))[0][:, inner], codes[:, inner])
    torch.testing.assert_close(other.denormalise(model.decode(codes)), decoded, rtol=1e-3, atol=1e-3)


def test_one_foot_that_kicks_weighs_more_than_its_share_of_the_joints():
    config = lamp_hf.MotionVQVAEConfig(width=16, codebook_dim=8, codebook_size=16)
    objective = TokenizerObjective(lamp_hf.MotionVQVAEModel(config), None, {})
    truth = torch.from_numpy(lamp_hf.joints_to_features(walking(40)))[None]
    decoded, mask = truth.clone(), torch.ones(truth.shape[:2], dtype=torch.bool)
    ankle = HUMANML3D.joint_names.index("left_ankle")
    decoded[..., HUMANML3D.slices["positions"].start + 3 * (ankle - 1) + 1] += 0.5
    terms = objective.geometry(decoded, truth, mask)
    assert terms["joints"].item() == pytest.approx(0.5 / 22, rel=1e-3)
    assert terms["farthest_joint"].item() == pytest.approx(0.5, rel=1e-3)


def test_a_gentle_wave_weighs_as_much_as_a_wide_one_and_hanging_hands_nothing():
    config = lamp_hf.MotionVQVAEConfig(width=16, codebook_dim=8, codebook_size=16)
    objective = TokenizerObjective(lamp_hf.MotionVQVAEModel(config), None, {})
    wrist, elbow = (HUMANML3D.joint_names.index(f"left_{name}") for name in ("wrist", "elbow"))

    def wave(width: float, height: float) -> torch.Tensor:
        body = torch.zeros(1, 40, 22, 3)
        body[0, :, wrist, 0] = width * torch.sin(torch.arange(40.0))
        body[0, :, wrist, 1] = body[0, :, elbow, 1] + height
        return body

    mask = torch.ones(1, 39, dtype=torch.bool)
    errors = [objective.raised_hands(wave(width / 2, 0.2), wave(width, 0.2), mask).item() for width in (0.05, 0.5)]
    assert errors[0] == pytest.approx(errors[1], rel=0.2) and errors[0] > 0.3
    assert objective.raised_hands(wave(0.5, 0.2), wave(0.5, 0.2), mask) == 0
    assert objective.raised_hands(wave(0.1, -0.2), wave(0.5, -0.2), mask) == 0
