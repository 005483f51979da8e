"""Configuration of LaMP's captioner."""

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from .configuration_common import ShippedPipelinesMixin
from .configuration_lamp import LampConfig


@strict
class LampMotionCaptioningConfig(ShippedPipelinesMixin, PreTrainedConfig):
    """Configuration of [`LampForMotionCaptioning`].

    Args:
        lamp_config ([`LampConfig`]): whose motion encoder and queries read the motion.
        language_config ([`PreTrainedConfig`]): of any causal language model; the paper's is OPT-2.7B.
        language_model_dtype (`str`): a language model in half precision stays so when LaMP is loaded in single.
        num_beams (`int`): of beam search, 5 as released.
        length_penalty (`float`): power of its length by which a beam's score is divided, 1 as released; long captions
            gain by it.
        max_new_tokens (`int`): longest caption. The released code allows 100, trained on captions of at most 32.
    """

    model_type = "lamp_motion_captioning"
    sub_configs = {"lamp_config": LampConfig, "language_config": AutoConfig}

    lamp_config: dict | PreTrainedConfig | None = None
    language_config: dict | PreTrainedConfig | None = None
    language_model_dtype: str = "float32"
    num_beams: int = 5
    length_penalty: float | int = 1.0
    max_new_tokens: int = 64
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs):
        if not isinstance(self.lamp_config, PreTrainedConfig):
            self.lamp_config = LampConfig(**self.lamp_config or {})
        if not isinstance(self.language_config, PreTrainedConfig):
            self.language_config = AutoConfig.for_model(**self.language_config or {"model_type": "opt"})
        super().__post_init__(**kwargs)


__all__ = ["LampMotionCaptioningConfig"]
