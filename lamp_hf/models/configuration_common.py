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


class ShippedPipelinesMixin:
    """Keeps `custom_pipelines` of a configuration from asking for trust where the package is installed."""

    @property
    def custom_pipelines(self) -> dict:
        """Pipelines that ship with a Hub repository, without those that are registered already.

        `transformers.pipeline` asks for `trust_remote_code` if there are any, which an installed package does not
        need.
        """
        from transformers.pipelines import PIPELINE_REGISTRY

        shipped = self.__dict__.get("_custom_pipelines") or {}
        return {task: spec for task, spec in shipped.items() if task not in PIPELINE_REGISTRY.supported_tasks}

    @custom_pipelines.setter
    def custom_pipelines(self, value: dict):
        self.__dict__["_custom_pipelines"] = value

    def to_dict(self) -> dict:
        """Return the configuration as a dictionary."""
        values = super().to_dict()
        shipped = values.pop("_custom_pipelines", None)
        return values | {"custom_pipelines": shipped} if shipped else values


__all__ = ["ReleasedQuirksMixin", "ShippedPipelinesMixin"]
