"""Measures of how different the queries of a clip are, and whose their variance is."""

import numpy as np
import pytest
from conftest import unit_vectors

from lamp_hf.metrics.queries import query_statistics


def around(vectors: np.ndarray, centre: float = 0.0) -> np.ndarray:
    """Two clips whose queries are opposite: what is left without the mean over the clips are the vectors."""
    return np.stack([centre + vectors, centre - vectors])


@pytest.mark.parametrize("centre", [0.0, 5.0])
def test_equal_queries_have_cosine_and_rank_one(centre):
    found = query_statistics(around(np.repeat(unit_vectors(1), 6, 0), centre))
    assert found["cosine"] == pytest.approx(1, abs=1e-6) and found["rank"] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("count", [2, 5])
def test_orthogonal_queries_have_cosine_zero_and_as_high_a_rank_as_there_are(count):
    found = query_statistics(around(3 * np.eye(8)[:count], 1.0))
    assert found["cosine"] == pytest.approx(0, abs=1e-9) and found["rank"] == pytest.approx(count, abs=1e-6)


def test_rank_is_that_of_directions_whatever_their_length():
    lengths = np.array([[1.0], [10.0], [100.0]])
    assert query_statistics(around(lengths * np.eye(3)))["rank"] == pytest.approx(3, abs=1e-6)


def test_cosine_is_the_mean_over_pairs_of_different_queries():
    """Two queries are the same and the third is orthogonal: one pair of three has cosine 1."""
    assert query_statistics(around(np.eye(2)[[0, 0, 1]]))["cosine"] == pytest.approx(1 / 3)


def test_shares_of_variance_are_those_that_the_queries_are_made_of():
    clip, query = np.array([1.0, -1.0])[:, None, None], np.array([1.0, -1.0])[None, :, None]
    made = 7 + 3 * clip + 2 * query + 1 * clip * query  # variances 9, 4 and 1
    found = query_statistics(made)
    assert (found["clip"], found["query"], found["interaction"]) == pytest.approx((9 / 14, 4 / 14, 1 / 14))


@pytest.mark.parametrize("shape", [(1, 3, 4), (3, 1, 4), (3, 4)])
def test_a_single_clip_or_query_is_refused(shape):
    with pytest.raises(ValueError, match="both at least 2"):
        query_statistics(np.zeros(shape))


def test_numbers_that_are_not_finite_are_refused():
    queries = np.ones((2, 2, 2))
    queries[0, 1, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        query_statistics(queries)
