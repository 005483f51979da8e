"""Configuration of LaMP's Q-Former."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .configuration_common import ShippedPipelinesMixin
from .configuration_motion_vqvae import MotionVQVAEConfig


@strict
class LampConfig(ShippedPipelinesMixin, PreTrainedConfig):
    """Configuration of [`LampModel`] and [`LampForPreTraining`]; the defaults are the paper's sizes (BERT-base).

    Args:
        motion_config ([`MotionVQVAEConfig`]): the tokenizer whose encoder gives the motion latents.
        vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, max_position_embeddings,
            layer_norm_eps (`int` or `float`): as in BERT; they must fit the pretrained text encoder.
        query_intermediate_size (`int`): width of the queries' own feed-forward layers.
        dropout (`float`): in attention and after layers.
        num_query_tokens (`int`): one for each motion token of the longest clip (49 for 196 frames).
        cross_attention_frequency (`int`): every such layer, the first included, attends to motion (or text).
        cross_attention_width (`int`): width of the projected motion latents and text states.
        position_motion (`bool`): motion latents carry learned positions. Without, as released, cross-attention sees a
            bag of latents: each knows its second or so, not what came first.
        summary_size (`int`): channels of convolutions over the motion latents, whose mean, maximum and sum over time
            are added to each query's embedding; attention alone hardly counts or adds up. 0, as released, for none.
        projection_dim (`int`): size of the shared space.
        text_pooling (`str`): `"cls"` as in the paper, or `"mean"`, which sentence encoders were trained for.
        grounding_text (`str`): what text the queries attend to: `"hidden_states"` of the text transformer, or its
            input `"embeddings"`, as released, where a word does not know its neighbours.
        exponentiate_temperature (`bool`): contrastive logits are scaled by exp(scale), at most 100. The released code
            multiplies by the logarithm itself, which makes it 2.66 instead of 14.3.
        mask_negatives (`bool`): pairs of one clip or one caption are no negatives, in the contrastive loss and in
            matching. In the released code a bug lets even the true pair be drawn as a negative.
        false_negatives (`str`): what the contrastive loss makes of pairs whose captions are alike: `"none"`, as
            released; `"filter"`, no negatives (TMR); `"soft"`, positives in proportion (LAVIMO).
        false_negative_threshold (`float`): the cosine of sentence embeddings from which captions are alike.
        soft_weight (`float`): share of `"soft"` in the target, the rest is the pair's own; 1 in LAVIMO.
        contrastive_scoring (`str`): what the contrastive loss scores: the best query (`"max"`, as in the paper), the
            mean of queries (`"mean"`), which is one vector a motion and so what an index holds, or `"both"`, the mean
            of the two.
        label_smoothing (`float`): of the contrastive and the two generation losses.
        matching_fraction (`float`): share of the batch that takes part in matching, which costs three passes a pair.
        contrastive_weight, matching_weight, text_generation_weight, motion_generation_weight (`float`): of the losses.
    """

    model_type = "lamp"
    sub_configs = {"motion_config": MotionVQVAEConfig}

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
    position_motion: bool = True
    summary_size: int = 0
    projection_dim: int = 512
    text_pooling: str = "cls"
    grounding_text: str = "hidden_states"
    exponentiate_temperature: bool = True
    mask_negatives: bool = True
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

    @property
    def max_frames(self) -> int:
        """Of a motion that is read at once."""
        return self.num_query_tokens * self.motion_config.downsampling_factor


__all__ = ["LampConfig"]
