"""Best of several candidates: the seed that LaMP likes best, alone, in lists, in sequences and in long motions."""

import itertools

import numpy as np
import pytest
import torch
from conftest import make_motion, tiny_lamp_config, tiny_text_to_motion
from transformers import pipeline

import lamp_hf
from lamp_hf.models.best_of import keep_best, match_scores


@pytest.fixture(scope="module")
def pipe(processor):
    """A generator with a LaMP of first weights so wide that it tells motions apart."""
    torch.manual_seed(0)
    lamp = tiny_lamp_config(processor, initializer_range=0.5)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    model = lamp_hf.LampForTextToMotion(lamp_hf.LampTextToMotionConfig(lamp_config=lamp, **sizes)).eval()
    model.vqvae.quantizer.codebook.normal_()
    return pipeline("text-to-motion", model=model, processor=processor)


@torch.no_grad()
def score(pipe, text: str, seed: int, duration: float) -> float:
    """Score the motion of one seed by LaMP's public methods, without padding."""
    inputs, lamp = pipe.processor(text=text), pipe.model.lamp
    values = pipe.model.generate(**inputs, num_tokens=[-(-round(20 * duration) // 4)], seeds=[seed]).motion_values
    values = values[:, : round(20 * duration)]
    logits = lamp(motion_values=values, **inputs).logits_per_text
    return float(logits + lamp.get_matching_logits(motion_values=values, **inputs))


def test_the_motion_that_lamp_likes_best_is_kept_and_its_seed_told(pipe):
    best = pipe("she bows", duration=2.05, seed=3, num_candidates=5)
    scores = {seed: score(pipe, "she bows", seed, 2.05) for seed in range(3, 8)}
    assert best["seed"] == max(scores, key=scores.get)
    assert min(np.diff(sorted(scores.values()))) > 1e-3  # far more than rounding
    alone = pipe("she bows", duration=2.05, seed=best["seed"])
    np.testing.assert_allclose(best["joints"], alone["joints"], atol=1e-5)
    assert best.keys() == alone.keys()


def test_the_score_of_a_motion_is_the_same_beside_a_longer_one(pipe):
    inputs, lamp = pipe.processor(text=["she bows", "she bows"]), pipe.model.lamp
    values = torch.randn(2, 60, 263, generator=torch.Generator().manual_seed(0))
    both = match_scores(lamp, **inputs, motion_values=values, num_frames=torch.tensor([60, 31]))
    alone = match_scores(
        lamp, **pipe.processor(text="she bows"), motion_values=values[1:, :31], num_frames=torch.tensor([31])
    )
    torch.testing.assert_close(both[1:], alone, atol=1e-4, rtol=1e-4)


def test_a_window_that_is_longer_than_lamp_reads_is_judged_in_pieces(processor):
    """A coarser tokenizer than LaMP's: 49 of its tokens are twice as many frames."""
    torch.manual_seed(0)
    tokenizer = lamp_hf.MotionVQVAEConfig(width=16, codebook_dim=8, codebook_size=32, num_downsamplings=3)
    model = tiny_text_to_motion(processor, tokenizer_config=tokenizer)
    pipe, options = pipeline("text-to-motion", model=model, processor=processor), {"duration": 16.0, "seed": 3}
    best = pipe("she bows", num_candidates=2, **options)
    np.testing.assert_allclose(
        best["joints"], pipe("she bows", **options | {"seed": best["seed"]})["joints"], atol=1e-5
    )

    values = torch.randn(3, 320, 263, generator=torch.Generator().manual_seed(0))
    inputs, frames = processor(text=["she bows", "a man", "she bows"]), torch.tensor([320, 100, 200])
    found = match_scores(model.lamp, **inputs, motion_values=values, num_frames=frames)
    for row, ends in enumerate(([0, 160, 320], [0, 100], [0, 100, 200])):
        parts = [values[row, start:end] for start, end in itertools.pairwise(ends)]
        text = {name: part[row : row + 1] for name, part in inputs.items()}
        alone = [model.lamp.get_pair_scores(motion_values=part[None], **text) for part in parts]
        torch.testing.assert_close(found[row], torch.cat(alone).mean(), atol=1e-4, rtol=1e-4)


def test_texts_lengths_and_sequences_have_candidates_of_their_own(pipe):
    texts, options = ["she bows", "a man"], {"duration": [2.0, None], "seed": [3, 40]}
    together = pipe(texts, num_candidates=3, num_return_sequences=2, batch_size=4, **options)
    seeds = [[motion["seed"] for motion in motions] for motions in together]
    for first, (one, other) in zip(options["seed"], seeds):
        assert one in range(first, first + 3) and other in range(first + 3, first + 6)
    for text, duration, motions in zip(texts, options["duration"], together):
        for motion in motions:
            alone = pipe(text, duration=duration, seed=motion["seed"])
            np.testing.assert_allclose(motion["joints"], alone["joints"], atol=1e-5)
    single = pipe(texts[1], seed=40, num_candidates=3)
    assert single["seed"] == seeds[1][0]


def test_an_iterator_of_texts_has_them_too(pipe):
    lazily = [
        made["seed"] for made in pipe((t for t in ["she bows", "a man"]), duration=1.0, seed=5, num_candidates=3)
    ]
    assert lazily == [made["seed"] for made in pipe(["she bows", "a man"], duration=1.0, seed=5, num_candidates=3)]


@pytest.mark.parametrize(
    "request_",
    [
        {"inputs": ["she bows", "a man"], "mode": "sequence", "duration": [1.0, 1.45]},
        {"inputs": "she bows", "duration": 12.0},
    ],
    ids=["sequence", "long"],
)
def test_sequences_and_long_motions_have_them_too(pipe, request_):
    best = pipe(**request_, seed=3, num_candidates=3)
    assert best["seed"] in (3, 4, 5)
    np.testing.assert_allclose(best["joints"], pipe(**request_, seed=best["seed"])["joints"], atol=1e-5)


def test_each_text_of_a_sequence_is_judged_by_its_own_frames(pipe):
    """The mean of the scores of both halves decides, as if each were a clip."""
    texts, options = ["she bows", "a man"], {"mode": "sequence", "duration": [1.0, 1.2]}
    normalise, lamp = pipe.processor.feature_extractor.normalise, pipe.model.lamp
    scores = {}
    for seed in range(3, 6):
        features = torch.from_numpy(pipe(texts, seed=seed, **options)["features"])
        scores[seed] = sum(
            match_scores(lamp, **pipe.processor(text=text), motion_values=normalise(part)[None],
                         num_frames=torch.tensor([len(part)])).item()
            for text, part in zip(texts, features.split([20, 24]))
        )  # fmt: skip
    assert pipe(texts, seed=3, num_candidates=3, **options)["seed"] == max(scores, key=scores.get)


def test_without_a_seed_each_call_has_others(pipe):
    assert pipe("she bows", duration=1.0, num_candidates=2)["seed"] != pipe("she bows", duration=1.0)["seed"]


def test_of_equal_scores_the_first_is_kept_and_the_rest_dropped():
    results = [{"seed": seed, "score": value} for seed, value in enumerate([1.0, 2.0, 2.0, 0.0, -1.0, -3.0])]
    assert list(keep_best(results, 3)) == [{"seed": 1}, {"seed": 3}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_candidates": 0}, "num_candidates must be a whole number from 1"),
        ({"num_candidates": 2.5}, "num_candidates must be a whole number"),
        ({"num_candidates": 2, "seed": 2**63 - 1}, "a seed is a whole number"),
        ({"num_candidates": 2, "prefix": make_motion(30)}, "not edits: leave out num_candidates"),
    ],
)
def test_bad_requests_are_refused_in_a_line(pipe, arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        pipe("she bows", **({"duration": 1.0} | arguments))
    assert "\n" not in str(caught.value)


def test_a_stream_has_none_and_says_why(pipe):
    with pytest.raises(ValueError, match="before there are whole motions to compare"):
        pipe.stream("she bows", duration=1.0, num_candidates=2)
