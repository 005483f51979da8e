"""LaMP: motion and language aligned by a Q-Former with four objectives (Li et al., ICLR 2025, section 3)."""

import math

import torch
from torch import nn
from transformers import PreTrainedModel

from .configuration_lamp_qformer import LampQFormerConfig
from .contrastive import similarity
from .lamp_outputs import LampMotionFeatures, LampQFormerOutput
from .modeling_common import MotionSummary, full_mask, mean_of_words
from .modeling_lamp_base import LampBasePreTrainedModel, LampMotionMixin, rerank_by_matching
from .modeling_motion_vqvae import MotionEncoder
from .qformer import KeyValues, QFormer


class LampQFormerPreTrainedModel(LampBasePreTrainedModel):
    """Base class that holds strict loading and freezing."""

    config: LampQFormerConfig


class LampQFormerMotionModel(LampMotionMixin, LampQFormerPreTrainedModel):
    """Motion side of LaMP: the frozen motion encoder and the queries that attend to it, which a captioner reads.

    Loads from the folder of any model that contains LaMP.

    Args:
        config ([`LampQFormerConfig`]): Configuration of the model.
        with_text (`bool`): Also create the text side of the Q-Former, as [`LampQFormerModel`] does.
    """

    # The text side, the heads and the generator, where the folder has them.
    _keys_to_ignore_on_load_unexpected = [
        r"text_feed_forward", r"word_", r"position_embeddings", r"text_", r"motion_head", r"motion_summary",
        r"logit_scale", r"matching_head", r"motion_token_head", r"vqvae", r"^transformer", r"^residual_transformer",
        r"length_predictor", r"^language_",
    ]  # fmt: skip

    def __init__(self, config: LampQFormerConfig, with_text: bool = False):
        super().__init__(config)
        self.motion_encoder = MotionEncoder(config.motion_config)
        self.motion_projection = nn.Linear(config.motion_config.codebook_dim, config.cross_attention_width, bias=False)
        self.motion_positions = None
        if config.released_quirks.position_motion:
            self.motion_positions = nn.Embedding(config.num_query_tokens, config.cross_attention_width)
        self.qformer = QFormer(config, with_text)
        self.post_init()

    def encode_motion(
        self, motion_values: torch.FloatTensor, motion_attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the projected motion latents `(batch_size, num_tokens, cross_attention_width)` and their mask."""
        latents, mask = self.encode_latents(motion_values, motion_attention_mask)
        return self.project_latents(latents), mask

    def project_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Project motion latents to the width of cross-attention and add their positions.

        Raises:
            ValueError: If there are more latents than the model has positions.
        """
        projected = self.motion_projection(latents)
        if self.motion_positions is not None:
            if projected.shape[1] > len(self.motion_positions.weight):
                longest = len(self.motion_positions.weight)
                raise ValueError(f"the motion has {projected.shape[1]} tokens, the model reads at most {longest}")
            projected = projected + self.motion_positions.weight[: projected.shape[1]]
        return projected

    def attend(self, context: torch.Tensor, context_mask: torch.Tensor) -> tuple[torch.Tensor, KeyValues]:
        """Let the queries attend to `context`: `(batch_size, num_query_tokens, hidden_size)`, and keys and values."""
        queries = self.qformer.embed_queries(len(context))
        return self.qformer(queries, context=context, context_mask=context_mask)

    def encode_motion_parts(self, latents: torch.Tensor, mask: torch.Tensor) -> LampMotionFeatures:
        """Return the queries after attending to what `encode_latents` returns."""
        return LampMotionFeatures(queries=self.attend(self.project_latents(latents), mask)[0])


def new_summary(config: LampQFormerConfig) -> MotionSummary | None:
    """Create the summary of motion latents, or None if the configuration has no `summary_size`."""
    if not config.summary_size:
        return None
    latents = config.motion_config.codebook_dim
    return MotionSummary(latents, config.summary_size, config.projection_dim, config.dropout)


class LampQFormerModel(LampQFormerMotionModel):
    """Text and motion encoders of LaMP.

    `get_text_features` and `get_motion_features` return embeddings in one space, `get_text_condition` the queries that
    condition a generator, and `get_motion_queries` the queries that a captioner reads.

    Args:
        config ([`LampQFormerConfig`]): Configuration of the model.
    """

    _auto_class = "AutoModel"
    # The heads of pretraining, or a generator, where the folder has them.
    _keys_to_ignore_on_load_unexpected = [
        r"motion_token_head", r"word_transform", r"word_head",
        r"^vqvae", r"^transformer", r"^residual_transformer", r"^length_predictor",
        r"^text_projection",
    ]  # fmt: skip

    def __init__(self, config: LampQFormerConfig):
        super().__init__(config, with_text=True)
        self.text_projection = nn.Linear(config.hidden_size, config.cross_attention_width, bias=False)
        self.motion_head = nn.Linear(config.hidden_size, config.projection_dim)
        self.text_head = nn.Linear(config.hidden_size, config.projection_dim)
        self.motion_summary = new_summary(config)
        self.matching_head = nn.Linear(config.hidden_size, 2)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # logarithm of `temperature`
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the word embeddings."""
        return self.qformer.word_embeddings

    def set_input_embeddings(self, value: nn.Embedding):
        """Replace the word embeddings."""
        self.qformer.word_embeddings = value

    @torch.no_grad()
    def load_text_encoder(self, bert: PreTrainedModel, kept_ids: list[int]) -> None:
        """Copy the weights of a pretrained BERT into the text side, and its feed-forward layers also for the queries.

        Args:
            bert (`BertModel`): Model of the same sizes.
            kept_ids (`list[int]`): Rows of its vocabulary that become the first rows of this model's, in this order.
        """
        words, positions = self.qformer.word_embeddings.weight, self.qformer.position_embeddings.weight
        words[: len(kept_ids)] = bert.embeddings.word_embeddings.weight[kept_ids]
        # A single sentence is all segment 0, whose embedding is a constant that is added to the positions.
        segment = bert.embeddings.token_type_embeddings.weight[0]
        positions.copy_(bert.embeddings.position_embeddings.weight[: len(positions)] + segment)
        self.qformer.norm.load_state_dict(bert.embeddings.LayerNorm.state_dict())
        for ours, theirs in zip(self.qformer.layers, bert.encoder.layer, strict=True):
            attention = theirs.attention
            for name in ("query", "key", "value"):
                getattr(ours.attention, name).load_state_dict(getattr(attention.self, name).state_dict())
            ours.attention.output.load_state_dict(attention.output.dense.state_dict())
            ours.attention.norm.load_state_dict(attention.output.LayerNorm.state_dict())
            same_width = self.config.query_intermediate_size == self.config.intermediate_size
            for feed_forward in [ours.text_feed_forward] + [ours.query_feed_forward] * same_width:
                feed_forward.intermediate.load_state_dict(theirs.intermediate.dense.state_dict())
                feed_forward.output.load_state_dict(theirs.output.dense.state_dict())
                feed_forward.norm.load_state_dict(theirs.output.LayerNorm.state_dict())

    def encode_text(self, input_ids: torch.LongTensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return the hidden states of the text without queries, `(batch_size, text_length, hidden_size)`."""
        mask = full_mask(input_ids, attention_mask)
        hidden, _ = self.qformer(text=self.qformer.embed_text(input_ids), mask=mask[:, None, None])
        return hidden

    def get_text_condition(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        hidden: torch.FloatTensor | None = None,
    ) -> torch.FloatTensor:
        """Return the queries after attending to the text, which condition a generator (LaMP section 4).

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, text_length)`): Tokens.
            attention_mask (`torch.Tensor` of shape `(batch_size, text_length)`, *optional*): 0 at padding.
            hidden (`torch.FloatTensor` of shape `(batch_size, text_length, hidden_size)`, *optional*): Result of
                `encode_text`, to save another pass of the text transformer.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, num_query_tokens, hidden_size)`.
        """
        mask = full_mask(input_ids, attention_mask)
        if self.config.released_quirks.grounding_text == "embeddings":
            hidden = self.qformer.embed_text(input_ids)
        elif hidden is None:
            hidden = self.encode_text(input_ids, mask)
        return self.attend(self.text_projection(hidden), mask)[0]

    def get_text_features(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        normalize: bool = True,
        **kwargs,
    ) -> torch.FloatTensor:
        """Embed texts.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, text_length)`): Tokens.
            attention_mask (`torch.Tensor` of shape `(batch_size, text_length)`, *optional*): 0 at padding.
            normalize (`bool`): Scale to unit norm; the released code's retrieval does not.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, projection_dim)`.
        """
        mask = full_mask(input_ids, attention_mask)
        return self.embed_pooled_text(self.pool_text(self.encode_text(input_ids, mask), mask), normalize)

    def get_motion_features(
        self,
        motion_values: torch.FloatTensor,
        motion_attention_mask: torch.Tensor | None = None,
        pool: bool = True,
        normalize: bool = True,
        **kwargs,
    ) -> torch.FloatTensor:
        """Embed motions.

        Args:
            motion_values (`torch.FloatTensor` of shape `(batch_size, num_frames, feature_size)`): Normalised features.
            motion_attention_mask (`torch.Tensor` of shape `(batch_size, num_frames)`, *optional*): 0 at padding.
            pool (`bool`): Return the mean over queries; otherwise every query.
            normalize (`bool`): Scale to unit norm, before the mean and after; the released code's retrieval does not.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, projection_dim)`, or, with `pool=False`,
            `(batch_size, num_query_tokens, projection_dim)`.
        """
        latents, mask = self.encode_latents(motion_values, motion_attention_mask)
        queries, _ = self.attend(self.project_latents(latents), mask)
        features = self.embed_queries(queries, latents, mask, normalize)
        if not pool:
            return features
        return nn.functional.normalize(features.mean(1), dim=-1) if normalize else features.mean(1)

    def get_matching_logits(
        self,
        input_ids: torch.LongTensor,
        motion_values: torch.FloatTensor,
        attention_mask: torch.Tensor | None = None,
        motion_attention_mask: torch.Tensor | None = None,
    ) -> torch.FloatTensor:
        """Return the log-odds `(batch_size,)` that text i and motion i belong together, by queries that read both."""
        motion, motion_mask = self.encode_motion(motion_values, motion_attention_mask)
        logits = self.match(input_ids, full_mask(input_ids, attention_mask), motion, motion_mask)
        return logits[:, 1] - logits[:, 0]

    def get_pair_scores(
        self,
        input_ids: torch.LongTensor,
        motion_values: torch.FloatTensor,
        attention_mask: torch.Tensor | None = None,
        motion_attention_mask: torch.Tensor | None = None,
    ) -> torch.FloatTensor:
        """Return how well text i and motion i fit, `(batch_size,)`: their logit plus the log-odds of matching."""
        text = self.get_text_features(input_ids, attention_mask)
        motion = self.get_motion_features(motion_values, motion_attention_mask)
        odds = self.get_matching_logits(input_ids, motion_values, attention_mask, motion_attention_mask)
        return self.temperature * (text * motion).sum(-1) + odds

    @torch.no_grad()
    def get_sentence_features(
        self, input_ids: torch.LongTensor, attention_mask: torch.Tensor | None = None
    ) -> torch.FloatTensor:
        """Return unit-norm means of the hidden states of texts, `(batch_size, hidden_size)`."""
        mask = full_mask(input_ids, attention_mask)
        hidden = self.encode_text(input_ids, mask).float() * mask[..., None]
        return nn.functional.normalize(hidden.sum(1), dim=-1)

    @torch.no_grad()
    def rerank(
        self, scores: torch.Tensor, text: dict, motion: dict, k: int = 16, batch_size: int = 64
    ) -> torch.FloatTensor:
        """Rerank the best `k` motions of each text, and the best `k` texts of each motion, by matching (as BLIP).

        Args:
            scores (`torch.FloatTensor` of shape `(num_texts, num_motions)`): Cosines.
            text (`dict`): `input_ids` and `attention_mask` of all texts.
            motion (`dict`): `motion_values` and `motion_attention_mask` of all motions.
            k (`int`): Number of candidates to rerank.
            batch_size (`int`): Pairs per batch.

        Returns:
            `torch.FloatTensor` of shape `(num_texts, num_motions)`: for reranked pairs the sum of the contrastive
            logit and the matching log-odds; for all others, in their order, values below these.
        """

        def matching(texts: torch.Tensor, motions: torch.Tensor) -> torch.Tensor:
            return self.get_matching_logits(
                **{name: values[texts] for name, values in text.items()},
                **{name: values[motions] for name, values in motion.items()},
            )

        return rerank_by_matching(self.temperature * scores, matching, k, batch_size)

    def forward(
        self,
        input_ids: torch.LongTensor,
        motion_values: torch.FloatTensor,
        attention_mask: torch.Tensor | None = None,
        motion_attention_mask: torch.Tensor | None = None,
        scoring: str = "max",
        **kwargs,
    ) -> LampQFormerOutput:
        """Embed texts and motions and score every text against every motion, see [`similarity`].

        The numbers of texts and motions may differ. `scoring` is that of [`similarity`]; for the other arguments see
        `get_text_features` and `get_motion_features`.
        """
        normalize = scoring != "euclidean"
        text = self.get_text_features(input_ids, attention_mask, normalize)
        motion = self.get_motion_features(motion_values, motion_attention_mask, pool=False, normalize=normalize)
        return LampQFormerOutput(
            logits_per_text=similarity(text, motion, scoring), text_embeds=text, motion_embeds=motion
        )

    @property
    def temperature(self) -> torch.Tensor:
        """Factor from cosines to logits, at most 100; without exponential and bound in the released code."""
        exponentiate = self.config.released_quirks.exponentiate_temperature
        return self.logit_scale.exp().clamp(max=100) if exponentiate else self.logit_scale

    def pool_text(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Pool the hidden states of texts to `(batch_size, hidden_size)`."""
        if self.config.text_pooling == "cls":
            return hidden[:, 0]
        return mean_of_words(hidden, mask)

    def embed_pooled_text(self, pooled: torch.Tensor, normalize: bool = True) -> torch.Tensor:
        """Project pooled hidden states to `(batch_size, projection_dim)`."""
        features = self.text_head(pooled).float()
        return nn.functional.normalize(features, dim=-1) if normalize else features

    def embed_queries(
        self, queries: torch.Tensor, latents: torch.Tensor, mask: torch.Tensor, normalize: bool = True
    ) -> torch.Tensor:
        """Project the queries of a motion to `(batch_size, num_query_tokens, projection_dim)`; add its summary."""
        features = self.motion_head(queries)
        if self.motion_summary is not None:
            features = features + self.motion_summary(latents, mask)[:, None]
        return nn.functional.normalize(features.float(), dim=-1) if normalize else features.float()

    def match(self, input_ids, text_mask, motion, motion_mask) -> torch.Tensor:
        """Return logits `(batch_size, 2)` of text i and motion i, from `encode_motion`, being no pair or a pair."""
        queries, text = self.qformer.embed_queries(len(motion)), self.qformer.embed_text(input_ids)
        mask = nn.functional.pad(text_mask, (queries.shape[1], 0), value=True)[:, None, None]
        hidden, _ = self.qformer(queries, text, mask, context=motion, context_mask=motion_mask)
        return self.matching_head(hidden[:, : queries.shape[1]]).mean(1).float()


__all__ = [
    "LampQFormerModel",
    "LampQFormerMotionModel",
    "LampQFormerPreTrainedModel",
    "new_summary",
]
