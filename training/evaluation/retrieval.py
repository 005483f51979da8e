"""Retrieval between texts and motions under every protocol, by each way of scoring."""

from argparse import ArgumentParser, Namespace

import numpy as np
import torch

from lamp_hf.evaluators.sentence_embeddings import sentence_embeddings
from lamp_hf.fingerprint import fingerprint
from lamp_hf.metrics.retrieval import ranks, retrieval_metrics
from lamp_hf.models.contrastive import similarity
from lamp_hf.models.modeling_auto_lamp import load_lamp
from lamp_hf.models.modeling_lamp import LampModel
from lamp_hf.models.modeling_lamp_qformer import LampQFormerModel
from lamp_hf.models.processing_lamp import LampProcessor

from ..data import Clips, load_clips
from ..text_encoder import resolve_text_encoder
from .options import add_seed, add_sentence_encoder


BATCH = 64
RERANKED = ", re-ranked"


def add_arguments(parser: ArgumentParser) -> None:
    add_sentence_encoder(parser)
    parser.add_argument("--rerank", type=int, help="candidates of each text and motion to score again by matching")
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
    for name, scores in score(arguments, clips, captions).items():
        metrics = retrieval_metrics(
            scores,
            captions,
            sentence_similarity=(sentences @ sentences.T).numpy(),
            names=clips.names,
            seed=arguments.seed,
            **labels,
        )
        if name.endswith(RERANKED):  # few of the pairs that were scored again are in any part of the gallery
            metrics = {key: value for key, value in metrics.items() if not key.startswith(("small", "dissimilar"))}
        numbers["scorings"][name] = metrics | labelled(scores, clips, arguments.seed)
    return numbers


def score(arguments: Namespace, clips: Clips, captions: list[str]) -> dict:
    """Return similarities `(num_texts, num_motions)` by each way of scoring."""
    model = load_lamp(arguments.model).eval()
    processor = LampProcessor.from_pretrained(arguments.model)
    motions = [motion[: model.config.max_frames] for motion in clips.motions]
    ways = score_words if isinstance(model, LampModel) else score_queries
    scores, main = ways(model, processor, captions, motions)
    if arguments.rerank:
        text, motion = dict(processor(text=captions)), dict(processor(motion=motions))
        given = () if isinstance(model, LampModel) else (scores[main],)
        scores[f"{main}{RERANKED}"] = model.rerank(*given, text, motion, k=arguments.rerank)
    return {way: values.float().numpy() for way, values in scores.items()}


@torch.no_grad()
def score_words(model: LampModel, processor: LampProcessor, captions: list[str], motions: list) -> tuple[dict, str]:
    """Score by LaMP: by whole texts and motions, as an index does, by words and queries, and by the sum of both."""
    texts, clips = [], []
    for first in range(0, len(captions), BATCH):
        inputs = processor(text=captions[first : first + BATCH], motion=motions[first : first + BATCH])
        mask = inputs["attention_mask"].bool()
        texts.append(model.encode_text_parts(model.encode_text(inputs["input_ids"], mask), mask))
        latents = model.encode_latents(inputs["motion_values"], inputs["motion_attention_mask"])
        clips.append(model.encode_motion_parts(*latents))
    rows = [[model.score(text, motion) for motion in clips] for text in texts]
    whole, words = (torch.cat([torch.cat([pair[i] for pair in row], 1) for row in rows]) for i in (0, 1))
    return {"whole": whole, "words": words, "both": whole + words}, "both"


@torch.no_grad()
def score_queries(
    model: LampQFormerModel, processor: LampProcessor, captions: list[str], motions: list
) -> tuple[dict, str]:
    """Score by the paper's Q-Former: by the best query, by the mean of queries, and as released."""
    scores = {}
    for normalize, ways in ((True, ("max", "mean")), (False, ("euclidean",))):
        text, motion = [], []
        for first in range(0, len(captions), BATCH):
            inputs = processor(text=captions[first : first + BATCH], motion=motions[first : first + BATCH])
            text.append(model.get_text_features(**inputs, normalize=normalize))
            motion.append(model.get_motion_features(**inputs, pool=False, normalize=normalize))
        scores |= {way: similarity(torch.cat(text), torch.cat(motion), way) for way in ways}
    return scores, "mean"


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
