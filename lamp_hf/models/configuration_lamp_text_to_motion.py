"""Configuration of LaMP's text-to-motion generator."""

from dataclasses import dataclass

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from .configuration_auto_lamp import load_lamp_config
from .configuration_common import CheckedConfigMixin, ReleasedQuirksMixin, ShippedPipelinesMixin
from .configuration_motion_vqvae import MotionVQVAEConfig


@strict
@dataclass
class LampTextToMotionQuirks:
    """Behaviour of the released generator that converted checkpoints need; the defaults are the correct behaviour.

    Args:
        new_text_projection (`bool`): let the queries read the text through a projection that is trained with the
            generator, as released, in place of the one from LaMP's pretraining.
        prefix_position (`bool`): count the condition among the positions. The released code gives it none and numbers
            motion tokens from 0.
        padded_text_length (`int`): pad shorter texts to this many word pieces and let the queries read the padding,
            49 in the released code; 0 to read each text at its own length.
        head_norm_eps (`float`): epsilon of the layer norm before the logits, 1e-12 in the released code.
        mask_padding (`bool`): keep tokens from attending to padding, which the released code allows.
    """

    new_text_projection: bool = False
    prefix_position: bool = True
    padded_text_length: int = 0
    head_norm_eps: float = 1e-5
    mask_padding: bool = True


_CONDITION_MODES = {
    "lamp": ("words", "encoder_words"),
    "lamp_qformer": ("query_mean", "queries", "text_mean", "query_and_text_mean"),
}


@strict
class LampTextToMotionConfig(CheckedConfigMixin, ReleasedQuirksMixin, ShippedPipelinesMixin, PreTrainedConfig):
    """Configuration of [`LampForTextToMotion`]; the defaults are the paper's sizes (LaMP section 4).

    Args:
        lamp_config ([`LampConfig`] or [`LampQFormerConfig`]): LaMP, or the paper's Q-Former, which reads the text.
        tokenizer_config ([`MotionVQVAEConfig`], *optional*): the generator's own tokenizer. None for the one whose
            encoder LaMP was pretrained on, as in the paper.
        hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, dropout (`int` or `float`): sizes of
            the masked transformer.
        num_residual_layers (`int`): layers of the transformer over residual codes, if the tokenizer has several
            codebooks.
        condition_mode (`str`): how the transformer sees the text. With LaMP, `"words"`: every layer attends to LaMP's
            states of the words, and the embedding of the whole text is a token before the motion's;
            `"encoder_words"`: the same with the states and the embedding of LaMP's frozen sentence encoder, to
            compare with. With the paper's Q-Former, `"query_mean"`: the mean over the queries after they attended to
            the text, as one token before the motion's; `"queries"`: all queries; `"text_mean"`: the mean of the
            text's hidden states, without queries; the released code adds the mean query to it, a constant that the
            projection absorbs; `"query_and_text_mean"`: both means as two tokens.
        attention_mask_mode (`str`): `"causal"`, as the paper describes; `"soft_tril"`, as released, where a mask
            meant to be causal is added to the logits as 0 and 1; or `"bidirectional"`.
        pre_norm (`bool`): normalise before attention and feed-forward, which learns faster; the released code
            normalises after them.
        token_convolution (`int`): neighbouring tokens that a convolution mixes before the first layer, 0 for none, as
            released. Without it, attention hardly learns from small data which tokens follow which, and motions
            stutter.
        condition_dropout (`float`): share of training clips whose tokens are predicted without text, for guidance.
        length_loss_weight (`float`): weight of the predictor of a clip's length.
        guidance_scale (`float`): logits are `unconditional + scale * (conditional - unconditional)`. The released code
            uses 4 for HumanML3D and 2 for KIT-ML. Residual codes are the most likely ones by the same scale, whatever
            the interval and the temperature.
        guidance_interval (`tuple[float, float]`): shares of the steps from and before which logits are guided
            (Kynkäänniemi et al., 2024). All steps are by default, as released; the others save their second pass.
        num_inference_steps (`int`): steps of masked decoding.
        temperature (`float`): temperature of sampling; 0 takes the most likely token.
        top_k (`int`): candidates for each token.
        choice_temperature (`float`): amount of chance in which tokens are settled first, see
            [`MaskedMotionScheduler`]; 0 is the released code's order.
        sample_length (`bool`): draw the length of a motion, when none is given, from the middle half of its predicted
            distribution; otherwise take the most likely.
        released_quirks ([`LampTextToMotionQuirks`] or `dict`, *optional*): behaviour of the released code that
            converted checkpoints need.
    """

    model_type = "lamp_text_to_motion"
    _auto_class = "AutoConfig"
    default_task = "text-to-motion"
    sub_configs = {"lamp_config": AutoConfig, "tokenizer_config": MotionVQVAEConfig}
    quirks_class = LampTextToMotionQuirks
    attribute_map = {"order_noise": "choice_temperature"}  # the name in files of earlier versions

    lamp_config: dict | PreTrainedConfig | None = None
    tokenizer_config: dict | PreTrainedConfig | None = None
    hidden_size: int = 512
    num_hidden_layers: int = 8
    num_residual_layers: int = 8
    num_attention_heads: int = 8
    intermediate_size: int = 1024
    dropout: float | int = 0.2
    condition_mode: str = "words"
    attention_mask_mode: str = "causal"
    pre_norm: bool = False
    token_convolution: int = 0
    condition_dropout: float | int = 0.1
    length_loss_weight: float | int = 0.1
    guidance_scale: float | int = 4.0
    guidance_interval: tuple[float | int, ...] | list[float | int] = (0.0, 1.0)
    num_inference_steps: int = 10
    temperature: float | int = 1.0
    top_k: int = 52
    choice_temperature: float | int = 0.0
    sample_length: bool = True
    released_quirks: dict | LampTextToMotionQuirks | None = None
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs):
        self.lamp_config = load_lamp_config(self.lamp_config)
        if isinstance(self.tokenizer_config, dict):
            self.tokenizer_config = MotionVQVAEConfig(**self.tokenizer_config)
        if schedule := kwargs.pop("guidance_schedule", None):  # of earlier versions
            self.guidance_interval = (0.2, 0.8) if schedule == "interval" else (0.0, 1.0)
        start, end = self.guidance_interval = tuple(self.guidance_interval)
        if not 0 <= start < end <= 1:
            raise ValueError(f"guidance_interval must be two rising shares of the steps, got {start:g} and {end:g}")
        known = _CONDITION_MODES[self.lamp_config.model_type]
        if self.condition_mode not in known:
            raise ValueError(
                f"condition_mode is {self.condition_mode!r}; with {self.lamp_config.model_type}: {', '.join(known)}"
            )
        if self.condition_mode == "words" and self.lamp_config.projection_dim > self.condition_size:
            raise ValueError("the projection_dim of lamp_config must be at most its word_state_size")
        super().__post_init__(**kwargs)

    @property
    def attends_to_words(self) -> bool:
        """Tell whether the condition is a vector of the whole text and the states of its words."""
        return self.condition_mode in _CONDITION_MODES["lamp"]

    @property
    def condition_size(self) -> int:
        """Size of each vector of a condition."""
        if self.condition_mode == "words":
            return self.lamp_config.word_state_size
        return (self.lamp_config.text_config if self.attends_to_words else self.lamp_config).hidden_size

    @property
    def motion_config(self) -> MotionVQVAEConfig:
        """Configuration of the tokenizer in use: the generator's own, or LaMP's."""
        return self.tokenizer_config or self.lamp_config.motion_config


__all__ = ["LampTextToMotionConfig", "LampTextToMotionQuirks"]
