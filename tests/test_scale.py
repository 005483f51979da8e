"""Data sets larger than memory: motions stay on disk, statistics are gathered clip by clip, costs are counted."""

import json

import numpy as np
import pytest
import torch
from datasets import Array2D, Dataset, Features

from lamp_hf.data.dataset import load_motion_dataset
from lamp_hf.models.feature_extraction_motion import MotionFeatureExtractor
from training import scale
from training.motions import NormalisedMotions, mapped_motions


MOTIONS = [np.random.default_rng(i).normal(size=(3 + i, 5)).astype(np.float32) for i in range(7)]


@pytest.fixture
def dataset():
    features = Features({"motion": Array2D((None, 5), "float32")})
    return Dataset.from_generator(
        lambda: ({"motion": motion} for motion in MOTIONS), features=features, writer_batch_size=3
    )


@pytest.mark.parametrize("rows", [range(7), range(2, 6), [5, 0, 6]], ids=str)
def test_motions_are_views_of_the_memory_map(dataset, rows):
    views = mapped_motions(dataset.select(rows))
    for view, row in zip(views, rows, strict=True):
        assert np.array_equal(view, MOTIONS[row]) and not view.flags.owndata


def test_a_motion_is_normalised_when_it_is_asked_for():
    extractor = MotionFeatureExtractor.from_statistics([np.random.default_rng(0).normal(3, 2, (9, 263))])
    clips = [np.full((length, 263), 7, np.float32) for length in (9, 4, 6)]
    motions = NormalisedMotions(clips, extractor)
    torch.testing.assert_close(motions[1], extractor.normalise(torch.from_numpy(clips[1])))
    assert len(motions[:2]) == 2 and motions.by_length(5) == [2, 0] and len(list(motions)) == 3


def test_statistics_of_clips_one_by_one_are_those_of_all_frames():
    clips = [np.random.default_rng(i).normal(1000, 0.1, (20, 263)) for i in range(4)]
    extractor, frames = MotionFeatureExtractor.from_statistics(clips), np.concatenate(clips)
    np.testing.assert_allclose(extractor.mean, frames.mean(0), rtol=1e-12)
    assert 263 * np.mean(extractor.std[4:67]) == pytest.approx(263 * frames.std(0)[4:67].mean(), rel=1e-8)


def test_a_folder_of_noise_is_read_as_stage_1_does(tmp_path, capsys):
    scale.main(["folder", str(tmp_path / "noise"), "--clips", "20"])
    assert len(load_motion_dataset(tmp_path / "noise", "train")) == 16
    scale.main(["loader", "--data", str(tmp_path / "noise")])
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["clips"] == 16 and numbers["sample_seconds"] > 0
    with pytest.raises(SystemExit):
        scale.main(["folder", str(tmp_path / "noise")])


def test_the_work_of_a_step_is_that_of_its_matrix_products():
    class Objective(torch.nn.Linear):
        def forward(self, inputs):
            return (super().forward(inputs).sum(),)

    numbers = scale.measure_step(Objective(3, 5), {"inputs": torch.ones(8, 3)}, clips=4)
    assert numbers == pytest.approx(
        {
            "gflop_per_clip": 2 * (2 * 8 * 3 * 5) / 4 / 1e9,  # forward, and gradient of the weight
            "activations_gb_per_clip": 8 * 3 * 4 / 4 / 1e9,
            "trained_millions": 20 / 1e6,
            "frozen_millions": 0,
        }
    )


def test_eight_gpus_share_a_batch_or_have_one_each_where_there_is_more_data():
    work = {"gflop_per_clip": 1000, "batch_size": 256, "max_steps": 3600}
    one, eight = (scale.reckon(**work, gpus=gpus, data_hours=scale.HUMANML3D_HOURS) for gpus in (1, 8))
    assert one["hours"] == pytest.approx(8 * eight["hours"], abs=1) and one["dollars"] == eight["dollars"]
    more = scale.reckon(**work, gpus=8, data_hours=80 * scale.HUMANML3D_HOURS)
    assert more["hours"] == pytest.approx(10 * one["hours"], rel=0.05)
    small = scale.reckon(gflop_per_clip=0, batch_size=1, max_steps=3600, gpus=8, data_hours=1)
    assert small["hours"] == pytest.approx(scale.SHORTEST_STEP, abs=0.05)
