"""Configurations of Hub repositories that ship a pipeline."""


class ShippedPipelinesMixin:
    """Keeps `custom_pipelines` of a configuration from asking for trust where the package is installed."""

    @property
    def custom_pipelines(self) -> dict:
        """Pipelines that ship with a Hub repository, less those that are registered already.

        `transformers.pipeline` asks for `trust_remote_code` when it finds any here, which an installed package does
        not need.
        """
        from transformers.pipelines import PIPELINE_REGISTRY

        shipped = self.__dict__.get("_custom_pipelines") or {}
        return {task: spec for task, spec in shipped.items() if task not in PIPELINE_REGISTRY.supported_tasks}

    @custom_pipelines.setter
    def custom_pipelines(self, value: dict):
        self.__dict__["_custom_pipelines"] = value

    def to_dict(self) -> dict:
        values = super().to_dict()
        shipped = values.pop("_custom_pipelines", None)
        return values | {"custom_pipelines": shipped} if shipped else values


__all__ = ["ShippedPipelinesMixin"]
