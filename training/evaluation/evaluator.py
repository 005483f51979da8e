"""The evaluator itself on real clips that it was not trained on: families and styles recognised."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

import lamp_hf
from lamp_hf.evaluators.motion_evaluator import MotionEvaluatorModel
from lamp_hf.models.feature_extraction_motion import MotionFeatureExtractor

from ..data import load_clips
from ..train_evaluator import accuracy, classify


class Judge:
    """Tells the family, or action, and the style of motions, by an evaluator that was trained on real clips.

    Args:
        folder (`Path`): the trained evaluator.
    """

    def __init__(self, folder: Path):
        self.model = MotionEvaluatorModel.from_pretrained(folder)
        self.extractor = MotionFeatureExtractor.from_pretrained(folder)

    def __call__(self, motions: Iterable[np.ndarray]) -> tuple[list[str], list[str], np.ndarray]:
        """Return families, styles and embeddings `(num_motions, embedding_size)` of joints, in metres."""
        features = [torch.from_numpy(lamp_hf.joints_to_features(motion)) for motion in motions]
        return classify(self.model, [self.extractor.normalise(values) for values in features])


def add_arguments(parser: ArgumentParser) -> None:
    """Add nothing: `--model` is the evaluator."""


def evaluate(arguments: Namespace) -> dict:
    """Return the percentages of real clips whose family and style are recognised, and their clips, by family."""
    clips = load_clips(arguments)
    families, styles, _ = Judge(arguments.model)(map(lamp_hf.features_to_joints, clips.motions))
    rows = {}
    for family in sorted(set(clips.families)):
        answers = [answer for answer, truth in zip(families, clips.families) if truth == family]
        rows[family] = {"recognised": share(answers, family), "clips": len(answers)}
    return {
        "family": accuracy(families, clips.families),
        "family_mean": float(np.mean([row["recognised"] for row in rows.values()])),
        "style": accuracy(styles, clips.styles),
        "by_family": rows,
    }


def share(answers: Iterable[str], label: str) -> float:
    """Return the percentage of answers that are the label."""
    return 100 * float(np.mean([answer == label for answer in answers]))
