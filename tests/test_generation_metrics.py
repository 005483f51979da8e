"""Metrics of text to motion, against plain loops."""

import numpy as np
import pytest
import scipy.linalg

from lamp_hf.metrics.generation import (
    diversity,
    frechet_distance,
    halves_distance,
    matching_distance,
    mean_and_interval,
    multimodality,
    r_precision,
)


@pytest.fixture
def embeddings() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    text = rng.normal(size=(70, 6))
    return text, text + rng.normal(size=(70, 6))


def test_r_precision_and_matching_distance_are_those_of_plain_loops(embeddings):
    text, motion = embeddings
    found, distances = [], []
    for first in (0, 32):
        for i in range(first, first + 32):
            row = [sum((a - b) ** 2 for a, b in zip(text[i], motion[j])) ** 0.5 for j in range(first, first + 32)]
            found.append(sorted(row).index(row[i - first]))
    for i in range(70):
        distances.append(sum((a - b) ** 2 for a, b in zip(text[i], motion[i])) ** 0.5)
    expected = [sum(rank < k for rank in found) / 64 for k in (1, 2, 3)]
    np.testing.assert_allclose(r_precision(text, motion), expected, atol=1e-12)
    assert matching_distance(text, motion) == pytest.approx(sum(distances) / 70, abs=1e-6)
    assert r_precision(text, text) == [1, 1, 1]
    assert r_precision(text, np.zeros_like(text)) == [0, 0, 0]  # one motion for every text


def test_frechet_distance_is_that_of_the_matrix_square_root(embeddings):
    first, second = embeddings
    covariances = [np.cov(rows.T) for rows in embeddings]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    gap = first.mean(0) - second.mean(0)
    expected = gap @ gap + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected, abs=1e-6)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)
    wide = np.random.default_rng(1).normal(size=(387, 512)).astype(np.float32) * np.linspace(0.01, 9, 512)
    assert frechet_distance(wide, wide) == pytest.approx(0, abs=1e-6)
    assert halves_distance(first, first) < halves_distance(first, first + 1)
    assert frechet_distance(first[::-1], second) == pytest.approx(expected, abs=1e-6)


def test_diversity_and_multimodality_are_distances_of_pairs():
    motions = np.random.default_rng(0).normal(size=(5, 20, 3))
    rng = np.random.default_rng(1)
    first, second = (rng.choice(20, 10, replace=False) for _ in range(2))
    pairs = [motions[i, a] - motions[i, b] for i in range(5) for a, b in zip(first, second)]
    expected = sum(sum(x * x for x in pair) ** 0.5 for pair in pairs) / 50
    assert multimodality(motions, np.random.default_rng(1)) == pytest.approx(expected, abs=1e-9)
    assert multimodality(np.zeros((3, 10, 2)), np.random.default_rng(0)) == 0
    spread = np.random.default_rng(1).normal(size=(400, 3))
    rng = np.random.default_rng(0)
    first, second = (rng.choice(400, 300, replace=False) for _ in range(2))
    distances = [sum((a - b) ** 2 for a, b in zip(spread[i], spread[j])) ** 0.5 for i, j in zip(first, second)]
    assert diversity(spread, np.random.default_rng(0)) == pytest.approx(sum(distances) / 300, abs=1e-9)
    with pytest.raises(ValueError, match="100 pairs needs as many"):
        diversity(spread[:50], np.random.default_rng(0))
    with pytest.raises(ValueError, match="10 pairs needs as many motions per text, there are 9"):
        multimodality(motions[:, :9], np.random.default_rng(0))
    assert mean_and_interval([1.0, 5.0]) == (3.0, pytest.approx(1.96 * 2 / np.sqrt(2)))


@pytest.mark.parametrize(("count", "pairs"), [(100, 100), (300, 100), (301, 300)])
def test_diversity_takes_300_pairs_where_there_are_more_motions(count, pairs):
    spread = np.random.default_rng(1).normal(size=(count, 3))
    expected = diversity(spread, np.random.default_rng(0), pairs=pairs)
    assert diversity(spread, np.random.default_rng(0)) == expected


def test_too_few_or_unlike_pairs_are_refused(embeddings):
    text, motion = embeddings
    with pytest.raises(ValueError, match="batches of 32 need as many pairs, there are 20"):
        r_precision(text[:20], motion[:20])
    with pytest.raises(ValueError, match="NaN"):
        r_precision(text, motion * np.nan)
    with pytest.raises(ValueError, match="70 texts but 69 motions"):
        r_precision(text, motion[1:])


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_embeddings_that_are_not_finite_are_refused(embeddings, broken):
    text, motion = embeddings
    bad = motion.copy()
    bad[3, 2] = broken
    rng = np.random.default_rng(0)
    for measure in (
        lambda: r_precision(text, bad),
        lambda: matching_distance(text, bad),
        lambda: matching_distance(bad, motion),
        lambda: frechet_distance(text, bad),
        lambda: frechet_distance(bad, text),
        lambda: halves_distance(bad, bad),
        lambda: diversity(bad, rng, pairs=5),
        lambda: multimodality(bad[None], rng, pairs=5),
    ):
        with pytest.raises(ValueError, match="an embedding holds NaN or infinity"):
            measure()
    with pytest.raises(ValueError, match="finite"):
        mean_and_interval([1.0, broken])


def test_a_distance_of_nothing_is_refused(embeddings):
    text, motion = embeddings
    nothing = np.zeros((0, 6))
    with pytest.raises(ValueError, match="0 embeddings, at least 1 wanted"):
        matching_distance(nothing, nothing)
    for few in (nothing, motion[:1]):
        for pair in ((few, motion), (motion, few)):
            with pytest.raises(ValueError, match=f"{len(few)} embeddings, at least 2 wanted"):
                frechet_distance(*pair)
    with pytest.raises(ValueError, match="70 texts but 1 motions"):
        matching_distance(text, motion[:1])  # NumPy would repeat the one
    with pytest.raises(ValueError, match="different sizes"):
        frechet_distance(text, motion[:, :1])
    with pytest.raises(ValueError, match="at least one number"):
        mean_and_interval([])


@pytest.mark.parametrize(("count", "ranked"), [(32, 32), (63, 32), (64, 64)])
def test_r_precision_ranks_whole_batches_only(embeddings, count, ranked):
    text, motion = embeddings
    shares = np.array(r_precision(text[:count], motion[:count])) * ranked
    assert np.array_equal(shares, np.array(r_precision(text[:ranked], motion[:ranked])) * ranked)
    assert shares[0] > 0 and np.array_equal(shares, np.round(shares))


def test_halves_are_disjoint_random_and_of_twenty_draws_with_seed_0(embeddings):
    first, second = embeddings
    rng, expected = np.random.default_rng(0), []
    for _ in range(20):
        order = rng.permutation(70)
        expected.append(frechet_distance(first[order[:35]], second[order[35:]]))
    assert halves_distance(first, second) == pytest.approx(np.mean(expected))
