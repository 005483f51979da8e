"""Stage 1: the motion tokenizer."""

import json

import pytest
import torch
from training_stages import changed_parts, evaluate, tiny_recipe, train, weights

import lamp_hf
from lamp_hf.models.skeleton import HUMANML3D
from training.train_tokenizer import TokenizerObjective


def test_it_trains_and_validates(stage_folder):
    numbers = json.loads((stage_folder("tokenizer") / "evaluations.jsonl").read_text().splitlines()[-1])
    assert numbers["step"] == 4 and numbers["joint_error_mm"] > 0 and all(value == value for value in numbers.values())
    assert lamp_hf.MotionVQVAEModel.from_pretrained(stage_folder("tokenizer") / "model").config.width == 16


def test_it_is_evaluated(stage_folder, humanml3d_folder, tmp_path):
    model = stage_folder("tokenizer") / "model"
    numbers = evaluate("tokenizer", tmp_path / "numbers.json", "--data", humanml3d_folder, "--model", model)
    assert numbers["task"] == "tokenizer" and numbers["split"] == "test" and numbers["joint_error_mm"] > 0


def test_a_trained_tokenizer_is_continued(tmp_path, odd_clips_folder, bert_folder, stage_folder):
    start = ("--set", f"start={stage_folder('tokenizer') / 'model'}", "optimization.learning_rate=0")
    recipe = tiny_recipe(tmp_path, "tokenizer", bert_folder)
    train("tokenizer", "--recipe", recipe, "--data", odd_clips_folder, "--output", tmp_path, *start)
    before, after = weights(stage_folder("tokenizer")), weights(tmp_path)
    assert changed_parts(before, after) == {"quantizer"}  # codes follow averages, at any learning rate


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
