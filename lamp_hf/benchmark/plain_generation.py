"""Text to motion with the same networks as the library's, written down without any optimisation, for comparison."""

import numpy as np
import torch
from torch import nn

from ..models.modeling_common import sinusoidal_positions
from ..models.modeling_lamp_text_to_motion import LampForTextToMotion
from ..models.motion_transformers import MaskedMotionTransformer, WordAttention


@torch.no_grad()
def generate_plainly(
    model: LampForTextToMotion, num_tokens: int, input_ids: torch.Tensor, attention_mask: torch.Tensor
) -> torch.Tensor:
    """Generate one motion: every position in every step, two passes for guidance, attention by its formula.

    Args:
        model ([`LampForTextToMotion`]): a model with a single codebook and a causal mask, of the paper's layers.
        num_tokens (`int`): length of the motion.
        input_ids, attention_mask (`torch.LongTensor` of shape `(1, num_text_tokens)`): the text.

    Returns:
        `torch.FloatTensor` of shape `(1, num_frames, num_features)`.
    """
    config, transformer = model.config, model.transformer
    condition = model.encode_text(input_ids, attention_mask)
    codes = torch.full((1, model.max_num_tokens), transformer.mask_token_id, device=model.device)
    for step in range(config.num_inference_steps):
        conditional, unconditional = (
            plain_logits(transformer, codes, state) for state in (condition, torch.zeros_like(condition))
        )
        logits = unconditional + config.guidance_scale * (conditional - unconditional)
        masked = codes[0] == transformer.mask_token_id
        probabilities = logits[0].softmax(-1)
        drawn = torch.where(masked, torch.multinomial(probabilities, 1)[:, 0], codes[0])
        confidence = probabilities.gather(-1, drawn[:, None])[:, 0].masked_fill(~masked, torch.inf)
        num_masked = int(np.cos((step + 1) / config.num_inference_steps * np.pi / 2) * num_tokens)
        drawn[confidence[:num_tokens].argsort()[:num_masked]] = transformer.mask_token_id
        codes = drawn[None]
    return model.vqvae.decode(codes[:, :num_tokens].clamp(max=config.motion_config.codebook_size - 1))


def plain_logits(transformer: MaskedMotionTransformer, codes: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
    """Compute the transformer's logits `(batch_size, num_tokens, codebook_size)` layer by layer."""
    words = condition[:, 1:] if transformer.word_attention is not None else None
    prefix = transformer.condition_projection(condition if words is None else condition[:, :1])
    size, heads = prefix.shape[-1], transformer.config.num_attention_heads
    tokens = transformer.token_embeddings(codes) * size**0.5
    hidden = torch.cat([prefix, tokens], 1)
    hidden = hidden + sinusoidal_positions(hidden.shape[1], size).to(hidden)
    visible = torch.ones(hidden.shape[1], hidden.shape[1], dtype=torch.bool, device=hidden.device).tril()
    visible[:, : prefix.shape[1]] = True
    for index, layer in enumerate(transformer.layers.layers):
        attention = layer.self_attn
        query, key, value = (hidden @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, -1)
        hidden = layer.norm1(hidden + attention.out_proj(_attend(query, key, value, visible, heads)))
        hidden = layer.norm2(hidden + layer.linear2(nn.functional.gelu(layer.linear1(hidden))))
        if words is not None:
            hidden = _read_words(transformer.word_attention[index], hidden, words, heads)
    return transformer.head(hidden[:, prefix.shape[1] :])


def _attend(query, key, value, visible: torch.Tensor, heads: int) -> torch.Tensor:
    query, key, value = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (query, key, value))
    scores = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).masked_fill(~visible, -torch.inf)
    return (scores.softmax(-1) @ value).transpose(1, 2).flatten(-2)


def _read_words(layer: WordAttention, hidden: torch.Tensor, words: torch.Tensor, heads: int) -> torch.Tensor:
    """Add what the tokens read from the words, of which those that are zero are padding, and from a word of zeros."""
    attention = layer.attention
    if attention.in_proj_weight is None:  # words of another size
        weights = attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight
    else:
        weights = attention.in_proj_weight.chunk(3)
    query, key, value = (
        states @ weight.T + bias
        for states, weight, bias in zip((layer.norm(hidden), words, words), weights, attention.in_proj_bias.chunk(3))
    )
    key, value = (nn.functional.pad(part, (0, 0, 0, 1)) for part in (key, value))
    visible = nn.functional.pad((words != 0).any(-1), (0, 1), value=True)[:, None, None]
    return hidden + layer.gate.tanh() * attention.out_proj(_attend(query, key, value, visible, heads))
