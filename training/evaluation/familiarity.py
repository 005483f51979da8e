"""Familiarity of prompts: how well those like the training data are told from others, and which are warned of."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
import torch
import yaml
from transformers import AutoModel, AutoProcessor

from lamp_hf.models.familiarity import Familiarity

from ..data import batched


def add_arguments(parser: ArgumentParser) -> None:
    parser.epilog = "Thresholds are chosen on --split val, one half of the prompts, and reported on the other half."


def evaluate(arguments: Namespace) -> dict:
    """Return the numbers of [`separation`] on a split's half of the prompts.

    Raises:
        ValueError: when the model does not know what it was trained on.
    """
    processor = AutoProcessor.from_pretrained(arguments.model)
    if processor.familiarity is None:
        raise ValueError(f"--model {arguments.model} has no familiarity.json: make it with training.familiarity")
    model = AutoModel.from_pretrained(arguments.model).eval()
    prompts = read_prompts(arguments.split)
    embeddings = {name: embed(model.lamp, processor, texts) for name, texts in prompts.items()}
    return separation(processor.familiarity, prompts, embeddings)


def read_prompts(split: str) -> dict[str, list[str]]:
    """Read a half of the prompts: `inside` for those like the data, and a name for each kind of the others.

    The halves take turns, the validation half first. `paraphrases` are all prompts of that name of the split.
    """
    everything = yaml.safe_load(Path(__file__).with_name("family_prompts.yaml").read_text(encoding="utf-8"))
    inside = [text for texts in everything["familiarity"]["inside"].values() for text in texts]
    halves = {"inside": inside}
    for prompt in everything["familiarity"]["outside"]:
        halves.setdefault(prompt["kind"], []).append(prompt["text"])
    first = ["val", "test"].index(split)
    of_split = everything["paraphrases" if split == "test" else "paraphrases_val"]
    paraphrases = [text for texts in of_split.values() for text in texts]
    return {name: texts[first::2] for name, texts in halves.items()} | {"paraphrases": paraphrases}


@torch.no_grad()
def embed(lamp, processor, texts: list[str], batch_size: int = 128) -> torch.Tensor:
    """Embed sentences by the model's frozen sentence encoder, `(num_texts, size)`."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    rows = []
    for batch in batched(order, batch_size):
        inputs = processor(text=[texts[i] for i in batch]).to(lamp.device)
        rows.append(lamp.get_sentence_features(inputs["input_ids"], inputs["attention_mask"]).float().cpu())
    return torch.cat(rows)[torch.tensor(order).argsort()]


def separation(familiarity: Familiarity, prompts: dict[str, list[str]], embeddings: dict[str, torch.Tensor]) -> dict:
    """Return areas under the curve, and the percentage of the prompts of each kind that is warned of.

    Args:
        familiarity ([`Familiarity`]): what the model knows.
        prompts (`dict[str, list[str]]`): see [`read_prompts`].
        embeddings (`dict[str, torch.FloatTensor]` of shape `(num_prompts, size)`): of the prompts of each kind.
    """
    scores = {name: np.array(familiarity(vectors)[0]) for name, vectors in embeddings.items()}
    outside = outside_of(scores)
    warned = {name: 100 * float(np.mean(values < familiarity.threshold)) for name, values in scores.items()}
    return {
        "sentences": len(familiarity.sentences),
        "num_neighbours": familiarity.num_neighbours,
        "threshold": familiarity.threshold,
        "threshold_chosen_here": choose_threshold(outside),
        "auc": area_under_curve(scores["inside"], outside),
        "auc_human_actions": area_under_curve(scores["inside"], scores["human_action"]),
        "warned_inside": warned["inside"],
        "warned_outside": 100 * float(np.mean(outside < familiarity.threshold)),
        "warned_paraphrases": warned["paraphrases"],
        "warned_by_kind": {name: share for name, share in warned.items() if name not in ("inside", "paraphrases")},
        "wrongly_warned": [
            text
            for name in ("inside", "paraphrases")
            for text, score in zip(prompts[name], scores[name])
            if score < familiarity.threshold
        ],
    }


def outside_of(scores: dict[str, np.ndarray]) -> np.ndarray:
    """Return the scores of the prompts that are unlike the data, of all kinds."""
    return np.concatenate([values for name, values in scores.items() if name not in ("inside", "paraphrases")])


def area_under_curve(inside: np.ndarray, outside: np.ndarray) -> float:
    """Return the probability that a prompt like the data has a higher score than another; ties count half."""
    difference = inside[:, None] - outside[None]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def choose_threshold(outside: np.ndarray, warned: float = 0.85) -> float:
    """Return the lowest threshold, to two decimals, that warns of this share of the prompts unlike the data.

    A higher one warns of more paraphrases of the data: their scores overlap with those of other prompts.
    """
    thresholds = np.arange(101) / 100
    return float(next((value for value in thresholds if np.mean(outside < value) >= warned), 1.0))
