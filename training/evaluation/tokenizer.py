"""Evaluate the motion tokenizer: errors of joints, and the actions that are still shown after decoding."""

from argparse import ArgumentParser, Namespace

import lamp_hf
from lamp_hf.models.feature_extraction_motion import MotionFeatureExtractor
from lamp_hf.models.modeling_motion_vqvae import MotionVQVAEModel

from ..data import load_clips, normalised
from ..train_tokenizer import reconstruction_errors, reconstructions
from .action_checks import PROMPT_CHECKS
from .geometry import shares_shown


def add_arguments(parser: ArgumentParser) -> None:
    """Add nothing: the common options are all that this task reads."""


def evaluate(arguments: Namespace) -> dict:
    """Return the errors of the split's clips after encoding and decoding, the share of codes in use, and `shown`.

    `shown` is the percentage of clips that pass the check of their action or family, as they are and decoded: what
    the tokenizer loses, no generator of its codes can show.
    """
    extractor = MotionFeatureExtractor.from_pretrained(arguments.model)
    model = MotionVQVAEModel.from_pretrained(arguments.model)
    clips = load_clips(arguments)
    motions = normalised(clips, extractor)
    decoded = [
        lamp_hf.features_to_joints(features[:count].numpy(), arguments.skeleton)
        for batch, _, frames, _ in reconstructions(model, extractor, motions)
        for features, count in zip(batch, frames.sum(1).tolist())
    ]
    real = (lamp_hf.features_to_joints(motion, arguments.skeleton) for motion in clips.motions)
    shown = {"real": shares_shown(clips, real, PROMPT_CHECKS), "decoded": shares_shown(clips, decoded, PROMPT_CHECKS)}
    return reconstruction_errors(model, extractor, motions) | {"shown": shown}
