"""LaMP's queries measured on a split, and a generator whose condition is taken away part by part."""

import numpy as np
import pytest
import torch
from conftest import CAPTIONS, make_motion, qformer_text_to_motion, tiny_qformer_config, tiny_text_to_motion
from datasets import Dataset
from training_stages import evaluate
from transformers import pipeline

import lamp_hf
from lamp_hf.evaluators.motion_evaluator import MotionEvaluatorConfig, MotionEvaluatorModel
from lamp_hf.metrics.queries import query_statistics
from training.data import Clips
from training.evaluation.knockouts import REPLACED, Averages, condition_changed, shuffled


ACTIONS = ("walk", "wave-left-hand", "walk-turn-right", "bow")


@pytest.fixture(scope="module")
def clips_of_families(tmp_path_factory):
    """A parquet file of four families, with two clips of each in every split."""
    rows = [
        {
            "name": f"{split}-{i}",
            "split": split,
            "joints_mm": (1000 * make_motion(24, seed=i)).round().astype(np.int16).ravel(),
            "captions": [CAPTIONS[i % 4]],
            "action": ACTIONS[i % 4],
            "family": ACTIONS[i % 4],
            "style": "",
        }
        for split in ("train", "val", "test")
        for i in range(8)
    ]
    path = tmp_path_factory.mktemp("families") / "clips.parquet"
    Dataset.from_list(rows).to_parquet(path)
    return path


@pytest.fixture(scope="module")
def generator_folder(processor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("generator")
    tiny_text_to_motion(processor).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pipe(generator_folder):
    return pipeline("text-to-motion", model=str(generator_folder))


def test_queries_are_measured_in_both_passes(generator_folder, processor, humanml3d_folder, tmp_path):
    options = ("--data", humanml3d_folder, "--model", generator_folder)
    numbers = evaluate("queries", tmp_path / "numbers.json", *options)
    assert numbers["clips"] == 2 and numbers["queries"] == 49
    clips = Clips(humanml3d_folder, "test", {"skeleton": "humanml3d", "mirrored": False})
    inputs = processor(text=[texts[0] for texts in clips.captions], motion=clips.motions)
    with torch.no_grad():
        model = tiny_text_to_motion(processor).lamp
        motion = model.get_motion_queries(inputs["motion_values"], inputs["motion_attention_mask"])
        text = model.get_text_queries(inputs["input_ids"], inputs["attention_mask"])
    assert numbers["motion"] == pytest.approx(query_statistics(motion.numpy()), rel=1e-3)
    assert numbers["text"] == pytest.approx(query_statistics(text.numpy()), rel=1e-3)


def test_queries_of_the_papers_q_former_are_not_measured_so(processor, humanml3d_folder, tmp_path):
    lamp_folder = tmp_path / "qformer"
    lamp_hf.LampQFormerModel(tiny_qformer_config(processor)).save_pretrained(lamp_folder)
    with pytest.raises(ValueError, match="contains the paper's Q-Former"):
        evaluate("queries", tmp_path / "numbers.json", "--data", humanml3d_folder, "--model", lamp_folder)


@torch.no_grad()
def test_averages_take_the_place_of_a_texts_own_vectors(pipe, clips_of_families):
    averages = Averages(pipe, Clips(clips_of_families, "test", {"skeleton": "humanml3d", "mirrored": False}))
    inputs = pipe.processor(text=sorted(CAPTIONS))
    mask = inputs["attention_mask"].bool()
    condition = pipe.model.encode_text(**inputs)
    torch.testing.assert_close(averages.whole, condition[:, 0].mean(0))
    torch.testing.assert_close(averages.word, condition[:, 1:][mask].mean(0))
    both = averages.replacing(True, True)(condition, mask)
    assert torch.equal(both[0, 0], both[1, 0]) and torch.equal((both[:, 1:] != 0).any(-1), mask)
    words = averages.replacing(False, True)(condition, mask)
    assert torch.equal(words[:, 0], condition[:, 0]) and torch.equal(words[:, 1:], both[:, 1:])
    assert torch.equal(averages.replacing(False, False)(condition, mask), condition)


def test_a_generator_sees_the_changed_condition_for_as_long_as_asked(pipe, clips_of_families):
    averages = Averages(pipe, Clips(clips_of_families, "test", {"skeleton": "humanml3d", "mirrored": False}))
    before = pipe.model.encode_text(**pipe.processor(text="she bows"))
    with condition_changed(pipe.model, averages.replacing(True, True)):
        seen = pipe.model.encode_text(**pipe.processor(text="she bows"))
        motions = pipe(["she bows", "a man turns"], duration=1.0, seed=0)
    assert torch.equal(seen[0, 0], averages.whole) and not torch.equal(seen, before)
    assert len(motions) == 2
    assert torch.equal(pipe.model.encode_text(**pipe.processor(text="she bows")), before)


def test_words_are_shuffled_alike_for_a_seed():
    text = "a person walks forward slowly and turns"
    assert sorted(shuffled(text, 0).split()) == sorted(text.split()) and shuffled(text, 0) != text
    assert shuffled(text, 0) == shuffled(text, 0) != shuffled(text, 1)


def test_every_knock_out_is_judged_on_the_same_captions(generator_folder, clips_of_families, bert_folder, tmp_path):
    evaluator = tmp_path / "evaluator"
    config = MotionEvaluatorConfig(actions=sorted(ACTIONS), styles=["old"], width=8, text_encoder=str(bert_folder))
    torch.manual_seed(0)
    MotionEvaluatorModel(config).save_pretrained(evaluator)
    motions = [lamp_hf.joints_to_features(make_motion(40, seed=i)) for i in range(3)]
    lamp_hf.MotionFeatureExtractor.from_statistics(motions).save_pretrained(evaluator)
    options = ("--data", clips_of_families, "--model", generator_folder, "--evaluator", evaluator)
    options += ("--least", 1, "--per-family", 2)
    numbers = evaluate("knock-outs", tmp_path / "numbers.json", *options)
    assert numbers["motions"] == 8 and set(numbers["knockouts"]) == set(REPLACED)
    for row in numbers["knockouts"].values():
        assert set(row["by_family"]) == set(ACTIONS) and row["captions_checked"] == 8 and row["frechet_ratio"] > 0
    assert len({row["real"] for row in numbers["knockouts"].values()}) == 1


def test_a_generator_that_does_not_attend_to_words_is_refused(
    processor, clips_of_families, generator_folder, tmp_path
):
    qformer_text_to_motion(processor).save_pretrained(tmp_path / "old")
    processor.save_pretrained(tmp_path / "old")
    options = ("--data", clips_of_families, "--model", tmp_path / "old", "--evaluator", generator_folder)
    with pytest.raises(ValueError, match="does not attend to the states of words"):
        evaluate("knock-outs", tmp_path / "numbers.json", *options)
