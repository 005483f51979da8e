"""Reads the two actions of a text, and if they happen at the same time or one after another."""

import torch
from torch import nn

from .configuration_lamp_text_to_motion import LampTextToMotionConfig
from .modeling_common import CheckpointedEncoderLayer, sinusoidal_positions


ONE_THING, AT_ONCE, IN_TURN = range(3)  # kinds of text: one action, two at the same time, two one after another


class PartReader(nn.Module):
    """Predicts, from the words of a text with two actions, the condition that a text of each action would have.

    A mean over all words loses which word belongs to which action. The reader is trained on text alone. The
    generator's transformers then see the conditions of single actions, and how they are combined, after the condition
    of the whole text. A text of one action has it as both of its parts.
    """

    def __init__(self, config: LampTextToMotionConfig):
        super().__init__()
        width, size = config.lamp_config.hidden_size, config.part_reader_size
        self.projection = nn.Linear(width, size)
        self.part_embeddings = nn.Parameter(torch.zeros(2, size))
        layer = CheckpointedEncoderLayer(
            size, config.num_attention_heads, 2 * size, config.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 2, nn.LayerNorm(size), enable_nested_tensor=False)
        self.kind_head = nn.Linear(2 * size, 3)
        self.condition_head = nn.Linear(size, config.num_condition_vectors * width)
        for name, value in (("mean", 0.0), ("scale", 1.0)):  # statistics of the conditions that it predicts
            self.register_buffer(f"condition_{name}", torch.full((config.num_condition_vectors, width), value))

    def read(self, hidden: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Read the kind and the two conditions of texts.

        Args:
            hidden (`torch.FloatTensor` of shape `(batch_size, text_length, lamp_hidden_size)`): LaMP's hidden states.
            mask (`torch.BoolTensor` of shape `(batch_size, text_length)`): false at padding.

        Returns:
            Logits `(batch_size, 3)` of one action, two at the same time, two one after another; conditions
            `(batch_size, 2, num_condition_vectors, lamp_hidden_size)` of what the body and what the arms do, or of the
            first and the second action.
        """
        words = self.projection(hidden.to(self.projection.weight.dtype))
        words = words + sinusoidal_positions(words.shape[1], words.shape[2]).to(words)
        states = torch.cat([self.part_embeddings.expand(len(words), -1, -1), words], 1)
        padding = nn.functional.pad(~mask, (2, 0), value=False)
        parts = self.layers(states, src_key_padding_mask=padding)[:, :2]
        conditions = self.condition_head(parts).unflatten(-1, self.condition_mean.shape)
        return self.kind_head(parts.flatten(1)), self.condition_mean + self.condition_scale * conditions

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the conditions of both parts and a vector that starts with the probabilities of the three kinds.

        The vector is scaled to the length that conditions have.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, 2 * num_condition_vectors + 1, lamp_hidden_size)`.
        """
        logits, parts = self.read(hidden, mask)
        width = parts.shape[-1]
        kinds = nn.functional.pad(width**0.5 * logits.softmax(-1), (0, width - 3))
        return torch.cat([parts.flatten(1, 2), kinds[:, None].to(parts)], 1)


__all__ = ["AT_ONCE", "IN_TURN", "ONE_THING", "PartReader"]
