"""LaMP: motion and language aligned by a Q-Former with four objectives (Li et al., ICLR 2025, section 3)."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from .configuration_lamp import LampConfig
from .modeling_common import MotionSummary, StrictLoadingMixin, full_mask
from .modeling_lamp_qformer import KeyValues, LampQFormer
from .modeling_motion_vqvae import MotionEncoder


@dataclass
class LampOutput(ModelOutput):
    """
    Args:
        logits_per_text (`torch.FloatTensor` of shape `(num_texts, num_motions)`): cosine, the best over the queries.
        text_embeds (`torch.FloatTensor` of shape `(num_texts, projection_dim)`): unit length.
        motion_embeds (`torch.FloatTensor` of shape `(num_motions, num_query_tokens, projection_dim)`): unit length.
    """

    logits_per_text: torch.FloatTensor | None = None
    text_embeds: torch.FloatTensor | None = None
    motion_embeds: torch.FloatTensor | None = None


_HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token")


class LampPreTrainedModel(StrictLoadingMixin, PreTrainedModel):
    config: LampConfig
    base_model_prefix = "lamp"
    main_input_name = "motion_values"
    input_modalities = ("text", "time")


class LampMotionModel(LampPreTrainedModel):
    """The motion side of LaMP: the frozen motion encoder and the queries that attend to it, which a captioner reads.

    It loads from the folder of any model that has LaMP in it.
    """

    # The text side and heads, when they are in the folder.
    _keys_to_ignore_on_load_unexpected = [
        r"text_feed_forward", r"word_", r"position_embeddings", r"text_", r"motion_head", r"motion_summary",
        r"logit_scale", r"matching_head", r"motion_token_head", r"vqvae", r"^transformer", r"^residual_transformer",
        r"length_predictor", r"^part_reader", r"^language_",
    ]  # fmt: skip

    def __init__(self, config: LampConfig, with_text: bool = False):
        super().__init__(config)
        self.motion_encoder = MotionEncoder(config.motion_config)
        self.motion_projection = nn.Linear(config.motion_config.codebook_dim, config.cross_attention_width, bias=False)
        self.motion_positions = None
        if config.released_quirks.position_motion:
            self.motion_positions = nn.Embedding(config.num_query_tokens, config.cross_attention_width)
        self.qformer = LampQFormer(config, with_text)
        self.motion_encoder.requires_grad_(False)
        self.post_init()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        # A generator's folder holds the motion encoder once, as part of its tokenizer, if that is LaMP's.
        options = {name: kwargs[name] for name in _HUB_OPTIONS if name in kwargs}
        saved, _ = cls.config_class.get_config_dict(pretrained_model_name_or_path, **options)
        mapping = {} if saved.get("tokenizer_config") else {r"^vqvae\.encoder\.": "motion_encoder."}
        return super().from_pretrained(pretrained_model_name_or_path, *args, key_mapping=mapping, **kwargs)

    def train(self, mode: bool = True):
        super().train(mode)
        self.motion_encoder.eval()  # frozen: the released code leaves its dropout on
        return self

    def encode_motion(
        self, motion_values: torch.FloatTensor, motion_attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Projected motion latents `(batch_size, num_tokens, cross_attention_width)` and their mask."""
        latents, mask = self.encode_latents(motion_values, motion_attention_mask)
        return self.project_latents(latents), mask

    @torch.no_grad()
    def encode_latents(
        self, motion_values: torch.FloatTensor, motion_attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the frozen motion encoder makes of a motion, `(batch_size, num_tokens, codebook_dim)`, and its mask."""
        return self.motion_encoder(motion_values, full_mask(motion_values, motion_attention_mask))

    def project_latents(self, latents: torch.Tensor) -> torch.Tensor:
        projected = self.motion_projection(latents)
        if self.motion_positions is not None:
            if projected.shape[1] > len(self.motion_positions.weight):
                raise ValueError(f"{projected.shape[1]} motion tokens; LaMP reads {len(self.motion_positions.weight)}")
            projected = projected + self.motion_positions.weight[: projected.shape[1]]
        return projected

    def attend(self, context: torch.Tensor, context_mask: torch.Tensor) -> tuple[torch.Tensor, KeyValues]:
        """Queries after they attended to `context`, `(batch_size, num_query_tokens, hidden_size)`, and their keys."""
        queries = self.qformer.embed_queries(len(context))
        return self.qformer(queries, context=context, context_mask=context_mask)

    def get_motion_queries(
        self, motion_values: torch.FloatTensor, motion_attention_mask: torch.Tensor | None = None
    ) -> torch.FloatTensor:
        """Queries that attended to the motion, `(batch_size, num_query_tokens, hidden_size)`."""
        return self.attend(*self.encode_motion(motion_values, motion_attention_mask))[0]


def new_summary(config: LampConfig) -> MotionSummary | None:
    """Of the motion latents, when the configuration asks for one."""
    if not config.summary_size:
        return None
    latents = config.motion_config.codebook_dim
    return MotionSummary(latents, config.summary_size, config.projection_dim, config.dropout)


class LampModel(LampMotionModel):
    """Text and motion encoders of LaMP.

    `get_text_features` and `get_motion_features` give vectors of one space, `get_text_condition` the queries that a
    generator is conditioned on, `get_motion_queries` those that a captioner reads.
    """

    # The heads of pretraining, or a generator, when the encoders are loaded from their folder.
    _keys_to_ignore_on_load_unexpected = [
        r"motion_token_head", r"word_transform", r"word_head",
        r"^vqvae", r"^transformer", r"^residual_transformer", r"^length_predictor", r"^part_reader",
        r"^text_projection",
    ]  # fmt: skip

    def __init__(self, config: LampConfig):
        super().__init__(config, with_text=True)
        self.text_projection = nn.Linear(config.hidden_size, config.cross_attention_width, bias=False)
        self.motion_head = nn.Linear(config.hidden_size, config.projection_dim)
        self.text_head = nn.Linear(config.hidden_size, config.projection_dim)
        self.motion_summary = new_summary(config)
        self.matching_head = nn.Linear(config.hidden_size, 2)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # see `temperature`
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.qformer.word_embeddings

    def set_input_embeddings(self, value: nn.Embedding):
        self.qformer.word_embeddings = value

    @torch.no_grad()
    def load_text_encoder(self, bert: PreTrainedModel, kept_ids: list[int]) -> None:
        """Takes over a pretrained BERT: all its layers for text and self-attention, its feed-forward for queries too.

        Args:
            bert (`BertModel`): of this model's sizes.
            kept_ids (`list[int]`): rows of its vocabulary, in the order of this model's; ours may have more behind.
        """
        words, positions = self.qformer.word_embeddings.weight, self.qformer.position_embeddings.weight
        words[: len(kept_ids)] = bert.embeddings.word_embeddings.weight[kept_ids]
        # A single sentence has segment 0 throughout, so its embedding is a constant and joins the positions'.
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
        """Hidden states of the text transformer, `(batch_size, text_length, hidden_size)`; no query takes part."""
        mask = full_mask(input_ids, attention_mask)
        hidden, _ = self.qformer(text=self.qformer.embed_text(input_ids), mask=mask[:, None, None])
        return hidden

    def get_text_condition(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        hidden: torch.FloatTensor | None = None,
    ) -> torch.FloatTensor:
        """Queries that attended to the text, `(batch_size, num_query_tokens, hidden_size)` (LaMP section 4).

        `hidden`, what `encode_text` gave, spares another pass of the text transformer.
        """
        return self._attend_to_text(input_ids, full_mask(input_ids, attention_mask), hidden)

    def get_text_features(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        normalize: bool = True,
        **kwargs,
    ) -> torch.FloatTensor:
        """
        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, text_length)`): tokens.
            attention_mask (`torch.Tensor` of shape `(batch_size, text_length)`, *optional*): 0 at padding.
            normalize (`bool`): to unit length; the released code's retrieval does not.

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
        """
        Args:
            motion_values (`torch.FloatTensor` of shape `(batch_size, num_frames, feature_size)`): normalised features.
            motion_attention_mask (`torch.Tensor` of shape `(batch_size, num_frames)`, *optional*): 0 at padding.
            pool (`bool`): the mean over queries; else all of them, `(batch_size, num_query_tokens, projection_dim)`.
            normalize (`bool`): to unit length, before the mean and after; the released code's retrieval does not.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, projection_dim)`.
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
        """Log-odds that text i and motion i belong together, `(batch_size,)`, by queries that see both."""
        motion, motion_mask = self.encode_motion(motion_values, motion_attention_mask)
        logits = self.match(input_ids, full_mask(input_ids, attention_mask), motion, motion_mask)
        return logits[:, 1] - logits[:, 0]

    @torch.no_grad()
    def rerank(
        self, scores: torch.Tensor, text: dict, motion: dict, k: int = 16, batch_size: int = 64
    ) -> torch.FloatTensor:
        """Looks again at the best `k` motions of each text, and the best `k` texts of each motion (as BLIP).

        Args:
            scores (`torch.FloatTensor` of shape `(num_texts, num_motions)`): cosines.
            text (`dict`): `input_ids` and `attention_mask` of all texts.
            motion (`dict`): `motion_values` and `motion_attention_mask` of all motions.
            k (`int`): how many to look at again.
            batch_size (`int`): pairs at once.

        Returns:
            `torch.FloatTensor` of shape `(num_texts, num_motions)`: contrastive logit and matching log-odds together
            where looked at again; below all of these, in their order, where not.
        """
        again = torch.zeros_like(scores, dtype=torch.bool)
        again.scatter_(1, scores.topk(min(k, scores.shape[1]), 1).indices, True)
        again.scatter_(0, scores.topk(min(k, scores.shape[0]), 0).indices, True)
        pairs = again.nonzero()
        odds = [
            self.get_matching_logits(
                **{name: values[rows[:, 0]] for name, values in text.items()},
                **{name: values[rows[:, 1]] for name, values in motion.items()},
            )
            for rows in pairs.split(batch_size)
        ]
        logits = self.temperature * scores
        best = logits[again] + torch.cat(odds)
        result = logits - (logits.max() - best.min() + 1)
        result[again] = best
        return result

    def forward(
        self,
        input_ids: torch.LongTensor,
        motion_values: torch.FloatTensor,
        attention_mask: torch.Tensor | None = None,
        motion_attention_mask: torch.Tensor | None = None,
        scoring: str = "max",
        **kwargs,
    ) -> LampOutput:
        """Embeds texts and motions, of any numbers, and scores each text against each motion, see [`similarity`]."""
        normalize = scoring != "euclidean"
        text = self.get_text_features(input_ids, attention_mask, normalize)
        motion = self.get_motion_features(motion_values, motion_attention_mask, pool=False, normalize=normalize)
        return LampOutput(logits_per_text=similarity(text, motion, scoring), text_embeds=text, motion_embeds=motion)

    @property
    def temperature(self) -> torch.Tensor:
        """What cosines are multiplied by to be logits, at most 100; the released code takes no exponential."""
        exponentiate = self.config.released_quirks.exponentiate_temperature
        return self.logit_scale.exp().clamp(max=100) if exponentiate else self.logit_scale

    def pool_text(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """`(batch_size, hidden_size)` of a text's hidden states."""
        if self.config.text_pooling == "cls":
            return hidden[:, 0]
        weights = mask[..., None].to(hidden.dtype)
        return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)

    def embed_pooled_text(self, pooled: torch.Tensor, normalize: bool = True) -> torch.Tensor:
        """`(batch_size, projection_dim)` of pooled hidden states."""
        features = self.text_head(pooled).float()
        return nn.functional.normalize(features, dim=-1) if normalize else features

    def embed_queries(
        self, queries: torch.Tensor, latents: torch.Tensor, mask: torch.Tensor, normalize: bool = True
    ) -> torch.Tensor:
        """`(batch_size, num_query_tokens, projection_dim)` of queries that attended to a motion of these latents."""
        features = self.motion_head(queries)
        if self.motion_summary is not None:
            features = features + self.motion_summary(latents, mask)[:, None]
        return nn.functional.normalize(features.float(), dim=-1) if normalize else features.float()

    def match(self, input_ids, text_mask, motion, motion_mask) -> torch.Tensor:
        """Logits `(batch_size, 2)` of text i and motion i: no pair, a pair; `motion` as `encode_motion` gives it."""
        queries, text = self.qformer.embed_queries(len(motion)), self.qformer.embed_text(input_ids)
        mask = nn.functional.pad(text_mask, (queries.shape[1], 0), value=True)[:, None, None]
        hidden, _ = self.qformer(queries, text, mask, context=motion, context_mask=motion_mask)
        return self.matching_head(hidden[:, : queries.shape[1]]).mean(1).float()

    def _attend_to_text(self, input_ids: torch.Tensor, mask: torch.Tensor, hidden=None) -> torch.Tensor:
        """Queries that attended to a text; `hidden` spares another pass of the text transformer."""
        if self.config.released_quirks.grounding_text == "embeddings":
            hidden = self.qformer.embed_text(input_ids)
        elif hidden is None:
            hidden = self.encode_text(input_ids, mask)
        return self.attend(self.text_projection(hidden), mask)[0]


def similarity(text: torch.Tensor, motion: torch.Tensor, scoring: str = "max") -> torch.Tensor:
    """Scores texts `(N, P)` against motions `(M, Q, P)`, `(N, M)`; the higher the better.

    Args:
        scoring (`str`): `"max"`, the cosine of the best query (LaMP section 3); `"mean"`, that of the mean of queries;
            `"euclidean"`, the negative distance to the mean of queries that have no unit length: the released code's.

    Raises:
        ValueError: on another scoring.
    """
    text, motion = text.float(), motion.float()
    with torch.autocast(text.device.type, enabled=False):  # see `cosines`
        if scoring == "max":
            return torch.einsum("np,mqp->nmq", text, motion).amax(-1)
        if scoring == "mean":
            return text @ nn.functional.normalize(motion.mean(1), dim=-1).T
        if scoring == "euclidean":
            return -torch.cdist(text, motion.mean(1))
    raise ValueError(f"unknown scoring {scoring!r}; known: max, mean, euclidean")


__all__ = ["LampModel", "LampMotionModel", "LampOutput", "LampPreTrainedModel", "new_summary", "similarity"]
