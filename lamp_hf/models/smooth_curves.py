"""Smooth curves over the frames of a clip, as solutions of small linear systems in double precision."""

import math

import torch
from torch import nn


_EXACT = 1e7  # weight of values that a curve has to go through


def bridge(
    num_frames: int,
    frames: torch.Tensor,
    values: torch.Tensor,
    reach: float,
    to_zero: bool = False,
    weights: torch.Tensor | float = _EXACT,
) -> torch.Tensor:
    """Return the smoothest curve through values at some frames.

    Between and beyond the frames it goes on evenly, or returns to zero within about three times the `reach`.

    Args:
        num_frames (`int`): frames of the curve.
        frames (`torch.DoubleTensor` of shape `(n,)`): where the values are; between two frames, too.
        values (`torch.DoubleTensor` of shape `(n, size)`): what the curve goes through.
        reach (`float`): frames within which it bends.
        to_zero (`bool`): return to zero away from the frames.
        weights (`torch.DoubleTensor` of shape `(n,)` or `float`): how closely the curve follows, against 1 for a
            displacement of its own.

    Returns:
        `torch.DoubleTensor` of shape `(num_frames, size)`.
    """
    sampling = interpolation(frames, num_frames)
    weighted = sampling.T * weights
    own = torch.eye(num_frames, dtype=sampling.dtype) * (1.0 if to_zero else 1e-9)
    return torch.linalg.solve(own + stiffness(num_frames, reach, not to_zero) + weighted @ sampling, weighted @ values)


def stiffness(num_frames: int, reach: float, even: bool) -> torch.Tensor:
    """Return the matrix of a curve's acceleration, and if it goes on evenly of its speed, `(num_frames, num_frames)`.

    Both are scaled so that they matter alike within `reach` frames.
    """
    matrix = torch.zeros(num_frames, num_frames, dtype=torch.float64)
    for order in (1, 2) if even else (2,):
        difference = torch.eye(num_frames, dtype=torch.float64)
        for _ in range(min(order, num_frames - 1)):
            difference = difference[1:] - difference[:-1]
        matrix += reach ** (2 * order) * difference.T @ difference
    return matrix


def interpolation(frames: torch.Tensor, num_frames: int) -> torch.Tensor:
    """Return the matrix `(n, num_frames)` that reads a curve at frames `(n,)`, linearly between two."""
    grid = torch.arange(num_frames, dtype=frames.dtype)
    return (1 - (frames[:, None] - grid).abs()).clamp(min=0)


def smoothed(values: torch.Tensor, sigma: float) -> torch.Tensor:
    """Smooth `(num_frames, size)` over time by a Gaussian of `sigma` frames; the ends are repeated."""
    radius = math.ceil(3 * sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=values.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    rows = nn.functional.pad(values.T[:, None], (radius, radius), mode="replicate")
    return nn.functional.conv1d(rows, (kernel / kernel.sum())[None, None])[:, 0].T


def unwrap(angles: torch.Tensor) -> torch.Tensor:
    """Add full turns to angles `(n,)` so that no step is over half a turn."""
    step = angles.diff()
    turns = -2 * math.pi * torch.round(step / (2 * math.pi))
    return angles + nn.functional.pad(turns.cumsum(0), (1, 0))


__all__ = ["bridge", "interpolation", "smoothed", "stiffness", "unwrap"]
