"""Temporal localization: finding the part of a long recording that a sentence describes."""

from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Callable

import numpy as np

from lamp_hf.models.modeling_lamp import LampModel
from lamp_hf.retrieval.embedder import Embedder
from lamp_hf.retrieval.late_interaction import QueryVectors, WordScores
from lamp_hf.retrieval.windows import windows_of

from ..data import Clips, load_clips
from .options import add_seed


CLIPS = 6  # in a recording
CRITERIA = ("middle in the clip", "IoU of 0.3", "IoU of 0.5")


def add_arguments(parser: ArgumentParser) -> None:
    add_seed(parser)


def evaluate(arguments: Namespace) -> dict:
    """Join random clips to recordings of six, and search each clip's first caption among a recording's windows.

    Captions of clips that share family and style with another clip of their recording are left out. Returns the
    percentage of captions whose best window has its middle in the clip, or overlaps it by at least the given
    intersection over union (IoU), by the model's own score and, for LaMP, by the cosine of the whole alone; `chance`
    is the same for a window drawn at random, and `by_family` counts middles in the clip.
    """
    clips, embedder = load_clips(arguments), Embedder(arguments.model)
    order = np.random.default_rng(arguments.seed).permutation(len(clips))
    recordings = [order[first : first + CLIPS] for first in range(0, len(order) - CLIPS + 1, CLIPS)]
    best, best_whole, chance, by_family = [], [], [], defaultdict(list)
    for rows in recordings:
        for row, met, winner, winner_whole in search(clips, rows, embedder):
            best.append(met[winner])
            best_whole.append(met[winner_whole])
            chance.append(met.mean(0))
            by_family[clips.families[row]].append(met[winner][0])
    seconds = [clips.lengths[rows].sum() / embedder.fps for rows in recordings]
    whole = {"found_by_whole": percentages(best_whole)} if isinstance(embedder.model, LampModel) else {}
    return {
        "recordings": len(recordings),
        "mean_seconds": float(np.mean(seconds)),
        "captions": len(best),
        "found": percentages(best),
        **whole,
        "chance": percentages(chance),
        "families": len(by_family),
        "by_family": {family: 100 * float(np.mean(some)) for family, some in sorted(by_family.items())},
    }


def percentages(met: list[np.ndarray]) -> dict[str, float]:
    """Return how often each of `CRITERIA` is met."""
    return dict(zip(CRITERIA, (100 * np.mean(met, 0)).tolist()))


def search(clips: Clips, rows: np.ndarray, embedder: Embedder) -> list[tuple[int, np.ndarray, int, int]]:
    """Search a recording for its captions.

    Returns:
        For each caption that describes one clip of the recording only, the clip's row, the criteria that each window
        meets, of shape `(num_windows, 3)`, and the best window by the model's score and by the cosine of the whole.
    """
    kinds = [(clips.families[row] or clips.actions[row], clips.styles[row]) for row in rows]
    motion = np.concatenate([clips.motions[row] for row in rows])
    ends = np.cumsum(clips.lengths[rows])
    windows = np.array(windows_of(len(motion), embedder.max_frames, embedder.fps))
    score = window_scores(embedder, [motion[start:end] for start, end in windows])
    found = []
    for row, kind, end in zip(rows, kinds, ends):
        if kinds.count(kind) == 1:
            scores, cosines = score(clips.captions[row][0])
            met = criteria(windows, end - clips.lengths[row], end)
            found.append((row, met, int(scores.argmax()), int(cosines.argmax())))
    return found


def window_scores(embedder: Embedder, windows: list[np.ndarray]) -> Callable[[str], tuple[np.ndarray, np.ndarray]]:
    """Embed windows, and return a function from a text to their scores by the model and their cosines of the whole."""
    if not isinstance(embedder.model, LampModel):
        vectors = embedder.embed_motions(windows)
        return lambda text: 2 * (vectors @ embedder.embed_texts([text])[0],)
    vectors, queries = embedder.embed_motions_and_queries(windows)
    stored, rows = QueryVectors(queries), np.arange(len(windows))

    def score(text: str) -> tuple[np.ndarray, np.ndarray]:
        vector, words = embedder.encode_words(text)
        cosines = vectors @ vector
        return WordScores(embedder.model, words)(cosines, rows, stored), cosines

    return score


def criteria(windows: np.ndarray, start: int, end: int) -> np.ndarray:
    """Return for each window, in columns, whether it meets each of `CRITERIA` for a span of frames."""
    middle = windows.mean(1)
    common = np.minimum(windows[:, 1], end) - np.maximum(windows[:, 0], start)
    overlap = np.maximum(common, 0) / (np.maximum(windows[:, 1], end) - np.minimum(windows[:, 0], start))
    return np.stack([(middle >= start) & (middle < end), overlap >= 0.3, overlap >= 0.5], 1)
