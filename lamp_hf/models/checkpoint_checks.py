"""Checks of downloaded models: files may be damaged or made to harm, and are refused before they take memory."""

import json
import math
import re
from collections.abc import Iterator
from numbers import Integral, Real
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn

from .configuration_common import MAX_COUNT, MAX_SIZE, one_line


_COUNTS_LAYERS = re.compile(r"(layers?|blocks|downsamplings|quantizers)$")
_FLOATING_POINT = {"F64", "F32", "F16", "BF16"}
_SPARE = 10_000_000  # numbers that a model may have without storing them, such as position codes


def check_sizes(config) -> None:
    """Check the numbers of layers and all sizes in a configuration and in those inside it, before any is built.

    Args:
        config ([`PreTrainedConfig`]): the configuration.

    Raises:
        ValueError: when there are more than `MAX_COUNT` layers, or a size is larger than `MAX_SIZE`.
    """
    for name, value in _settings(config.to_dict()):
        largest = MAX_COUNT if _COUNTS_LAYERS.search(name) else MAX_SIZE
        if isinstance(value, int) and value > largest:
            raise ValueError(f"{config.name_or_path}: {name} is {value:.10g}; a model has at most {largest}")


def check_shards(folder: Path) -> None:
    """Check that the index of a sharded model, if there is one, names files of its own folder only.

    Raises:
        ValueError: when it names others, or is damaged.
    """
    for path in folder.glob("*.safetensors.index*.json"):
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            outside = [name for name in index["weight_map"].values() if Path(name).name != name or name in ("", "..")]
            index["metadata"].items()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{path}: damaged: {error!r:.200}") from None
        if outside:
            raise ValueError(f"{path}: {outside[0]!r} is not a file of this folder")


class CheckedFilesMixin:
    """Refuses the damaged files of a processor or feature extractor, with the name of the file, in one line."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """Load as transformers does.

        Raises:
            ValueError: when a file is damaged, or holds what nobody could have saved.
        """
        try:
            return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        except (OSError, ImportError):
            raise
        except Exception as error:  # the tokenizers' library has no class of its own for errors
            folder = Path(str(pretrained_model_name_or_path)) / (kwargs.get("subfolder") or "")
            raise ValueError(f"{damaged_file(folder) or folder}: damaged: {one_line(error)}") from error


def check_number(value, name: str, smallest: float, largest: float, is_whole: bool = False) -> None:
    """Refuse what is no number, or out of bounds.

    Raises:
        ValueError: when it is; the error calls it `name`.
    """
    kind = Integral if is_whole else Real
    if isinstance(value, bool) or not isinstance(value, kind) or not smallest <= value <= largest:
        wanted = "a whole number" if is_whole else "a number"
        raise ValueError(f"{name} must be {wanted} from {smallest:g} to {largest:g}, got {value!r:.40}")


def damaged_file(folder: Path) -> Path | None:
    """Find the first JSON file of a folder that holds no dictionary."""
    for path in sorted(folder.glob("*.json")):
        try:
            if not isinstance(json.loads(path.read_text(encoding="utf-8")), dict):
                return path
        except (ValueError, RecursionError):
            return path
    return None


def check_adapter(folder: str | Path, files: list[str], settings: dict) -> None:
    """Check an adapter before it is loaded: its weights are finite and floating point, its numbers such as fit them.

    Raises:
        ValueError: when they are not.
    """
    largest = 1
    for file in files:
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a dictionary
                tensor = tensors.get_tensor(name)
                if not tensor.is_floating_point():
                    raise ValueError(f"{folder}: weight {name} is stored as {tensor.dtype}, not as floating point")
                if not tensor.isfinite().all():
                    raise ValueError(f"{folder}: weight {name} holds NaN or infinity")
                largest = max(largest, *tensor.shape, 1)
    check_number(settings.get("r"), f"{folder}: r", 1, largest, is_whole=True)
    check_number(settings.get("lora_alpha", 8), f"{folder}: lora_alpha", 0, 1e6)
    check_number(settings.get("lora_dropout", 0), f"{folder}: lora_dropout", 0, 1)


def check_weights(model: nn.Module, files: list[str]) -> None:
    """Compare a model that takes no memory yet with what the headers of its safetensors files state.

    Raises:
        ValueError: when the model is far larger than the files, or a weight is stored as whole numbers.
    """
    stored: dict[str, tuple[str, int]] = {}
    for file in files:
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a dictionary
                entry = tensors.get_slice(name)
                stored[name] = entry.get_dtype(), math.prod(entry.get_shape())
    needed = sum(tensor.numel() for tensor in {*model.parameters(), *model.buffers()})
    held = sum(count for _, count in stored.values())
    if needed > 2 * held + _SPARE:
        raise ValueError(
            f"{model.name_or_path}: the configuration describes {needed:,} numbers, the files hold {held:,}"
        )
    for name, (dtype, count) in stored.items():
        is_counter = count == 1 and name.rpartition(".")[2].startswith("num_")  # as in batch norm
        if dtype not in _FLOATING_POINT and not is_counter:
            raise ValueError(f"{model.name_or_path}: weight {name} is stored as {dtype}, not as floating point")


def check_finite(model: nn.Module) -> None:
    """Check the weights of a loaded model.

    Raises:
        ValueError: when one is NaN or infinite.
    """
    for name, tensor in model.state_dict().items():
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point() or tensor.is_meta:
            continue
        if not tensor.isfinite().all():
            raise ValueError(f"{model.name_or_path}: weight {name} holds NaN or infinity")


def _settings(values: dict) -> Iterator[tuple[str, object]]:
    """Yield all settings of nested dictionaries."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _settings(value)
        else:
            yield str(name), value


__all__ = [
    "CheckedFilesMixin",
    "check_adapter",
    "check_finite",
    "check_number",
    "check_shards",
    "check_sizes",
    "check_weights",
    "damaged_file",
]
