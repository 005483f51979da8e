"""Families of action: recognised by an evaluator, compared to real clips, drawn on contact sheets."""

from argparse import Namespace
from collections import Counter

import numpy as np
import pytest
from conftest import make_clip, make_motion
from transformers import pipeline

import lamp_hf
from lamp_hf.evaluators.motion_evaluator import MotionEvaluatorConfig, MotionEvaluatorModel
from training.evaluation.contact_sheets import LABEL, POSES, SIZE, strip
from training.evaluation.evaluator import Judge
from training.evaluation.families import compare, draw_captions, paraphrase_numbers
from training.evaluation.temporal_localization import search
from training.evaluation.zero_shot_classification import describe


@pytest.fixture(scope="module")
def judge(bert_folder, tmp_path_factory) -> Judge:
    folder = tmp_path_factory.mktemp("evaluator")
    config = MotionEvaluatorConfig(actions=["bow", "walk"], styles=["old"], width=8, text_encoder=str(bert_folder))
    model = MotionEvaluatorModel(config)
    model.action_head.bias.data[:] = model.action_head.bias.new_tensor([1e3, 0])  # sees nothing but bows
    model.save_pretrained(folder)
    motions = [lamp_hf.joints_to_features(make_motion(40, seed=i)) for i in range(3)]
    lamp_hf.MotionFeatureExtractor.from_statistics(motions).save_pretrained(folder)
    return Judge(folder)


@pytest.fixture(scope="module")
def pipe(model_folder):
    return pipeline("text-to-motion", model=str(model_folder))


def test_a_family_is_compared_to_its_real_clips_and_the_smallest_is_named():
    generated = {"bow": ["bow", "walk", "walk", "kick"], "walk": ["walk"] * 4, "kick": []}
    real = {"bow": ["bow", "bow", "bow", "walk"], "walk": ["walk"], "kick": ["kick"]}
    numbers = compare(generated, real, {"bow": 30, "walk": 200, "kick": 28})
    assert numbers["generated"] == 62.5 and numbers["real"] == 87.5
    assert numbers["ratio"] == pytest.approx(62.5 / 87.5)
    assert (numbers["smallest"], numbers["smallest_family"]) == (25, "bow")
    assert set(numbers["by_family"]) == {"bow", "walk"}  # no motion of a kick was generated
    assert numbers["by_family"]["bow"]["taken_for"] == {"walk": 2, "kick": 1}
    with pytest.raises(ValueError, match="lower --least"):
        compare({}, real, {"bow": 30})


def test_the_clips_of_a_family_take_turns_and_lend_their_length(pipe):
    clips = Namespace(
        families=["bow", "walk", "bow"],
        captions=[["she bows"], ["a person walks forward"], ["she bows", "a man bows"]],
        lengths=np.array([40, 60, 4000]),
    )
    arguments = Namespace(seed=0, per_family=4)
    texts, durations, rows = draw_captions(clips, {"bow": 30, "walk": 40, "kick": 28}, arguments, pipe)
    assert Counter(rows) == {0: 2, 2: 2, 1: 4}
    assert durations[:4] == [2.0, pipe.max_duration] * 2 and durations[4:] == [3.0] * 4
    assert texts[0] == texts[2] == "she bows" and set(texts[4:]) == {"a person walks forward"}


def test_paraphrases_are_recognised_for_each_seed(pipe, judge):
    arguments = Namespace(seed=0, seeds=2)
    paraphrases = {"bow": ["she bows"], "walk": ["a man walks", "a person walks forward"]}
    known = {"bow": {"she", "bows"}, "walk": {"a", "man", "walks"}}
    numbers = paraphrase_numbers(pipe, judge, paraphrases, {"walk": 40}, known, arguments)
    assert numbers["with_new_words"] == {"prompts": 1, "all": 0}
    assert numbers["prompts"] == 3 and numbers["all"] == pytest.approx(100 / 3) and numbers["covered_families"] == 0
    assert numbers["by_family"] == {"bow": 100, "walk": 0}
    assert numbers["wrong"] == ["walk: a man walks", "walk: a person walks forward"]


def test_a_strip_shows_poses_under_a_label(pipe):
    picture = strip(pipe("she bows", duration=1.0, seed=0))
    assert picture.shape == (SIZE + LABEL, POSES * SIZE, 3) and picture.dtype == np.uint8
    assert (picture[:LABEL] < 128).any()  # words


def test_each_family_has_words_of_its_own_in_zero_shot_classification():
    labels = describe(["walk-back", "wave-left-hand", "moon-walk"])
    assert labels == {
        "walks backward": "walk-back", "waves with the left hand": "wave-left-hand", "moon walk": "moon-walk"
    }  # fmt: skip


def test_captions_of_one_clip_of_a_recording_are_searched_for_by_both_scores(embedder):
    motions = [make_clip(seconds=5.0, seed=seed).features for seed in range(3)]
    clips = Namespace(
        families=["bow", "walk", "bow"],
        actions=["", "", ""],
        styles=["", "", ""],
        captions=[["she bows"], ["a person walks forward"], ["a man bows"]],
        motions=motions,
        lengths=np.array([len(motion) for motion in motions]),
    )
    ((row, met, winner, winner_whole),) = search(clips, np.arange(3), embedder)
    assert row == 1 and met.shape[1] == 3 and met[:, 0].any() and not met[:, 0].all()
    assert {winner, winner_whole} <= set(range(len(met)))
