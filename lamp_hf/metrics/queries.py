"""Measures of how different queries are, and how much of them a clip decides."""

import numpy as np


def query_statistics(queries: np.ndarray) -> dict[str, float]:
    """Describe the queries of many clips or texts.

    Each query's mean over the clips is subtracted before cosine and rank: a constant says nothing about a clip.

    Args:
        queries (`np.ndarray` of shape `(num_clips, num_queries, size)`): Queries after they read their clips.

    Returns:
        `dict`: `cosine`, the mean cosine between different queries of a clip; `rank`, the mean effective rank of a
        clip's queries scaled to unit length (the exponential of the entropy of their squared singular values, Roy and
        Vetterli, 2007); and the shares of the variance that belong to the `query`, to the `clip`, and to the
        `interaction` of both, which sum to 1.

    Raises:
        ValueError: when there are fewer than two clips or two queries, or a number is not finite.
    """
    queries = np.asarray(queries, np.float64)
    if queries.ndim != 3 or min(queries.shape[:2]) < 2:
        raise ValueError(f"queries must have shape (clips, queries, size), both at least 2, got {queries.shape}")
    if not np.isfinite(queries).all():
        raise ValueError("queries must be finite")
    centred = queries - queries.mean(0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=-1, keepdims=True), 1e-12)
    count = queries.shape[1]
    cosine = ((unit @ unit.transpose(0, 2, 1)).sum((1, 2)) - (unit**2).sum((1, 2))) / (count * (count - 1))
    power = np.linalg.svd(unit, compute_uv=False) ** 2
    power /= np.maximum(power.sum(-1, keepdims=True), 1e-12)
    rank = np.exp(-(power * np.log(np.maximum(power, 1e-12))).sum(-1))
    mean = queries.mean((0, 1))
    total = max(((queries - mean) ** 2).sum(), 1e-12)
    by_query = len(queries) * ((queries.mean(0) - mean) ** 2).sum() / total
    by_clip = count * ((queries.mean(1) - mean) ** 2).sum() / total
    return {
        "cosine": float(cosine.mean()),
        "rank": float(rank.mean()),
        "query": float(by_query),
        "clip": float(by_clip),
        "interaction": float(1 - by_query - by_clip),
    }
