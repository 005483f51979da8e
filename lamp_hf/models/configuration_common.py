"""Parts that several configurations share."""

import re
from dataclasses import asdict, fields
from typing import Any, ClassVar

from huggingface_hub.errors import StrictDataclassError


HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token")
MAX_COUNT = 1000  # layers of one kind, heads, steps or beams
MAX_SIZE = 10**9
_COUNTS = re.compile(r"(layers?|blocks|downsamplings|quantizers|heads|steps|beams)$")
_FROM_ZERO = re.compile(r"(layers|blocks|downsamplings|token_id)$|^(summary_size|token_convolution)$")
_SHARES = re.compile(r"(dropout|decay|smoothing|fraction|soft_weight)$")
_ANY_SIGN = re.compile(r"(threshold|length_penalty)$")
_DAMAGE = (StrictDataclassError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class CheckedConfigMixin:
    """Checks the numbers of a configuration, so that nothing is built of those that no model can have.

    A file with such numbers, or of another form, is refused with its name, in one line.
    """

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        for name, kind in type(self).__annotations__.items():
            value = getattr(self, name)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                _check_number(name, value, is_whole=kind is int)
        heads = getattr(self, "num_attention_heads", 1)
        if getattr(self, "hidden_size", 0) % heads:
            raise ValueError(f"hidden_size is {self.hidden_size}; it must be a multiple of {heads}, the heads")

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs):
        """Load a configuration as transformers does.

        Raises:
            ValueError: when it is damaged, or a number in it is out of bounds.
        """
        kwargs.setdefault("name_or_path", str(pretrained_model_name_or_path))
        try:
            return super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        except RecursionError:
            raise ValueError(f"{pretrained_model_name_or_path}: config.json is nested too deeply") from None

    @classmethod
    def from_dict(cls, config_dict: dict, **kwargs):
        """Make a configuration of what a file holds, see `from_pretrained`."""
        try:
            return super().from_dict(config_dict, **kwargs)
        except _DAMAGE as error:
            source = kwargs.get("name_or_path") or cls.model_type
            raise ValueError(f"{source}: config.json does not fit: {one_line(error)}") from None


def one_line(error: Exception) -> str:
    """Return the message of an error in one line, with the error's kind where that says more."""
    message = " ".join(str(error).split())[:300]
    return message if isinstance(error, (ValueError, StrictDataclassError)) else f"{type(error).__name__}: {message}"


def _check_number(name: str, value: float, is_whole: bool) -> None:
    """Refuse a number that no model can have."""
    smallest: float = 1 if is_whole and not _FROM_ZERO.search(name) else 0
    largest: float = MAX_COUNT if _COUNTS.search(name) else MAX_SIZE
    if _SHARES.search(name):
        smallest, largest = 0, 1
    elif _ANY_SIGN.search(name):
        smallest = -MAX_SIZE
    if not smallest <= value <= largest:
        shown = f"{value:g}" if isinstance(value, float) else f"{value}"[:20]
        raise ValueError(f"{name} is {shown}; it must be from {smallest:g} to {largest:g}")


class ReleasedQuirksMixin:
    """Groups the switches that only converted official checkpoints need in one nested object, `released_quirks`.

    A configuration names its switches in a dataclass, `quirks_class`, whose defaults are the correct behaviour. The
    field `released_quirks` takes such an object or a dictionary; `config.json` lists the switches that differ from
    their defaults. Switches that older files or calls give as top-level entries are moved to where they belong.
    """

    quirks_class: ClassVar[type]
    released_quirks: Any

    def __post_init__(self, **kwargs):
        names = {field.name for field in fields(self.quirks_class)}
        top_level = {name: kwargs.pop(name) for name in names & kwargs.keys()}
        given = self.released_quirks or {}
        given = given if isinstance(given, dict) else asdict(given)
        self.released_quirks = self.quirks_class(**(top_level | given))
        super().__post_init__(**kwargs)

    def to_dict(self) -> dict:
        """Return the configuration as a dictionary, with those quirks alone that differ from the default."""
        values, correct = super().to_dict(), asdict(self.quirks_class())
        del values["released_quirks"]
        quirks = {name: value for name, value in asdict(self.released_quirks).items() if value != correct[name]}
        return values | {"released_quirks": quirks} if quirks else values


class _ShippedPipelines(dict):
    """Pipelines by task, in which `in` finds those alone whose code has to come from the model's folder.

    `transformers.pipeline` takes the task from here where none is given. It asks for `trust_remote_code` if the task
    is `in` here, which an installed package does not need.
    """

    def __contains__(self, task) -> bool:
        from transformers.pipelines import PIPELINE_REGISTRY

        return bool(self.get(task)) and task not in PIPELINE_REGISTRY.supported_tasks


class ShippedPipelinesMixin:
    """Names the pipelines of a configuration: `default_task`, and those whose code was saved with the model."""

    default_task: ClassVar[str]

    @property
    def custom_pipelines(self) -> dict:
        """Pipelines by task, see [`PIPELINE_REGISTRY`]; without code for the model's own task if none was saved."""
        return _ShippedPipelines(self.__dict__.get("_custom_pipelines") or {self.default_task: {}})

    @custom_pipelines.setter
    def custom_pipelines(self, value: dict):
        self.__dict__["_custom_pipelines"] = {task: code for task, code in value.items() if code}

    def to_dict(self) -> dict:
        """Return the configuration as a dictionary."""
        values = super().to_dict()
        shipped = values.pop("_custom_pipelines", None)
        return values | {"custom_pipelines": shipped} if shipped else values


__all__ = ["MAX_COUNT", "MAX_SIZE", "CheckedConfigMixin", "ReleasedQuirksMixin", "ShippedPipelinesMixin", "one_line"]
