"""Distances between sets of motions in an evaluator's embedding."""

import numpy as np


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Fréchet distance of the Gaussians fitted to two sets of `(num_samples, size)` embeddings (FID's formula)."""
    mean = [np.mean(values, 0) for values in (first, second)]
    covariance = [np.cov(values, rowvar=False) for values in (first, second)]
    # The trace of the square root of a product of covariances: its eigenvalues are real and not negative.
    eigenvalues = np.linalg.eigvals(covariance[0] @ covariance[1]).real
    root = np.sqrt(np.maximum(eigenvalues, 0)).sum()
    difference = mean[0] - mean[1]
    return float(difference @ difference + np.trace(covariance[0]) + np.trace(covariance[1]) - 2 * root)


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
