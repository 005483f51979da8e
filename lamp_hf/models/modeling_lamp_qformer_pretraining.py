"""Pretraining of LaMP by a contrastive, a matching and two generation objectives (Li et al., ICLR 2025, section 3)."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers.utils import ModelOutput

from .configuration_lamp_qformer import LampQFormerConfig
from .contrastive import contrastive_loss, contrastive_targets, cosines, draw_negatives, equal_pairs, similarity
from .modeling_common import gather_with_gradient, masked_mean
from .modeling_lamp_qformer import LampQFormerModel, LampQFormerPreTrainedModel


@dataclass
class LampQFormerForPreTrainingOutput(ModelOutput):
    """Losses and embeddings of [`LampQFormerForPreTraining`].

    Args:
        loss (`torch.FloatTensor` of shape `()`): Weighted sum of the four losses.
        contrastive_loss, matching_loss, text_generation_loss, motion_generation_loss (`torch.FloatTensor` of shape
            `()`): The four losses; 0 for those of weight 0.
        text_embeds (`torch.FloatTensor` of shape `(batch_size, projection_dim)`): Unit-norm text embeddings.
        motion_embeds (`torch.FloatTensor` of shape `(batch_size, num_query_tokens, projection_dim)`): Unit-norm query
            embeddings of each motion.
    """

    loss: torch.FloatTensor | None = None
    contrastive_loss: torch.FloatTensor | None = None
    matching_loss: torch.FloatTensor | None = None
    text_generation_loss: torch.FloatTensor | None = None
    motion_generation_loss: torch.FloatTensor | None = None
    text_embeds: torch.FloatTensor | None = None
    motion_embeds: torch.FloatTensor | None = None


class LampQFormerForPreTraining(LampQFormerPreTrainedModel):
    """LaMP with its objectives: contrastive, matching, motion-grounded text and text-grounded motion generation.

    Args:
        config ([`LampQFormerConfig`]): Configuration of the model.
    """

    _tied_weights_keys = {"word_head.weight": "lamp.qformer.word_embeddings.weight"}

    def __init__(self, config: LampQFormerConfig):
        super().__init__(config)
        self.lamp = LampQFormerModel(config)
        self.motion_token_head = nn.Linear(config.hidden_size, config.motion_config.codebook_size, bias=False)
        self.word_transform = nn.Sequential(
            nn.Linear(config.hidden_size, config.hidden_size),
            nn.GELU(),
            nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps),
        )
        self.word_head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        """Return the head that predicts words."""
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
        sentence_embeds: torch.FloatTensor | None = None,
    ) -> LampQFormerForPreTrainingOutput:
        """Compute the losses of a batch of captioned motions.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, text_length)`): One caption of each clip.
            attention_mask (`torch.Tensor` of shape `(batch_size, text_length)`): 0 at padding.
            motion_values (`torch.FloatTensor` of shape `(batch_size, num_frames, feature_size)`): Normalised features.
            motion_attention_mask (`torch.Tensor` of shape `(batch_size, num_frames)`): 0 at padding.
            motion_codes (`torch.LongTensor` of shape `(batch_size, num_tokens)`): Codes by the motion tokenizer.
            clip_ids, caption_ids (`torch.LongTensor` of shape `(batch_size,)`): Equal numbers for the same clip and
                for the same caption; such pairs are no negatives.
            sentence_embeds (`torch.FloatTensor` of shape `(batch_size, size)`, *optional*): Unit vectors of the
                captions by a frozen sentence encoder. Required unless `false_negatives` is `"none"`.
        """
        config, lamp = self.config, self.lamp
        text_mask = attention_mask.bool()
        text = lamp.encode_text(input_ids, text_mask)
        latents, motion_mask = lamp.encode_latents(motion_values, motion_attention_mask)
        motion = lamp.project_latents(latents)
        queries, query_keys = lamp.attend(motion, motion_mask)
        text_embeds = lamp.embed_pooled_text(lamp.pool_text(text, text_mask))
        motion_embeds = lamp.embed_queries(queries, latents, motion_mask)

        ids = [clip_ids, caption_ids]
        losses = {
            "contrastive": lambda: qformer_contrastive_loss(lamp, text_embeds, motion_embeds, ids, sentence_embeds),
            "matching": lambda: qformer_matching_loss(
                lamp, input_ids, text_mask, motion, motion_mask, text_embeds, motion_embeds, ids, sentence_embeds
            ),
            "text_generation": lambda: self._text_generation_loss(input_ids, text_mask, query_keys),
            "motion_generation": lambda: self._motion_generation_loss(
                input_ids, text_mask, text, motion_codes, motion_mask
            ),
        }
        weights = {name: getattr(config, f"{name}_weight") for name in losses}
        values = {name: loss() if weights[name] else text_embeds.new_zeros(()) for name, loss in losses.items()}
        return LampQFormerForPreTrainingOutput(
            loss=sum(weights[name] * value for name, value in values.items()),
            text_embeds=text_embeds,
            motion_embeds=motion_embeds,
            **{f"{name}_loss": value for name, value in values.items()},
        )

    def _text_generation_loss(self, input_ids, text_mask, query_keys) -> torch.Tensor:
        """Compute next-word prediction, where text sees the motion only through the queries' keys and values."""
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
        """Compute the prediction of motion token i by query i after it read the text, for all i in parallel."""
        hidden = self.lamp.get_text_condition(input_ids, text_mask, text)[:, : motion_codes.shape[1]]
        return self._generation_loss(self.motion_token_head(hidden).float(), motion_codes, motion_mask)

    def _generation_loss(self, logits, labels, mask) -> torch.Tensor:
        smoothing = self.config.label_smoothing
        loss = nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none", label_smoothing=smoothing)
        return masked_mean(loss, mask)


def qformer_contrastive_loss(lamp: LampQFormerModel, text, motion, ids, sentence_embeds) -> torch.Tensor:
    """Compute the symmetric cross-entropy over the rows of all processes.

    Args:
        lamp ([`LampQFormerModel`]): Model that gives the temperature and the configuration.
        text (`torch.FloatTensor` of shape `(batch_size, projection_dim)`): Unit-norm text embeddings.
        motion (`torch.FloatTensor` of shape `(batch_size, num_query_tokens, projection_dim)`): Unit-norm query
            embeddings.
        ids (`list[torch.LongTensor]`): Ids of clips and captions, see [`contrastive_targets`].
        sentence_embeds (`torch.FloatTensor` of shape `(batch_size, size)`, *optional*): Unit vectors of the captions.
    """
    config, scale = lamp.config, lamp.temperature
    targets, excluded = contrastive_targets(
        text,
        ids if config.released_quirks.mask_negatives else None,
        sentence_embeds,
        config.false_negatives,
        config.false_negative_threshold,
        config.soft_weight,
    )
    text_to_motion = contrastive_scores(text, gather_with_gradient(motion), config.contrastive_scoring)
    motion_to_text = contrastive_scores(gather_with_gradient(text), motion, config.contrastive_scoring).T
    losses = [
        contrastive_loss(scale * scores, targets, excluded, config.label_smoothing)
        for scores in (text_to_motion, motion_to_text)
    ]
    return sum(losses) / 2


def qformer_matching_loss(
    lamp, input_ids, text_mask, motion, motion_mask, text_embeds, motion_embeds, ids, sentence_embeds=None
):
    """Compute the loss of telling true pairs from a text with a similar motion and a motion with a similar text.

    A share `matching_fraction` of the rows takes part, with negatives from the whole batch of this process.

    Args:
        lamp ([`LampQFormerModel`]): Model that matches.
        input_ids, text_mask (`torch.Tensor` of shape `(batch_size, text_length)`): Tokens and their mask.
        motion, motion_mask (`torch.Tensor`): From [`LampQFormerModel.encode_motion`].
        text_embeds, motion_embeds (`torch.FloatTensor`): Embeddings that similar pairs are drawn by.
        ids, sentence_embeds: See [`qformer_contrastive_loss`].
    """
    config = lamp.config
    with torch.no_grad():
        excluded = torch.zeros(len(text_embeds), len(text_embeds), dtype=torch.bool, device=motion.device)
        for values in ids if config.released_quirks.mask_negatives else []:
            excluded = excluded | equal_pairs(values, values)  # the true pair among them
        if config.false_negatives != "none":  # a similar caption is not wrong
            excluded = excluded | (cosines(sentence_embeds, sentence_embeds) > config.false_negative_threshold)
        scores = lamp.temperature * similarity(text_embeds, motion_embeds)
        rows = torch.randperm(len(input_ids), device=motion.device)
        rows = rows[: max(1, round(config.matching_fraction * len(input_ids)))]
        wrong_motion, usable = draw_negatives(scores[rows], excluded[rows])
        wrong_text, usable_text = draw_negatives(scores.T[rows], excluded[rows])
    texts = torch.cat([rows, rows, wrong_text])
    motions = torch.cat([rows, wrong_motion, rows])
    labels = torch.cat([torch.ones_like(rows), torch.zeros_like(rows), torch.zeros_like(rows)])
    usable = torch.cat([torch.ones_like(usable), usable, usable_text])
    logits = lamp.match(input_ids[texts], text_mask[texts], motion[motions], motion_mask[motions])
    loss = nn.functional.cross_entropy(logits, labels, reduction="none")
    return masked_mean(loss, usable)


def contrastive_scores(text: torch.Tensor, motion: torch.Tensor, scoring: str) -> torch.Tensor:
    """Score texts against motions by [`similarity`], or for `"both"` by the mean of its `"max"` and `"mean"`."""
    if scoring == "both":
        return (similarity(text, motion, "max") + similarity(text, motion, "mean")) / 2
    return similarity(text, motion, scoring)


__all__ = ["LampQFormerForPreTraining", "LampQFormerForPreTrainingOutput"]
