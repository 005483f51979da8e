"""Metrics of retrieval, under every protocol of the literature (TMR, ICCV 2023, and what came after)."""

from collections.abc import Sequence

import numpy as np


RECALLS = (1, 2, 3, 5, 10)


def retrieval_metrics(
    similarity: np.ndarray,
    query_ids: Sequence | None = None,
    gallery_ids: Sequence | None = None,
    *,
    sentence_similarity: np.ndarray | None = None,
    threshold: float = 0.9,
    subset: Sequence[int] | None = None,
    subset_size: int = 100,
    batch_size: int = 32,
    names: Sequence[str] | None = None,
    directions: tuple[str, str] = ("text_to_motion", "motion_to_text"),
    bootstrap: int = 1000,
    seed: int = 0,
    model: str = "",
    data: str = "",
) -> dict:
    """Recalls at 1, 2, 3, 5, 10 in percent and the median rank (MedR, from 1), of queries and the other way round.

    A query's rank is that of its best right answer; among answers of equal score the expected rank counts, so that
    their order in the gallery does not matter, and scoring all alike wins nothing. The protocols:

    | name | gallery | right answers |
    |---|---|---|
    | `all` | everything | the pair's own |
    | `all_multi_positive` | everything | all of the query's id |
    | `threshold` | everything | all whose captions' cosine with the query's own is over `threshold` |
    | `dissimilar` | pairs of unlike captions | the pair's own |
    | `small_batches` | random batches of 32 | the pair's own; numbers are means over batches, MedR's too |
    | `small_batches_multi_positive` | random batches of 32 | all of the query's id |

    Args:
        similarity (`np.ndarray` of shape `(num_queries, num_gallery)`): the higher the better. Row i and column i are
            a pair, unless the numbers differ: then ids tell what belongs together, and only `all_multi_positive` is
            left.
        query_ids, gallery_ids (*optional*): equal ids belong together: captions, clips, actions. The gallery's are
            the queries' if not given, and with both, row i and column i must have the same for the protocols of
            pairs. Without ids there is no multi-positive protocol.
        sentence_similarity (`np.ndarray` of shape `(num_queries, num_queries)`, *optional*): cosines of the captions
            by a sentence encoder. Without it there is neither `threshold` nor `dissimilar`.
        threshold (`float`): a cosine. TMR writes 0.95 for the same, on the scale (cosine + 1) / 2.
        subset (`Sequence[int]`, *optional*): pairs of `dissimilar`; found by [`dissimilar_subset`] if not given.
        subset_size (`int`): how many to find.
        batch_size (`int`): of small batches.
        names (`Sequence[str]`, *optional*): of the clips; small batches are drawn from them in sorted order, with seed
            0, as TMR does. In the order given if there are none.
        directions (`tuple[str, str]`): what to call queries to gallery, and gallery to queries.
        bootstrap (`int`): samples of queries, or of small batches, for the 95 % intervals; 0 for none.
        seed (`int`): of the bootstrap.
        model, data (`str`): repeated in the result.

    Returns:
        `{"model", "data", protocol: {direction: {"queries", "gallery", "R@1", ..., "MedR", "intervals": {}}}}`; with
        small batches `queries` counts all of them and `gallery` is a batch.

    Raises:
        ValueError: when shapes do not fit, a number is not finite, or a query has no right answer.
    """
    similarity = np.asarray(similarity, np.float64)
    check_finite(similarity, "similarity")
    if similarity.ndim != 2 or 0 in similarity.shape:
        raise ValueError(f"similarity must be queries by gallery, got {list(similarity.shape)}")
    same = _same_ids(similarity.shape, query_ids, gallery_ids)
    chance = np.random.default_rng(seed), bootstrap
    result = {"model": model, "data": data}

    def measure(protocol: str, right: np.ndarray, groups: list[np.ndarray]) -> None:
        """`groups`: rows and columns that are ranked among themselves."""
        result[protocol] = {
            direction: summarise([ranks(scores[np.ix_(*rows)], truth[np.ix_(*rows)]) for rows in pairs], chance)
            | {"gallery": len(pairs[0][1])}
            for direction, scores, truth, pairs in (
                (directions[0], similarity, right, groups),
                (directions[1], similarity.T, right.T, [rows[::-1] for rows in groups]),
            )
        }

    everything = [tuple(np.arange(size) for size in similarity.shape)]
    if same is not None:
        measure("all_multi_positive", same, everything)
    if similarity.shape[0] != similarity.shape[1] or (same is not None and not same.diagonal().all()):
        return result
    size = len(similarity)
    pairs = np.eye(size, dtype=bool)
    measure("all", pairs, everything)
    if sentence_similarity is not None:
        sentence_similarity = np.asarray(sentence_similarity, np.float64)
        check_finite(sentence_similarity, "sentence_similarity")
        if sentence_similarity.shape != similarity.shape:
            raise ValueError(f"{list(sentence_similarity.shape)} cosines of captions for {size} pairs")
        measure("threshold", pairs | (sentence_similarity > threshold), everything)
        chosen = dissimilar_subset(sentence_similarity, subset_size) if subset is None else np.arange(size)[subset]
        measure("dissimilar", pairs, [(chosen, chosen)])
    if size >= batch_size:
        batches = [(rows, rows) for rows in small_batches(size, batch_size, names)]
        measure("small_batches", pairs, batches)
        if same is not None:
            measure("small_batches_multi_positive", same, batches)
    return result


def ranks(similarity: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Rank of each row's best right answer, from 0, `(num_rows,)`.

    Of t answers that share the best right one's score, p of them right, the first right one is expected at place
    (t - p) / (p + 1); with p = 1 that is the mean of the tied places, as in TMR. With more, TMR counts the right ones
    among those in front, so that equal captions cost it a place or two in `threshold`.
    """
    best = np.where(right, similarity, -np.inf).max(1, keepdims=True)
    if not np.isfinite(best).all():
        raise ValueError(
            f"query {int(np.flatnonzero(~np.isfinite(best[:, 0]))[0])} has no right answer in the gallery"
        )
    tied = similarity == best
    tied_right = (tied & right).sum(1)
    return (similarity > best).sum(1) + (tied.sum(1) - tied_right) / (tied_right + 1)


def small_batches(size: int, batch_size: int = 32, names: Sequence[str] | None = None) -> list[np.ndarray]:
    """Rows of each batch: of sorted names, shuffled by NumPy's old generator with seed 0; a rest is dropped (TMR)."""
    order = np.arange(size) if names is None else np.argsort(np.asarray(names), kind="stable")
    if len(order) != size:
        raise ValueError(f"{len(order)} names for {size} pairs")
    shuffled = np.arange(size)
    np.random.RandomState(0).shuffle(shuffled)
    order = order[shuffled]
    return [order[first : first + batch_size] for first in range(0, size - batch_size + 1, batch_size)]


def dissimilar_subset(sentence_similarity: np.ndarray, size: int = 100) -> np.ndarray:
    """Sorted rows of `size` captions that are unlike each other: the one most like the rest is dropped, and so on."""
    similarity = np.array(sentence_similarity, np.float64)
    np.fill_diagonal(similarity, 0)
    left, likeness = np.ones(len(similarity), bool), similarity.sum(1)
    for _ in range(len(similarity) - size):
        worst = np.where(left, likeness, -np.inf).argmax()
        left[worst] = False
        likeness -= similarity[worst]
    return np.flatnonzero(left)


def check_finite(values: np.ndarray, name: str) -> None:
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinity")


def _same_ids(shape: tuple[int, int], query_ids, gallery_ids) -> np.ndarray | None:
    """Where ids are equal; None without ids."""
    if query_ids is None and gallery_ids is None:
        if shape[0] != shape[1]:
            raise ValueError(
                f"{shape[0]} queries and {shape[1]} in the gallery: give ids that tell what belongs together"
            )
        return None
    query_ids = gallery_ids if query_ids is None else query_ids
    gallery_ids = query_ids if gallery_ids is None else gallery_ids
    if (len(query_ids), len(gallery_ids)) != shape:
        raise ValueError(f"{len(query_ids)} and {len(gallery_ids)} ids for a similarity of {list(shape)}")
    # Of tensors and arrays the values: tensors are equal to none but themselves as keys.
    query_ids, gallery_ids = (ids.tolist() if hasattr(ids, "tolist") else ids for ids in (query_ids, gallery_ids))
    numbers = {name: i for i, name in enumerate(dict.fromkeys([*query_ids, *gallery_ids]))}
    rows, columns = (np.array([numbers[name] for name in ids]) for ids in (query_ids, gallery_ids))
    return rows[:, None] == columns


def summarise(groups: list[np.ndarray], chance: tuple[np.random.Generator, int]) -> dict:
    """Numbers of the ranks of one gallery, or their means over several; intervals over queries, or over galleries.

    Args:
        groups (`list[np.ndarray]`): the [`ranks`] of each gallery's queries.
        chance (`tuple[np.random.Generator, int]`): draws so many bootstrap samples; none at 0.
    """
    rng, samples = chance
    if len(groups) == 1:
        units, statistics = groups[0], _statistics
    else:
        units = np.array([list(_statistics(group).values()) for group in groups])

        def statistics(rows):
            return dict(zip(_statistics(groups[0]), rows.mean(0)))

    values = {name: float(value) for name, value in statistics(units).items()}
    result = {"queries": sum(map(len, groups))} | values
    if samples:
        drawn = [statistics(units[rng.integers(len(units), size=len(units))]) for _ in range(samples)]
        result["intervals"] = {
            name: np.percentile([numbers[name] for numbers in drawn], [2.5, 97.5]).tolist() for name in values
        }
    return result


def _statistics(rank: np.ndarray) -> dict[str, float]:
    return {f"R@{k}": 100 * (rank < k).mean() for k in RECALLS} | {"MedR": np.median(rank) + 1}
