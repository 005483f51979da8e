"""Retrieval between texts and motions under every protocol, by each way of scoring."""

from argparse import ArgumentParser, Namespace

import numpy as np
import torch

from lamp_hf.evaluators.sentence_embeddings import sentence_embeddings
from lamp_hf.fingerprint import fingerprint
from lamp_hf.metrics.retrieval import ranks, retrieval_metrics
from lamp_hf.models.contrastive import similarity
from lamp_hf.models.modeling_lamp_qformer import LampQFormerModel
from lamp_hf.models.processing_lamp import LampProcessor

from ..data import Clips, load_clips
from ..text_encoder import resolve_text_encoder
from .options import add_seed, add_sentence_encoder


RERANKED = "mean, re-ranked"


def add_arguments(parser: ArgumentParser) -> None:
    add_sentence_encoder(parser)
    parser.add_argument("--rerank", type=int, help="candidates of each text and motion to score again by matching")
    parser.add_argument("--plain-text", action="store_true", help="the model is the baseline without LaMP's queries")
    add_seed(parser)


def evaluate(arguments: Namespace) -> dict:
    """Return the metrics of all protocols for each way of scoring first captions against clips.

    Where the data has actions and styles, clips that share both count as right answers too, and the first hits are
    compared by them.
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
        if name == RERANKED:  # the best of the whole gallery were scored again; few of them are in any part of it
            metrics = {key: value for key, value in metrics.items() if not key.startswith(("small", "dissimilar"))}
        numbers["scorings"][name] = metrics | labelled(scores, clips, arguments.seed)
    return numbers


def score(arguments: Namespace, clips: Clips, captions: list[str], sentences: torch.Tensor) -> dict:
    """Return similarities `(num_texts, num_motions)` by each way of scoring."""
    model = LampQFormerModel.from_pretrained(arguments.model).eval()
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
def features(model: LampQFormerModel, processor: LampProcessor, captions: list[str], motions: list, normalize: bool):
    """Embed texts, `(N, P)`, and the queries of motions, `(N, Q, P)`."""
    text, motion = [], []
    for first in range(0, len(captions), 64):
        inputs = processor(text=captions[first : first + 64], motion=motions[first : first + 64])
        text.append(model.get_text_features(**inputs, normalize=normalize))
        motion.append(model.get_motion_features(**inputs, pool=False, normalize=normalize))
    return torch.cat(text), torch.cat(motion)


@torch.no_grad()
def plain_motion_features(
    model: LampQFormerModel, processor: LampProcessor, motions: list[np.ndarray]
) -> torch.Tensor:
    """Embed motions by the summary alone, for a model that `train_retrieval` trained without LaMP's queries."""
    vectors = []
    for first in range(0, len(motions), 64):
        latents, mask = model.encode_latents(**processor(motion=motions[first : first + 64]))
        vectors.append(torch.nn.functional.normalize(model.motion_summary(latents, mask), dim=-1))
    return torch.cat(vectors)


def labelled(scores: np.ndarray, clips: Clips, seed: int, **options) -> dict:
    """Return metrics with all clips of equal action and style as right answers, and percentages of right first hits.

    `first_hit_action` is the percentage of queries whose first hit has the action, `first_hit_action_and_style` that
    of queries whose first hit has both. Empty where the data has no labels.
    """
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
