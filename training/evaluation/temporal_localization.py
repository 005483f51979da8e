"""Temporal localization: finding the part of a long recording that a sentence describes."""

from argparse import ArgumentParser, Namespace

import numpy as np

from lamp_hf.retrieval.embedder import Embedder
from lamp_hf.retrieval.windows import windows_of

from ..data import Clips, load_clips
from .options import add_seed


CLIPS = 6  # in a recording
CRITERIA = ("middle in the clip", "IoU of 0.3", "IoU of 0.5")


def add_arguments(parser: ArgumentParser) -> None:
    add_seed(parser)


def evaluate(arguments: Namespace) -> dict:
    """Join random clips to recordings of six, and search each clip's first caption among a recording's windows.

    Captions of clips that share action and style with another clip of their recording are left out. Returns the
    percentage of captions whose best window has its middle in the clip, or overlaps it by at least the given
    intersection over union (IoU); `chance` is the same for a window drawn at random.
    """
    clips, embedder = load_clips(arguments), Embedder(arguments.model)
    order = np.random.default_rng(arguments.seed).permutation(len(clips))
    recordings = [order[first : first + CLIPS] for first in range(0, len(order) - CLIPS + 1, CLIPS)]
    best, chance = [], []
    for rows in recordings:
        for hits, winner in search(clips, rows, embedder):
            best.append(hits[winner])
            chance.append(hits.mean(0))
    seconds = [clips.lengths[rows].sum() / embedder.fps for rows in recordings]
    return {
        "recordings": len(recordings),
        "mean_seconds": float(np.mean(seconds)),
        "captions": len(best),
        "found": dict(zip(CRITERIA, (100 * np.mean(best, 0)).tolist())),
        "chance": dict(zip(CRITERIA, (100 * np.mean(chance, 0)).tolist())),
    }


def search(clips: Clips, rows: np.ndarray, embedder: Embedder) -> list[tuple[np.ndarray, int]]:
    """Search a recording for its captions.

    Returns:
        For each caption that describes one clip of the recording only, the criteria that each window meets, of shape
        `(num_windows, 3)`, and the index of the best window.
    """
    kinds = [(clips.actions[row], clips.styles[row]) for row in rows]
    unique = [i for i, kind in enumerate(kinds) if kinds.count(kind) == 1]
    if not unique:
        return []
    motion = np.concatenate([clips.motions[row] for row in rows])
    ends = np.cumsum(clips.lengths[rows])
    windows = np.array(windows_of(len(motion), embedder.max_frames, embedder.fps))
    vectors = embedder.embed_motions([motion[start:end] for start, end in windows])
    scores = embedder.embed_texts([clips.captions[rows[i]][0] for i in unique]) @ vectors.T
    return [
        (criteria(windows, ends[i] - clips.lengths[rows[i]], ends[i]), int(row.argmax()))
        for i, row in zip(unique, scores)
    ]


def criteria(windows: np.ndarray, start: int, end: int) -> np.ndarray:
    """Return for each window, in columns, whether it meets each of `CRITERIA` for a span of frames."""
    middle = windows.mean(1)
    common = np.minimum(windows[:, 1], end) - np.maximum(windows[:, 0], start)
    overlap = np.maximum(common, 0) / (np.maximum(windows[:, 1], end) - np.minimum(windows[:, 0], start))
    return np.stack([(middle >= start) & (middle < end), overlap >= 0.3, overlap >= 0.5], 1)
