"""Retrieval of a split's pairs under every protocol, by each way of scoring."""

import argparse

import numpy as np
import torch

from lamp_hf.evaluators.motion_evaluator import sentence_embeddings
from lamp_hf.fingerprint import fingerprint
from lamp_hf.metrics.retrieval import ranks, retrieval_metrics
from lamp_hf.models.modeling_lamp import LampModel, similarity
from lamp_hf.models.processing_lamp import LampProcessor

from ..data import Clips, load_clips
from ..text_encoder import resolve_text_encoder


RERANKED = "mean, re-ranked"


def evaluate_retrieval(arguments: argparse.Namespace) -> dict:
    """First captions and clips, all protocols of each scoring, by pair and by equal caption.

    Where the data has actions and styles, also those that share both as right answers, and what the first hit has.
    """
    clips = load_clips(arguments)
    captions = [texts[0] for texts in clips.captions]
    sentences = sentence_embeddings(captions, resolve_text_encoder(arguments.sentence_encoder))
    labels = {"model": fingerprint(arguments.model), "data": f"{arguments.data.name}, {arguments.split}"}
    numbers = {
        "sentence_encoder": arguments.sentence_encoder,
        "clips": len(clips),
        "rerank": arguments.rerank,
        "scorings": {},
    }
    for name, scores in score(arguments, clips, captions, sentences).items():
        metrics = retrieval_metrics(
            scores,
            captions,
            sentence_similarity=(sentences @ sentences.T).numpy(),
            names=clips.names,
            seed=arguments.seed,
            **labels,
        )
        if name == RERANKED:  # the best of the whole gallery were looked at again, few of them in any part of it
            metrics = {key: value for key, value in metrics.items() if not key.startswith(("small", "dissimilar"))}
        numbers["scorings"][name] = metrics | labelled(scores, clips, arguments.seed)
    return numbers


def score(arguments: argparse.Namespace, clips: Clips, captions: list[str], sentences: torch.Tensor) -> dict:
    """Similarities `(num_texts, num_motions)` by each way of scoring."""
    model = LampModel.from_pretrained(arguments.model).eval()
    processor = LampProcessor.from_pretrained(arguments.model)
    longest = model.config.num_query_tokens * model.config.motion_config.downsampling_factor
    motions = [motion[:longest] for motion in clips.motions]
    if arguments.plain_text:
        vectors = plain_motion_features(model, processor, motions)
        return {"plain": (model.embed_pooled_text(sentences) @ vectors.T).detach().numpy()}
    scores = {}
    for normalize, ways in ((True, ("max", "mean")), (False, ("euclidean",))):
        text, motion = features(model, processor, captions, motions, normalize)
        scores |= {way: similarity(text, motion, way) for way in ways}
    if arguments.rerank:
        text, motion = processor(text=captions), processor(motion=motions)
        scores[RERANKED] = model.rerank(scores["mean"], text, motion, arguments.rerank)
    return {way: values.float().numpy() for way, values in scores.items()}


@torch.no_grad()
def features(model: LampModel, processor: LampProcessor, captions: list[str], motions: list, normalize: bool):
    """Vectors of texts `(N, P)` and of motions' queries `(N, Q, P)`."""
    text, motion = [], []
    for first in range(0, len(captions), 64):
        inputs = processor(text=captions[first : first + 64], motion=motions[first : first + 64])
        text.append(model.get_text_features(**inputs, normalize=normalize))
        motion.append(model.get_motion_features(**inputs, pool=False, normalize=normalize))
    return torch.cat(text), torch.cat(motion)


@torch.no_grad()
def plain_motion_features(model: LampModel, processor: LampProcessor, motions: list[np.ndarray]) -> torch.Tensor:
    """Of a model that `train_retrieval` trained without LaMP's queries: its motion summary."""
    vectors = []
    for first in range(0, len(motions), 64):
        latents, mask = model.encode_latents(**processor(motion=motions[first : first + 64]))
        vectors.append(torch.nn.functional.normalize(model.motion_summary(latents, mask), dim=-1))
    return torch.cat(vectors)


def labelled(scores: np.ndarray, clips: Clips, seed: int, **options) -> dict:
    """Multi-positive metrics by action and style, and percent of queries whose first hit has the action, and both."""
    if not all(clips.actions):
        return {}
    kinds = list(zip(clips.actions, clips.styles))
    by_kind = retrieval_metrics(scores, kinds, seed=seed, **options)["all_multi_positive"]
    same_action = np.array(clips.actions)[:, None] == np.array(clips.actions)
    same_kind = same_action & (np.array(clips.styles)[:, None] == np.array(clips.styles))
    return {
        "by_action_and_style": by_kind,
        "first_hit_action": 100 * float((ranks(scores, same_action) < 1).mean()),
        "first_hit_action_and_style": 100 * float((ranks(scores, same_kind) < 1).mean()),
    }
