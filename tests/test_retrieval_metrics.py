"""Every protocol against an implementation that looks at one query at a time, on matrices full of ties."""

import itertools

import numpy as np
import pytest
import torch

import lamp_hf
from lamp_hf.metrics.retrieval import RECALLS, dissimilar_subset, small_batches, summarise


def plain_rank(scores, right):
    """Expected rank from 0 of the first right answer: by the mean over all orders of what is tied with it."""
    best = max(score for score, good in zip(scores, right) if good)
    above = sum(score > best for score in scores)
    tied = [good for score, good in zip(scores, right) if score == best]
    firsts = [order.index(True) for order in itertools.permutations(tied)]
    return above + sum(firsts) / len(firsts)


def plain_metrics(similarity, right):
    rank = [plain_rank(row, good) for row, good in zip(similarity.tolist(), right.tolist())]
    values = {f"R@{k}": 100 * sum(r < k for r in rank) / len(rank) for k in RECALLS}
    middle = sorted(rank)
    values["MedR"] = (middle[(len(rank) - 1) // 2] + middle[len(rank) // 2]) / 2 + 1
    return values


def plain_protocols(similarity, ids, cosines, batch_size, names):
    size = len(similarity)
    own = np.array([[i == j for j in range(size)] for i in range(size)])
    same = np.array([[left == right for right in ids] for left in ids])
    order = sorted(range(size), key=lambda i: names[i])
    np.random.seed(0)
    shuffled = np.arange(size)
    np.random.shuffle(shuffled)
    order = [order[i] for i in shuffled]
    batches = [order[i : i + batch_size] for i in range(0, size, batch_size) if i + batch_size <= size]

    def in_batches(right):
        rows = [plain_metrics(similarity[rows][:, rows], right[rows][:, rows]) for rows in batches]
        return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}

    subset = dissimilar_subset(cosines, 12)
    return {
        "all": plain_metrics(similarity, own),
        "all_multi_positive": plain_metrics(similarity, same),
        "threshold": plain_metrics(similarity, own | (cosines > 0.9)),
        "dissimilar": plain_metrics(similarity[subset][:, subset], own[subset][:, subset]),
        "small_batches": in_batches(own),
        "small_batches_multi_positive": in_batches(same),
    }


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("levels", [12, 1000], ids=["ties", "no ties"])
def test_all_protocols_agree_with_plain_loops(seed, levels):
    rng = np.random.default_rng(seed)
    size = 39
    similarity = rng.integers(0, levels, (size, size)) / levels
    ids = [f"caption {i}" for i in rng.integers(0, 20, size)]
    points = rng.normal(size=(size, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    cosines, names = points @ points.T, [f"{i:03d}" for i in rng.permutation(size)]
    options = {"sentence_similarity": cosines, "subset_size": 12, "batch_size": 8, "names": names}
    ours = lamp_hf.retrieval_metrics(similarity, ids, bootstrap=0, **options)
    for direction, matrix in (("text_to_motion", similarity), ("motion_to_text", similarity.T)):
        for protocol, expected in plain_protocols(matrix, ids, cosines, 8, names).items():
            values = ours[protocol][direction]
            assert {name: values[name] for name in expected} == pytest.approx(expected, abs=1e-6), protocol


def test_single_answers_rank_as_scipy_ranks_ties():
    from scipy.stats import rankdata

    similarity = np.random.default_rng(0).integers(0, 5, (50, 50)).astype(float)
    expected = [rankdata(-row, method="average")[i] - 1 for i, row in enumerate(similarity)]
    assert lamp_hf.metrics.retrieval.ranks(similarity, np.eye(50, dtype=bool)) == pytest.approx(expected)


def test_a_model_that_scores_all_alike_wins_nothing():
    metrics = lamp_hf.retrieval_metrics(np.zeros((64, 64)), bootstrap=0)["all"]["text_to_motion"]
    assert metrics["R@10"] == 0 and metrics["MedR"] == pytest.approx(32.5)


def test_pairs_that_are_none_by_their_ids_have_no_protocols_of_pairs():
    """A gallery in another order: the diagonal says nothing, ids do."""
    metrics = lamp_hf.retrieval_metrics(np.eye(4)[::-1], [0, 1, 2, 3], [3, 2, 1, 0], bootstrap=0)
    assert metrics["all_multi_positive"]["text_to_motion"]["R@1"] == 100
    assert "all" not in metrics and "small_batches" not in metrics


def test_ids_may_be_tensors_and_subsets_masks():
    subset = np.array([True, False, True, True])
    metrics = lamp_hf.retrieval_metrics(
        np.eye(4), torch.arange(4), sentence_similarity=np.eye(4), subset=subset, bootstrap=0
    )
    assert metrics["all_multi_positive"]["text_to_motion"]["R@1"] == 100
    assert metrics["dissimilar"]["text_to_motion"]["gallery"] == 3


def test_duplicate_captions_are_wrong_by_pair_and_right_by_id():
    similarity = np.array([[0.8, 0.9, 0.1], [0.8, 0.9, 0.1], [0.0, 0.1, 0.9]])
    metrics = lamp_hf.retrieval_metrics(similarity, ["walk", "walk", "wave"], bootstrap=0)
    assert metrics["all"]["text_to_motion"]["R@1"] == pytest.approx(100 * 2 / 3)
    assert metrics["all_multi_positive"]["text_to_motion"]["R@1"] == 100


def test_all_captions_as_queries():
    similarity = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.6]])
    metrics = lamp_hf.retrieval_metrics(similarity, ["a", "b", "b"], ["a", "b"], bootstrap=0, model="m", data="d")
    assert set(metrics) == {"model", "data", "all_multi_positive"} and (metrics["model"], metrics["data"]) == (
        "m",
        "d",
    )
    values = metrics["all_multi_positive"]["text_to_motion"]
    assert (values["queries"], values["gallery"]) == (3, 2) and values["R@1"] == pytest.approx(100 * 2 / 3)


def test_small_batches_are_the_released_ones():
    """The order of `numpy.random.seed(0); numpy.random.shuffle(numpy.arange(10))`."""
    assert np.concatenate(small_batches(10, 5)).tolist() == [2, 8, 4, 9, 1, 6, 7, 3, 0, 5]
    assert len(small_batches(4384)) == 137 and len(small_batches(786)) == 24


def test_the_dissimilar_subset_drops_near_copies():
    points = np.repeat(np.eye(4), [1, 3, 2, 1], axis=0)
    chosen = dissimilar_subset(points @ points.T, 4)
    assert sorted(points[chosen].argmax(1)) == [0, 1, 2, 3]


def test_queries_of_two_small_batches_have_an_interval_of_their_own():
    rank = [np.array([0, 1] * 16), np.array([1, 0] * 16)]  # batches that are alike, queries that are not
    interval = summarise(rank, np.random.default_rng(0), 500)["intervals"]["R@1"]
    assert interval[1] - interval[0] == pytest.approx(4 * 50 / 8, rel=0.2)  # 1.96 standard errors of 64 either way


def test_intervals_hold_the_value_and_shrink_with_more_queries():
    rng = np.random.default_rng(0)
    widths = []
    for size in (50, 800):
        similarity = rng.normal(size=(size, size)) + 3 * np.eye(size)
        values = lamp_hf.retrieval_metrics(similarity, bootstrap=200)["all"]["text_to_motion"]
        low, high = values["intervals"]["R@1"]
        assert low <= values["R@1"] <= high
        widths.append(high - low)
    assert widths[1] < widths[0]


@pytest.mark.parametrize(
    "similarity, options, message",
    [
        (np.zeros((2, 3)), {}, "give ids"),
        (np.array([[np.nan]]), {}, "NaN"),
        (np.zeros(3), {}, "queries by gallery"),
        (np.eye(2), {"query_ids": ["a"]}, "ids for a similarity"),
        (np.zeros((1, 2)), {"query_ids": ["a"], "gallery_ids": ["b", "c"]}, "query 0 has no right answer"),
        (np.eye(2), {"sentence_similarity": np.eye(3)}, "cosines of captions"),
        (np.eye(40), {"names": ["a"]}, "names for 40"),
    ],
)
def test_what_does_not_fit_is_refused(similarity, options, message):
    with pytest.raises(ValueError, match=message):
        lamp_hf.retrieval_metrics(similarity, **options)
