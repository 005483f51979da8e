"""How much attention mixes: the effective rank of its maps."""

import torch
from torch import nn

from lamp_hf.models.motion_transformers import MotionTransformer


TEXTS = (
    "a person walks forward",
    "someone waves with the left hand",
    "a man turns around to the right",
    "she runs, then bows",
)
TOKENS = 30
MASKED = 0.5  # share of tokens


@torch.no_grad()
def effective_ranks(pipe, seed: int = 0) -> list[float]:
    """Of each layer of a generator's masked transformer, over heads and texts, of `TOKENS` + prefix at most.

    The tokens are the generator's own, half of them masked. Effective rank: exp of the entropy of a map's singular
    values, which add to one (Roy and Vetterli, 2007); 1 for a map that gives every token the same mixture.
    """
    model, inputs = pipe.model, pipe.processor(text=list(TEXTS))
    inputs = inputs.to(model.device)
    made = model.generate(**inputs, num_tokens=[TOKENS] * len(TEXTS), seeds=[seed] * len(TEXTS))
    hidden = torch.rand(made.token_mask.shape, generator=torch.Generator().manual_seed(seed)) < MASKED
    codes = made.codes[..., 0].masked_fill(hidden.to(model.device), model.transformer.mask_token_id)
    maps = attention_maps(model.transformer, codes, made.token_mask, model.encode_text(**inputs))
    singular = torch.linalg.svdvals(maps.float())
    shares = singular / singular.sum(-1, keepdim=True)
    return torch.special.entr(shares).sum(-1).exp().mean((1, 2)).tolist()


def attention_maps(transformer: MotionTransformer, *inputs) -> torch.Tensor:
    """Weights `(num_layers, batch_size, num_heads, length, length)` of a forward pass; the prefix counts as tokens."""
    maps = []

    def look(attention: nn.MultiheadAttention, arguments: tuple, options: dict) -> None:
        options = options | {"need_weights": True, "average_attn_weights": False, "is_causal": False}
        maps.append(attention.forward(*arguments, **options)[1])

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it goes past the modules
    hooks = [layer.self_attn.register_forward_pre_hook(look, with_kwargs=True) for layer in transformer.layers.layers]
    try:
        transformer(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for hook in hooks:
            hook.remove()
    return torch.stack(maps)
