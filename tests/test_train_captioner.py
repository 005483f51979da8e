"""Stage 4: the language model and the captioner."""

import numpy as np
import pytest
import torch
from training_stages import tiny_recipe, train, weights
from transformers import pipeline


@pytest.fixture
def trained(tmp_path, odd_clips_folder, bert_folder, stage_folder):
    """Trains a captioner with changes of the recipe; returns its pipeline and that of what it started from."""

    def run(*changes: str):
        recipe = tiny_recipe(tmp_path, "captioner", bert_folder, learning_rate=0.1)
        parts = {"--lamp": "lamp", "--language-model": "language_model"}
        paths = [part for option, stage in parts.items() for part in (option, stage_folder(stage) / "model")]
        paths += ["--output", tmp_path, "--set", *changes]
        train("captioner", "--recipe", recipe, "--data", odd_clips_folder, *paths)
        return [pipeline("motion-to-text", model=str(tmp_path / name)) for name in ("model", "base")]

    return run


@pytest.fixture
def motion(odd_clips_folder) -> np.ndarray:
    return np.load(odd_clips_folder / "new_joint_vecs" / "000000.npy")


def test_the_language_model_learns_and_lamp_stays_what_it_was(trained, motion, stage_folder):
    after, before = trained()
    words = [pipe.model.get_input_embeddings().weight for pipe in (after, before)]
    assert not torch.equal(*words) and after(motion)[0]["generated_text"] is not None
    lamp = weights(stage_folder("lamp"))
    kept = after.model.lamp.state_dict()
    assert all(torch.equal(value, lamp[f"lamp.{name}"]) for name, value in kept.items())


def test_the_adapter_alone_is_saved_and_changes_what_the_language_model_reads(trained, motion, tmp_path):
    lora = r"lora={r: 2, target_modules: 'language_model\..*q_proj'}"
    after, before = trained(lora, "trained_modules=[language_projection]")
    soft = [pipe.model.get_soft_tokens(**pipe.preprocess(motion)) for pipe in (after, before)]
    assert not torch.equal(*soft) and after(motion)[0]["generated_text"] is not None
    assert not list((tmp_path / "model").glob("model*.safetensors"))
