import numpy as np
import pytest
from transformers import pipeline

import lamp_hf


@pytest.fixture(scope="module")
def pipe(model_folder):
    return pipeline("text-to-motion", model=str(model_folder))


def test_a_text_gives_joints_features_fps_and_text(pipe):
    made = pipe("a person walks", duration=4.0, seed=0)
    assert set(made) == {"joints", "features", "fps", "text"}
    assert made["joints"].shape == (80, 22, 3) and made["joints"].dtype == np.float32
    assert made["features"].shape == (80, 263) and made["features"].dtype == np.float32
    assert made["fps"] == 20.0 and made["text"] == "a person walks"
    np.testing.assert_allclose(lamp_hf.features_to_joints(made["features"]), made["joints"], atol=1e-5)


def test_same_seed_same_motion_alone_and_in_any_batch(pipe):
    alone = pipe("she bows", duration=3.0, seed=7)["joints"]
    batch = pipe(["a person walks", "she bows", "a man"], duration=[1.0, 3.0, None], seed=[1, 7, 3], batch_size=3)
    np.testing.assert_allclose(batch[1]["joints"], alone, atol=1e-5)
    np.testing.assert_allclose(pipe(["she bows"] * 3, duration=3.0, seed=7)[2]["joints"], alone, atol=1e-5)
    assert not np.allclose(pipe("she bows", duration=3.0, seed=8)["joints"], alone)


def test_several_sequences_have_the_seeds_that_follow(pipe):
    several = pipe("she bows", duration=2.0, seed=3, num_return_sequences=2)
    np.testing.assert_allclose(several[1]["joints"], pipe("she bows", duration=2.0, seed=4)["joints"], atol=1e-5)
    nested = pipe(["she bows", "a man"], duration=2.0, seed=3, num_return_sequences=2)
    assert [len(motions) for motions in nested] == [2, 2] and nested[1][0]["text"] == "a man"


def test_a_stream_of_texts_gives_an_iterator(pipe):
    made = pipe((text for text in ["she bows", "a man"]), duration=1.0)
    assert [motion["text"] for motion in made] == ["she bows", "a man"]


def test_odd_durations_are_met_to_the_frame_and_none_is_predicted(pipe):
    assert len(pipe("she bows", duration=1.15)["joints"]) == 23
    assert len(pipe("she bows", seed=0)["joints"]) % 4 == 0
    assert pipe([]) == []


def test_bones_keep_their_length_unless_told_not_to(pipe):
    from lamp_hf.metrics.physics import bone_length_variation

    assert bone_length_variation(pipe("she bows", duration=4.0, seed=0)["joints"]) < 1e-3
    assert bone_length_variation(pipe("she bows", duration=4.0, seed=0, fit_bones=False)["joints"]) > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": ""}, "empty"),
        ({"inputs": "   "}, "empty"),
        ({"inputs": "walk " * 2000}, "too long"),
        ({"inputs": "x" * 10000, "num_inference_steps": 0}, "num_inference_steps"),
        ({"inputs": "walk", "duration": 0}, "0.2 to 9.8 seconds"),
        ({"inputs": "walk", "duration": -1.0}, "0.2 to 9.8 seconds"),
        ({"inputs": "walk", "duration": float("nan")}, "0.2 to 9.8 seconds"),
        ({"inputs": "walk", "duration": 60}, "0.2 to 9.8 seconds"),
        ({"inputs": "walk", "duration": "4"}, "number of seconds"),
        ({"inputs": ["walk", "run"], "duration": [1.0]}, "2 texts but 1 durations"),
        ({"inputs": "walk", "num_return_sequences": 0}, "num_return_sequences"),
        ({"inputs": "walk", "guidance": 3}, "unknown option 'guidance'"),
        ({"inputs": "walk", "temperature": -1}, "temperature"),
    ],
)
def test_bad_requests_are_refused_in_a_line(pipe, arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        pipe(**arguments)
    assert "\n" not in str(caught.value)
