"""Retrieval metrics under every protocol of the literature (TMR, ICCV 2023, and later work)."""

from collections.abc import Sequence

import numpy as np


RECALLS = (1, 2, 3, 5, 10)
Group = tuple[np.ndarray, np.ndarray]  # queries and gallery entries that are ranked together, as rows and columns


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
    """Compute recalls at 1, 2, 3, 5 and 10 in percent, and the median rank (MedR, from 1), in both directions.

    A query's rank is that of its best right answer. Among answers of equal score the expected rank counts, so that
    their order in the gallery does not matter and a constant score gains nothing. The protocols:

    | name | gallery | right answers |
    |---|---|---|
    | `all` | everything | the query's pair |
    | `all_multi_positive` | everything | all with the query's id |
    | `threshold` | everything | all whose caption has a cosine above `threshold` with the query's caption |
    | `dissimilar` | pairs with dissimilar captions | the query's pair |
    | `small_batches` | random batches of 32 | the query's pair; numbers, MedR too, are means over batches |
    | `small_batches_multi_positive` | random batches of 32 | all with the query's id |

    Args:
        similarity (`np.ndarray` of shape `(num_queries, num_gallery)`): the higher the more similar. Row i and column
            i are a pair, unless the numbers differ: then ids define the right answers, and `all_multi_positive` is the
            only protocol.
        query_ids, gallery_ids (`Sequence`, *optional*): equal ids (captions, clips, actions) are right answers. The
            gallery's ids are the queries' by default. If both are given, row i and column i must have the same id for
            the protocols with pairs. Without ids there is no multi-positive protocol.
        sentence_similarity (`np.ndarray` of shape `(num_queries, num_queries)`, *optional*): cosines of the captions
            by a sentence encoder. Without it there is neither `threshold` nor `dissimilar`.
        threshold (`float`): a cosine. TMR writes 0.95 for the same, on the scale (cosine + 1) / 2.
        subset (`Sequence[int]`, *optional*): the pairs of `dissimilar`; chosen by [`dissimilar_subset`] by default.
        subset_size (`int`): the number of pairs to choose.
        batch_size (`int`): size of the small batches.
        names (`Sequence[str]`, *optional*): names of the clips. As in TMR, small batches are drawn with seed 0 from
            the clips sorted by name; without names, from the given order.
        directions (`tuple[str, str]`): names for queries to gallery and for gallery to queries.
        bootstrap (`int`): bootstrap samples of queries for the 95 % intervals, within small batches too; 0 for none.
        seed (`int`): seed of the bootstrap.
        model, data (`str`): repeated in the result.

    Returns:
        `{"model", "data", protocol: {direction: {"queries", "gallery", "R@1", ..., "MedR", "intervals": {}}}}`. With
        small batches, `queries` counts those of all batches and `gallery` is the size of one batch.

    Raises:
        ValueError: when shapes do not fit, a number is not finite, or a query has no right answer.
    """
    similarity = np.asarray(similarity, np.float64)
    check_finite(similarity, "similarity")
    if similarity.ndim != 2 or 0 in similarity.shape:
        raise ValueError(f"similarity must be queries by gallery, got {list(similarity.shape)}")
    same = _same_ids(similarity.shape, query_ids, gallery_ids)
    everything: list[Group] = [(np.arange(similarity.shape[0]), np.arange(similarity.shape[1]))]
    protocols: dict[str, tuple[np.ndarray, list[Group]]] = {}  # right answers, and what is ranked together
    if same is not None:
        protocols["all_multi_positive"] = same, everything
    if similarity.shape[0] == similarity.shape[1] and (same is None or same.diagonal().all()):
        size = len(similarity)
        pairs = np.eye(size, dtype=bool)
        protocols["all"] = pairs, everything
        if sentence_similarity is not None:
            cosines = _check_cosines(sentence_similarity, size)
            chosen = dissimilar_subset(cosines, subset_size) if subset is None else np.arange(size)[list(subset)]
            protocols["threshold"] = pairs | (cosines > threshold), everything
            protocols["dissimilar"] = pairs, [(chosen, chosen)]
        if size >= batch_size:
            batches: list[Group] = [(rows, rows) for rows in small_batches(size, batch_size, names)]
            protocols["small_batches"] = pairs, batches
            if same is not None:
                protocols["small_batches_multi_positive"] = same, batches
    rng = np.random.default_rng(seed)
    result: dict = {"model": model, "data": data}
    for protocol, (right, groups) in protocols.items():
        mirrored = [(columns, rows) for rows, columns in groups]
        result[protocol] = {
            directions[0]: _measure(similarity, right, groups, rng, bootstrap),
            directions[1]: _measure(similarity.T, right.T, mirrored, rng, bootstrap),
        }
    return result


def _measure(
    similarity: np.ndarray, right: np.ndarray, groups: list[Group], rng: np.random.Generator, bootstrap: int
) -> dict:
    """Measure one direction of one protocol."""
    rank = [ranks(similarity[np.ix_(*group)], right[np.ix_(*group)]) for group in groups]
    return summarise(rank, rng, bootstrap) | {"gallery": len(groups[0][1])}


def ranks(similarity: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the rank of each row's best right answer, from 0, `(num_rows,)`.

    If t answers share the best right one's score and p of them are right, the first right one is expected at position
    (t - p) / (p + 1) among them. With p = 1 this is the mean of the tied positions, as in TMR. With more, TMR also
    counts right answers as being in front, so that its `threshold` ranks are slightly worse for equal captions.

    Args:
        similarity (`np.ndarray` of shape `(num_rows, num_columns)`): scores.
        right (`np.ndarray` of shape `(num_rows, num_columns)`): bool, the right answers.

    Raises:
        ValueError: when a row has no right answer.
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
    """Draw batches as TMR does: sort by name, shuffle by NumPy's legacy generator with seed 0, drop a last small one.

    Returns:
        `list[np.ndarray]`: the rows of each batch.

    Raises:
        ValueError: when there are not as many names as rows.
    """
    order = np.arange(size) if names is None else np.argsort(np.asarray(names), kind="stable")
    if len(order) != size:
        raise ValueError(f"{len(order)} names for {size} pairs")
    shuffled = np.arange(size)
    np.random.RandomState(0).shuffle(shuffled)
    order = order[shuffled]
    return [order[first : first + batch_size] for first in range(0, size - batch_size + 1, batch_size)]


def dissimilar_subset(sentence_similarity: np.ndarray, size: int = 100) -> np.ndarray:
    """Choose `size` dissimilar captions: drop the one that is most similar to the rest, again and again.

    Args:
        sentence_similarity (`np.ndarray` of shape `(num_captions, num_captions)`): cosines.
        size (`int`): the number of captions to keep.

    Returns:
        `np.ndarray` of shape `(size,)`: their rows, sorted.
    """
    similarity = np.array(sentence_similarity, np.float64)
    np.fill_diagonal(similarity, 0)
    kept, total = np.ones(len(similarity), bool), similarity.sum(1)
    for _ in range(len(similarity) - size):
        worst = np.where(kept, total, -np.inf).argmax()
        kept[worst] = False
        total -= similarity[worst]
    return np.flatnonzero(kept)


def check_finite(values: np.ndarray, name: str) -> None:
    """Raise a `ValueError` that names the array if a value is NaN or infinite."""
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinity")


def _check_cosines(sentence_similarity: np.ndarray, size: int) -> np.ndarray:
    cosines = np.asarray(sentence_similarity, np.float64)
    check_finite(cosines, "sentence_similarity")
    if cosines.shape != (size, size):
        raise ValueError(f"{list(cosines.shape)} cosines of captions for {size} pairs")
    return cosines


def _same_ids(shape: tuple[int, ...], query_ids: Sequence | None, gallery_ids: Sequence | None) -> np.ndarray | None:
    """Return a matrix that is true where ids are equal; `None` without ids."""
    query_ids = gallery_ids if query_ids is None else query_ids
    gallery_ids = query_ids if gallery_ids is None else gallery_ids
    if query_ids is None or gallery_ids is None:
        if shape[0] != shape[1]:
            raise ValueError(f"{shape[0]} queries and a gallery of {shape[1]}: give ids that define the right answers")
        return None
    if (len(query_ids), len(gallery_ids)) != shape:
        raise ValueError(f"{len(query_ids)} and {len(gallery_ids)} ids for a similarity of {list(shape)}")
    # Compare tensors and arrays by value; as keys, tensors are equal to themselves alone.
    query_ids, gallery_ids = (ids.tolist() if hasattr(ids, "tolist") else ids for ids in (query_ids, gallery_ids))
    numbers = {name: i for i, name in enumerate(dict.fromkeys([*query_ids, *gallery_ids]))}
    rows, columns = (np.array([numbers[name] for name in ids]) for ids in (query_ids, gallery_ids))
    return rows[:, None] == columns


def summarise(groups: list[np.ndarray], rng: np.random.Generator, bootstrap: int) -> dict:
    """Summarise ranks by recalls and MedR, with intervals by the bootstrap over the queries of each gallery.

    Args:
        groups (`list[np.ndarray]`): for each gallery, the [`ranks`] of its queries; of as many in each.
        rng (`np.random.Generator`): draws the bootstrap samples.
        bootstrap (`int`): their number; 0 for no intervals.

    Returns:
        `dict`: `queries`, `R@1`, ..., `MedR`, and `intervals` with the 2.5 and 97.5 percentiles of each number. With
        several galleries, the numbers are means over them.
    """
    rank = np.stack(groups)
    values = _statistics(rank)
    result: dict = {"queries": rank.size} | {name: float(value) for name, value in values.items()}
    if bootstrap:
        draws = (rng.integers(rank.shape[1], size=rank.shape) for _ in range(bootstrap))
        samples = [_statistics(np.take_along_axis(rank, rows, 1)) for rows in draws]
        result["intervals"] = {
            name: np.percentile([sample[name] for sample in samples], [2.5, 97.5]).tolist() for name in values
        }
    return result


def _statistics(rank: np.ndarray) -> dict[str, float]:
    """Return recalls and MedR of ranks `(num_galleries, num_queries)`, means over galleries."""
    return {f"R@{k}": 100 * (rank < k).mean() for k in RECALLS} | {"MedR": np.median(rank, axis=1).mean() + 1}
