"""LaMP's motion trunk and its queries, each of which reads its own part of a motion or a text."""

import math

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_lamp import LampConfig
from .modeling_common import mean_of_words


class LampMotionTrunk(GradientCheckpointingLayer):
    """Convolutions over whitened motion latents, trained with LaMP.

    Attention from queries to raw latents learns local movement slowly. Convolutions see it at once.
    """

    def __init__(self, config: LampConfig):
        super().__init__()
        size, latents = config.trunk_size, config.motion_config.codebook_dim
        self.register_buffer("latent_mean", torch.zeros(latents))
        self.register_buffer("latent_whitening", torch.eye(latents))
        self.convolutions = nn.ModuleList(
            nn.Conv1d(size if i else latents, size, config.trunk_kernel, padding=config.trunk_kernel // 2)
            for i in range(config.num_trunk_layers)
        )
        self.dropout = nn.Dropout(config.dropout)

    @torch.no_grad()
    def fit_whitening(self, latents: torch.FloatTensor, shrinkage: float = 0.3) -> None:
        """Take mean and covariance from training latents.

        Args:
            latents (`torch.FloatTensor` of shape `(num_latents, codebook_dim)`): Latents without padding.
            shrinkage (`float`): Share of the mean variance in each direction's; 0 whitens fully, 1 only scales.
        """
        mean = latents.mean(0)
        values, vectors = torch.linalg.eigh((latents - mean).T.cov().double())
        values = (1 - shrinkage) * values + shrinkage * values.mean()
        self.latent_mean.copy_(mean)
        self.latent_whitening.copy_(vectors @ (values.rsqrt()[:, None] * vectors.T))

    def forward(self, latents: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return states of the latents, and the latents whitened.

        Args:
            latents (`torch.FloatTensor` of shape `(batch_size, num_tokens, codebook_dim)`): Of the frozen encoder.
            mask (`torch.BoolTensor` of shape `(batch_size, num_tokens)`): False at padding.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, num_tokens, trunk_size)` and
            `(batch_size, num_tokens, codebook_dim)`; 0 at padding.
        """
        weights = mask[..., None].to(self.latent_mean.dtype)
        white = ((latents.to(weights.dtype) - self.latent_mean) @ self.latent_whitening) * weights
        hidden, keep = white.transpose(1, 2), weights.transpose(1, 2)
        for convolution in self.convolutions:
            hidden = self.dropout(nn.functional.gelu(convolution(hidden))) * keep
        return hidden.transpose(1, 2), white


class LampQueries(GradientCheckpointingLayer):
    """Queries that read a context, each anchored to its own part of it.

    Query i of Q starts from the context in a window around the share (i + 1/2) / Q of its length, and attends with a
    bias towards that place. The context's mean over time is subtracted first, and given back to each query by a gate
    of its own: what all queries read alike would make them alike.
    """

    def __init__(self, config: LampConfig):
        super().__init__()
        size, heads = config.hidden_size, config.num_attention_heads
        self.config = config
        self.query_tokens = nn.Embedding(config.num_query_tokens, size)
        self.local = nn.Linear(config.context_size, size)
        self.whole = nn.Linear(config.context_size, size)
        self.gates = nn.Parameter(torch.empty(config.num_query_tokens))
        self.log_window = nn.Parameter(torch.empty(()))  # in tokens of the context
        self.log_reach = nn.Parameter(torch.empty(heads))  # in shares of the context's length
        self.attention_norm, self.norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.query, self.output = nn.Linear(size, size), nn.Linear(size, size)
        self.key, self.value = nn.Linear(config.context_size, size), nn.Linear(config.context_size, size)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(size),
            nn.Linear(size, config.intermediate_size),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.intermediate_size, size),
        )
        self.dropout = nn.Dropout(config.dropout)

    @torch.no_grad()
    def init_weights(self) -> None:
        """Set the parameters that transformers does not know."""
        init.normal_(self.query_tokens.weight, std=1.0)
        init.constant_(self.gates, math.atanh(self.config.query_gate))
        init.constant_(self.log_window, math.log(self.config.query_window))
        init.copy_(self.log_reach, torch.linspace(math.log(0.03), math.log(0.3), len(self.log_reach)))

    def forward(self, context: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Let the queries read a context.

        Args:
            context (`torch.FloatTensor` of shape `(batch_size, length, context_size)`): States of a motion or a text.
            mask (`torch.BoolTensor` of shape `(batch_size, length)`): False at padding.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, num_query_tokens, hidden_size)`.
        """
        mean = mean_of_words(context, mask)[:, None]
        centred = (context - mean) * mask[..., None].to(context.dtype)
        distance = self._distances(mask)  # [B, Q, L], in shares of the length
        lengths = mask.sum(1).clamp(min=1)[:, None, None]
        window = -(distance * lengths).square() / (2 * (2 * self.log_window).exp())
        window = window.masked_fill(~mask[:, None], -torch.inf).softmax(-1).to(context.dtype)
        gates = self.gates.tanh()[:, None].to(context.dtype)
        hidden = self.query_tokens.weight + self.local(window @ centred) + gates * self.whole(mean)

        bias = -distance[:, None].square() / (2 * (2 * self.log_reach).exp()[:, None, None])
        bias = bias.masked_fill(~mask[:, None, None], -torch.inf)
        query = self._split(self.query(self.attention_norm(hidden)))
        key, value = self._split(self.key(centred)), self._split(self.value(centred))
        attended = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
        hidden = hidden + self.dropout(self.output(attended.transpose(1, 2).flatten(2)))
        return self.norm(hidden + self.dropout(self.feed_forward(hidden)))

    def _distances(self, mask: torch.Tensor) -> torch.Tensor:
        """Return how far each token is from each query's place, `(B, Q, L)`, in shares of the context's length."""
        lengths = mask.sum(1).clamp(min=1)[:, None, None]
        tokens = (torch.arange(mask.shape[1], device=mask.device) + 0.5) / lengths
        count = self.config.num_query_tokens
        places = (torch.arange(count, device=mask.device) + 0.5) / count
        return tokens - places[:, None]

    def _split(self, states: torch.Tensor) -> torch.Tensor:
        return states.unflatten(-1, (self.config.num_attention_heads, -1)).transpose(1, 2)


def queries_of_tokens(queries: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return, for each motion token, the query whose part of the clip the token lies in.

    Args:
        queries (`torch.FloatTensor` of shape `(batch_size, num_query_tokens, hidden_size)`): Queries of clips.
        mask (`torch.BoolTensor` of shape `(batch_size, num_tokens)`): False at padding.

    Returns:
        `torch.FloatTensor` of shape `(batch_size, num_tokens, hidden_size)`.
    """
    count, lengths = queries.shape[1], mask.sum(1, keepdim=True).clamp(min=1)
    places = (torch.arange(mask.shape[1], device=mask.device) + 0.5) / lengths * count
    rows = places.long().clamp(max=count - 1)
    return queries.gather(1, rows[..., None].expand(-1, -1, queries.shape[-1]))


__all__ = ["LampMotionTrunk", "LampQueries", "queries_of_tokens"]
