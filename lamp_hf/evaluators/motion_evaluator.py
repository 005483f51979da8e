"""The project's own evaluator, trained on real motion alone (`training/train_evaluator.py`)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import ModelOutput

from ..models.feature_extraction_motion import MotionFeatureExtractor
from ..models.modeling_common import StrictLoadingMixin
from ..models.skeleton import get_skeleton
from .sentence_embeddings import sentence_embeddings


_DROPOUT = 0.2


@strict
class MotionEvaluatorConfig(PreTrainedConfig):
    """Configuration of [`MotionEvaluatorModel`].

    Args:
        actions, styles (`list[str]`): labels, in the order of the logits.
        skeleton (`str`): `"humanml3d"` or `"kit"`.
        width (`int`): channels of the convolutions.
        embedding_size (`int`): size of an embedding.
        text_encoder (`str`): Hub id of the frozen sentence encoder whose mean hidden states are compared with motions.
        text_size (`int`): size of its hidden states.
    """

    model_type = "motion_evaluator"

    actions: list[str] | None = None
    styles: list[str] | None = None
    skeleton: str = "humanml3d"
    width: int = 128
    embedding_size: int = 64
    text_encoder: str = "sentence-transformers/all-MiniLM-L6-v2"
    text_size: int = 384


AutoConfig.register(MotionEvaluatorConfig.model_type, MotionEvaluatorConfig, exist_ok=True)  # for fingerprints


@dataclass
class MotionEvaluatorOutput(ModelOutput):
    """Output of [`MotionEvaluatorModel`].

    Args:
        embedding (`torch.FloatTensor` of shape `(batch_size, embedding_size)`): embeddings, not normalised.
        action_logits (`torch.FloatTensor` of shape `(batch_size, num_actions)`): scores of the actions.
        style_logits (`torch.FloatTensor` of shape `(batch_size, num_styles)`): scores of the styles.
    """

    embedding: torch.FloatTensor | None = None
    action_logits: torch.FloatTensor | None = None
    style_logits: torch.FloatTensor | None = None


class _Convolutions(GradientCheckpointingLayer, nn.ModuleList):
    """Convolutions that each halve the length of `(batch_size, channels, num_frames)` values and of their mask."""

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        for layer in self:
            mask = mask[..., ::2]
            hidden = nn.functional.dropout(nn.functional.gelu(layer(hidden)), _DROPOUT, self.training) * mask
        return hidden, mask


class MotionEvaluatorModel(StrictLoadingMixin, PreTrainedModel):
    """Temporal convolutions over joint positions in the body's frame and the root's velocities.

    It reads normalised features, but only the columns that determine joint positions: rotations and contacts, which a
    generator can get right or wrong without a visible difference, are left out. Features are computed after
    retargeting, so body proportions do not matter.
    """

    config: MotionEvaluatorConfig
    base_model_prefix = "evaluator"
    main_input_name = "motion_values"
    supports_gradient_checkpointing = True
    _supports_sdpa = True  # it has no attention

    def __init__(self, config: MotionEvaluatorConfig):
        super().__init__(config)
        columns = get_skeleton(config.skeleton).slices
        self.visible = slice(columns["root_yaw"].start, columns["positions"].stop)
        width = config.width
        self.layers = _Convolutions(
            nn.Conv1d(self.visible.stop if i == 0 else width, width, 5, stride=2, padding=2) for i in range(3)
        )
        self.dropout = nn.Dropout(_DROPOUT)
        self.embed = nn.Linear(2 * width, config.embedding_size)
        self.action_head = nn.Linear(config.embedding_size, len(config.actions or [0]))
        self.style_head = nn.Linear(config.embedding_size, len(config.styles or [0]))
        self.text_head = nn.Sequential(
            nn.Linear(config.text_size, width), nn.GELU(), nn.Linear(width, config.embedding_size)
        )
        self.post_init()

    def forward(self, motion_values: torch.FloatTensor, motion_attention_mask: torch.Tensor) -> MotionEvaluatorOutput:
        """Embed motions and classify their actions and styles.

        Args:
            motion_values (`torch.FloatTensor` of shape `(batch_size, num_frames, feature_size)`): normalised features.
            motion_attention_mask (`torch.Tensor` of shape `(batch_size, num_frames)`): 0 at padding.
        """
        mask = motion_attention_mask[:, None].to(motion_values.dtype)
        hidden = motion_values[..., self.visible].transpose(1, 2) * mask
        hidden, mask = self.layers(hidden, mask)
        mean = hidden.sum(-1) / mask.sum(-1).clamp(min=1)
        largest = hidden.masked_fill(mask == 0, -1e4).amax(-1)
        embedding = self.embed(torch.cat([mean, largest], -1))
        hidden = self.dropout(embedding)
        return MotionEvaluatorOutput(
            embedding=embedding, action_logits=self.action_head(hidden), style_logits=self.style_head(hidden)
        )


class MotionTextEvaluator:
    """[`MotionEvaluatorModel`] as an [`Evaluator`]; embeddings are unit-norm.

    Args:
        folder (`str` or `Path`): the model and its feature extractor, as `training/train_evaluator.py` writes them.
        text_encoder (`str`, *optional*): folder of the sentence encoder; that of the model's config by default.
    """

    def __init__(self, folder: str | Path, text_encoder: str | None = None):
        self.model = MotionEvaluatorModel.from_pretrained(folder).eval()
        self.extractor = MotionFeatureExtractor.from_pretrained(folder)
        self.text_encoder = text_encoder or self.model.config.text_encoder
        self.name = "motion-evaluator"

    @torch.no_grad()
    def embed_texts(self, texts: list[str]) -> np.ndarray:
        """Embed texts, `(num_texts, embedding_size)`."""
        states = self.model.text_head(sentence_embeddings(texts, self.text_encoder))
        return nn.functional.normalize(states, dim=-1).numpy()

    def embed_motions(self, motions: list[np.ndarray]) -> np.ndarray:
        """Embed features `(num_frames, num_features)` each, `(num_motions, embedding_size)`."""
        embeddings, _ = self._judge(motions)
        return nn.functional.normalize(embeddings, dim=-1).numpy()

    def recognise(self, motions: list[np.ndarray]) -> list[str]:
        """Return the action, one of the model's, that each motion shows; features `(num_frames, num_features)`."""
        actions = self.model.config.actions or []
        _, logits = self._judge(motions)
        return [actions[i] for i in logits.argmax(-1)]

    @torch.no_grad()
    def _judge(self, motions: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return embeddings `(num_motions, embedding_size)` and logits of actions `(num_motions, num_actions)`."""
        order = sorted(range(len(motions)), key=lambda i: len(motions[i]))  # a batch has motions of similar lengths
        embeddings, logits = [], []
        for first in range(0, len(order), 64):
            batch = self.extractor([motions[i] for i in order[first : first + 64]], return_tensors="pt")
            output = self.model(batch["motion_values"], batch["motion_attention_mask"])
            embeddings.append(output.embedding)
            logits.append(output.action_logits)
        back = torch.tensor(order).argsort()
        return torch.cat(embeddings)[back], torch.cat(logits)[back]
