"""Configuration of LaMP's motion captioner."""

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from .configuration_common import CheckedConfigMixin, ShippedPipelinesMixin
from .configuration_lamp_qformer import LampQFormerConfig


@strict
class LampMotionCaptioningConfig(CheckedConfigMixin, ShippedPipelinesMixin, PreTrainedConfig):
    """Configuration of [`LampForMotionCaptioning`].

    Args:
        lamp_config ([`LampQFormerConfig`]): LaMP, whose motion encoder and queries read the motion.
        language_config ([`PreTrainedConfig`]): Any causal language model; the paper's is OPT-2.7B.
        language_model_dtype (`str`): Precision of the language model, which may be half while LaMP's is single.
        num_beams (`int`): Beams of beam search, 5 as released.
        length_penalty (`float`): Power of its length that a beam's score is divided by, 1 as released; larger values
            favour long captions.
        max_new_tokens (`int`): Length of the longest caption. The released code allows 100, though it is trained on
            captions of at most 32.
    """

    model_type = "lamp_motion_captioning"
    _auto_class = "AutoConfig"
    default_task = "motion-to-text"
    sub_configs = {"lamp_config": LampQFormerConfig, "language_config": AutoConfig}

    lamp_config: dict | PreTrainedConfig | None = None
    language_config: dict | PreTrainedConfig | None = None
    language_model_dtype: str = "float32"
    num_beams: int = 5
    length_penalty: float | int = 1.0
    max_new_tokens: int = 64
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs):
        if not isinstance(self.lamp_config, PreTrainedConfig):
            self.lamp_config = LampQFormerConfig(**self.lamp_config or {})
        if not isinstance(self.language_config, PreTrainedConfig):
            self.language_config = AutoConfig.for_model(**self.language_config or {"model_type": "opt"})
        super().__post_init__(**kwargs)


__all__ = ["LampMotionCaptioningConfig"]
