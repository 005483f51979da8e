"""Transformers over motion tokens: the masked one of LaMP's generator, and MoMask's over residual codes."""

import torch
from torch import nn

from .configuration_lamp_text_to_motion import LampTextToMotionConfig
from .modeling_common import CheckpointedEncoderLayer, sinusoidal_positions


def attention_bias(mode: str, num_prefix: int, length: int, device=None) -> torch.Tensor | None:
    """Return the values to add to attention logits, or None for none.

    Args:
        mode (`str`): see [`LampTextToMotionConfig`].
        num_prefix (`int`): vectors of the condition, which all tokens attend to.
        length (`int`): motion tokens.
        device (`torch.device`, *optional*): device of the result.

    Returns:
        `torch.FloatTensor` of shape `(num_prefix + length, num_prefix + length)`.

    Raises:
        ValueError: when the mode is unknown.
    """
    if mode == "bidirectional":
        return None
    if mode not in ("causal", "soft_tril"):
        raise ValueError(f"unknown attention_mask_mode {mode!r}; known: causal, soft_tril, bidirectional")
    total = num_prefix + length
    past = torch.ones(total, total, dtype=torch.bool, device=device).tril()
    past[:, :num_prefix] = True
    if mode == "soft_tril":
        return past.float()
    return torch.zeros(total, total, device=device, dtype=torch.float32).masked_fill(~past, -torch.inf)


class WordAttention(nn.Module):
    """Cross-attention from motion tokens to the states of the words, behind a gate that starts closed.

    A word whose state is zero is padding. There is always one more key and value, of zeros, so that without a text
    there is something to attend to.
    """

    def __init__(self, config: LampTextToMotionConfig):
        super().__init__()
        size, words = config.hidden_size, config.condition_size
        self.norm = nn.LayerNorm(size)
        self.attention = nn.MultiheadAttention(
            size,
            config.num_attention_heads,
            config.dropout,
            kdim=words,
            vdim=words,
            batch_first=True,
            add_zero_attn=True,
        )
        self.gate = nn.Parameter(torch.zeros(size))

    def forward(self, hidden: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """Let `(B, L, hidden_size)` states attend to `(B, W, condition_size)` words."""
        padding = (words == 0).all(-1)
        attended, _ = self.attention(self.norm(hidden), words, words, key_padding_mask=padding, need_weights=False)
        return hidden + self.gate.tanh() * attended


class MotionTransformer(nn.Module):
    """Lets motion tokens attend to each other and to the condition in front of them."""

    def __init__(self, config: LampTextToMotionConfig, num_layers: int):
        super().__init__()
        size = config.hidden_size
        self.config = config
        self.condition_projection = nn.Linear(config.condition_size, size)
        self.token_convolution = None
        if config.token_convolution:
            self.token_convolution = nn.Conv1d(size, size, config.token_convolution)
        layer = CheckpointedEncoderLayer(
            size,
            config.num_attention_heads,
            config.intermediate_size,
            config.dropout,
            "gelu",
            batch_first=True,
            norm_first=config.pre_norm,
        )
        norm = nn.LayerNorm(size) if config.pre_norm else None
        self.layers = nn.TransformerEncoder(layer, num_layers, norm, enable_nested_tensor=False)
        self.word_attention = None
        if config.attends_to_words:
            self.word_attention = nn.ModuleList(WordAttention(config) for _ in range(num_layers))
        if config.attention_mask_mode == "soft_tril":
            for layer in self.layers.layers:
                layer.activation_relu_or_gelu = 0  # turns off PyTorch's fast path, which reads masks as boolean
        self.dropout = nn.Dropout(config.dropout)

    def contextualise(self, tokens: torch.Tensor, token_mask: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Let tokens attend to each other and to the condition.

        Args:
            tokens (`torch.FloatTensor` of shape `(batch_size, num_tokens, hidden_size)`): embeddings.
            token_mask (`torch.BoolTensor` of shape `(batch_size, num_tokens)`): false at padding.
            condition (`torch.FloatTensor` of shape `(batch_size, num_vectors, condition_size)`): zeros for no text,
                see [`LampForTextToMotion.encode_text`].

        Returns:
            `torch.FloatTensor` of shape `(batch_size, num_tokens, hidden_size)`: hidden states of the tokens.
        """
        condition = condition.to(self.condition_projection.weight.dtype)
        words = None
        if self.word_attention is not None:
            condition, words = condition[:, :1], condition[:, 1:]
        prefix = self.condition_projection(condition)
        length, num_prefix = tokens.shape[1], prefix.shape[1]
        positions = sinusoidal_positions(num_prefix + length, prefix.shape[-1]).to(prefix)
        if not self.config.released_quirks.prefix_position:
            positions = nn.functional.pad(positions[:length], (0, 0, num_prefix, 0))
        # Scaled as by Vaswani et al.: otherwise the position code drowns the tokens, and context is learned late.
        tokens = tokens * prefix.shape[-1] ** 0.5
        if self.token_convolution is not None:
            tokens = tokens + self._convolve(tokens * token_mask[..., None].to(tokens.dtype))
        hidden = torch.cat([prefix, tokens], 1) + positions
        bias = attention_bias(self.config.attention_mask_mode, num_prefix, length, tokens.device)
        padding = None
        if self.config.released_quirks.mask_padding:
            padding = nn.functional.pad(~token_mask, (num_prefix, 0), value=False)
            padding = torch.zeros_like(padding, dtype=torch.float32).masked_fill(padding, -torch.inf)
        hidden = self.dropout(hidden)
        if words is None:
            return self.layers(hidden, mask=bias, src_key_padding_mask=padding)[:, num_prefix:]
        for layer, attention in zip(self.layers.layers, self.word_attention):
            hidden = attention(layer(hidden, src_mask=bias, src_key_padding_mask=padding), words)
        return (hidden if self.layers.norm is None else self.layers.norm(hidden))[:, num_prefix:]

    def _convolve(self, tokens: torch.Tensor) -> torch.Tensor:
        """Mix tokens `(B, L, H)` with their neighbours, only with earlier ones where attention is causal."""
        width = self.config.token_convolution - 1
        right = 0 if self.config.attention_mask_mode == "causal" else width // 2
        tokens = nn.functional.pad(tokens.transpose(1, 2), (width - right, right))
        return self.token_convolution(tokens).transpose(1, 2)


class MaskedMotionTransformer(MotionTransformer):
    """Predicts each motion token from the condition and the tokens that are not masked."""

    def __init__(self, config: LampTextToMotionConfig):
        super().__init__(config, config.num_hidden_layers)
        size, num_codes = config.hidden_size, config.motion_config.codebook_size
        self.mask_token_id = num_codes
        self.token_embeddings = nn.Embedding(num_codes + 1, size)
        norm = nn.LayerNorm(size, eps=config.released_quirks.head_norm_eps)
        self.head = nn.Sequential(nn.Linear(size, size), nn.GELU(), norm, nn.Linear(size, num_codes))

    def forward(self, codes: torch.Tensor, token_mask: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Predict the code of every position.

        Args:
            codes (`torch.LongTensor` of shape `(batch_size, num_tokens)`): indices, `mask_token_id` where masked.
            token_mask, condition: see `contextualise`.

        Returns:
            Logits of shape `(batch_size, num_tokens, codebook_size)`.
        """
        return self.head(self.contextualise(self.token_embeddings(codes), token_mask, condition))


class ResidualMotionTransformer(MotionTransformer):
    """Predicts the codes of a residual codebook from those of all codebooks before it (MoMask)."""

    def __init__(self, config: LampTextToMotionConfig):
        super().__init__(config, config.num_residual_layers)
        motion, size = config.motion_config, config.hidden_size
        levels = motion.num_quantizers - 1
        self.code_embeddings = nn.ModuleList(nn.Embedding(motion.codebook_size, size) for _ in range(levels))
        self.level_embeddings = nn.Embedding(levels, size)
        self.heads = nn.ModuleList(nn.Linear(size, motion.codebook_size) for _ in range(levels))

    def forward(
        self, codes: torch.Tensor, token_mask: torch.Tensor, condition: torch.Tensor, levels: torch.Tensor
    ) -> torch.Tensor:
        """Predict the codes of one further codebook for each sample.

        Args:
            codes (`torch.LongTensor` of shape `(batch_size, num_tokens, n)`): indices of all codebooks before each
                sample's level, at least.
            token_mask, condition: see `contextualise`.
            levels (`torch.LongTensor` of shape `(batch_size,)`): codebook to predict for each sample, from 1.

        Returns:
            Logits of shape `(batch_size, num_tokens, codebook_size)`.
        """
        tokens = sum(
            embeddings(level) * (i < levels)[:, None, None]
            for i, (embeddings, level) in enumerate(zip(self.code_embeddings, codes.unbind(-1)))
        )
        tokens = tokens * (levels[:, None, None] ** -0.5).to(tokens.dtype) + self.level_embeddings(levels - 1)[:, None]
        hidden = self.contextualise(tokens, token_mask, condition)
        logits = torch.stack([head(hidden) for head in self.heads], 1)
        return logits[torch.arange(len(levels), device=levels.device), levels - 1]
