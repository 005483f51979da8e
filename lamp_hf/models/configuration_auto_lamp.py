"""Configurations of the encoders that a generator can be conditioned by."""

from transformers import PreTrainedConfig

from .configuration_lamp import LampConfig
from .configuration_lamp_qformer import LampQFormerConfig


LAMP_CONFIGS = {config.model_type: config for config in (LampConfig, LampQFormerConfig)}


def load_lamp_config(values: dict | PreTrainedConfig | None) -> LampConfig | LampQFormerConfig:
    """Return the configuration of LaMP, or of the paper's Q-Former, that `values` describe; LaMP's for None.

    Raises:
        ValueError: If `model_type` is neither.
    """
    if isinstance(values, PreTrainedConfig):
        return values
    values = dict(values or {})
    kind = values.pop("model_type", LampConfig.model_type)
    if kind not in LAMP_CONFIGS:
        raise ValueError(f"lamp_config has model_type {kind!r}; known: {', '.join(LAMP_CONFIGS)}")
    return LAMP_CONFIGS[kind](**values)


__all__ = ["LAMP_CONFIGS", "load_lamp_config"]
