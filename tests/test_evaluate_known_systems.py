"""`evaluate known-systems`: folders of five systems whose order is known, and the report on each."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CAPTIONS, make_motion
from datasets import Dataset
from training_stages import evaluate

import lamp_hf
from lamp_hf.data.prompts import read_prompt_table
from lamp_hf.evaluators.motion_evaluator import MotionEvaluatorConfig, MotionEvaluatorModel
from lamp_hf.hub.cards import Measurements
from training.data import Clips
from training.evaluation.known_systems import SHAKE, Prompts, cut_or_looped, nearest, of_others, out_of_order, shake
from training.evaluation.regression import fit_regressor, regress
from training.report import known_systems_table


NAMES = ["real clips", "generator", "nearest training caption", "regression", "noise"]


def write_data(folder: Path, rows: list[dict]) -> Path:
    """Write clips whose `motion` is joints in metres."""
    for i, row in enumerate(rows):
        row |= {"name": f"{i:03d}", "joints_mm": (1000 * row.pop("motion")).round().astype(np.int16).ravel()}
    Dataset.from_list(rows).to_parquet(folder / "clips.parquet")
    return folder / "clips.parquet"


def make_clips(folder: Path, lengths: list[int], captions: list[list[str]]) -> Clips:
    """Make training clips of so many frames of features."""
    motions = [make_motion(length + 1, seed=i) for i, length in enumerate(lengths)]
    rows = [{"split": "train", "motion": motion, "captions": texts} for motion, texts in zip(motions, captions)]
    return Clips(write_data(folder, rows), "train", {"skeleton": "humanml3d", "mirrored": False})


@pytest.fixture
def judge_folder(processor, bert_folder, tmp_path) -> Path:
    """An evaluator that nobody trained."""
    torch.manual_seed(0)
    sizes = {"width": 8, "embedding_size": 8, "text_encoder": str(bert_folder), "text_size": 16}
    config = MotionEvaluatorConfig(actions=["bow", "walk"], styles=["calm"], **sizes)
    MotionEvaluatorModel(config).save_pretrained(tmp_path / "judge")
    processor.feature_extractor.save_pretrained(tmp_path / "judge")
    return tmp_path / "judge"


@pytest.fixture
def data(tmp_path) -> Path:
    """Twenty training clips, four for validation and 33 to test, one of them longer than the generator can make."""
    rows = [
        {
            "split": split,
            "motion": make_motion(220 if i == 32 else 21 + i, seed=i),
            "captions": [CAPTIONS[i % 4]],
            "family": "bow" if i % 4 == 3 else "walk",
        }
        for split, count in (("train", 20), ("val", 4), ("test", 33))
        for i in range(count)
    ]
    return write_data(tmp_path, rows)


def test_five_systems_answer_the_same_prompts_in_files_of_equal_lengths(
    tmp_path, data, model_folder, judge_folder, bert_folder
):
    outputs = tmp_path / "outputs"
    options = ("--data", data, "--model", model_folder, "--evaluator", judge_folder, "--outputs", outputs)
    options += ("--sentence-encoder", bert_folder, "--regression-steps", 2)
    numbers = evaluate("known-systems", tmp_path / "numbers.json", *options)
    prompts = read_prompt_table(outputs / "prompts.csv")
    assert len(prompts) == numbers["prompts"] == 33 and prompts["000004"].text == CAPTIONS[3]
    assert prompts["000004"].family == "bow" and len(list((outputs / "reference").iterdir())) == 4
    assert list(numbers["systems"]) == NAMES
    lengths = {
        name: [
            lamp_hf.Motion.load(outputs / name.replace(" ", "_") / f"{prompt}.npy").num_frames for prompt in prompts
        ]
        for name in NAMES
    }
    assert len({tuple(frames) for frames in lengths.values()}) == 1 and max(lengths["noise"]) < 219
    reports = numbers["systems"]
    assert all(report["motions"] == report["text"]["captions"] == 33 for report in reports.values())
    assert all(report["distribution"]["real_motions"] == 4 for report in reports.values())
    assert all({"family_recognised", "r_precision_1"} <= set(report["text"]) for report in reports.values())
    assert "known caption" in reports["noise"]["strata"]
    assert reports["noise"]["physics"]["jitter_m_s3"] > reports["real clips"]["physics"]["jitter_m_s3"]
    table = known_systems_table(Measurements({"known_systems": numbers})).splitlines()
    assert [line.split(" | ")[0] for line in table[2:]] == [f"| {name}" for name in NAMES]
    with pytest.raises(FileExistsError):  # what is there would be judged too
        evaluate("known-systems", tmp_path / "numbers.json", *options)


def test_the_nearest_caption_lends_the_clip_of_the_nearest_length(tmp_path):
    clips = make_clips(tmp_path, [20, 30, 40], [["a bow", "a jump"], ["a jump"], ["a walk"]])
    known, asked = torch.eye(3), torch.eye(3)[[1, 1, 0]]  # of a bow, a jump and a walk
    found = nearest(clips, known, asked, [28, 22, 50])
    assert np.array_equal(found[0], clips.motions[1][:28])
    assert np.array_equal(found[1][:20], clips.motions[0]) and np.array_equal(found[1][20:], clips.motions[0][:2])
    assert [len(motion) for motion in found] == [28, 22, 50]


def test_a_looped_clip_walks_on_from_where_it_is():
    motion = lamp_hf.joints_to_features(make_motion(31))
    once, twice = (lamp_hf.features_to_joints(cut_or_looped(motion, length)) for length in (30, 60))
    np.testing.assert_allclose(twice[:30], once, atol=1e-5)
    step = np.linalg.norm((twice[1:, 0] - twice[:-1, 0])[:, [0, 2]], axis=1)
    assert step[29] < 1.5 * step[:29].max()


def test_nobody_gets_the_own_clip_of_a_prompt():
    motions = [np.full((10 + i, 3), float(i)) for i in range(5)]
    others = of_others(Prompts(["a walk"] * 5, [""] * 5, motions), np.random.default_rng(0))
    sources = [int(other[0, 0]) for other in others]
    assert sorted(sources) == list(range(5)) and all(source != i for i, source in enumerate(sources))
    assert [len(other) for other in others] == [len(motion) for motion in motions]


def test_shaken_joints_stay_within_centimetres_and_can_be_read(tmp_path):
    joints = make_motion(60)
    shaken = shake(joints, np.random.default_rng(0))
    assert (shaken - joints).std() == pytest.approx(SHAKE)
    lamp_hf.Motion(shaken).save(tmp_path / "shaken.npy")
    read = lamp_hf.Motion.load(tmp_path / "shaken.npy")
    np.testing.assert_allclose(read.joints, shaken, atol=1e-5)


def test_a_regression_tells_texts_apart_and_keeps_bones(processor, tmp_path):
    clips = make_clips(tmp_path, [24, 24], [["a bow"], ["a jump"]])
    sentences, extractor = torch.eye(2), processor.feature_extractor
    model = fit_regressor(clips, sentences, extractor, steps=60, seed=0)
    made = regress(model, sentences, [24, 24], extractor)
    errors = np.array([[np.abs(motion - real).mean() for real in clips.motions] for motion in made])
    assert errors[0, 0] < errors[0, 1] and errors[1, 1] < errors[1, 0]
    joints = lamp_hf.features_to_joints(made[0])
    assert np.ptp(np.linalg.norm(joints[:, 4] - joints[:, 1], axis=1)) < 1e-4


def test_a_system_that_does_better_than_the_one_before_it_is_named():
    def report(precision: float, distance: float) -> dict:
        return {"text": {"r_precision_1": precision, "matching_distance": distance}}

    reports = {"real clips": report(0.7, 0.1), "generator": report(0.8, 0.2), "noise": report(0.1, 0.2)}
    assert out_of_order(reports) == {"r_precision_1": ["generator"], "matching_distance": []}
