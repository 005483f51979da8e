"""Outputs of LaMP: texts and motions as it sees them, and the scores of both."""

from dataclasses import dataclass

import torch
from transformers.utils import ModelOutput


@dataclass
class LampTextFeatures(ModelOutput):
    """Texts as [`LampModel`] sees them.

    Args:
        embeds (`torch.FloatTensor` of shape `(num_texts, projection_dim)`): Unit-norm embeddings of whole texts.
        word_embeds (`torch.FloatTensor` of shape `(num_texts, text_length, token_projection_dim)`): Unit-norm
            embeddings of the words.
        word_weights (`torch.FloatTensor` of shape `(num_texts, text_length)`): Share of each word in the score by
            words; each text's sum to 1, padding has 0.
        word_states (`torch.FloatTensor` of shape `(num_texts, text_length, word_state_size)`): LaMP's states of the
            words, which a generator attends to.
    """

    embeds: torch.FloatTensor | None = None
    word_embeds: torch.FloatTensor | None = None
    word_weights: torch.FloatTensor | None = None
    word_states: torch.FloatTensor | None = None

    def rows(self, rows: torch.LongTensor) -> "LampTextFeatures":
        """Return the texts of the given rows."""
        return LampTextFeatures(**{name: values[rows] for name, values in self.items()})


@dataclass
class LampMotionFeatures(ModelOutput):
    """Motions as [`LampModel`] sees them.

    Args:
        embeds (`torch.FloatTensor` of shape `(num_motions, projection_dim)`): Unit-norm embeddings of whole motions.
        query_embeds (`torch.FloatTensor` of shape `(num_motions, num_query_tokens, token_projection_dim)`): Unit-norm
            embeddings of the queries.
        queries (`torch.FloatTensor` of shape `(num_motions, num_query_tokens, hidden_size)`): The queries after they
            read the motion.
    """

    embeds: torch.FloatTensor | None = None
    query_embeds: torch.FloatTensor | None = None
    queries: torch.FloatTensor | None = None


@dataclass
class LampOutput(ModelOutput):
    """Scores of [`LampModel`].

    Args:
        logits_per_text (`torch.FloatTensor` of shape `(num_texts, num_motions)`): Sum of the two logits below.
        text_embeds (`torch.FloatTensor` of shape `(num_texts, projection_dim)`): Unit-norm embeddings of texts.
        motion_embeds (`torch.FloatTensor` of shape `(num_motions, projection_dim)`): Unit-norm embeddings of motions.
    """

    logits_per_text: torch.FloatTensor | None = None
    text_embeds: torch.FloatTensor | None = None
    motion_embeds: torch.FloatTensor | None = None


@dataclass
class LampQFormerOutput(ModelOutput):
    """Embeddings and similarities of [`LampQFormerModel`].

    Args:
        logits_per_text (`torch.FloatTensor` of shape `(num_texts, num_motions)`): Scores, see [`similarity`].
        text_embeds (`torch.FloatTensor` of shape `(num_texts, projection_dim)`): Unit-norm text embeddings.
        motion_embeds (`torch.FloatTensor` of shape `(num_motions, num_query_tokens, projection_dim)`): Unit-norm query
            embeddings of each motion.
    """

    logits_per_text: torch.FloatTensor | None = None
    text_embeds: torch.FloatTensor | None = None
    motion_embeds: torch.FloatTensor | None = None


__all__ = ["LampMotionFeatures", "LampOutput", "LampQFormerOutput", "LampTextFeatures"]
