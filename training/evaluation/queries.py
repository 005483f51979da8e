"""Differences between the queries of LaMP after they read a motion, and after they read a text."""

from argparse import ArgumentParser, Namespace

import torch

from lamp_hf.metrics.queries import query_statistics

from ..data import load_clips
from .lamp_pairs import BATCH, encode_pairs, load_new_lamp
from .options import add_licenses


def add_arguments(parser: ArgumentParser) -> None:
    add_licenses(parser)


@torch.no_grad()
def evaluate(arguments: Namespace) -> dict:
    """Return [`query_statistics`] of the queries that read a split's clips, and of those that read first captions."""
    clips = load_clips(arguments)
    model, processor = load_new_lamp(arguments.model)
    pairs = encode_pairs(model, processor, [texts[0] for texts in clips.captions], clips.motions)
    words = pairs.text.word_states.split(BATCH)
    texts = torch.cat([model.read_words(*part) for part in zip(words, pairs.mask.split(BATCH))])
    return {
        "clips": len(clips),
        "licenses_left_out": arguments.licenses_left_out,
        "queries": model.config.num_query_tokens,
        "motion": query_statistics(pairs.motion.queries.cpu().numpy()),
        "text": query_statistics(texts.cpu().numpy()),
    }
