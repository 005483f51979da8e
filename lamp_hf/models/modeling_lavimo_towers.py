"""Parts of LAVIMO (Yin et al., CVPR 2024): towers that encode a modality, fusion, and the motion decoder."""

from dataclasses import dataclass

import torch
from torch import nn

from .configuration_lavimo import LavimoConfig
from .modeling_common import CheckpointedDecoderLayer, CheckpointedEncoderLayer, sinusoidal_positions


@dataclass
class Encoded:
    """An encoded modality.

    Args:
        pooled (`torch.FloatTensor` of shape `(batch_size, hidden_size)`): Its embedding, before projection.
        tokens (`torch.FloatTensor` of shape `(batch_size, length, hidden_size)`): Its tokens.
        mask (`torch.BoolTensor` of shape `(batch_size, length)`): False at padding.
    """

    pooled: torch.Tensor
    tokens: torch.Tensor
    mask: torch.Tensor


def layer_options(config: LavimoConfig) -> dict:
    """Return the arguments of every transformer layer of the towers and the decoder."""
    return {
        "d_model": config.hidden_size,
        "nhead": config.num_attention_heads,
        "dim_feedforward": config.intermediate_size,
        "dropout": config.dropout,
        "activation": "gelu",
        "batch_first": True,
        "norm_first": True,
    }


class LavimoTower(nn.Module):
    """Transformer over a sequence behind a learned token, whose output is the sequence's embedding."""

    def __init__(self, config: LavimoConfig, input_size: int, num_layers: int):
        super().__init__()
        self.projection = nn.Linear(input_size, config.hidden_size)
        self.cls = nn.Embedding(1, config.hidden_size)
        layer = CheckpointedEncoderLayer(**layer_options(config))
        norm = nn.LayerNorm(config.hidden_size)
        self.layers = nn.TransformerEncoder(layer, num_layers, norm, enable_nested_tensor=False)

    def forward(self, values: torch.Tensor, mask: torch.Tensor) -> Encoded:
        """Encode `(batch_size, length, input_size)` values with their mask, 0 at padding."""
        hidden = self.projection(values.to(self.projection.weight.dtype))
        hidden = hidden + sinusoidal_positions(*hidden.shape[1:]).to(hidden)
        hidden = torch.cat([self.cls.weight.to(hidden).expand(len(hidden), 1, -1), hidden], 1)
        padding = nn.functional.pad(~mask.bool(), (1, 0), value=False)
        hidden = self.layers(hidden, src_key_padding_mask=padding)
        return Encoded(hidden[:, 0], hidden[:, 1:], mask.bool())


class LavimoFusion(nn.Module):
    """Attention of the motion's embedding to motion, text and video, whose results are added (LAVIMO, fusion)."""

    def __init__(self, config: LavimoConfig):
        super().__init__()
        self.pooled = config.fusion == "pooled"
        self.attentions = nn.ModuleDict(
            {
                name: nn.MultiheadAttention(config.hidden_size, config.num_attention_heads, batch_first=True)
                for name in ("text", "video", "motion")
                if name != "video" or config.use_video
            }
        )

    def forward(
        self, query: torch.Tensor, encoded: dict[str, Encoded], present: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """Enrich a motion embedding by the modalities that are present.

        Args:
            query (`torch.FloatTensor` of shape `(batch_size, hidden_size)`): Embedding of the motion.
            encoded (`dict[str, Encoded]`): The encoded modalities.
            present (`dict[str, torch.BoolTensor]` of shape `(batch_size,)`): False for samples without the modality.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, hidden_size)`.
        """
        total = torch.zeros_like(query)
        for name, values in encoded.items():
            if self.pooled:
                keys, ignored = values.pooled[:, None], None
            else:
                keys = values.tokens
                # A sample without any token would make the softmax NaN; its result is multiplied by zero.
                ignored = ~values.mask & values.mask.any(1, keepdim=True)
            attended, _ = self.attentions[name](
                query[:, None], keys, keys, key_padding_mask=ignored, need_weights=False
            )
            total = total + attended[:, 0] * present[name][:, None].to(attended.dtype)
        return total


class LavimoDecoder(nn.Module):
    """Decoder of a motion of given length from one vector, by queries that know only their time (MotionCLIP, TMR)."""

    def __init__(self, config: LavimoConfig):
        super().__init__()
        layer = CheckpointedDecoderLayer(**layer_options(config))
        self.layers = nn.TransformerDecoder(layer, config.decoder_layers, nn.LayerNorm(config.hidden_size))
        self.head = nn.Linear(config.hidden_size, config.motion_patch * config.feature_size)
        self.feature_size = config.feature_size

    def forward(self, fused: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Decode vectors to motions.

        Args:
            fused (`torch.FloatTensor` of shape `(batch_size, hidden_size)`): From [`LavimoFusion`].
            mask (`torch.Tensor` of shape `(batch_size, num_tokens)`): Mask of the motion's tokens, 0 at padding.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, num_tokens * motion_patch, feature_size)`: normalised features.
        """
        times = sinusoidal_positions(mask.shape[1], fused.shape[1]).to(fused)
        hidden = self.layers(times.expand(len(fused), -1, -1), fused[:, None], tgt_key_padding_mask=~mask.bool())
        return self.head(hidden).unflatten(2, (-1, self.feature_size)).flatten(1, 2)


__all__ = ["Encoded", "LavimoDecoder", "LavimoFusion", "LavimoTower"]
