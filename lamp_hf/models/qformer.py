"""LaMP's Q-Former: one transformer for queries and for text, with shared self-attention (LaMP section 3, BLIP-2).

Queries and text have feed-forward layers of their own. In every second layer the queries, and only they, also attend
to a context: motion latents or text states.
"""

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_lamp_qformer import LampQFormerConfig


KeyValues = list[tuple[torch.Tensor, torch.Tensor]]  # keys and values of each layer, [B, heads, length, head_size]


class QFormerAttention(nn.Module):
    """Multi-head attention, followed by residual connection and layer norm as in BERT."""

    def __init__(self, config: LampQFormerConfig, key_value_size: int):
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(key_value_size, config.hidden_size)
        self.value = nn.Linear(key_value_size, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = config.dropout

    def keys_and_values(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Project `(B, length, width)` states to keys and values `(B, heads, length, head_size)`."""
        return self._split(self.key(states)), self._split(self.value(states))

    def forward(
        self,
        hidden: torch.Tensor,
        keys_and_values: tuple[torch.Tensor, torch.Tensor],
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Let `hidden` `(B, L, H)` attend where `mask`, broadcastable to `(B, heads, L, keys)`, is true."""
        key, value = keys_and_values
        dropout = self.dropout if self.training else 0.0
        attended = nn.functional.scaled_dot_product_attention(
            self._split(self.query(hidden)), key, value, attn_mask=mask, dropout_p=dropout
        )
        attended = self.output(attended.transpose(1, 2).flatten(2))
        return self.norm(hidden + nn.functional.dropout(attended, self.dropout, self.training))

    def _split(self, states: torch.Tensor) -> torch.Tensor:
        return states.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class QFormerFeedForward(nn.Module):
    """Feed-forward layer, followed by residual connection and layer norm as in BERT."""

    def __init__(self, config: LampQFormerConfig, intermediate_size: int):
        super().__init__()
        self.intermediate = nn.Linear(config.hidden_size, intermediate_size)
        self.output = nn.Linear(intermediate_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Transform `(B, L, H)` hidden states."""
        return self.norm(hidden + self.dropout(self.output(nn.functional.gelu(self.intermediate(hidden)))))


class QFormerLayer(GradientCheckpointingLayer):
    """Self-attention over queries and text together, cross-attention for queries, feed-forward for each."""

    def __init__(self, config: LampQFormerConfig, index: int, with_text: bool):
        super().__init__()
        self.attention = QFormerAttention(config, config.hidden_size)
        self.cross_attention = None
        if index % config.cross_attention_frequency == 0:
            self.cross_attention = QFormerAttention(config, config.cross_attention_width)
        if with_text:
            self.text_feed_forward = QFormerFeedForward(config, config.intermediate_size)
        self.query_feed_forward = QFormerFeedForward(config, config.query_intermediate_size)

    def forward(self, hidden, num_queries, mask, past, context, context_mask):
        """Transform the hidden states of `num_queries` queries and the text behind them, see [`QFormer`]."""
        key, value = self.attention.keys_and_values(hidden)
        if past is None:
            past = key, value
        else:
            past = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        hidden = self.attention(hidden, past, mask)
        queries, text = hidden[:, :num_queries], hidden[:, num_queries:]
        if num_queries:
            if self.cross_attention is not None and context is not None:
                queries = self.cross_attention(queries, self.cross_attention.keys_and_values(context), context_mask)
            queries = self.query_feed_forward(queries)
        if text.shape[1]:
            text = self.text_feed_forward(text)
        return torch.cat([queries, text], 1), (key, value)


class QFormer(nn.Module):
    """Transformer of queries and text.

    Args:
        config ([`LampQFormerConfig`]): Configuration of LaMP.
        with_text (`bool`): Create the text side; otherwise the model takes queries only.
    """

    def __init__(self, config: LampQFormerConfig, with_text: bool = True):
        super().__init__()
        if with_text:
            self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
            self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        self.query_tokens = nn.Embedding(config.num_query_tokens, config.hidden_size)
        self.layers = nn.ModuleList(QFormerLayer(config, i, with_text) for i in range(config.num_hidden_layers))

    def embed_text(self, input_ids: torch.LongTensor) -> torch.Tensor:
        """Embed tokens `(batch_size, text_length)` with their positions, `(batch_size, text_length, hidden_size)`."""
        positions = self.position_embeddings.weight[: input_ids.shape[1]]
        return self.dropout(self.norm(self.word_embeddings(input_ids) + positions))

    def embed_queries(self, batch_size: int) -> torch.Tensor:
        """Return the learned queries for a batch, `(batch_size, num_query_tokens, hidden_size)`."""
        return self.dropout(self.norm(self.query_tokens.weight)).expand(batch_size, -1, -1)

    def forward(
        self,
        queries: torch.Tensor | None = None,
        text: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        past: KeyValues | None = None,
        context: torch.Tensor | None = None,
        context_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, KeyValues]:
        """Run the layers on queries, text or both.

        Args:
            queries (`torch.FloatTensor` of shape `(batch_size, num_queries, hidden_size)`, *optional*): Embedded
                queries.
            text (`torch.FloatTensor` of shape `(batch_size, text_length, hidden_size)`, *optional*): Embedded text.
            mask (`torch.BoolTensor` broadcastable to `(batch_size, 1, length, past_length + length)`, *optional*):
                True where self-attention may look; everywhere by default.
            past (`KeyValues`, *optional*): Keys and values of an earlier pass, which all positions may attend to.
            context (`torch.FloatTensor` of shape `(batch_size, context_length, cross_attention_width)`, *optional*):
                States that the queries cross-attend to.
            context_mask (`torch.BoolTensor` of shape `(batch_size, context_length)`, *optional*): False at padding.

        Returns:
            Hidden states `(batch_size, num_queries + text_length, hidden_size)`, queries first, and the keys and
            values of this pass.
        """
        num_queries = 0 if queries is None else queries.shape[1]
        hidden = torch.cat([part for part in (queries, text) if part is not None], 1)
        context_mask = None if context_mask is None else context_mask[:, None, None]
        present = []
        for i, layer in enumerate(self.layers):
            layer_past = None if past is None else past[i]
            hidden, keys_and_values = layer(hidden, num_queries, mask, layer_past, context, context_mask)
            present.append(keys_and_values)
        return hidden, present


__all__ = ["QFormer"]
