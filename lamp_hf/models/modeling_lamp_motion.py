"""Motion side of LaMP: a frozen motion encoder, a trunk, and queries each of which reads its own part of a motion."""

import torch
from torch import nn
from transformers import initialization as init

from .configuration_lamp import LampConfig
from .lamp_outputs import LampMotionFeatures
from .lamp_queries import LampMotionTrunk, LampQueries
from .modeling_common import mean_of_words
from .modeling_lamp_base import LampBasePreTrainedModel, LampMotionMixin
from .modeling_motion_vqvae import MotionEncoder


class LampPreTrainedModel(LampBasePreTrainedModel):
    """Base class that holds initialisation, strict loading and freezing."""

    config: LampConfig

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, LampQueries):
            module.init_weights()
        elif isinstance(module, LampMotionTrunk):
            init.zeros_(module.latent_mean)
            init.copy_(module.latent_whitening, torch.eye(len(module.latent_mean)))
        elif isinstance(module, nn.MultiheadAttention):
            init.xavier_uniform_(module.in_proj_weight)
            init.zeros_(module.in_proj_bias)


class LampMotionModel(LampMotionMixin, LampPreTrainedModel):
    """Motion side of LaMP, which a captioner reads. Loads from the folder of any model that contains LaMP.

    Args:
        config ([`LampConfig`]): Configuration of the model.
    """

    # The text side, the decoders of pretraining, a generator or a captioner, where the folder has them.
    _keys_to_ignore_on_load_unexpected = [
        r"text_encoder", r"text_context", r"word_", r"words_head", r"sentence_head", r"matcher", r"logit_scale",
        r"^caption_decoder", r"^motion_decoder", r"^code_head",
        r"^vqvae", r"^transformer", r"^residual_transformer", r"^length_predictor", r"^language_",
    ]  # fmt: skip

    def __init__(self, config: LampConfig):
        super().__init__(config)
        latents = config.motion_config.codebook_dim
        self.motion_encoder = MotionEncoder(config.motion_config)
        self.trunk = LampMotionTrunk(config)
        self.queries = LampQueries(config)
        self.motion_head = nn.Linear(latents + 3 * config.trunk_size, config.projection_dim)
        self.query_head = nn.Linear(config.hidden_size, config.token_projection_dim)
        self.post_init()

    def get_motion_features(
        self,
        motion_values: torch.FloatTensor,
        motion_attention_mask: torch.Tensor | None = None,
        pool: bool = True,
        **kwargs,
    ) -> torch.FloatTensor:
        """Embed motions.

        Args:
            motion_values (`torch.FloatTensor` of shape `(num_motions, num_frames, feature_size)`): Normalised
                features.
            motion_attention_mask (`torch.Tensor` of shape `(num_motions, num_frames)`, *optional*): 0 at padding.
            pool (`bool`): Embed whole motions; otherwise every query.

        Returns:
            Unit-norm `torch.FloatTensor` of shape `(num_motions, projection_dim)`, or, with `pool=False`,
            `(num_motions, num_query_tokens, token_projection_dim)`.
        """
        motion = self.encode_motion_parts(*self.encode_latents(motion_values, motion_attention_mask))
        return motion.embeds if pool else motion.query_embeds

    def encode_motion_parts(self, latents: torch.Tensor, mask: torch.BoolTensor) -> LampMotionFeatures:
        """Embed motions and their queries.

        Args:
            latents (`torch.FloatTensor` of shape `(num_motions, num_tokens, codebook_dim)`): From `encode_latents`.
            mask (`torch.BoolTensor` of shape `(num_motions, num_tokens)`): False at padding.

        Raises:
            ValueError: If a motion has more latents than there are queries.
        """
        if latents.shape[1] > self.config.num_query_tokens:
            raise ValueError(
                f"the motion has {latents.shape[1]} tokens, the model reads at most {self.config.num_query_tokens}"
            )
        states, white = self.trunk(latents, mask)
        total = states.sum(1)
        mean = total / mask.sum(1, keepdim=True).clamp(min=1)
        largest = states.masked_fill(~mask[..., None], -1e4).amax(1)
        # Sums count steps and add up distances, which means cannot; a clip has about 16 tokens, for scale.
        embeds = self.motion_head(torch.cat([mean_of_words(white, mask), mean, largest, total / 16], -1))
        queries = self.queries(torch.cat([states, white.to(states.dtype)], -1), mask)
        return LampMotionFeatures(
            embeds=nn.functional.normalize(embeds.float(), dim=-1),
            query_embeds=nn.functional.normalize(self.query_head(queries).float(), dim=-1),
            queries=queries,
        )


__all__ = ["LampMotionModel", "LampPreTrainedModel"]
