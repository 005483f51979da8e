"""Configuration of LaMP."""

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from .configuration_common import CheckedConfigMixin, ShippedPipelinesMixin
from .configuration_motion_vqvae import MotionVQVAEConfig


@strict
class LampConfig(CheckedConfigMixin, ShippedPipelinesMixin, PreTrainedConfig):
    """Configuration of [`LampModel`] and [`LampForPreTraining`]; the defaults are the base size.

    Args:
        motion_config ([`MotionVQVAEConfig`]): Tokenizer whose encoder gives the motion latents; it stays frozen.
        text_config ([`BertConfig`]): Sentence encoder that gives the word states; it stays frozen.
        trunk_size (`int`): Channels of the convolutions over the motion latents.
        trunk_kernel (`int`): Latents that each convolution sees.
        num_trunk_layers (`int`): Convolutions.
        num_query_tokens (`int`): Queries; one for each motion token of the longest clip (49 for 196 frames).
        hidden_size, num_attention_heads, intermediate_size (`int`): Sizes of the queries and their layer.
        query_window (`float`): Initial width, in latents or words, of the window through which each query sees its
            own part of the context.
        query_gate (`float`): Initial share of the context's mean that each query is given.
        word_state_size (`int`): Size of LaMP's states of the words, which a generator attends to.
        projection_dim (`int`): Size of the space that whole texts and whole motions share.
        token_projection_dim (`int`): Size of the space that words and queries share.
        matcher_size, num_matcher_layers (`int`): Width and depth of the network that judges pairs.
        matcher_dropout (`float`): Dropout in that network, which learns pairs by heart sooner than the others.
        num_decoder_layers (`int`): Layers of each of the two decoders of pretraining.
        dropout (`float`): Dropout everywhere else.
        similar_caption_threshold (`float`): Cosine of sentence embeddings above which captions are no negatives of
            each other.
        contrastive_weight, matching_weight, text_generation_weight, motion_generation_weight (`float`): Weights of the
            four objectives.
        reconstruction_weight (`float`): Weight of naming each motion token's code from its query alone, which keeps a
            query at its own part of the motion.
        decorrelation_weight (`float`): Weight of the squared cosines between the queries of a clip, after each query's
            mean over the batch is subtracted.
    """

    model_type = "lamp"
    _auto_class = "AutoConfig"
    default_task = "zero-shot-motion-classification"
    sub_configs = {"motion_config": MotionVQVAEConfig, "text_config": AutoConfig}

    motion_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    trunk_size: int = 512
    trunk_kernel: int = 5
    num_trunk_layers: int = 2
    num_query_tokens: int = 49
    hidden_size: int = 512
    num_attention_heads: int = 8
    intermediate_size: int = 1024
    query_window: float | int = 1.0
    query_gate: float | int = 0.2
    word_state_size: int = 768
    projection_dim: int = 512
    token_projection_dim: int = 128
    matcher_size: int = 512
    num_matcher_layers: int = 2
    matcher_dropout: float | int = 0.1
    num_decoder_layers: int = 2
    dropout: float | int = 0.1
    similar_caption_threshold: float | int = 0.8
    contrastive_weight: float | int = 1.0
    matching_weight: float | int = 1.0
    text_generation_weight: float | int = 0.5
    motion_generation_weight: float | int = 0.5
    reconstruction_weight: float | int = 0.5
    decorrelation_weight: float | int = 2.0
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs):
        if "cross_attention_width" in kwargs:  # in a file of an earlier version
            raise ValueError("this is the configuration of a Q-Former: its model_type is lamp_qformer")
        if self.motion_config is None:
            self.motion_config = MotionVQVAEConfig()
        elif isinstance(self.motion_config, dict):
            self.motion_config = MotionVQVAEConfig(**self.motion_config)
        if not isinstance(self.text_config, PreTrainedConfig):
            self.text_config = AutoConfig.for_model(**({"model_type": "bert"} | (self.text_config or {})))
        super().__post_init__(**kwargs)

    @property
    def context_size(self) -> int:
        """Size of the states that the queries attend to: the trunk's beside the latents."""
        return self.trunk_size + self.motion_config.codebook_dim

    @property
    def max_frames(self) -> int:
        """Frames of the longest motion that the model reads in one pass."""
        return self.num_query_tokens * self.motion_config.downsampling_factor


__all__ = ["LampConfig"]
