"""Text-to-motion metrics in an evaluator's embedding space, as the literature computes them (Guo et al., CVPR 2022).

`text` and `motion` are embeddings `(num_samples, embedding_size)`; their rows form pairs. Every metric raises
ValueError for embeddings that hold NaN or infinity, and for fewer than it needs.
"""

import numpy as np


def r_precision(text: np.ndarray, motion: np.ndarray, batch_size: int = 32, top_k: int = 3) -> list[float]:
    """Return the shares of texts whose motion is among the 1, ..., `top_k` nearest of its batch (Euclidean distance).

    Batches are consecutive rows, so shuffle them first; an incomplete last batch is dropped. Among motions at the same
    distance the text's own comes last, so that a generator with a single motion gains nothing.

    Args:
        text, motion (`np.ndarray` of shape `(num_samples, embedding_size)`): embeddings.
        batch_size (`int`): the pairs that are ranked together.
        top_k (`int`): the number of shares.

    Returns:
        `list[float]`: `top_k` shares from 0 to 1.

    Raises:
        ValueError: when there are fewer pairs than a batch has, or an embedding is not finite.
    """
    _check_pairs(text, motion)
    ranks: list[np.ndarray] = []
    for rows in _batches(text, motion, batch_size):
        distance = _distances(text[rows], motion[rows])
        ranks.append((distance <= distance.diagonal()[:, None]).sum(1) - 1)
    rank = np.concatenate(ranks)
    return [float((rank < k).mean()) for k in range(1, top_k + 1)]


def matching_distance(text: np.ndarray, motion: np.ndarray) -> float:
    """Return the mean distance between texts and their motions (MM-Dist)."""
    _check_pairs(text, motion)
    return float(np.linalg.norm(np.asarray(text) - motion, axis=1).mean())


def diversity(motion: np.ndarray, rng: np.random.Generator, pairs: int | None = None) -> float:
    """Return the mean distance within random pairs of motions: 300, or 100 if there are at most 300 motions.

    Raises:
        ValueError: when there are fewer motions than pairs.
    """
    _check_finite(motion)
    pairs = pairs or (300 if len(motion) > 300 else 100)
    if pairs > len(motion):
        raise ValueError(f"diversity over {pairs} pairs needs as many motions, there are {len(motion)}")
    first, second = (motion[rng.choice(len(motion), pairs, replace=False)] for _ in range(2))
    return float(np.linalg.norm(first - second, axis=1).mean())


def multimodality(motion: np.ndarray, rng: np.random.Generator, pairs: int = 10) -> float:
    """Return the mean distance within random pairs of motions of one text.

    Args:
        motion (`np.ndarray` of shape `(num_texts, num_repeats, embedding_size)`): embeddings.
        rng (`np.random.Generator`): draws the pairs.
        pairs (`int`): pairs per text.

    Raises:
        ValueError: when there are fewer motions per text than pairs.
    """
    _check_finite(motion)
    if pairs > motion.shape[1]:
        raise ValueError(
            f"multimodality over {pairs} pairs needs as many motions per text, there are {motion.shape[1]}"
        )
    first, second = (motion[:, rng.choice(motion.shape[1], pairs, replace=False)] for _ in range(2))
    return float(np.linalg.norm(first - second, axis=-1).mean())


def mean_and_interval(values: list[float]) -> tuple[float, float]:
    """Return the mean over repeats and half the width of its 95 % interval, 1.96 standard errors (the convention).

    The interval covers the randomness of decoding and batches, not that of the data.
    """
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"a mean needs at least one number, and finite ones, got {list(values)}")
    return float(np.mean(values)), float(1.96 * np.std(values) / np.sqrt(len(values)))


def _check_pairs(text: np.ndarray, motion: np.ndarray) -> None:
    if len(text) != len(motion):
        raise ValueError(f"{len(text)} texts but {len(motion)} motions")
    _check_finite(text)
    _check_finite(motion)


def _check_finite(values: np.ndarray, least: int = 1) -> None:
    if len(values) < least:
        raise ValueError(f"{len(values)} embeddings, at least {least} wanted")
    if not np.isfinite(values).all():
        raise ValueError("an embedding holds NaN or infinity")


def _batches(text: np.ndarray, motion: np.ndarray, batch_size: int) -> list[slice]:
    if len(text) < batch_size:
        raise ValueError(f"batches of {batch_size} need as many pairs, there are {len(text)}")
    return [slice(first, first + batch_size) for first in range(0, len(text) - batch_size + 1, batch_size)]


def _distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return Euclidean distances, `(len(left), len(right))`."""
    return np.linalg.norm(np.asarray(left)[:, None] - np.asarray(right)[None], axis=-1)


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the Fréchet distance between the Gaussians fitted to two sets of embeddings (FID's formula).

    With covariances as products of factors, X'X and Y'Y, the trace of the root of their product is the sum of the
    singular values of XY'. This avoids the root of a matrix that rounding has made indefinite.

    Args:
        first, second (`np.ndarray` of shape `(num_samples, embedding_size)`): embeddings, at least two each.

    Raises:
        ValueError: when a set has fewer than two embeddings, sizes differ, or a number is not finite.
    """
    if np.shape(first)[1:] != np.shape(second)[1:]:
        raise ValueError(f"embeddings of different sizes: {list(np.shape(first))} and {list(np.shape(second))}")
    means: list[np.ndarray] = []
    factors: list[np.ndarray] = []
    for values in (first, second):
        values = np.asarray(values, np.float64)
        _check_finite(values, least=2)
        means.append(values.mean(0))
        factors.append(_triangular_factor((values - means[-1]) / np.sqrt(len(values) - 1)))
    root = np.linalg.svd(factors[0] @ factors[1].T, compute_uv=False).sum()
    difference = means[0] - means[1]
    distance = difference @ difference + sum(np.square(factor).sum() for factor in factors) - 2 * root
    return max(float(distance), 0.0)  # rounding leaves some -1e-16 between equal sets


def _triangular_factor(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.qr(values, mode="r"))


def halves_distance(values: np.ndarray, other: np.ndarray, repeats: int = 20, seed: int = 0) -> float:
    """Return the mean Fréchet distance between a random half of `values` and the other half's rows of `other`.

    With `other` equal to `values`, this is the distance of real motion to itself at that sample size. With motions
    generated for the same captions, row by row, it compares generated motion under the same conditions.

    Args:
        values, other (`np.ndarray` of shape `(num_samples, embedding_size)`): embeddings of the same samples.
        repeats (`int`): number of random halves.
        seed (`int`): seed of the halves.
    """
    rng = np.random.default_rng(seed)
    distances = []
    for _ in range(repeats):
        order = rng.permutation(len(values))
        half, rest = order[: len(order) // 2], order[len(order) // 2 :]
        distances.append(frechet_distance(values[half], other[rest]))
    return float(np.mean(distances))
