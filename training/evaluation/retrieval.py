"""Retrieval between texts and motions under every protocol, by each way of scoring, and matching."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
import torch

from lamp_hf.data.captions import are_new
from lamp_hf.evaluators.sentence_embeddings import sentence_embeddings
from lamp_hf.fingerprint import fingerprint
from lamp_hf.metrics.retrieval import ranks, retrieval_metrics
from lamp_hf.models.contrastive import similarity
from lamp_hf.models.modeling_auto_lamp import load_lamp
from lamp_hf.models.modeling_lamp_qformer import LampQFormerModel
from lamp_hf.models.processing_lamp import LampProcessor

from ..data import Clips, batched, load_clips, shortened
from ..text_encoder import resolve_text_encoder
from .lamp_pairs import BASELINES, BATCH, baseline_scores, encode_pairs, lamp_scores
from .matching import matching_numbers
from .motion_index import index_scores
from .options import add_licenses, add_seed, add_sentence_encoder


ALIKE = 0.8  # cosine of captions above which a clip is no wrong answer in matching
RERANKED = "re-ranked"
PARTS = (("both", "whole"), ("words", "words, mean query"), (RERANKED, "both"))
DIFFERENCES = (*(("both", name) for name in BASELINES), *PARTS)


def add_arguments(parser: ArgumentParser) -> None:
    add_sentence_encoder(parser)
    add_licenses(parser)
    note = "candidates of each text and motion to score again by matching, 0 for none"
    parser.add_argument("--rerank", default=16, type=int, help=note)
    note = "folders of models by `lamp-hf train dual-encoder` and `lamp-hf train tmr`, to compare with"
    parser.add_argument("--baseline", nargs="+", default=[], type=Path, help=note)
    add_seed(parser)


def evaluate(arguments: Namespace) -> dict:
    """Return the metrics of all protocols for each way of scoring first captions against clips.

    LaMP is also compared with its own parts and with baselines, query by query, and its matching is tried on hard
    negatives. Where the data has families, or actions and styles, first hits are compared by them too.
    """
    clips = load_clips(arguments)
    captions = [texts[0] for texts in clips.captions]
    sentences = sentence_embeddings(captions, resolve_text_encoder(arguments.sentence_encoder))
    cosines = (sentences @ sentences.T).numpy()
    labels = {"model": fingerprint(arguments.model), "data": f"{arguments.data.name}, {arguments.split}"}
    numbers = {
        "sentence_encoder": arguments.sentence_encoder,
        "clips": len(clips),
        "licenses_left_out": arguments.licenses_left_out,
        "rerank": arguments.rerank,
        "scorings": {},
    }
    scores, matching = score(arguments, clips, captions, cosines)
    for name, values in scores.items():
        metrics = retrieval_metrics(
            values, captions, sentence_similarity=cosines, names=clips.names, seed=arguments.seed, **labels
        )
        if name == RERANKED:  # the best of the whole gallery were scored again; few of them are in any part of it
            metrics = {key: value for key, value in metrics.items() if not key.startswith(("small", "dissimilar"))}
        numbers["scorings"][name] = metrics | labelled(values, clips, arguments.seed)
    numbers["new_captions"] = of_new_captions(arguments, clips, captions, scores, labels)
    compared = [pair for pair in DIFFERENCES if set(pair) <= set(scores)]
    if compared:
        numbers["differences"] = {
            f"{left} - {right}": paired_differences(scores[left], scores[right], clips.families, arguments.seed)
            for left, right in compared
        }
    if matching:
        numbers["matching"] = matching
    if "both" in scores:  # of LaMP
        numbers["motion_index"] = motion_index_numbers(arguments, clips, captions, scores)
    return numbers


def motion_index_numbers(
    arguments: Namespace, clips: Clips, captions: list[str], scores: dict[str, np.ndarray]
) -> dict[str, dict]:
    """Compare, from text to motion, the search of a [`MotionIndex`] with LaMP's exact scores, and with one stage."""
    others = load_clips(arguments, "train").motions
    found = index_scores(arguments.model, captions, clips.motions, others, arguments.seed)
    of_texts = {name: 100 * float(hit.mean()) for name, hit in hits(found, clips.families).items()}
    return of_texts | {
        f"{label}_difference": paired_differences(found, scores[name], clips.families, arguments.seed)[
            "text_to_motion"
        ]
        for label, name in (("exact", "both"), ("one_stage", "whole"))
    }


def of_new_captions(
    arguments: Namespace, clips: Clips, captions: list[str], scores: dict[str, np.ndarray], labels: dict[str, str]
) -> dict:
    """Return the metrics among the pairs whose caption does not stand in the training split, but for re-ranking."""
    new = np.flatnonzero(are_new(captions, load_clips(arguments, "train").distinct_captions()))
    names, texts = ([some[row] for row in new] for some in (clips.names, captions))
    found = {
        name: retrieval_metrics(values[np.ix_(new, new)], texts, names=names, seed=arguments.seed, **labels)
        for name, values in scores.items()
        if len(new) and name != RERANKED
    }
    return {"clips": len(new), "scorings": found}


def score(
    arguments: Namespace, clips: Clips, captions: list[str], cosines: np.ndarray
) -> tuple[dict[str, np.ndarray], dict]:
    """Return similarities `(num_texts, num_motions)` by each way of scoring, and the numbers of matching.

    Raises:
        ValueError: when the paper's Q-Former is to be compared with a baseline of LaMP.
    """
    model, processor = load_lamp(arguments.model).eval(), LampProcessor.from_pretrained(arguments.model)
    if isinstance(model, LampQFormerModel):
        if arguments.baseline:
            raise ValueError(f"--baseline goes with LaMP; {arguments.model} contains the paper's Q-Former")
        return qformer_scores(model, processor, captions, clips.motions, arguments.rerank), {}
    pairs = encode_pairs(model, processor, captions, clips.motions)
    scores = lamp_scores(model, pairs)
    alike = (cosines > ALIKE) | (np.array(captions)[:, None] == np.array(captions))
    matching = matching_numbers(model, pairs, scores["both"], alike)
    if arguments.rerank:
        scores[RERANKED] = model.rerank(pairs.text_inputs, pairs.motion_inputs, arguments.rerank)
    scores |= baseline_scores(arguments.baseline, pairs)
    return {name: values.float().cpu().numpy() for name, values in scores.items()}, matching


@torch.no_grad()
def qformer_scores(
    model: LampQFormerModel, processor: LampProcessor, captions: list[str], motions: list, rerank: int
) -> dict[str, np.ndarray]:
    """Score by the queries of the paper's Q-Former: the best one, their mean, and the released code's distance."""
    captions = shortened(captions, processor.tokenizer)
    motions = [motion[: model.config.max_frames] for motion in motions]
    scores = {}
    for normalize, ways in ((True, ("max", "mean")), (False, ("euclidean",))):
        text, motion = [], []
        for rows in batched(range(len(captions)), BATCH):
            inputs = processor(text=[captions[i] for i in rows], motion=[motions[i] for i in rows])
            text.append(model.get_text_features(**inputs, normalize=normalize))
            motion.append(model.get_motion_features(**inputs, pool=False, normalize=normalize))
        scores |= {way: similarity(torch.cat(text), torch.cat(motion), way) for way in ways}
    if rerank:
        inputs = processor(text=captions), processor(motion=motions)
        scores[RERANKED] = model.rerank(scores["mean"], *inputs, rerank)
    return {way: values.float().numpy() for way, values in scores.items()}


def labelled(scores: np.ndarray, clips: Clips, seed: int, **options) -> dict:
    """Return metrics with all clips of equal action and style as right answers, and percentages of right first hits.

    `first_hit_family` is the percentage of queries whose first hit is of the query's family, `first_hit_action` that
    of queries whose first hit has the action, `first_hit_action_and_style` that of queries whose first hit has both.
    Empty where the data has no labels.
    """
    numbers: dict = {}
    if all(clips.families):
        numbers["first_hit_family"] = 100 * float((ranks(scores, equal(clips.families)) < 1).mean())
    if all(clips.actions):
        kinds = list(zip(clips.actions, clips.styles))
        by_kind = retrieval_metrics(scores, kinds, seed=seed, **options)["all_multi_positive"]
        same_action = equal(clips.actions)
        same_kind = same_action & equal(clips.styles)
        numbers |= {
            "by_action_and_style": by_kind,
            "first_hit_action": 100 * float((ranks(scores, same_action) < 1).mean()),
            "first_hit_action_and_style": 100 * float((ranks(scores, same_kind) < 1).mean()),
        }
    return numbers


def equal(labels: list[str]) -> np.ndarray:
    """Return which clips share a label, `(num_clips, num_clips)`."""
    return np.array(labels)[:, None] == np.array(labels)


def paired_differences(
    left: np.ndarray, right: np.ndarray, families: list[str], seed: int, bootstrap: int = 1000
) -> dict:
    """Return by how many percent of the queries one way of scoring is better than another, both ways.

    Args:
        left, right (`np.ndarray` of shape `(num_texts, num_motions)`): scores by both; row i and column i are a pair.
        families (`list[str]`): those of the clips; empty where unknown.
        seed (`int`): seed of the bootstrap.
        bootstrap (`int`): bootstrap samples of queries, each with its hits by both, for the 95 % intervals.

    Returns:
        `dict`: for `text_to_motion` and `motion_to_text` the differences of `R@1`, `R@10` and, where all families are
        known, `first_hit_family`, and their `intervals`.
    """
    rng = np.random.default_rng(seed)
    rows = rng.integers(len(left), size=(bootstrap, len(left)))
    result = {}
    for way, ours, theirs in (("text_to_motion", left, right), ("motion_to_text", left.T, right.T)):
        found, also = hits(ours, families), hits(theirs, families)
        gains = {name: 100 * (found[name].astype(float) - also[name]) for name in found}
        result[way] = {name: float(gain.mean()) for name, gain in gains.items()}
        result[way]["intervals"] = {
            name: np.percentile(gain[rows].mean(1), [2.5, 97.5]).tolist() for name, gain in gains.items()
        }
    return result


def hits(scores: np.ndarray, families: list[str]) -> dict[str, np.ndarray]:
    """Return for each query if its pair is first, if it is among the first ten, and if the first is of its family."""
    rank = ranks(scores, np.eye(len(scores), dtype=bool))
    found = {"R@1": rank < 1, "R@10": rank < 10}
    return found | ({"first_hit_family": ranks(scores, equal(families)) < 1} if all(families) else {})
