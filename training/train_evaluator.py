r"""Train the evaluator: family of action, style and captions of real clips.

lamp-hf train evaluator --recipe small/evaluator --data mocap.parquet \
    --output runs/evaluator
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from lamp_hf.evaluators.motion_evaluator import (
    MotionEvaluatorConfig,
    MotionEvaluatorModel,
    MotionTextEvaluator,
)
from lamp_hf.evaluators.sentence_embeddings import sentence_embeddings
from lamp_hf.metrics.generation import r_precision
from lamp_hf.models.feature_extraction_motion import MotionFeatureExtractor

from .command_line import parse_arguments
from .data import Clips, batched, draw, normalised, pad_motions
from .loop import Objective, train
from .text_encoder import resolve_text_encoder


UNKNOWN = -100  # label of a clip whose style nobody has told


def labels_of(clips: Clips, data: dict) -> list[str]:
    """Return the clips' actions, or their families if the recipe's section `data` says so."""
    return clips.families if data["label"] == "family" else clips.actions


class LabelledSource:
    """Crops of clips with a little noise added, so that the evaluator ignores noise, their labels and a caption."""

    def __init__(self, clips: Clips, extractor: MotionFeatureExtractor, config: MotionEvaluatorConfig, data: dict):
        self.motions = normalised(clips, extractor)
        self.actions = [config.actions.index(label) for label in labels_of(clips, data)]
        self.styles = [config.styles.index(style) if style else UNKNOWN for style in clips.styles]
        self.lengths = clips.lengths
        self.weights = clips.rarity_weights(data["rarity_exponent"])
        self.noise = data["noise"]
        texts, self.captions = clips.indexed_captions()
        self.sentences = sentence_embeddings(texts, resolve_text_encoder(config.text_encoder))

    def item(self, index: int, rng: np.random.Generator) -> dict:
        motion = self.motions[index]
        length = int(len(motion) * rng.uniform(0.8, 1.0)) if len(motion) > 20 else len(motion)
        start = rng.integers(len(motion) - length + 1)
        motion = motion[start : start + length]
        offset = rng.normal(0, self.noise, (1, motion.shape[1])) + rng.normal(0, self.noise, motion.shape)
        return {
            "motion": motion + torch.from_numpy(offset).float(),
            "action": self.actions[index],
            "style": self.styles[index],
            "sentence": self.sentences[draw(self.captions[index], rng)],
        }

    def collate(self, items: list[dict]) -> dict:
        motion, mask = pad_motions([item["motion"] for item in items], multiple=8)
        return {
            "motion_values": motion,
            "motion_attention_mask": mask,
            "action": torch.tensor([item["action"] for item in items]),
            "style": torch.tensor([item["style"] for item in items]),
            "sentence": torch.stack([item["sentence"] for item in items]),
        }


class EvaluatorObjective(Objective):
    """Cross-entropy of action and style, and a contrastive loss against the embeddings of captions."""

    def forward(self, motion_values, motion_attention_mask, action, style, sentence):
        output = self.model(motion_values, motion_attention_mask)
        losses = {
            "matching": self._matching_loss(output.embedding, sentence),
            "action": self._class_loss(output.action_logits, action),
            "style": self._class_loss(output.style_logits, style),
        }
        return sum(losses.values()), {name: loss.detach() for name, loss in losses.items()}

    def _class_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy over the clips whose label is known."""
        total = nn.functional.cross_entropy(
            logits, labels, label_smoothing=0.05, reduction="sum", ignore_index=UNKNOWN
        )
        return total / (labels != UNKNOWN).sum().clamp(min=1)

    def _matching_loss(self, motion: torch.Tensor, sentence: torch.Tensor) -> torch.Tensor:
        """Return the symmetric cross-entropy over the batch; as in TMR, similar captions are no negatives."""
        text, motion = (nn.functional.normalize(rows, dim=-1) for rows in (self.model.text_head(sentence), motion))
        alike = (sentence @ sentence.T > 0.8).fill_diagonal_(False)
        logits = (text @ motion.T / 0.07).masked_fill(alike, -1e4)
        target = torch.arange(len(logits), device=logits.device)
        return (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target)) / 2


@torch.no_grad()
def classify(model: MotionEvaluatorModel, motions: list[torch.Tensor]) -> tuple[list[str], list[str], np.ndarray]:
    """Return actions, styles and embeddings `(num_motions, embedding_size)` of normalised clips."""
    model.eval()
    actions, styles, embeddings = [], [], []
    for batch in batched(motions, 64):
        output = model(*(tensor.to(model.device) for tensor in pad_motions(batch, multiple=8)))
        actions += [model.config.actions[i] for i in output.action_logits.argmax(-1)]
        styles += [model.config.styles[i] for i in output.style_logits.argmax(-1)]
        embeddings.append(output.embedding.float().cpu().numpy())
    return actions, styles, np.concatenate(embeddings)


def load_evaluator(folder: Path) -> MotionTextEvaluator:
    """Load a trained evaluator; its sentence encoder comes from an installed package where there is one."""
    encoder = MotionEvaluatorConfig.from_pretrained(folder).text_encoder
    return MotionTextEvaluator(folder, resolve_text_encoder(encoder))


def accuracy(predicted: list[str], truth: list[str]) -> float:
    """Return the percentage of predictions that are right, among the clips whose label is known."""
    right = [left == right for left, right in zip(predicted, truth, strict=True) if right]
    return 100 * float(np.mean(right)) if right else 0.0


def main(command_line: list[str] | None = None) -> None:
    recipe, arguments = parse_arguments("evaluator", __doc__, command_line)
    data = recipe["data"]
    clips, validation = (Clips(arguments.data, split, data) for split in ("train", "val"))
    extractor = MotionFeatureExtractor.from_statistics(clips.motions, data["skeleton"])
    labels = {
        "actions": sorted({*labels_of(clips, data), *labels_of(validation, data)}),
        "styles": sorted({*clips.styles, *validation.styles} - {""}),
    }
    config = MotionEvaluatorConfig(skeleton=data["skeleton"], **labels, **recipe["model"])
    torch.manual_seed(recipe["seed"])

    captions = [texts[0] for texts in validation.captions]
    sentences = sentence_embeddings(captions, resolve_text_encoder(config.text_encoder))

    def validate(objective: EvaluatorObjective) -> dict[str, float]:
        actions, styles, motion = classify(objective.model, normalised(validation, extractor))
        text = nn.functional.normalize(objective.model.text_head(sentences.to(objective.model.device)), dim=-1)
        motion /= np.linalg.norm(motion, axis=-1, keepdims=True)
        text, order = text.float().cpu().numpy(), np.random.default_rng(0).permutation(len(text))
        return {
            "action": accuracy(actions, labels_of(validation, data)),
            "style": accuracy(styles, validation.styles),
            "r_precision_1": 100 * r_precision(text[order], motion[order])[0],
        }

    source = LabelledSource(clips, extractor, config, data)
    train(EvaluatorObjective(MotionEvaluatorModel(config)), source, recipe, arguments.output, validate, extractor)


if __name__ == "__main__":
    main()
