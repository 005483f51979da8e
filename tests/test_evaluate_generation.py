"""The evaluation of text to motion: repeats, transitions, temporal localization."""

from argparse import Namespace

import numpy as np
import pytest
from conftest import make_motion
from datasets import Dataset
from transformers import pipeline

from lamp_hf.data.dataset import PUBLISHED_LENGTHS
from training.data import Clips
from training.evaluation.generation import Protocol, cached, draw_pairs, over_repeats
from training.evaluation.temporal_localization import criteria
from training.evaluation.transitions import NAMES, compare, largest_around, per_frame_jolts


@pytest.fixture
def clips(tmp_path) -> Clips:
    """130 clips of 40 to 52 frames, and one that is too short and one that is too long for the literature."""
    rows = [make_row(f"{i:03d}", 41 + i % 13, f"a person walks {i} steps") for i in range(130)]
    rows += [make_row("short", 40, "a person stops"), make_row("long", 201, "a person goes on")]
    rows.append(make_row("known", 50, "A person walks 7 steps.") | {"split": "train"})
    Dataset.from_list(rows).to_parquet(tmp_path / "clips.parquet")
    lengths = PUBLISHED_LENGTHS["humanml3d"]
    return Clips(tmp_path / "clips.parquet", "test", {"skeleton": "humanml3d", "mirrored": False, "lengths": lengths})


def make_row(name: str, num_frames: int, caption: str) -> dict:
    joints = (1000 * make_motion(num_frames, seed=len(caption))).round().astype(np.int16).ravel()
    return {"name": name, "split": "test", "joints_mm": joints, "captions": [caption, caption + " slowly"]}


def test_a_repeat_draws_captions_and_crops_of_whole_batches(clips):
    assert len(clips) == 130 and min(clips.lengths) == 40
    first, second = (draw_pairs(clips, np.random.default_rng(seed)) for seed in range(2))
    assert len(first.captions) == len(first.motions) == 128
    lengths = np.array([len(motion) for motion in first.motions])
    assert not (lengths % 4).any()
    whole = {texts[0]: len(motion) // 4 for texts, motion in zip(clips.captions, clips.motions)}
    missing = [whole[text.removesuffix(" slowly")] - n // 4 for text, n in zip(first.captions, lengths)]
    assert set(missing) == {0, 1} and 0.2 < np.mean(missing) < 0.47  # a token less in a third of cases
    assert 0.3 < np.mean([text.endswith("slowly") for text in first.captions]) < 0.7
    assert first.captions != second.captions


class Judge:
    """Embeds a text by the number in it, and a motion by its posture, which tells real ones apart."""

    name = "judge"

    def embed_texts(self, texts):
        return np.array([[float(len(text)), float(sum(map(ord, text)) % 7)] for text in texts])

    def embed_motions(self, motions):
        return np.stack([motion[:, 4:6].mean(0) for motion in motions])


def test_real_and_generated_motion_are_measured_alike_and_captions_of_training_apart(clips, model_folder):
    pipe = pipeline("text-to-motion", model=str(model_folder))
    known = [f"a person walks {i} steps" for i in range(60)] + [f"a person walks {i} steps slowly" for i in range(60)]
    arguments = Namespace(seed=0, multimodality_texts=2)
    protocol = Protocol(clips, known, pipe, {"judge@0": Judge()}, arguments)
    first, again = (protocol.measure(0)["judge"] for _ in range(2))
    assert first == again
    assert set(first) == {"real", "generated", "real, new captions", "generated, new captions"}
    assert first["real"]["fid"] < first["generated"]["fid"]
    assert first["generated"]["multimodality"] > 0 and "multimodality" not in first["real"]
    assert "diversity" in first["generated"] and "diversity" not in first["generated, new captions"]
    numbers = over_repeats([{"judge": first}] * 2)
    assert numbers["judge"]["real"]["fid"] == (pytest.approx(first["real"]["fid"]), 0)


def test_means_have_intervals_and_leave_out_what_a_repeat_lacks():
    rows = [{"judge": {"real": {"fid": 1.0, "diversity": 3.0}, "new": {}}}, {"judge": {"real": {"fid": 3.0}}}]
    assert over_repeats(rows) == {"judge": {"real": {"fid": (2.0, pytest.approx(1.96 / np.sqrt(2)))}}}


def test_numbers_of_a_repeat_are_kept_for_their_owner(tmp_path):
    calls = []
    for _ in range(2):
        assert cached(tmp_path / "cache", 3, "ours", lambda number: calls.append(number) or {"a": 1}) == {"a": 1}
    assert calls == [3]
    with pytest.raises(ValueError, match="is of another model"):
        cached(tmp_path / "cache", 3, "theirs", dict)


def test_a_jolt_counts_around_its_transition_only():
    joints = np.zeros((40, 22, 3))
    joints[:, [1, 16], 0] = 0.1  # hips and shoulders, so that there is a facing
    joints[20, 5] = [0, 0.02, 0]
    jolts = per_frame_jolts(joints, fps=20.0)
    assert jolts.shape == (38, 2)
    near, far = largest_around(jolts, [18, 30])
    assert near[0] == pytest.approx(0.04 * 20**2) and far[0] == 0 and near[1] == far[1] == 0
    numbers = compare([near, far], np.array([1.0, 1.0]))
    assert numbers["within_percent"] == dict(zip(NAMES, [50.0, 100.0]))


def test_a_window_is_judged_by_its_middle_and_its_overlap():
    windows = np.array([[0, 10], [8, 18], [0, 40], [30, 40]])
    np.testing.assert_array_equal(criteria(windows, start=10, end=20), [[0, 0, 0], [1, 1, 1], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(criteria(np.array([[12, 32]]), start=10, end=20), [[0, 1, 0]])
