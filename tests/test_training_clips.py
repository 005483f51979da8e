"""Clips in memory: which are drawn how often, and which are left out."""

import numpy as np
import pytest
from conftest import make_motion
from datasets import Dataset

from training.data import Clips


LABELS = [("walk", "walk", "CC0"), ("jog", "run", "CC0"), ("sprint", "run", "CC BY-SA 3.0")]


@pytest.fixture
def parquet(tmp_path):
    rows = [
        {
            "name": action,
            "split": "train",
            "joints_mm": (1000 * make_motion()).astype(np.int16).ravel(),
            "captions": [f"a person does a {action}"],
            "action": action,
            "family": family,
            "license_class": license_class,
        }
        for action, family, license_class in LABELS
    ]
    Dataset.from_list(rows).to_parquet(tmp_path / "clips.parquet")
    return tmp_path / "clips.parquet"


def load(path, **data) -> Clips:
    return Clips(path, "train", {"skeleton": "humanml3d", "mirrored": False} | data)


def test_rare_actions_or_rare_families_are_drawn_more_often(parquet):
    assert load(parquet).rarity_weights(1.0).tolist() == [1, 1, 1]
    assert load(parquet, rarity_label="family").rarity_weights(1.0).tolist() == [1, 0.5, 0.5]


def test_composed_clips_are_drawn_as_often_as_asked_for(parquet):
    clips = load(parquet)
    clips.composed = [True, False, False]
    assert clips.rarity_weights(1.0, composed_share=0.25).tolist() == [0.25, 0.375, 0.375]
    clips.composed = [False] * 3
    assert clips.rarity_weights(1.0, composed_share=0.25).tolist() == [1, 1, 1]


def test_clips_of_a_licence_are_left_out(parquet):
    assert load(parquet, licenses_left_out=["CC BY-SA 3.0"]).names == ["walk", "jog"]


def test_a_split_whose_licences_are_all_left_out_is_refused_by_name(parquet):
    with pytest.raises(ValueError, match="all clips of the train split have licences that the recipe leaves out"):
        load(parquet, licenses_left_out=["CC0", "CC BY-SA 3.0"])


def test_a_misspelt_licence_is_refused_and_lets_no_clip_in(parquet):
    with pytest.raises(ValueError, match=r"no clip has the licence .CC-BY-SA.; known: CC BY-SA 3.0, CC0"):
        load(parquet, licenses_left_out=["CC-BY-SA"])
