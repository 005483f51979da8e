"""Pretraining of LaMP by a contrastive, a matching and two generation objectives (Li et al., ICLR 2025, section 3)."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers.utils import ModelOutput

from .configuration_lamp import LampConfig
from .contrastive import caption_targets, contrastive_loss, cosines, draw_negatives, equal_pairs
from .lamp_outputs import LampMotionFeatures, LampTextFeatures
from .lamp_queries import queries_of_tokens
from .modeling_common import (
    CheckpointedDecoderLayer,
    CheckpointedEncoderLayer,
    gather_with_gradient,
    in_distributed_training,
    masked_mean,
    mean_of_words,
    sinusoidal_positions,
)
from .modeling_lamp import LampModel
from .modeling_lamp_motion import LampPreTrainedModel


@dataclass
class LampForPreTrainingOutput(ModelOutput):
    """Losses of [`LampForPreTraining`], and what they were computed from.

    Args:
        loss (`torch.FloatTensor` of shape `()`): Weighted sum of the losses.
        contrastive_loss, matching_loss, text_generation_loss, motion_generation_loss (`torch.FloatTensor` of shape
            `()`): The four objectives.
        reconstruction_loss, decorrelation_loss (`torch.FloatTensor` of shape `()`): What keeps the queries apart.
        text ([`LampTextFeatures`]), motion ([`LampMotionFeatures`]): The batch as LaMP sees it.
    """

    loss: torch.FloatTensor | None = None
    contrastive_loss: torch.FloatTensor | None = None
    matching_loss: torch.FloatTensor | None = None
    text_generation_loss: torch.FloatTensor | None = None
    motion_generation_loss: torch.FloatTensor | None = None
    reconstruction_loss: torch.FloatTensor | None = None
    decorrelation_loss: torch.FloatTensor | None = None
    text: LampTextFeatures | None = None
    motion: LampMotionFeatures | None = None


@dataclass
class LampPairs:
    """A batch of captioned motions as LaMP sees it.

    Args:
        text ([`LampTextFeatures`]): All captions.
        motion ([`LampMotionFeatures`]): The motions.
        text_queries (`torch.FloatTensor` of shape `(batch_size, num_query_tokens, hidden_size)`): After reading each
            motion's first caption.
        sentences (`torch.FloatTensor` of shape `(batch_size * num_captions, text_hidden_size)`): Unit-norm embeddings
            of the captions by the frozen sentence encoder.
        first (`torch.LongTensor` of shape `(batch_size,)`): Row of each motion's first caption.
    """

    text: LampTextFeatures
    motion: LampMotionFeatures
    text_queries: torch.FloatTensor
    sentences: torch.FloatTensor
    first: torch.LongTensor


class LampCaptionDecoder(nn.Module):
    """Predicts each next word from the words before it and the motion's queries."""

    def __init__(self, config: LampConfig):
        super().__init__()
        size, words = config.hidden_size, config.text_config.hidden_size
        self.embed = nn.Linear(words, size)
        layer = CheckpointedDecoderLayer(size, 4, 2 * size, config.dropout, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerDecoder(layer, config.num_decoder_layers, nn.LayerNorm(size))
        self.head = nn.Linear(size, words)

    def forward(self, words: torch.Tensor, queries: torch.Tensor, word_embeddings: torch.Tensor) -> torch.Tensor:
        """Return logits `(batch_size, text_length, vocab_size)` of the word after each.

        Args:
            words (`torch.FloatTensor` of shape `(batch_size, text_length, text_hidden_size)`): Embedded words.
            queries (`torch.FloatTensor` of shape `(batch_size, num_query_tokens, hidden_size)`): Of the motion.
            word_embeddings (`torch.FloatTensor` of shape `(vocab_size, text_hidden_size)`): The encoder's, which the
                prediction is compared with.
        """
        hidden = self.embed(words)
        hidden = hidden + sinusoidal_positions(hidden.shape[1], hidden.shape[2]).to(hidden)
        causal = torch.ones(2 * words.shape[1:2], dtype=torch.bool, device=words.device).triu(1)
        hidden = self.layers(hidden, queries.to(hidden.dtype), tgt_mask=causal)
        return self.head(hidden) @ word_embeddings.T.to(hidden.dtype)


class LampMotionDecoder(nn.Module):
    """Predicts all motion tokens of a clip at once from the text's queries and the clip's length."""

    def __init__(self, config: LampConfig):
        super().__init__()
        size = config.hidden_size
        self.length_embeddings = nn.Embedding(config.num_query_tokens + 1, size)
        layer = CheckpointedEncoderLayer(size, 4, 2 * size, config.dropout, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(
            layer, config.num_decoder_layers, nn.LayerNorm(size), enable_nested_tensor=False
        )
        self.head = nn.Linear(size, config.motion_config.codebook_size)

    def forward(self, queries: torch.Tensor, mask: torch.BoolTensor) -> torch.Tensor:
        """Return logits `(batch_size, num_tokens, codebook_size)`.

        Args:
            queries (`torch.FloatTensor` of shape `(batch_size, num_query_tokens, hidden_size)`): Of the text.
            mask (`torch.BoolTensor` of shape `(batch_size, num_tokens)`): False at padding.
        """
        hidden = queries_of_tokens(queries, mask) + self.length_embeddings(mask.sum(1))[:, None]
        hidden = hidden + sinusoidal_positions(hidden.shape[1], hidden.shape[2]).to(hidden)
        return self.head(self.layers(hidden, src_key_padding_mask=~mask))


class LampForPreTraining(LampPreTrainedModel):
    """LaMP with its objectives: contrastive, matching, motion-grounded text and text-grounded motion generation.

    Args:
        config ([`LampConfig`]): Configuration of the model.
    """

    def __init__(self, config: LampConfig):
        super().__init__(config)
        self.lamp = LampModel(config)
        self.caption_decoder = LampCaptionDecoder(config)
        self.motion_decoder = LampMotionDecoder(config)
        self.code_head = nn.Linear(config.hidden_size, config.motion_config.codebook_size)
        self.post_init()

    def forward(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor,
        text_states: torch.FloatTensor,
        latents: torch.FloatTensor,
        latent_mask: torch.BoolTensor,
        motion_codes: torch.LongTensor,
        clip_ids: torch.LongTensor,
        caption_ids: torch.LongTensor,
    ) -> LampForPreTrainingOutput:
        """Compute the losses of a batch of motions with `num_captions` captions each.

        The frozen encoders' outputs are inputs, so that a training set is encoded once.

        Args:
            input_ids, attention_mask (`torch.Tensor` of shape `(batch_size * num_captions, text_length)`): Captions;
                those of a clip follow each other, and the first of them takes part in all objectives, the others in
                the contrastive one.
            text_states (`torch.FloatTensor` of shape `(batch_size * num_captions, text_length, text_hidden_size)`):
                From [`LampModel.encode_text`].
            latents (`torch.FloatTensor` of shape `(batch_size, num_tokens, codebook_dim)`): From
                [`LampModel.encode_latents`].
            latent_mask (`torch.BoolTensor` of shape `(batch_size, num_tokens)`): False at padding.
            motion_codes (`torch.LongTensor` of shape `(batch_size, num_tokens)`): Codes by the motion tokenizer.
            clip_ids (`torch.LongTensor` of shape `(batch_size,)`): Equal numbers for the same clip.
            caption_ids (`torch.LongTensor` of shape `(batch_size * num_captions,)`): Equal numbers for the same
                caption, however it is worded.
        """
        pairs = self.encode_pairs(text_states, attention_mask, latents, latent_mask)
        losses = self.comparing_losses(
            pairs.text, pairs.motion, pairs.text_queries, pairs.sentences, clip_ids, caption_ids
        )
        losses |= self.separate_losses(
            pairs, input_ids, attention_mask, text_states, latent_mask, motion_codes, clip_ids, caption_ids
        )
        return LampForPreTrainingOutput(
            loss=self.weighted_sum(losses),
            text=pairs.text,
            motion=pairs.motion,
            **{f"{name}_loss": value for name, value in losses.items()},
        )

    def weighted_sum(self, losses: dict[str, torch.Tensor]) -> torch.Tensor:
        """Sum losses by the weights of the configuration."""
        return sum(getattr(self.config, f"{name}_weight") * value for name, value in losses.items())

    def encode_pairs(self, text_states, attention_mask, latents, latent_mask) -> LampPairs:
        """Encode a batch, for `comparing_losses` and `separate_losses`; for the arguments see `forward`."""
        lamp, mask = self.lamp, attention_mask.bool()
        text, motion = lamp.encode_text_parts(text_states, mask), lamp.encode_motion_parts(latents, latent_mask)
        first = torch.arange(0, len(mask), len(mask) // len(latents), device=mask.device)
        return LampPairs(
            text=text,
            motion=motion,
            text_queries=lamp.read_words(text.word_states[first], mask[first]),
            sentences=nn.functional.normalize(mean_of_words(text_states.float(), mask), dim=-1),
            first=first,
        )

    def comparing_losses(
        self, text, motion, text_queries, sentences, clip_ids, caption_ids
    ) -> dict[str, torch.Tensor]:
        """Compute the losses in which the pairs of a batch meet: the contrastive one and that of decorrelation.

        Args:
            text ([`LampTextFeatures`]): Of all captions; `word_states` are not needed.
            motion ([`LampMotionFeatures`]): Of all motions.
            text_queries (`torch.FloatTensor` of shape `(batch_size, num_query_tokens, hidden_size)`): Of the first
                captions.
            sentences (`torch.FloatTensor` of shape `(batch_size * num_captions, text_hidden_size)`): Unit vectors.
            clip_ids, caption_ids (`torch.LongTensor`): See `forward`.
        """
        decorrelation = (decorrelation_loss(motion.queries) + decorrelation_loss(text_queries)) / 2
        contrastive = self._contrastive_loss(text, motion, sentences, clip_ids, caption_ids)
        return {"contrastive": contrastive, "decorrelation": decorrelation}

    def separate_losses(
        self,
        pairs: LampPairs,
        input_ids,
        attention_mask,
        text_states,
        latent_mask,
        motion_codes,
        clip_ids,
        caption_ids,
    ) -> dict[str, torch.Tensor]:
        """Compute the losses that are means over pairs, words or tokens; for the arguments see `forward`.

        Matching takes its wrong pairs from the batch too, but any batch will do.
        """
        text, motion, first, mask = pairs.text, pairs.motion, pairs.first, attention_mask.bool()
        sentences = pairs.sentences[first]
        tokens = self.motion_decoder(pairs.text_queries, latent_mask)
        codes = self.code_head(queries_of_tokens(motion.queries, latent_mask))
        return {
            "matching": self.matching_loss(
                text_states, mask, text, motion, first, sentences, clip_ids, caption_ids[first]
            ),
            "text_generation": self._text_generation_loss(input_ids[first], mask[first], motion.queries),
            "motion_generation": _cross_entropy(tokens, motion_codes, latent_mask),
            "reconstruction": _cross_entropy(codes, motion_codes, latent_mask),
        }

    def _contrastive_loss(self, text, motion, sentences, clip_ids, caption_ids) -> torch.Tensor:
        """Average the loss of the sum of both scores, of whole texts and motions, and of words and queries."""
        threshold = self.config.similar_caption_threshold
        right, excluded, back, excluded_back = caption_targets(sentences, clip_ids, caption_ids, threshold)
        to_motion = self.lamp.score(text, gather_motions(motion))
        to_text = to_motion  # the same pairs, unless there are other processes
        if in_distributed_training():
            to_text = self.lamp.score(gather_texts(text), motion)
        to_text = [logits.T for logits in to_text]
        losses = []
        for forth, backwards in zip((sum(to_motion), *to_motion), (sum(to_text), *to_text)):
            losses += [
                contrastive_loss(forth, right, excluded),
                contrastive_loss(backwards, back, excluded_back),
            ]
        return sum(losses) / len(losses)

    def matching_loss(self, states, mask, text, motion, first, sentences, clip_ids, caption_ids) -> torch.Tensor:
        """Compute the loss of telling true pairs from a text with a similar motion and a motion with a similar text.

        The negatives are drawn from this process's batch, the more often the higher LaMP scores them.
        """
        with torch.no_grad():
            excluded = equal_pairs(clip_ids, clip_ids) | equal_pairs(caption_ids, caption_ids)
            excluded = excluded | (cosines(sentences, sentences) > self.config.similar_caption_threshold)
            excluded.fill_diagonal_(True)
            scores = sum(self.lamp.score(text.rows(first), motion)) / 2
            wrong_motion, usable = draw_negatives(scores, excluded)
            wrong_text, usable_text = draw_negatives(scores.T, excluded)
        rows = torch.arange(len(clip_ids), device=states.device)
        texts, motions = torch.cat([rows, rows, wrong_text]), torch.cat([rows, wrong_motion, rows])
        logits = self.lamp.match(states, mask, text, motion, first[texts], motions)
        labels = torch.cat([torch.ones_like(rows), torch.zeros_like(rows), torch.zeros_like(rows)])
        loss = nn.functional.cross_entropy(logits, labels, reduction="none")
        return masked_mean(loss, torch.cat([torch.ones_like(usable), usable, usable_text]))

    def _text_generation_loss(self, input_ids, mask, queries) -> torch.Tensor:
        embeddings = self.lamp.get_input_embeddings()
        logits = self.caption_decoder(embeddings(input_ids[:, :-1]), queries, embeddings.weight)
        return _cross_entropy(logits, input_ids[:, 1:], mask[:, 1:])


def decorrelation_loss(queries: torch.FloatTensor) -> torch.FloatTensor:
    """Return the mean squared cosine between different queries of a clip, each without its mean over the batch.

    Args:
        queries (`torch.FloatTensor` of shape `(batch_size, num_query_tokens, hidden_size)`): Of clips or texts.
    """
    mean = gather_with_gradient(queries.mean(0, keepdim=True)).mean(0)  # over all training processes
    unit = nn.functional.normalize((queries - mean).float(), dim=-1, eps=1e-6)
    with torch.autocast(unit.device.type, enabled=False):
        squares = (unit @ unit.transpose(1, 2)).square()
    count = queries.shape[1]
    others = squares.sum((1, 2)) - squares.diagonal(dim1=1, dim2=2).sum(1)
    return (others / (count * (count - 1))).mean()


def gather_texts(text: LampTextFeatures) -> LampTextFeatures:
    """Concatenate what scores need of the texts of all training processes, padded to the longest."""
    missing = 0
    if in_distributed_training():
        longest = torch.tensor(text.word_weights.shape[1], device=text.embeds.device)
        torch.distributed.all_reduce(longest, torch.distributed.ReduceOp.MAX)
        missing = int(longest) - text.word_weights.shape[1]
    return LampTextFeatures(
        embeds=gather_with_gradient(text.embeds),
        word_embeds=gather_with_gradient(nn.functional.pad(text.word_embeds, (0, 0, 0, missing))),
        word_weights=gather_with_gradient(nn.functional.pad(text.word_weights, (0, missing))),
    )


def gather_motions(motion: LampMotionFeatures) -> LampMotionFeatures:
    """Concatenate what scores need of the motions of all training processes."""
    return LampMotionFeatures(
        embeds=gather_with_gradient(motion.embeds), query_embeds=gather_with_gradient(motion.query_embeds)
    )


def _cross_entropy(logits: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    loss = nn.functional.cross_entropy(logits[mask].float(), labels[mask], reduction="none")
    return masked_mean(loss, torch.ones_like(loss))


__all__ = ["LampForPreTraining", "LampForPreTrainingOutput", "LampPairs", "decorrelation_loss"]
