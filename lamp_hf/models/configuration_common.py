"""Parts that several configurations share."""

from dataclasses import asdict, fields
from typing import Any, ClassVar


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


__all__ = ["ReleasedQuirksMixin", "ShippedPipelinesMixin"]
