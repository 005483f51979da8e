"""Position codes that need no training."""

import math

import torch


def sinusoidal_positions(length: int, size: int) -> torch.Tensor:
    """`(length, size)` position code of Vaswani et al."""
    angle = torch.arange(length)[:, None] * torch.exp(torch.arange(0, size, 2) * (-math.log(10000.0) / size))
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)


__all__ = ["sinusoidal_positions"]
