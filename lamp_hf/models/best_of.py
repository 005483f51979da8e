"""Best of several candidates: motions of one text with successive seeds, of which LaMP keeps the one it likes best."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from .motion_requests import MotionRequest


def candidates(requests: Iterable[MotionRequest]) -> Iterator[MotionRequest]:
    """Yield the candidates of each request, with its seed and those that follow, one after another."""
    for request in requests:
        for offset in range(request.num_candidates):
            yield replace(request, seed=request.seed + offset)


def keep_best(results: Iterable[dict], count: int) -> Iterator[dict]:
    """Yield the best of each `count` results, without the `score` that decides; the first of equal ones."""
    results = iter(results)
    while group := list(itertools.islice(results, count)):
        best = max(group, key=lambda result: result.get("score", 0.0))
        yield {name: value for name, value in best.items() if name != "score"}


@torch.no_grad()
def match_scores(
    lamp,
    input_ids: torch.LongTensor,
    attention_mask: torch.Tensor,
    motion_values: torch.FloatTensor,
    num_frames: torch.LongTensor,
) -> torch.FloatTensor:
    """Score how well text i and motion i belong together, see [`LampModel.get_pair_scores`].

    A motion that is longer than LaMP reads is cut into pieces of similar length; the mean of their scores is its own.

    Args:
        lamp ([`LampModel`]): the judge.
        input_ids, attention_mask (`torch.Tensor` of shape `(batch_size, text_length)`): texts.
        motion_values (`torch.FloatTensor` of shape `(batch_size, max_frames, feature_size)`): normalised features.
        num_frames (`torch.LongTensor` of shape `(batch_size,)`): frames of each motion; those beyond are padding.

    Returns:
        `torch.FloatTensor` of shape `(batch_size,)`.
    """
    longest = lamp.config.max_frames
    cuts = [row[:count].tensor_split(-(-count // longest)) for row, count in zip(motion_values, num_frames.tolist())]
    pieces = [piece for cut in cuts for piece in cut]
    rows = [row for row, cut in enumerate(cuts) for _ in cut]  # of each piece
    values = pad_sequence(pieces, batch_first=True)
    lengths = torch.tensor([len(piece) for piece in pieces], device=values.device)
    mask = torch.arange(values.shape[1], device=values.device) < lengths[:, None]
    scores = lamp.get_pair_scores(input_ids[rows], values, attention_mask[rows], mask)
    return torch.stack([part.mean() for part in scores.split([len(cut) for cut in cuts])])


def score_parts(lamp, processor, texts: list[str], features: np.ndarray, num_frames: list[int]) -> float:
    """Score a motion of several texts: the mean over texts, each with its frames.

    Args:
        lamp ([`LampModel`]): the judge.
        processor ([`LampProcessor`]): tokenizes the texts and normalises the features.
        texts (`list[str]`): what happens, one after another.
        features (`np.ndarray` of shape `(num_frames, num_features)`): of the whole motion, not normalised.
        num_frames (`list[int]`): frames of each text.
    """
    values = processor.feature_extractor.normalise(torch.from_numpy(features)).to(lamp.device, lamp.dtype)
    scores = []
    for text, part in zip(texts, values.split(num_frames)):
        inputs = processor(text=text).to(lamp.device)
        (score,) = match_scores(lamp, **inputs, motion_values=part[None], num_frames=torch.tensor([len(part)]))
        scores.append(float(score))
    return float(np.mean(scores))


__all__ = ["candidates", "keep_best", "match_scores", "score_parts"]
