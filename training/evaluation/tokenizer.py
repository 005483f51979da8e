"""Reconstruction errors of the motion tokenizer."""

from argparse import ArgumentParser, Namespace

from lamp_hf.models.feature_extraction_motion import MotionFeatureExtractor
from lamp_hf.models.modeling_motion_vqvae import MotionVQVAEModel

from ..data import load_clips, normalised
from ..train_tokenizer import reconstruction_errors


def add_arguments(parser: ArgumentParser) -> None:
    """Add nothing: the common options are all that this task reads."""


def evaluate(arguments: Namespace) -> dict:
    """Return the errors of the split's clips after encoding and decoding, and the share of codes in use."""
    extractor = MotionFeatureExtractor.from_pretrained(arguments.model)
    motions = normalised(load_clips(arguments), extractor)
    return reconstruction_errors(MotionVQVAEModel.from_pretrained(arguments.model), extractor, motions)
