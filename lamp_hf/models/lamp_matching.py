"""LaMP's matcher, which tells whether a text and a motion belong together by reading one beside the other."""

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_lamp import LampConfig
from .modeling_common import mean_of_words


class LampMatcher(nn.Module):
    """Words that attend to a motion's queries, pooled and classified.

    The queries, both embeddings and the scores are read without gradient: matching judges what the other objectives
    learned, and does not bend the space that an index searches.
    """

    def __init__(self, config: LampConfig):
        super().__init__()
        size = config.matcher_size
        self.words = nn.Linear(config.text_config.hidden_size, size)
        self.queries = nn.Sequential(nn.LayerNorm(config.hidden_size), nn.Linear(config.hidden_size, size))
        self.layers = nn.ModuleList(
            _CrossAttentionLayer(size, config.matcher_dropout) for _ in range(config.num_matcher_layers)
        )
        self.norm = nn.LayerNorm(2 * size)
        self.head = nn.Sequential(
            nn.Linear(2 * size + config.projection_dim + 2, size),
            nn.GELU(),
            nn.Dropout(config.matcher_dropout),
            nn.Linear(size, 2),
        )

    def forward(self, words, word_mask, queries, products, scores) -> torch.Tensor:
        """Judge pairs of a text and a motion.

        Args:
            words (`torch.FloatTensor` of shape `(num_pairs, text_length, text_hidden_size)`): States of the frozen
                sentence encoder.
            word_mask (`torch.BoolTensor` of shape `(num_pairs, text_length)`): False at padding.
            queries (`torch.FloatTensor` of shape `(num_pairs, num_query_tokens, hidden_size)`): Of the motions.
            products (`torch.FloatTensor` of shape `(num_pairs, projection_dim)`): Products of the unit-norm embeddings
                of text and motion, channel by channel.
            scores (`torch.FloatTensor` of shape `(num_pairs, 2)`): Logits of the pair, by whole and by words.

        Returns:
            Logits `(num_pairs, 2)` of no pair and a pair.
        """
        hidden, queries = self.words(words), self.queries(queries.detach())
        for layer in self.layers:
            hidden = layer(hidden, queries)
        largest = hidden.masked_fill(~word_mask[..., None], -1e4).amax(1)
        pooled = self.norm(torch.cat([mean_of_words(hidden, word_mask), largest], -1))
        scale = products.shape[-1] ** 0.5 / 2  # unit vectors have products of about 1 / size
        seen = [pooled, (scale * products.detach()).to(pooled.dtype), (scores.detach() / 10).to(pooled.dtype)]
        return self.head(torch.cat(seen, -1)).float()


class _CrossAttentionLayer(GradientCheckpointingLayer):
    """Cross-attention and feed-forward, each after a layer norm."""

    def __init__(self, size: int, dropout: float, num_heads: int = 4):
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.attention = nn.MultiheadAttention(size, num_heads, dropout, batch_first=True)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(size), nn.Linear(size, 2 * size), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * size, size)
        )

    def forward(self, hidden: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        hidden = hidden + self.attention(self.norm(hidden), context, context, need_weights=False)[0]
        return hidden + self.feed_forward(hidden)


__all__ = ["LampMatcher"]
