"""The evaluator of action, style and captions."""

import json

import numpy as np
import pytest
import torch
from conftest import CAPTIONS, make_motion
from datasets import Dataset
from training_stages import tiny_recipe, train

from training.train_evaluator import UNKNOWN, EvaluatorObjective, accuracy, load_evaluator


@pytest.fixture(scope="module")
def labelled_clips(tmp_path_factory):
    """A parquet file of short clips with actions and styles; 32 of them for validation, as R-precision needs."""
    rows = [
        {
            "name": f"{split}-{i}",
            "split": split,
            "joints_mm": (1000 * make_motion(24, seed=i)).round().astype(np.int16).ravel(),
            "captions": [CAPTIONS[i % 4]],
            "action": ("walk", "wave-left-hand", "walk-turn-right", "bow")[i % 4],
            "family": ("walk", "wave-left-hand", "walk-turn", "bow")[i % 4],
            "style": ("normal", "old", "")[i % 3],
        }
        for split, count in (("train", 8), ("val", 32))
        for i in range(count)
    ]
    path = tmp_path_factory.mktemp("labelled") / "clips.parquet"
    Dataset.from_list(rows).to_parquet(path)
    return path


def test_it_trains_validates_and_embeds(labelled_clips, bert_folder, tmp_path):
    recipe = tiny_recipe(tmp_path, "evaluator", bert_folder)
    train("evaluator", "--recipe", recipe, "--data", labelled_clips, "--output", tmp_path)
    numbers = json.loads((tmp_path / "evaluations.jsonl").read_text().splitlines()[-1])
    assert set(numbers) == {"step", "action", "style", "r_precision_1"}
    assert all(0 <= numbers[name] <= 100 for name in ("action", "style", "r_precision_1"))
    evaluator = load_evaluator(tmp_path / "model")
    assert evaluator.model.config.actions == ["bow", "walk", "walk-turn", "wave-left-hand"]
    assert evaluator.model.config.styles == ["normal", "old"]
    assert evaluator.embed_texts(CAPTIONS).shape == (4, 8)


def test_clips_whose_style_nobody_told_teach_and_count_nothing():
    objective, logits = EvaluatorObjective(torch.nn.Identity()), torch.randn(3, 4)
    known = objective._class_loss(logits[:1], torch.tensor([2]))
    torch.testing.assert_close(objective._class_loss(logits, torch.tensor([2, UNKNOWN, UNKNOWN])), known)
    assert objective._class_loss(logits, torch.full((3,), UNKNOWN)) == 0
    assert accuracy(["old", "old", "sad"], ["old", "", "old"]) == 50
