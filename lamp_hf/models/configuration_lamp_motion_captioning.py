"""Configuration of LaMP's motion captioner."""

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from .configuration_auto_lamp import load_lamp_config
from .configuration_common import CheckedConfigMixin, ShippedPipelinesMixin


@strict
class LampMotionCaptioningConfig(CheckedConfigMixin, ShippedPipelinesMixin, PreTrainedConfig):
    """Configuration of [`LampForMotionCaptioning`].

    Args:
        lamp_config ([`LampConfig`] or [`LampQFormerConfig`]): LaMP, or the paper's Q-Former, whose queries read the
            motion.
        language_config ([`PreTrainedConfig`]): Any causal language model; the paper's is OPT-2.7B.
        language_model_dtype (`str`): Precision of the language model, which may be half while LaMP's is single.
        whole_motion (`bool`): Give the language model, beside each query, LaMP's embedding of the whole motion. LaMP's
            queries see parts, and steps and metres are counted over the whole. The paper's Q-Former has none.
        num_beams (`int`): Beams of beam search, 5 as released.
        length_penalty (`float`): Power of its length that a beam's score is divided by, 1 as released; larger values
            favour long captions.
        max_new_tokens (`int`): Length of the longest caption. The released code allows 100, though it is trained on
            captions of at most 32.
    """

    model_type = "lamp_motion_captioning"
    _auto_class = "AutoConfig"
    default_task = "motion-to-text"
    sub_configs = {"lamp_config": AutoConfig, "language_config": AutoConfig}

    lamp_config: dict | PreTrainedConfig | None = None
    language_config: dict | PreTrainedConfig | None = None
    language_model_dtype: str = "float32"
    whole_motion: bool = False
    num_beams: int = 5
    length_penalty: float | int = 1.0
    max_new_tokens: int = 64
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs):
        if isinstance(self.lamp_config, dict) and "cross_attention_width" in self.lamp_config:
            self.lamp_config = self.lamp_config | {"model_type": "lamp_qformer"}  # version 0.1.0 calls it "lamp"
        self.lamp_config = load_lamp_config(self.lamp_config)
        if self.whole_motion and self.lamp_config.model_type != "lamp":
            raise ValueError("whole_motion needs a LaMP: the paper's Q-Former has no embedding of the whole motion")
        if not isinstance(self.language_config, PreTrainedConfig):
            self.language_config = AutoConfig.for_model(**self.language_config or {"model_type": "opt"})
        super().__post_init__(**kwargs)

    @property
    def soft_token_size(self) -> int:
        """Size of what each soft token is projected from."""
        lamp = self.lamp_config
        return lamp.hidden_size + (lamp.projection_dim if self.whole_motion else 0)


__all__ = ["LampMotionCaptioningConfig"]
