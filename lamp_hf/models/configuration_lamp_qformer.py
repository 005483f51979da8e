"""Configuration of LaMP's Q-Former."""

from dataclasses import dataclass

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .configuration_common import CheckedConfigMixin, ReleasedQuirksMixin, ShippedPipelinesMixin
from .configuration_motion_vqvae import MotionVQVAEConfig


@strict
@dataclass
class LampQFormerQuirks:
    """Behaviour of the released Q-Former that converted checkpoints need; the defaults are the correct behaviour.

    Args:
        position_motion (`bool`): Add learned positions to the motion latents. The released code has none, so that
            cross-attention sees a bag of latents: each knows its second or so, not what came before it.
        grounding_text (`str`): Text that the queries attend to: `"hidden_states"` of the text transformer, or, as
            released, its input `"embeddings"`, where a word does not know its neighbours.
        exponentiate_temperature (`bool`): Scale contrastive logits by `exp(logit_scale)`, at most 100. The released
            code multiplies by the logarithm itself, which makes the scale 2.66 instead of 14.3.
        mask_negatives (`bool`): Exclude pairs of the same clip or caption from the negatives, in the contrastive loss
            and in matching. A bug in the released code lets even the true pair be drawn as a negative.
    """

    position_motion: bool = True
    grounding_text: str = "hidden_states"
    exponentiate_temperature: bool = True
    mask_negatives: bool = True


_CHOICES = {
    "text_pooling": ("cls", "mean"),
    "false_negatives": ("none", "filter", "soft"),
    "contrastive_scoring": ("max", "mean", "both"),
    "grounding_text": ("hidden_states", "embeddings"),
}


@strict
class LampQFormerConfig(CheckedConfigMixin, ReleasedQuirksMixin, ShippedPipelinesMixin, PreTrainedConfig):
    """Configuration of [`LampQFormerModel`] and [`LampQFormerForPreTraining`]; by default of the paper's sizes.

    Args:
        motion_config ([`MotionVQVAEConfig`]): Tokenizer whose encoder gives the motion latents.
        vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, max_position_embeddings,
            layer_norm_eps (`int` or `float`): As in BERT; they must match the pretrained text encoder.
        query_intermediate_size (`int`): Width of the queries' own feed-forward layers.
        dropout (`float`): Dropout in attention and after layers.
        num_query_tokens (`int`): Queries; one for each motion token of the longest clip (49 for 196 frames).
        cross_attention_frequency (`int`): Every such layer, the first included, attends to motion (or text).
        cross_attention_width (`int`): Width of the projected motion latents and text states.
        summary_size (`int`): Channels of convolutions over the motion latents, whose mean, maximum and sum over time
            are added to each query's embedding; attention alone hardly counts or adds up. 0 for none, as released.
        projection_dim (`int`): Size of the shared embedding space.
        text_pooling (`str`): `"cls"`, as in the paper, or `"mean"`, which sentence encoders are trained for.
        false_negatives (`str`): Treatment of pairs with similar captions in the contrastive loss: `"none"`, as
            released; `"filter"`, no negatives (TMR); `"soft"`, positives in proportion to their similarity (LAVIMO).
        false_negative_threshold (`float`): Cosine of sentence embeddings above which captions count as similar.
        soft_weight (`float`): Share of the target that `"soft"` spreads over similar captions; the rest is the pair's
            own. 1 in LAVIMO.
        contrastive_scoring (`str`): Similarity in the contrastive loss: that of the best query (`"max"`, as in the
            paper), of the mean of queries (`"mean"`, the one vector per motion that an index holds), or the average
            of the two (`"both"`).
        label_smoothing (`float`): Label smoothing of the contrastive and the two generation losses.
        matching_fraction (`float`): Share of the batch that takes part in matching, which costs three passes per pair.
        contrastive_weight, matching_weight, text_generation_weight, motion_generation_weight (`float`): Weights of the
            four losses.
        released_quirks ([`LampQFormerQuirks`] or `dict`, *optional*): Behaviour of the released code that converted
            checkpoints need.

    Raises:
        ValueError: If `text_pooling`, `false_negatives`, `contrastive_scoring` or `grounding_text` is unknown, or a
            token is not in the vocabulary.
    """

    model_type = "lamp_qformer"
    _auto_class = "AutoConfig"
    default_task = "zero-shot-motion-classification"
    sub_configs = {"motion_config": MotionVQVAEConfig}
    quirks_class = LampQFormerQuirks

    motion_config: dict | PreTrainedConfig | None = None
    vocab_size: int = 30523
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    query_intermediate_size: int = 3072
    max_position_embeddings: int = 512
    layer_norm_eps: float = 1e-12
    dropout: float | int = 0.1
    num_query_tokens: int = 49
    cross_attention_frequency: int = 2
    cross_attention_width: int = 1408
    summary_size: int = 0
    projection_dim: int = 512
    text_pooling: str = "cls"
    false_negatives: str = "none"
    false_negative_threshold: float = 0.6
    soft_weight: float = 1.0
    contrastive_scoring: str = "max"
    label_smoothing: float | int = 0.1
    matching_fraction: float | int = 1.0
    contrastive_weight: float | int = 1.0
    matching_weight: float | int = 1.0
    text_generation_weight: float | int = 1.0
    motion_generation_weight: float | int = 1.0
    released_quirks: dict | LampQFormerQuirks | None = None
    pad_token_id: int = 0
    decoder_start_token_id: int = 30522
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs):
        if self.motion_config is None:
            self.motion_config = MotionVQVAEConfig()
        elif isinstance(self.motion_config, dict):
            self.motion_config = MotionVQVAEConfig(**self.motion_config)
        super().__post_init__(**kwargs)
        for name, known in _CHOICES.items():
            choice = getattr(self.released_quirks if name == "grounding_text" else self, name)
            if choice not in known:
                raise ValueError(f"unknown {name} {choice!r}; known: {', '.join(known)}")
        for name in ("pad_token_id", "decoder_start_token_id"):
            if getattr(self, name) >= self.vocab_size:
                raise ValueError(f"{name} is {getattr(self, name)}; the vocabulary has {self.vocab_size} words")

    @property
    def max_frames(self) -> int:
        """Frames of the longest motion that the model reads in one pass."""
        return self.num_query_tokens * self.motion_config.downsampling_factor


__all__ = ["LampQFormerConfig", "LampQFormerQuirks"]
