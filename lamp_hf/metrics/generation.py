"""Metrics of text to motion in an evaluator's embedding, as the literature computes them (Guo et al., CVPR 2022).

`text` and `motion` are embeddings `(num_samples, size)`; row i of one belongs to row i of the other.
"""

import numpy as np


def r_precision(text: np.ndarray, motion: np.ndarray, batch_size: int = 32, top_k: int = 3) -> list[float]:
    """Share of texts whose motion is among the 1, ..., `top_k` nearest (Euclid) of its batch; a rest is dropped.

    Shuffle rows before, unless the batches are meant to be these. Of motions at one distance a text's own comes last,
    so that a generator that knows a single motion gains nothing.

    Raises:
        ValueError: when there are fewer pairs than a batch has, or an embedding is not finite.
    """
    if not (np.isfinite(text).all() and np.isfinite(motion).all()):
        raise ValueError("an embedding holds NaN or infinity")
    ranks = []
    for rows in _batches(text, motion, batch_size):
        distance = _distances(text[rows], motion[rows])
        ranks.append((distance <= distance.diagonal()[:, None]).sum(1) - 1)
    ranks = np.concatenate(ranks)
    return [float((ranks < k).mean()) for k in range(1, top_k + 1)]


def matching_distance(text: np.ndarray, motion: np.ndarray) -> float:
    """Mean distance of each text to its motion (MM-Dist)."""
    return float(np.linalg.norm(np.asarray(text) - motion, axis=1).mean())


def diversity(motion: np.ndarray, rng: np.random.Generator, pairs: int | None = None) -> float:
    """Mean distance of random pairs of motions: 300, or 100 where there are fewer motions."""
    pairs = pairs or (300 if len(motion) > 300 else 100)
    if pairs > len(motion):
        raise ValueError(f"diversity over {pairs} pairs needs as many motions, there are {len(motion)}")
    first, second = (motion[rng.choice(len(motion), pairs, replace=False)] for _ in range(2))
    return float(np.linalg.norm(first - second, axis=1).mean())


def multimodality(motion: np.ndarray, rng: np.random.Generator, pairs: int = 10) -> float:
    """Mean distance of random pairs of motions `(num_texts, num_repeats, size)` of one text."""
    if pairs > motion.shape[1]:
        raise ValueError(f"multimodality over {pairs} pairs needs as many motions a text, there are {motion.shape[1]}")
    first, second = (motion[:, rng.choice(motion.shape[1], pairs, replace=False)] for _ in range(2))
    return float(np.linalg.norm(first - second, axis=-1).mean())


def mean_and_interval(values: list[float]) -> tuple[float, float]:
    """Mean over repeats and half the width of its 95 % interval, 1.96 deviations over the root of their number.

    The literature's; it tells how far chance in decoding and in batches moves the mean, not how far other data would.
    """
    return float(np.mean(values)), float(1.96 * np.std(values) / np.sqrt(len(values)))


def _batches(text: np.ndarray, motion: np.ndarray, batch_size: int) -> list[slice]:
    if len(text) != len(motion):
        raise ValueError(f"{len(text)} texts but {len(motion)} motions")
    if len(text) < batch_size:
        raise ValueError(f"batches of {batch_size} need as many pairs, there are {len(text)}")
    return [slice(first, first + batch_size) for first in range(0, len(text) - batch_size + 1, batch_size)]


def _distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Euclidean, `(len(left), len(right))`."""
    return np.linalg.norm(np.asarray(left)[:, None] - np.asarray(right)[None], axis=-1)


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Fréchet distance of the Gaussians fitted to two sets of `(num_samples, size)` embeddings (FID's formula).

    With covariances as products of factors, X'X and Y'Y, the trace of the root of their product is the sum of the
    singular values of XY': no root of a matrix that rounding has made indefinite.
    """
    means, factors = [], []
    for values in (first, second):
        values = np.asarray(values, np.float64)
        means.append(values.mean(0))
        factors.append(np.linalg.qr((values - means[-1]) / np.sqrt(len(values) - 1), mode="r"))
    root = np.linalg.svd(factors[0] @ factors[1].T, compute_uv=False).sum()
    difference = means[0] - means[1]
    distance = difference @ difference + sum(np.square(factor).sum() for factor in factors) - 2 * root
    return max(float(distance), 0.0)  # of a set to itself rounding leaves some -1e-16


def halves_distance(values: np.ndarray, other: np.ndarray, repeats: int = 20, seed: int = 0) -> float:
    """Mean Fréchet distance between a random half of `values` and the rows of `other` that the half leaves out.

    With `other` the same as `values` this is the distance of real motion to itself at that sample size; with `other`
    generated for the same captions, row by row, it compares generated motion under the same conditions.
    """
    rng = np.random.default_rng(seed)
    distances = []
    for _ in range(repeats):
        order = rng.permutation(len(values))
        half, rest = order[: len(order) // 2], order[len(order) // 2 :]
        distances.append(frechet_distance(values[half], other[rest]))
    return float(np.mean(distances))
