"""Parts that every model here shares: strict loading, masks, position codes and pooling over time."""

import math

import torch
from safetensors import SafetensorError
from torch import nn


class StrictLoadingMixin:
    """Makes a missing or unexpected weight an error, where transformers only prints a report."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, output_loading_info: bool = False, **kwargs):
        """As in transformers.

        Raises:
            ValueError: when a weight is missing, unexpected or of another shape, or a file is damaged.
        """
        try:
            model, report = super().from_pretrained(
                pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs
            )
        except SafetensorError as error:
            raise ValueError(f"{pretrained_model_name_or_path}: damaged weights: {error}") from None
        except RuntimeError as error:  # transformers' report on shapes
            message = " ".join(str(error).split())[:300]
            raise ValueError(f"{pretrained_model_name_or_path}: the weights do not fit: {message}") from None
        for problem in ("missing", "unexpected"):
            if keys := sorted(report[f"{problem}_keys"]):
                more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
                raise ValueError(f"{pretrained_model_name_or_path}: {problem} weight {keys[0]}{more}")
        return (model, report) if output_loading_info else model


def full_mask(values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """A boolean `(batch_size, length)` mask of `values`, all true where none is given."""
    if mask is None:
        return torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
    return mask.bool()


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of `(batch_size, length, ...)` values over the positions where the mask is true."""
    weights = mask.to(values.dtype).view(*mask.shape, *[1] * (values.ndim - mask.ndim))
    return (values * weights).sum() / _mean_over_processes(weights.expand_as(values).sum()).clamp(min=1)


def _mean_over_processes(count: torch.Tensor) -> torch.Tensor:
    """What a training process divides its sum by, so that the mean of all their gradients is that of one big batch."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    if not (distributed and torch.is_grad_enabled()):  # only the first process evaluates
        return count
    count = count.detach().clone()
    torch.distributed.all_reduce(count)
    return count / torch.distributed.get_world_size()


def gather_processes(values: torch.Tensor) -> torch.Tensor:
    """Concatenates equally shaped tensors of all training processes along the batch, without gradient."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return values
    gathered = [torch.empty_like(values) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(gathered, values.contiguous())
    return torch.cat(gathered)


def sinusoidal_positions(length: int, size: int) -> torch.Tensor:
    """`(length, size)` position code of Vaswani et al."""
    angle = torch.arange(length)[:, None] * torch.exp(torch.arange(0, size, 2) * (-math.log(10000.0) / size))
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)


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


__all__ = [
    "MotionSummary",
    "StrictLoadingMixin",
    "full_mask",
    "gather_processes",
    "masked_mean",
    "sinusoidal_positions",
]
