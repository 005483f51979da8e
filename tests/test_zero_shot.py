"""`pipeline("zero-shot-motion-classification")`, and what a processor takes for a motion."""

import numpy as np
import pytest
import torch
from conftest import CAPTIONS, make_motion, qformer_text_to_motion
from transformers import pipeline

import lamp_hf


def scores(answer: list[dict]) -> dict[str, float]:
    return {row["label"]: row["score"] for row in answer}


@pytest.fixture(scope="module")
def pipe(model_folder):
    return pipeline("zero-shot-motion-classification", model=str(model_folder))


def test_scores_are_the_softmax_of_lamps_logits(pipe, processor):
    motion = lamp_hf.Motion(make_motion(61))
    answer = pipe(motion, candidate_labels=["walks", "bows"], hypothesis_template="a person {}")
    inputs = processor(text=["a person walks", "a person bows"], motion=motion)
    with torch.no_grad():
        expected = pipe.encoder(**inputs).logits_per_text[:, 0].softmax(0).tolist()
    assert scores(answer) == pytest.approx(dict(zip(["walks", "bows"], expected)), abs=1e-4)
    assert answer[0]["score"] >= answer[1]["score"]


@pytest.mark.parametrize("scoring", [None, "mean", "max"])
def test_scores_of_the_papers_q_former_are_the_softmax_of_scaled_cosines(processor, scoring):
    model = qformer_text_to_motion(processor)
    pipe = pipeline("zero-shot-motion-classification", model=model, processor=processor)
    motion, options = lamp_hf.Motion(make_motion(61)), {"scoring": scoring} if scoring else {}
    answer = pipe(motion, candidate_labels=["walks", "bows"], hypothesis_template="a person {}", **options)
    inputs = processor(text=["a person walks", "a person bows"], motion=motion)
    with torch.no_grad():
        cosines = model.lamp(**inputs, scoring=scoring or "mean").logits_per_text[:, 0]
        expected = (model.lamp.logit_scale.exp() * cosines).softmax(0).tolist()
    assert scores(answer) == pytest.approx(dict(zip(["walks", "bows"], expected)), abs=1e-4)
    pipe = pipeline("zero-shot-motion-classification", model=model, processor=processor, **options)
    assert pipe(motion, candidate_labels=["walks", "bows"]) == answer


def test_options_that_only_a_call_takes_are_refused_with_the_model(model_folder):
    with pytest.raises(ValueError, match="unknown option 'candidate_labels'; known: batch_size, scoring"):
        pipeline("zero-shot-motion-classification", model=str(model_folder), candidate_labels=["walks"])


def test_a_list_and_a_long_motion(pipe, tmp_path):
    path = lamp_hf.Motion(make_motion(41, seed=1)).save(tmp_path / "clip.npz")
    answers = pipe([path, make_motion(500, seed=2)], candidate_labels="walks, bows,waves ")
    assert [{row["label"] for row in rows} for rows in answers] == [{"walks", "bows", "waves"}] * 2
    assert all(sum(row["score"] for row in rows) == pytest.approx(1, abs=1e-5) for rows in answers)
    assert all((row["start"], row["end"]) == (0, pytest.approx(2)) for row in answers[0])
    assert all(0 <= row["start"] < row["end"] <= 25 and row["end"] - row["start"] < 10 for row in answers[1])
    alone = pipe(path, candidate_labels=["walks", "bows", "waves"])
    assert [row["score"] for row in answers[0]] == pytest.approx([row["score"] for row in alone], abs=1e-5)
    assert pipe([], candidate_labels=["walks"]) == []


@pytest.mark.parametrize(
    ("motion", "options", "message"),
    [
        (make_motion(41), {"candidate_labels": []}, "different labels"),
        (make_motion(41), {"candidate_labels": ["a", "a"]}, "different labels"),
        (make_motion(41), {"candidate_labels": ["a"], "hypothesis_template": "a person"}, "no place"),
        (make_motion(41), {"candidate_labels": ["a"], "scoring": "mean"}, "LaMP has one score"),
        (make_motion(3), {"candidate_labels": ["a"]}, "too short"),
        (np.full((50, 22, 3), np.nan), {"candidate_labels": ["a"]}, "NaN"),
        ("missing.bvh", {"candidate_labels": ["a"]}, "no such file"),
    ],
)
def test_bad_requests_are_refused(pipe, motion, options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        pipe(motion, **options)


def test_the_bundled_model_tells_actions_apart():
    make = pipeline("text-to-motion", model=lamp_hf.bundled())
    classify = pipeline("zero-shot-motion-classification", model=lamp_hf.bundled())
    labels = ["walks forward", "waves with the left hand", "raises both hands"]
    for label in labels:
        made = make(f"a person {label}", duration=4.0, seed=0)
        assert classify(made["joints"], candidate_labels=labels)[0]["label"] == label


def test_a_processor_reads_motions_paths_joints_and_features_alike(processor, tmp_path):
    motion = lamp_hf.Motion(make_motion(41))
    path = motion.save(tmp_path / "clip.npz")
    batch = processor(text=CAPTIONS[:4], motion=[motion, path, motion.joints, motion.features])["motion_values"]
    assert batch.shape == (4, 40, 263)
    for row in batch[1:]:
        torch.testing.assert_close(row, batch[0], atol=1e-4, rtol=1e-4)
