"""The benchmark: what it compares with is the same network, and every number has a name and is finite."""

import math

import pytest
import torch
from conftest import open_gates, qformer_text_to_motion, tiny_lamp_config, tiny_text_to_motion

from lamp_hf.benchmark import gallery
from lamp_hf.benchmark.generation import _measure_model
from lamp_hf.benchmark.plain_generation import generate_plainly, plain_logits
from lamp_hf.benchmark.serving import measure_serving
from lamp_hf.benchmark.timing import peak_memory_mb, rounded


@pytest.mark.parametrize("make", [tiny_text_to_motion, qformer_text_to_motion])
@pytest.mark.parametrize("words", [24, 16])  # of the tokens' size, or another
def test_plain_logits_are_the_networks(processor, make, words):
    changes = {"lamp_config": tiny_lamp_config(processor, word_state_size=words)}
    model = make(processor, **(changes if make is tiny_text_to_motion else {}))
    transformer = model.transformer
    if transformer.word_attention is not None:
        open_gates(transformer)
    codes, condition = torch.randint(32, (1, 8)), model.encode_text(**processor(text=["she bows"]))
    condition = torch.nn.functional.pad(condition, (0, 0, 0, 2)) if make is tiny_text_to_motion else condition
    with torch.no_grad():
        for state in (condition, torch.zeros_like(condition)):
            expected = transformer(codes, torch.ones(1, 8, dtype=torch.bool), state)
            torch.testing.assert_close(plain_logits(transformer, codes, state), expected, atol=1e-5, rtol=1e-5)


def test_plain_generation_makes_a_motion(processor):
    features = generate_plainly(tiny_text_to_motion(processor), 5, **processor(text=["she bows"]))
    assert features.shape == (1, 20, 263) and features.isfinite().all()


def test_the_shares_of_the_stages_sum_to_one(processor):
    results = _measure_model("tiny", tiny_text_to_motion(processor), processor)
    shares = [value for name, value in results.items() if "share" in name]
    assert len(shares) == 3 and sum(shares) == pytest.approx(1)
    assert results["tiny_batch_8_clips_per_s"] == pytest.approx(8 / results["tiny_batch_8_s"])


def test_a_small_gallery_is_searched_without_loss():
    results = gallery.measure_gallery(200)
    assert results["gallery_vectors"] == 200 and all(map(math.isfinite, results.values()))
    assert {value for name, value in results.items() if "recall" in name} == {1}
    assert results["gallery_query_codes_mb"] == 200 * 49 * 32 / 1e6


@pytest.mark.slow
def test_a_server_under_load_loses_nothing_and_refuses_properly():
    results = measure_serving(users=2, seconds=2.0)
    assert results["requests_answered"] > 2 and results["requests_lost"] == results["requests_refused"] == 0
    assert results["burst_accepted"] >= 40 and results["burst_answered_otherwise"] == 0
    assert results["burst_accepted"] + results["burst_refused_with_retry_after"] == results["burst_requests"]


def test_numbers_are_rounded_to_four_digits():
    assert rounded({"a": 1234567.0, "b": 0.123456}) == {"a": 1235000.0, "b": 0.1235}
    assert peak_memory_mb() > 10
