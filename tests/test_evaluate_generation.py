"""The evaluation of text to motion: repeats, transitions, temporal localization."""

import numpy as np
import pytest
from transformers import pipeline

from training.evaluation.generation import generate_cached, over_repeats
from training.evaluation.temporal_localization import criteria
from training.evaluation.transitions import NAMES, compare, largest_around, per_frame_jolts


def test_repeats_are_generated_once_and_give_means_with_intervals(model_folder, tmp_path):
    captions = ["she bows", "a man turns to the right"] * 60
    lengths = np.full(120, 24)
    pipe = pipeline("text-to-motion", model=str(model_folder))
    generated = generate_cached(pipe, captions, lengths, range(2), tmp_path / "cache")
    again = generate_cached(pipe, captions, lengths, range(2), tmp_path / "cache")
    assert len(generated) == 2 and all(
        np.array_equal(x, y) for one, two in zip(generated, again) for x, y in zip(one, two)
    )
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["seed_0.npz", "seed_1.npz"]
    with pytest.raises(ValueError, match="or of other captions"):
        generate_cached(pipe, captions[::-1], lengths, range(2), tmp_path / "cache")
    pipe.model.config.guidance_scale = 3.0
    with pytest.raises(ValueError, match="way of decoding"):
        generate_cached(pipe, captions, lengths, range(2), tmp_path / "cache")
    rng = np.random.default_rng(0)
    text = rng.normal(size=(120, 4))
    numbers = over_repeats(text, [text + rng.normal(0, 0.1, text.shape) for _ in range(3)], text, seed=0)
    assert numbers["r_precision_1"][0] > 0.8 and numbers["fid"][0] < 0.1 and "multimodality" not in numbers
    assert over_repeats(text, [text] * 3, text, seed=0)["mm_dist"] == (0, 0)


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
