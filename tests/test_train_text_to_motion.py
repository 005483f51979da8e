"""Stage 3: the text-to-motion generator."""

import json

import numpy as np
import pytest
import torch
from training_stages import assert_same, tiny_recipe, train
from transformers import pipeline

import lamp_hf
from training.data import Clips
from training.train_text_to_motion import CodeSource, build, encode_texts


def test_it_trains_validates_and_generates(stage_folder):
    folder = stage_folder("text_to_motion")
    numbers = json.loads((folder / "evaluations.jsonl").read_text().splitlines()[-1])
    assert numbers["step"] == 4 and all(value == value for value in numbers.values())
    pipe = pipeline("text-to-motion", model=str(folder / "model"))
    assert pipe("a person walks forward", duration=2.0)["joints"].shape == (40, 22, 3)


def test_as_many_clips_are_trained_without_their_text_as_the_configuration_says(stage_folder, odd_clips_folder):
    folder = stage_folder("text_to_motion") / "model"
    model, processor = (kind.from_pretrained(folder) for kind in (lamp_hf.LampForTextToMotion, lamp_hf.LampProcessor))
    data = {"skeleton": "humanml3d", "mirrored": False, "max_frames": 196, "rarity_exponent": 0.0}
    data["composed_share"] = None
    source, rng = CodeSource(Clips(odd_clips_folder, "train", data), model, processor, data), np.random.default_rng(0)
    for share in (0.0, 0.3, 1.0):
        model.config.condition_dropout = share
        dropped = source.collate([source.item(0, rng) for _ in range(400)])["drop_condition"]
        assert dropped.float().mean().item() == pytest.approx(share, abs=0.08)


def test_a_trained_generator_is_continued_from_its_weights(stage_folder, continued):
    start = f"start={stage_folder('text_to_motion') / 'model'}"
    assert_same(
        stage_folder("text_to_motion"), continued("run", start, "optimization.learning_rate=0"), tolerance=1e-6
    )


def test_residual_and_corrupted_codes_of_composed_and_lengthened_clips(
    stage_folder, continued, odd_clips_folder, bert_folder, tmp_path
):
    composed, residual = "data.composed=1", tmp_path / "residual"  # of two wild clips: there may be none
    recipe, changes = tiny_recipe(tmp_path, "tokenizer", bert_folder), (composed, "model.num_quantizers=2")
    train("tokenizer", "--recipe", recipe, "--data", odd_clips_folder, "--output", residual, "--set", *changes)
    changes = ("data.lengthened=3", "data.corrupted_tokens=0.3", "data.corrupted_base_codes=0.3")
    pipe = pipeline("text-to-motion", model=str(continued("run", composed, *changes, tokenizer=residual) / "model"))
    assert pipe.model.config.tokenizer_config.num_quantizers == 2 and pipe("she bows", duration=1.0)["fps"] == 20


def test_the_words_of_the_sentence_encoder_may_stand_in_lamps_place(continued):
    pipe = pipeline("text-to-motion", model=str(continued("run", "model.condition_mode=encoder_words") / "model"))
    assert pipe.model.config.condition_size == 16 and len(pipe("she bows", duration=1.0)["joints"]) == 20


def test_conditions_are_kept_without_padding_in_half_precision(stage_folder):
    """The same as those of a text alone, whatever it was encoded beside."""
    folder = stage_folder("text_to_motion") / "model"
    model, processor = (kind.from_pretrained(folder) for kind in (lamp_hf.LampForTextToMotion, lamp_hf.LampProcessor))
    texts = ["she bows", "someone waves with the left hand"]
    for text, condition in zip(texts, encode_texts(model.eval(), processor, texts), strict=True):
        (alone,) = model.encode_text(**processor(text=text))
        assert condition.dtype == torch.float16 and condition.shape == alone.shape
        torch.testing.assert_close(condition.float(), alone, atol=0.05, rtol=0.05)


def test_it_continues_with_a_continued_tokenizer_and_refuses_another(
    stage_folder, continued, odd_clips_folder, bert_folder, tmp_path
):
    recipe = tiny_recipe(tmp_path, "tokenizer", bert_folder)
    for name, changes in (
        ("continued_tokenizer", (f"start={stage_folder('tokenizer') / 'model'}", "optimization.learning_rate=0")),
        ("other_tokenizer", ("seed=1",)),
    ):
        paths = ("--data", odd_clips_folder, "--output", tmp_path / name)
        train("tokenizer", "--recipe", recipe, *paths, "--set", *changes)
    start = f"start={stage_folder('text_to_motion') / 'model'}"
    with pytest.raises(ValueError, match="--tokenizer is neither the one"):
        continued("refused", start, tokenizer=tmp_path / "other_tokenizer")
    continued("run", start, tokenizer=tmp_path / "continued_tokenizer")


def test_a_tokenizer_of_other_statistics_is_refused(tmp_path, processor, lamp_config):
    lamp_hf.LampModel(lamp_config).save_pretrained(tmp_path / "lamp")
    processor.save_pretrained(tmp_path / "lamp")
    lamp_hf.MotionVQVAEModel(lamp_config.motion_config).save_pretrained(tmp_path / "tokenizer")
    values = processor.feature_extractor.to_dict()
    model = {"hidden_size": 16, "num_attention_heads": 2}
    build_recipe = {"seed": 0, "start": None, "model": model}
    lamp_hf.MotionFeatureExtractor(**values).save_pretrained(tmp_path / "tokenizer")
    assert build(build_recipe, tmp_path / "tokenizer", tmp_path / "lamp")
    values["std"] = [2.0 * value for value in values["std"]]
    lamp_hf.MotionFeatureExtractor(**values).save_pretrained(tmp_path / "tokenizer")
    with pytest.raises(ValueError, match="expect motions of different std"):
        build(build_recipe, tmp_path / "tokenizer", tmp_path / "lamp")
