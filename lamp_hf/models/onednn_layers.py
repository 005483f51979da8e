"""Layers that multiply single-precision matrices by oneDNN on AMD's processors.

PyTorch has two libraries for that, and always takes MKL, which on processors of another maker than its own is at less
than half of oneDNN's speed. Parameters and results are those of PyTorch's layers.
"""

import functools

import torch
from torch import nn


@functools.cache
def _mkl_is_slow() -> bool:
    processor = getattr(torch.cpu, "get_capabilities", dict)().get("cpu_name", "")
    return "AMD" in processor and torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()


def _is_faster(values: torch.Tensor) -> bool:
    """Whether oneDNN is, for these values; it has no gradients, and half precision goes there anyway."""
    return (
        values.device.type == "cpu"
        and values.dtype == torch.float32
        and not (torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling())
        and _mkl_is_slow()
    )


def _linear(values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """What compiled models call; there is no public name of it."""
    return torch.ops.mkldnn._linear_pointwise(values, weight, bias, "none", [], "")


def _added_to_logits(mask: torch.Tensor) -> torch.Tensor:
    """A mask that is true where attention must not look as numbers; one of numbers stays."""
    return torch.zeros(mask.shape).masked_fill(mask, -torch.inf) if mask.dtype == torch.bool else mask


class Linear(nn.Linear):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return _linear(values, self.weight, self.bias) if _is_faster(values) else super().forward(values)


class TransformerEncoderLayer(nn.TransformerEncoderLayer):
    """Takes batches first. Like PyTorch's fast path it goes past the modules in it unless one has a hook, and has the
    same switch."""

    def forward(self, src, src_mask=None, src_key_padding_mask=None, is_causal=False):
        if self.training or not torch.backends.mha.get_fastpath_enabled() or not _is_faster(src) or self._has_hooks():
            return super().forward(src, src_mask, src_key_padding_mask, is_causal)
        mask = None if src_mask is None else _added_to_logits(src_mask)
        if src_key_padding_mask is not None:
            padding = _added_to_logits(src_key_padding_mask)[:, None, None]
            mask = padding if mask is None else mask + padding
        if self.norm_first:
            hidden = src + self._attended(self.norm1(src), mask)
            return hidden + self._fed_forward(self.norm2(hidden))
        hidden = self.norm1(src + self._attended(src, mask))
        return self.norm2(hidden + self._fed_forward(hidden))

    def _has_hooks(self) -> bool:
        return any(module._forward_hooks or module._forward_pre_hooks for module in self.modules())

    def _attended(self, hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        attention = self.self_attn
        mixed = _linear(hidden, attention.in_proj_weight, attention.in_proj_bias)
        heads = mixed.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(*heads, attn_mask=mask)
        return _linear(attended.transpose(1, 2).flatten(2), attention.out_proj.weight, attention.out_proj.bias)

    def _fed_forward(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = self.activation(_linear(hidden, self.linear1.weight, self.linear1.bias))
        return _linear(hidden, self.linear2.weight, self.linear2.bias)


__all__ = ["Linear", "TransformerEncoderLayer"]
