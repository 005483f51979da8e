"""An evaluator trained on real motion only: recognises action and style, and embeds motions for Fréchet distances."""

from dataclasses import dataclass

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from ..models.motion_representation import get_skeleton


@strict
class MotionEvaluatorConfig(PreTrainedConfig):
    """Configuration of [`MotionEvaluatorModel`].

    Args:
        actions, styles (`list[str]`): labels, in the order of the logits.
        width (`int`): channels of the convolutions.
        embedding_size (`int`): of a motion's embedding.
    """

    model_type = "motion_evaluator"

    actions: list[str] | None = None
    styles: list[str] | None = None
    skeleton: str = "humanml3d"
    width: int = 128
    embedding_size: int = 64


@dataclass
class MotionEvaluatorOutput(ModelOutput):
    """
    Args:
        embedding (`torch.FloatTensor` of shape `(batch_size, embedding_size)`).
        action_logits (`torch.FloatTensor` of shape `(batch_size, num_actions)`).
        style_logits (`torch.FloatTensor` of shape `(batch_size, num_styles)`).
    """

    embedding: torch.FloatTensor | None = None
    action_logits: torch.FloatTensor | None = None
    style_logits: torch.FloatTensor | None = None


class MotionEvaluatorModel(PreTrainedModel):
    """Temporal convolutions over joint positions in the body's frame and the root's velocities.

    It reads normalised features, but only columns that say where joints are: those for rotations and contacts, which a
    generator can get right or wrong without anyone seeing it, are left out. Features are made after retargeting, so
    body proportions do not matter.
    """

    config: MotionEvaluatorConfig
    base_model_prefix = "evaluator"
    main_input_name = "motion_values"

    def __init__(self, config: MotionEvaluatorConfig):
        super().__init__(config)
        columns = get_skeleton(config.skeleton).slices
        self.visible = slice(columns["root_yaw"].start, columns["positions"].stop)
        width = config.width
        self.layers = nn.ModuleList(
            nn.Conv1d(self.visible.stop if i == 0 else width, width, 5, stride=2, padding=2) for i in range(3)
        )
        self.dropout = nn.Dropout(0.2)
        self.embed = nn.Linear(2 * width, config.embedding_size)
        self.action_head = nn.Linear(config.embedding_size, len(config.actions or [0]))
        self.style_head = nn.Linear(config.embedding_size, len(config.styles or [0]))
        self.post_init()

    def forward(self, motion_values: torch.FloatTensor, motion_attention_mask: torch.Tensor) -> MotionEvaluatorOutput:
        """
        Args:
            motion_values (`torch.FloatTensor` of shape `(batch_size, num_frames, feature_size)`): normalised features.
            motion_attention_mask (`torch.Tensor` of shape `(batch_size, num_frames)`): 0 at padding.
        """
        mask = motion_attention_mask[:, None].to(motion_values.dtype)
        hidden = motion_values[..., self.visible].transpose(1, 2) * mask
        for layer in self.layers:
            mask = mask[..., ::2]
            hidden = self.dropout(nn.functional.gelu(layer(hidden))) * mask
        mean = hidden.sum(-1) / mask.sum(-1).clamp(min=1)
        largest = hidden.masked_fill(mask == 0, -1e4).amax(-1)
        embedding = self.embed(torch.cat([mean, largest], -1))
        hidden = self.dropout(embedding)
        return MotionEvaluatorOutput(
            embedding=embedding, action_logits=self.action_head(hidden), style_logits=self.style_head(hidden)
        )
