"""Finding the part of a long recording that a sentence describes."""

import argparse

import numpy as np

from lamp_hf.retrieval.embedder import Embedder
from lamp_hf.retrieval.windows import windows_of

from ..data import load_clips


CLIPS = 6  # in a recording


def evaluate_moments(arguments: argparse.Namespace) -> dict:
    """Recordings of six random clips one after another; each clip's first caption is searched for among the windows.

    Clips that share action and style with another of their recording are not asked for. Percent of captions whose best
    window has its middle in the clip, and overlaps with it by so much of their union (IoU); and the same for a window
    drawn at random.
    """
    clips, embedder = load_clips(arguments), Embedder(arguments.model)
    order = np.random.default_rng(arguments.seed).permutation(len(clips))
    recordings = [order[first : first + CLIPS] for first in range(0, len(order) - CLIPS + 1, CLIPS)]
    best, chance, lengths = [], [], []
    for rows in recordings:
        ends = np.cumsum([len(clips.motions[row]) for row in rows])
        motion = np.concatenate([clips.motions[row] for row in rows])
        lengths.append(len(motion) / embedder.fps)
        windows = np.array(windows_of(len(motion), embedder.max_frames, embedder.fps))
        vectors = embedder.embed_motions([motion[start:end] for start, end in windows])
        kinds = [(clips.actions[row], clips.styles[row]) for row in rows]
        asked = [i for i, kind in enumerate(kinds) if kinds.count(kind) == 1]
        if not asked:
            continue
        scores = embedder.embed_texts([clips.captions[rows[i]][0] for i in asked]) @ vectors.T
        for i, row in zip(asked, scores):
            found = judge(windows, ends[i] - len(clips.motions[rows[i]]), ends[i])
            best.append(found[row.argmax()])
            chance.append(found.mean(0))
    names = ("middle in the clip", "IoU of 0.3", "IoU of 0.5")
    return {
        "recordings": len(recordings),
        "mean_seconds": float(np.mean(lengths)),
        "captions": len(best),
        "found": dict(zip(names, (100 * np.mean(best, 0)).tolist())),
        "chance": dict(zip(names, (100 * np.mean(chance, 0)).tolist())),
    }


def judge(windows: np.ndarray, start: int, end: int) -> np.ndarray:
    """Of each window whether its middle lies in a span, and whether they overlap by 0.3 and by 0.5, `(windows, 3)`."""
    middle = windows.mean(1)
    common = np.minimum(windows[:, 1], end) - np.maximum(windows[:, 0], start)
    overlap = np.maximum(common, 0) / (np.maximum(windows[:, 1], end) - np.minimum(windows[:, 0], start))
    return np.stack([(middle >= start) & (middle < end), overlap >= 0.3, overlap >= 0.5], 1)
