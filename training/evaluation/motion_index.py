"""Captions searched for in a `MotionIndex` with late interaction, whose vectors are quantised."""

from pathlib import Path

import numpy as np

from lamp_hf.retrieval.index import MotionIndex
from lamp_hf.retrieval.late_interaction import QUANTISED_FROM


K = 10


def index_scores(
    model: Path, captions: list[str], motions: list[np.ndarray], others: list[np.ndarray], seed: int
) -> np.ndarray:
    """Score captions against motions by the first ten hits of a search.

    Args:
        model (`Path`): folder of LaMP.
        captions (`list[str]`): queries.
        motions (`list[np.ndarray]`): features of the motions in the gallery, as long as the model reads.
        others (`list[np.ndarray]`): motions that are in the gallery only until it has learned its codes.
        seed (`int`): draws the others, as many as it takes.

    Returns:
        `np.ndarray` of shape `(num_texts, num_motions)`: the score of each hit, and -2, less than any, for the rest.
    """
    index = MotionIndex(model, late_interaction=True)
    longest, shortest = index.embedder.max_frames, index.embedder.min_frames
    others = [motion[:longest] for motion in others if len(motion) >= shortest]
    drawn = np.random.default_rng(seed).permutation(len(others))[:QUANTISED_FROM]
    index.add([others[row] for row in drawn])
    index.remove(index.ids)
    index.add([motion[:longest] for motion in motions], ids=range(len(motions)))
    scores = np.full((len(captions), len(motions)), -2.0)
    for row, caption in enumerate(captions):
        for hit in index.search(caption, k=K):
            scores[row, int(hit.id)] = hit.score
    return scores
