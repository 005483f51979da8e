"""LaMP: motion and language aligned by a Q-Former with four objectives (Li et al., ICLR 2025, section 3)."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from .configuration_lamp import LampConfig
from .modeling_lamp_qformer import KeyValues, LampQFormer
from .modeling_motion_vqvae import MotionEncoder, full_mask, masked_mean
from .strict_loading import StrictLoadingMixin


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


@dataclass
class LampForPreTrainingOutput(ModelOutput):
    """
    Args:
        loss (`torch.FloatTensor` of shape `()`): weighted sum of the four.
        contrastive_loss, matching_loss, text_generation_loss, motion_generation_loss (`torch.FloatTensor`): the four.
        text_embeds (`torch.FloatTensor` of shape `(batch_size, projection_dim)`): unit length.
        motion_embeds (`torch.FloatTensor` of shape `(batch_size, num_query_tokens, projection_dim)`): unit length.
    """

    loss: torch.FloatTensor | None = None
    contrastive_loss: torch.FloatTensor | None = None
    matching_loss: torch.FloatTensor | None = None
    text_generation_loss: torch.FloatTensor | None = None
    motion_generation_loss: torch.FloatTensor | None = None
    text_embeds: torch.FloatTensor | None = None
    motion_embeds: torch.FloatTensor | None = None


class LampPreTrainedModel(StrictLoadingMixin, PreTrainedModel):
    config: LampConfig
    base_model_prefix = "lamp"
    main_input_name = "motion_values"
    input_modalities = ("text", "time")

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, LampModel):
            init.constant_(module.logit_scale, math.log(1 / 0.07))


class LampMotionModel(LampPreTrainedModel):
    """The motion side of LaMP: the frozen motion encoder and the queries that attend to it, which a captioner reads.

    It loads from the folder of any model that has LaMP in it.
    """

    # The text side and heads, when they are in the folder.
    _keys_to_ignore_on_load_unexpected = [
        r"text_feed_forward", r"word_", r"position_embeddings", r"text_", r"motion_head", r"logit_scale",
        r"matching_head", r"motion_token_head", r"vqvae", r"^transformer", r"length_predictor", r"^language_",
    ]  # fmt: skip

    def __init__(self, config: LampConfig, with_text: bool = False):
        super().__init__(config)
        self.motion_encoder = MotionEncoder(config.motion_config)
        self.motion_projection = nn.Linear(config.motion_config.codebook_dim, config.cross_attention_width, bias=False)
        self.motion_positions = None
        if config.position_motion:
            self.motion_positions = nn.Embedding(config.num_query_tokens, config.cross_attention_width)
        self.qformer = LampQFormer(config, with_text)
        self.motion_encoder.requires_grad_(False)
        self.post_init()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        # A generator's folder holds the motion encoder once, as part of its tokenizer.
        mapping = {r"^vqvae\.encoder\.": "motion_encoder."}
        return super().from_pretrained(pretrained_model_name_or_path, *args, key_mapping=mapping, **kwargs)

    def train(self, mode: bool = True):
        super().train(mode)
        self.motion_encoder.eval()  # frozen: the released code leaves its dropout on
        return self

    def encode_motion(
        self, motion_values: torch.FloatTensor, motion_attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Projected motion latents `(batch_size, num_tokens, cross_attention_width)` and their mask."""
        with torch.no_grad():
            latents, mask = self.motion_encoder(motion_values, full_mask(motion_values, motion_attention_mask))
        projected = self.motion_projection(latents)
        if self.motion_positions is not None:
            if projected.shape[1] > len(self.motion_positions.weight):
                raise ValueError(f"{projected.shape[1]} motion tokens; LaMP reads {len(self.motion_positions.weight)}")
            projected = projected + self.motion_positions.weight[: projected.shape[1]]
        return projected, mask

    def attend(self, context: torch.Tensor, context_mask: torch.Tensor) -> tuple[torch.Tensor, KeyValues]:
        """Queries after they attended to `context`, `(batch_size, num_query_tokens, hidden_size)`, and their keys."""
        queries = self.qformer.embed_queries(len(context))
        return self.qformer(queries, context=context, context_mask=context_mask)

    def get_motion_queries(
        self, motion_values: torch.FloatTensor, motion_attention_mask: torch.Tensor | None = None
    ) -> torch.FloatTensor:
        """Queries that attended to the motion, `(batch_size, num_query_tokens, hidden_size)`."""
        return self.attend(*self.encode_motion(motion_values, motion_attention_mask))[0]


class LampModel(LampMotionModel):
    """Text and motion encoders of LaMP.

    `get_text_features` and `get_motion_features` give vectors of one space, `get_text_condition` the queries that a
    generator is conditioned on, `get_motion_queries` those that a captioner reads.
    """

    # The heads of pretraining, or a generator, when the encoders are loaded from their folder.
    _keys_to_ignore_on_load_unexpected = [
        r"matching_head", r"motion_token_head", r"word_transform", r"word_head",
        r"^vqvae", r"^transformer", r"^length_predictor", r"^text_projection",
    ]  # fmt: skip

    def __init__(self, config: LampConfig):
        super().__init__(config, with_text=True)
        self.text_projection = nn.Linear(config.hidden_size, config.cross_attention_width, bias=False)
        self.motion_head = nn.Linear(config.hidden_size, config.projection_dim)
        self.text_head = nn.Linear(config.hidden_size, config.projection_dim)
        self.logit_scale = nn.Parameter(torch.zeros(()))
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
        self, input_ids: torch.LongTensor, attention_mask: torch.Tensor | None = None, **kwargs
    ) -> torch.FloatTensor:
        """Queries that attended to the text, `(batch_size, num_query_tokens, hidden_size)` (LaMP section 4)."""
        return self._attend_to_text(input_ids, full_mask(input_ids, attention_mask))

    def get_text_features(
        self, input_ids: torch.LongTensor, attention_mask: torch.Tensor | None = None, **kwargs
    ) -> torch.FloatTensor:
        """
        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, text_length)`): tokens.
            attention_mask (`torch.Tensor` of shape `(batch_size, text_length)`, *optional*): 0 at padding.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, projection_dim)`, unit length.
        """
        mask = full_mask(input_ids, attention_mask)
        return self.pool_text(self.encode_text(input_ids, mask), mask)

    def get_motion_features(
        self,
        motion_values: torch.FloatTensor,
        motion_attention_mask: torch.Tensor | None = None,
        pool: bool = True,
        **kwargs,
    ) -> torch.FloatTensor:
        """
        Args:
            motion_values (`torch.FloatTensor` of shape `(batch_size, num_frames, feature_size)`): normalised features.
            motion_attention_mask (`torch.Tensor` of shape `(batch_size, num_frames)`, *optional*): 0 at padding.
            pool (`bool`): the mean over queries; else all of them, `(batch_size, num_query_tokens, projection_dim)`.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, projection_dim)`, unit length.
        """
        features = self.pool_motion(self.get_motion_queries(motion_values, motion_attention_mask))
        return nn.functional.normalize(features.mean(1), dim=-1) if pool else features

    def forward(
        self,
        input_ids: torch.LongTensor,
        motion_values: torch.FloatTensor,
        attention_mask: torch.Tensor | None = None,
        motion_attention_mask: torch.Tensor | None = None,
        **kwargs,
    ) -> LampOutput:
        """Embeds texts and motions, of any numbers, and scores each text against each motion."""
        text = self.get_text_features(input_ids, attention_mask)
        motion = self.get_motion_features(motion_values, motion_attention_mask, pool=False)
        return LampOutput(logits_per_text=best_query_similarity(text, motion), text_embeds=text, motion_embeds=motion)

    def pool_text(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Unit vector of a text's hidden states."""
        if self.config.text_pooling == "cls":
            pooled = hidden[:, 0]
        else:
            weights = mask[..., None].to(hidden.dtype)
            pooled = (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)
        return nn.functional.normalize(self.text_head(pooled).float(), dim=-1)

    def pool_motion(self, queries: torch.Tensor) -> torch.Tensor:
        """Unit vectors of a motion's queries."""
        return nn.functional.normalize(self.motion_head(queries).float(), dim=-1)

    def _attend_to_text(self, input_ids: torch.Tensor, mask: torch.Tensor, hidden=None) -> torch.Tensor:
        """Queries that attended to a text; `hidden` spares another pass of the text transformer."""
        if self.config.grounding_text == "embeddings":
            hidden = self.qformer.embed_text(input_ids)
        elif hidden is None:
            hidden = self.encode_text(input_ids, mask)
        return self.attend(self.text_projection(hidden), mask)[0]


def best_query_similarity(text: torch.Tensor, motion: torch.Tensor) -> torch.Tensor:
    """Cosine of `(N, P)` texts and `(M, Q, P)` motions, the best over queries, `(N, M)` (LaMP section 3)."""
    return torch.einsum("np,mqp->nmq", text, motion).amax(-1)


def gather_with_gradient(values: torch.Tensor) -> torch.Tensor:
    """Concatenates the rows of all training processes; gradients find their way back to each."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return values
    return torch.cat(torch.distributed.nn.functional.all_gather(values))


class LampForPreTraining(LampPreTrainedModel):
    """LaMP and its four objectives: contrastive, matching, motion-grounded text, text-grounded motion generation."""

    _tied_weights_keys = {"word_head.weight": "lamp.qformer.word_embeddings.weight"}

    def __init__(self, config: LampConfig):
        super().__init__(config)
        self.lamp = LampModel(config)
        self.matching_head = nn.Linear(config.hidden_size, 2)
        self.motion_token_head = nn.Linear(config.hidden_size, config.motion_config.codebook_size, bias=False)
        self.word_transform = nn.Sequential(
            nn.Linear(config.hidden_size, config.hidden_size),
            nn.GELU(),
            nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps),
        )
        self.word_head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        return self.word_head

    def forward(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor,
        motion_values: torch.FloatTensor,
        motion_attention_mask: torch.Tensor,
        motion_codes: torch.LongTensor,
        clip_ids: torch.LongTensor,
        caption_ids: torch.LongTensor,
    ) -> LampForPreTrainingOutput:
        """
        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, text_length)`): one caption of each clip.
            attention_mask (`torch.Tensor` of shape `(batch_size, text_length)`): 0 at padding.
            motion_values (`torch.FloatTensor` of shape `(batch_size, num_frames, feature_size)`): normalised features.
            motion_attention_mask (`torch.Tensor` of shape `(batch_size, num_frames)`): 0 at padding.
            motion_codes (`torch.LongTensor` of shape `(batch_size, num_tokens)`): the tokenizer's indices.
            clip_ids, caption_ids (`torch.LongTensor` of shape `(batch_size,)`): equal numbers for the same clip and
                for the same caption; such pairs are no negatives.
        """
        config, lamp = self.config, self.lamp
        text_mask = attention_mask.bool()
        text = lamp.encode_text(input_ids, text_mask)
        motion, motion_mask = lamp.encode_motion(motion_values, motion_attention_mask)
        queries, query_keys = lamp.attend(motion, motion_mask)
        text_embeds, motion_embeds = lamp.pool_text(text, text_mask), lamp.pool_motion(queries)

        excluded = torch.eye(len(text), dtype=torch.bool, device=text.device)
        if config.mask_negatives:
            excluded = excluded | same(clip_ids, clip_ids) | same(caption_ids, caption_ids)
        losses = {
            "contrastive": lambda: self._contrastive_loss(text_embeds, motion_embeds, clip_ids, caption_ids),
            "matching": lambda: self._matching_loss(
                input_ids, text_mask, motion, motion_mask, text_embeds, motion_embeds, excluded
            ),
            "text_generation": lambda: self._text_generation_loss(input_ids, text_mask, query_keys),
            "motion_generation": lambda: self._motion_generation_loss(
                input_ids, text_mask, text, motion_codes, motion_mask
            ),
        }
        weights = {name: getattr(config, f"{name}_weight") for name in losses}
        values = {name: loss() if weights[name] else text_embeds.new_zeros(()) for name, loss in losses.items()}
        return LampForPreTrainingOutput(
            loss=sum(weights[name] * value for name, value in values.items()),
            text_embeds=text_embeds,
            motion_embeds=motion_embeds,
            **{f"{name}_loss": value for name, value in values.items()},
        )

    def _contrastive_loss(self, text, motion, clip_ids, caption_ids) -> torch.Tensor:
        """Symmetric cross-entropy over the rows of all processes; a pair's similarity is that of its best query."""
        scale = self.lamp.logit_scale
        scale = scale.exp().clamp(max=100) if self.config.exponentiate_temperature else scale
        all_text, all_motion = gather_with_gradient(text), gather_with_gradient(motion)
        all_clips, all_captions = gather_with_gradient(clip_ids), gather_with_gradient(caption_ids)
        rows = torch.distributed.get_rank() * len(text) if len(all_text) > len(text) else 0
        target = torch.arange(rows, rows + len(text), device=text.device)
        masked = torch.zeros(len(text), len(all_text), dtype=torch.bool, device=text.device)
        if self.config.mask_negatives:
            masked = same(clip_ids, all_clips) | same(caption_ids, all_captions)
            masked = masked.scatter(1, target[:, None], False)

        def cross_entropy(similarity: torch.Tensor) -> torch.Tensor:
            # A large negative number, not -inf: label smoothing multiplies it by zero.
            logits = (scale * similarity).masked_fill(masked, -1e4)
            allowed = (~masked).float()
            smooth = self.config.label_smoothing * allowed / allowed.sum(1, keepdim=True)
            wanted = smooth.scatter_add(
                1, target[:, None], torch.full_like(smooth[:, :1], 1 - self.config.label_smoothing)
            )
            return nn.functional.cross_entropy(logits, wanted)

        text_to_motion = best_query_similarity(text, all_motion)
        motion_to_text = best_query_similarity(all_text, motion).T
        return (cross_entropy(text_to_motion) + cross_entropy(motion_to_text)) / 2

    def _matching_loss(self, input_ids, text_mask, motion, motion_mask, text_embeds, motion_embeds, excluded):
        """Tells true pairs from pairs of a text with a similar motion, and of a motion with a similar text."""
        with torch.no_grad():
            similarity = self.lamp.logit_scale.exp() * best_query_similarity(text_embeds, motion_embeds)
            rows = torch.arange(max(1, round(self.config.matching_fraction * len(input_ids))), device=motion.device)
            wrong_motion, usable = draw_negatives(similarity[rows], excluded[rows])
            wrong_text, usable_text = draw_negatives(similarity.T[rows], excluded[rows])
        texts = torch.cat([rows, rows, wrong_text])
        motions = torch.cat([rows, wrong_motion, rows])
        labels = torch.cat([torch.ones_like(rows), torch.zeros_like(rows), torch.zeros_like(rows)])
        usable = torch.cat([torch.ones_like(usable), usable, usable_text])

        qformer = self.lamp.qformer
        queries, text = qformer.embed_queries(len(texts)), qformer.embed_text(input_ids[texts])
        mask = nn.functional.pad(text_mask[texts], (queries.shape[1], 0), value=True)[:, None, None]
        hidden, _ = qformer(queries, text, mask, context=motion[motions], context_mask=motion_mask[motions])
        logits = self.matching_head(hidden[:, : queries.shape[1]]).mean(1).float()
        loss = nn.functional.cross_entropy(logits, labels, reduction="none")
        return masked_mean(loss, usable)

    def _text_generation_loss(self, input_ids, text_mask, query_keys) -> torch.Tensor:
        """Next-word prediction; text sees the motion through the keys and values of the queries alone."""
        decoder_ids = input_ids.clone()
        decoder_ids[:, 0] = self.config.decoder_start_token_id
        length, num_queries = input_ids.shape[1], query_keys[0][0].shape[2]
        causal = torch.ones(length, length, dtype=torch.bool, device=input_ids.device).tril()
        mask = nn.functional.pad(causal & text_mask[:, None], (num_queries, 0), value=True)[:, None]
        qformer = self.lamp.qformer
        hidden, _ = qformer(text=qformer.embed_text(decoder_ids), mask=mask, past=query_keys)
        logits = self.word_head(self.word_transform(hidden[:, :-1])).float()
        return self._generation_loss(logits, input_ids[:, 1:], text_mask[:, 1:])

    def _motion_generation_loss(self, input_ids, text_mask, text, motion_codes, motion_mask) -> torch.Tensor:
        """Query i, having read the text, predicts motion token i; all at once."""
        hidden = self.lamp._attend_to_text(input_ids, text_mask, text)[:, : motion_codes.shape[1]]
        return self._generation_loss(self.motion_token_head(hidden).float(), motion_codes, motion_mask)

    def _generation_loss(self, logits, labels, mask) -> torch.Tensor:
        smoothing = self.config.label_smoothing
        loss = nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none", label_smoothing=smoothing)
        return masked_mean(loss, mask)


def same(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """`(N,)` and `(M,)` ids to `(N, M)`: where they are equal."""
    return left[:, None] == right[None, :]


def draw_negatives(similarity: torch.Tensor, excluded: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For each row draws a column with probability softmax(similarity), never an excluded one.

    Returns:
        Columns, and 1 where the row had any column to draw from, else 0; both of shape `(rows,)`.
    """
    usable = ~excluded.all(1)
    weights = similarity.masked_fill(excluded, -torch.inf).softmax(1)
    weights = torch.where(usable[:, None], weights, torch.ones_like(weights))
    return torch.multinomial(weights, 1)[:, 0], usable.float()


__all__ = ["LampForPreTraining", "LampForPreTrainingOutput", "LampModel", "LampOutput", "LampPreTrainedModel"]
