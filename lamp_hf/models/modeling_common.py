"""Building blocks that the models share: strict loading, masks, training processes, positions and pooling."""

import math
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .checkpoint_checks import check_finite, check_shards, check_sizes, check_weights
from .configuration_common import one_line


# What networks of other packages raise when sizes in their configurations do not fit together.
_NOT_BUILT = (StrictDataclassError, ArithmeticError, AssertionError, AttributeError, LookupError, ValueError)


class StrictLoadingMixin:
    """Turns a missing or unexpected weight into an error, where transformers only logs a report.

    What a damaged or malicious checkpoint could do is checked too, see `checkpoint_checks`.
    """

    _keys_to_ignore_on_load_unexpected: set[str] | list[str] | None

    def __init__(self, config, *args, **kwargs):
        check_sizes(config)
        super().__init__(config, *args, **kwargs)

    def post_init(self):
        """Initialise as transformers does; weights that a model inside may leave out are not left out of this one."""
        own = set(self._keys_to_ignore_on_load_unexpected or ())
        super().post_init()
        self._keys_to_ignore_on_load_unexpected = own

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, output_loading_info: bool = False, **kwargs):
        """Load a model as transformers does, and refuse weights that do not fit.

        Raises:
            ValueError: If a weight is missing, unexpected, of another shape, not finite or stored as whole numbers, if
                the configuration describes a model far larger than the files, or if a file is damaged or outside of
                the folder.
        """
        check_shards(Path(str(pretrained_model_name_or_path)) / (kwargs.get("subfolder") or ""))
        try:
            model, report = super().from_pretrained(
                pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs
            )
        except SafetensorError as error:
            raise ValueError(f"{pretrained_model_name_or_path}: damaged weights: {error}") from None
        except RuntimeError as error:  # transformers' report on shapes
            message = " ".join(str(error).split())[:300]
            raise ValueError(f"{pretrained_model_name_or_path}: the weights do not fit: {message}") from None
        except _NOT_BUILT as error:
            named = str(pretrained_model_name_or_path) in str(error)
            name = "" if named else f"{pretrained_model_name_or_path}: "
            raise ValueError(f"{name}{one_line(error)}") from error
        for problem in ("missing", "unexpected"):
            if keys := sorted(report[f"{problem}_keys"]):
                more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
                raise ValueError(f"{pretrained_model_name_or_path}: {problem} weight {keys[0]}{more}")
        check_finite(model)
        return (model, report) if output_loading_info else model

    @classmethod
    def _load_pretrained_model(cls, model, state_dict, checkpoint_files, load_config, *args, **kwargs):
        """Check what transformers is about to load; the model has no memory yet."""
        files = [str(file) for file in checkpoint_files or [] if str(file).endswith(".safetensors")]
        if files and not load_config.is_quantized:
            check_weights(model, files)
        return super()._load_pretrained_model(model, state_dict, checkpoint_files, load_config, *args, **kwargs)


class FrozenPartsMixin:
    """Freezes the modules of a model that `_frozen_parts` names: no gradients and, even in training, no dropout."""

    _frozen_parts: tuple[str, ...] = ()

    def post_init(self):
        """Initialise as transformers does, and freeze."""
        super().post_init()
        self._freeze()

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """Load a model as in transformers, which makes its parameters anew; what is frozen in it stays frozen."""
        loaded = super().from_pretrained(*args, **kwargs)
        (loaded[0] if isinstance(loaded, tuple) else loaded)._freeze()
        return loaded

    def train(self, mode: bool = True):
        """Set training mode, except for the frozen parts."""
        super().train(mode)
        for part in self._frozen_modules():
            part.eval()
        return self

    def _freeze(self) -> None:
        for model in self.modules():  # this one, and those inside it
            for part in model._frozen_modules() if isinstance(model, FrozenPartsMixin) else ():
                part.requires_grad_(False).eval()  # a new model is in training mode, where encoders drop out

    def _frozen_modules(self) -> list[nn.Module]:
        return [part for name, part in self.named_modules() if name in self._frozen_parts]


def full_mask(values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return the boolean `(batch_size, length)` mask of `values`; all true if `mask` is None."""
    if mask is None:
        return torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
    return mask.bool()


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Average `(batch_size, length, ...)` values over the positions where the mask is true; 0 if there are none.

    In training by several processes the average is over the positions of all of them: the sum of each process is
    divided by the mean count, so that the mean of all gradients is that of one big batch.
    """
    weights = mask.to(values.dtype).view(*mask.shape, *[1] * (values.ndim - mask.ndim))
    count = weights.expand_as(values).sum()
    if in_distributed_training():
        count = count.detach().clone()
        torch.distributed.all_reduce(count)
        count = count / torch.distributed.get_world_size()
    return (values * weights).sum() / count.clamp(min=1)


def mean_of_words(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Average `(batch_size, length, size)` states over the positions where the mask is true."""
    weights = mask[..., None].to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)


def pad_conditions(conditions: list[torch.Tensor]) -> list[torch.Tensor]:
    """Pad conditions `(batch_size, num_vectors, condition_size)` with zeros to the length of the longest."""
    longest = max(condition.shape[1] for condition in conditions)
    return [nn.functional.pad(condition, (0, 0, 0, longest - condition.shape[1])) for condition in conditions]


def is_distributed() -> bool:
    """Tell whether several processes run this model."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def in_distributed_training() -> bool:
    """Tell whether several processes compute this pass together.

    Only the first process evaluates, without gradients: it must not wait for the others then.
    """
    return is_distributed() and torch.is_grad_enabled()


def gather_processes(values: torch.Tensor) -> torch.Tensor:
    """Concatenate the equally shaped tensors of all processes along the batch, without gradient."""
    if not is_distributed():
        return values
    gathered = [torch.empty_like(values) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(gathered, values.contiguous())
    return torch.cat(gathered)


def gather_with_gradient(values: torch.Tensor) -> torch.Tensor:
    """Concatenate the rows of all training processes; gradients flow back to the process that each row is from."""
    if not in_distributed_training():
        return values
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(values))


def sinusoidal_positions(length: int, size: int) -> torch.Tensor:
    """Return the `(length, size)` position code of Vaswani et al. (2017)."""
    steps = torch.arange(0, size, 2, dtype=torch.float32)
    angle = torch.arange(length)[:, None] * torch.exp(steps * (-math.log(10000.0) / size))
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)


class CheckpointedEncoderLayer(GradientCheckpointingLayer, nn.TransformerEncoderLayer):
    """PyTorch's transformer layer, recomputed in the backward pass after `activation_checkpointing_enable()`."""


class CheckpointedDecoderLayer(GradientCheckpointingLayer, nn.TransformerDecoderLayer):
    """PyTorch's transformer decoder layer, recomputed likewise."""


class MotionSummary(GradientCheckpointingLayer):
    """Convolutions over a motion, pooled over time by mean, maximum and sum.

    Attention averages, so it hardly counts steps or adds up distances, which captions state. Sums do.

    Args:
        input_size (`int`): Features per motion token or frame.
        size (`int`): Channels of the convolutions.
        output_size (`int`): Size of the summary.
        dropout (`float`): Dropout after each convolution.
        strides (`tuple[int, ...]`): Stride of each convolution; each has a kernel of 5.
    """

    def __init__(self, input_size: int, size: int, output_size: int, dropout: float, strides=(1, 1, 1)):
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(size if i else input_size, size, 5, stride, padding=2) for i, stride in enumerate(strides)
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(3 * size, output_size)

    def forward(self, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Summarise `(batch_size, length, input_size)` values and their mask as `(batch_size, output_size)`."""
        weights = mask[:, None].to(values.dtype)
        hidden = values.transpose(1, 2) * weights
        for convolution in self.convolutions:
            weights = weights[..., :: convolution.stride[0]]
            hidden = self.dropout(nn.functional.gelu(convolution(hidden))) * weights
        total = hidden.sum(-1)
        mean = total / weights.sum(-1).clamp(min=1)
        largest = hidden.masked_fill(weights == 0, -1e4).amax(-1)
        return self.head(torch.cat([mean, largest, total / 16], -1))  # 16: about the tokens of a clip, for scale


__all__ = [
    "CheckpointedDecoderLayer",
    "CheckpointedEncoderLayer",
    "FrozenPartsMixin",
    "MotionSummary",
    "StrictLoadingMixin",
    "full_mask",
    "gather_processes",
    "gather_with_gradient",
    "in_distributed_training",
    "masked_mean",
    "mean_of_words",
    "pad_conditions",
    "sinusoidal_positions",
]
