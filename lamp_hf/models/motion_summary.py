"""What a motion is as a whole."""

import torch
from torch import nn


class MotionSummary(nn.Module):
    """Convolutions over a motion, and their mean, maximum and sum over time.

    Attention averages: it hardly counts steps or adds up metres, which captions state. Sums do.

    Args:
        input_size (`int`): numbers of a motion token, or of a frame.
        size (`int`): channels.
        output_size (`int`): of the summary.
        dropout (`float`): behind each convolution.
        strides (`tuple[int, ...]`): of the convolutions, each over five steps.
    """

    def __init__(self, input_size: int, size: int, output_size: int, dropout: float, strides=(1, 1, 1)):
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(size if i else input_size, size, 5, stride, padding=2) for i, stride in enumerate(strides)
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(3 * size, output_size)

    def forward(self, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """`(batch_size, length, input_size)` and its mask to `(batch_size, output_size)`."""
        weights = mask[:, None].to(values.dtype)
        hidden = values.transpose(1, 2) * weights
        for convolution in self.convolutions:
            weights = weights[..., :: convolution.stride[0]]
            hidden = self.dropout(nn.functional.gelu(convolution(hidden))) * weights
        total = hidden.sum(-1)
        mean = total / weights.sum(-1).clamp(min=1)
        largest = hidden.masked_fill(weights == 0, -1e4).amax(-1)
        return self.head(torch.cat([mean, largest, total / 16], -1))  # sums are over some 16 tokens


__all__ = ["MotionSummary"]
