"""Global state of torch: results do not depend on it, and seeded calls leave it alone."""

import numpy as np
import pytest
import torch
from conftest import make_clip
from transformers import pipeline

from lamp_hf.models.video_frames import Video
from lamp_hf.retrieval.embedder import Embedder


@pytest.fixture
def in_double():
    """A function that calls another one while new tensors are in double precision by default."""

    def call(function):
        torch.set_default_dtype(torch.float64)
        try:
            return function()
        finally:
            torch.set_default_dtype(torch.float32)

    return call


def generate_in_all_ways(folder) -> list[np.ndarray]:
    pipe = pipeline("text-to-motion", model=str(folder))
    texts = ["a person walks", "a person jumps"]
    batch = [motion["joints"] for motion in pipe(texts, duration=4.0, seed=[0, 1])]
    clip = batch[0]
    return [
        *batch,
        pipe(texts[0], seed=2)["joints"],
        pipe(texts, mode="sequence", duration=6.0, seed=3)["joints"],
        pipe(texts[0], seed=0, motion=clip, keep=[(0, 1.0), (3.0, 4.0)])["joints"],
        pipe(texts[0], seed=0, prefix=clip, suffix=clip, duration=1.1)["joints"],
        np.concatenate(list(pipe.stream(texts[1], duration=12.0, seed=4))),
        *(motion["joints"] for motion in pipe(iter(texts), duration=2.0, seed=5)),
    ]


def test_the_default_precision_does_not_change_a_motion(model_folder, in_double):
    single = generate_in_all_ways(model_folder)
    for one, other in zip(single, in_double(lambda: generate_in_all_ways(model_folder)), strict=True):
        assert other.dtype == np.float32 and np.array_equal(one, other)


def test_the_default_precision_does_not_change_embeddings_and_captions(lamp_folder, captioner_folder, in_double):
    def results():
        embedder = Embedder(lamp_folder)
        caption = pipeline("motion-to-text", model=str(captioner_folder))(make_clip())
        return embedder.embed_motions([make_clip().features]), embedder.embed_texts(["a person walks"]), caption

    single, double = results(), in_double(results)
    assert np.array_equal(single[0], double[0]) and np.array_equal(single[1], double[1]) and single[2] == double[2]


def test_the_default_precision_does_not_change_pixels(in_double):
    from lamp_hf.models.processing_lavimo import normalise_pixels

    frames = Video(np.arange(4 * 8 * 8 * 3, dtype=np.uint8).reshape(4, 8, 8, 3), 4.0).sample(4, 8).pixels
    single = normalise_pixels(torch.from_numpy(frames))
    double = in_double(lambda: normalise_pixels(torch.from_numpy(frames)))
    assert double.dtype == torch.float32 and torch.equal(single, double)


def test_a_seeded_call_leaves_the_global_generators_alone(model_folder, captioner_folder):
    captioner = pipeline("motion-to-text", model=str(captioner_folder))
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    generate_in_all_ways(model_folder)
    captioner([make_clip(), make_clip(seed=1)], do_sample=True, seed=0)
    captioner([make_clip(), make_clip(seed=1)])
    assert torch.equal(before[0], torch.get_rng_state()) and np.array_equal(before[1], np.random.get_state()[1])
