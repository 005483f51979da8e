"""Zero-shot classification of real clips into all families of the data."""

from argparse import ArgumentParser, Namespace
from collections import Counter
from pathlib import Path

import numpy as np
import yaml
from transformers import pipeline

import lamp_hf  # noqa: F401 - registers the pipeline
from lamp_hf.data.dataset import load_motion_dataset

from ..data import load_clips
from .options import add_licenses


def add_arguments(parser: ArgumentParser) -> None:
    add_licenses(parser)


def evaluate(arguments: Namespace) -> dict:
    """Return how often `pipeline("zero-shot-motion-classification")` ranks a clip's family first, or among five.

    The candidates are the families of all splits, each described as family_labels.yaml does, or by its name.
    `mean_over_families` counts every family of the split alike.

    Raises:
        ValueError: when the data has no families.
    """
    clips = load_clips(arguments)
    known = {str(family) for family in load_motion_dataset(arguments.data, "train", arguments.skeleton)["family"]}
    families = sorted(known | set(clips.families))
    if not all(families):
        raise ValueError(f"{arguments.data}: there are clips without a family to classify")
    labels = describe(families)
    classify = pipeline("zero-shot-motion-classification", model=str(arguments.model))
    answers = classify(clips.motions, candidate_labels=list(labels), batch_size=64)
    ranked = [[labels[row["label"]] for row in rows] for rows in answers]
    ranks = np.array([some.index(family) for some, family in zip(ranked, clips.families)])
    by_family = {}
    for family in sorted(set(clips.families)):
        own = [row for row, name in enumerate(clips.families) if name == family]
        taken_for = Counter(ranked[row][0] for row in own if ranks[row])
        right = 100 * float((ranks[own] == 0).mean())
        by_family[family] = {"clips": len(own), "right": right, "taken_for": dict(taken_for.most_common(3))}
    return {
        "licenses_left_out": arguments.licenses_left_out,
        "clips": len(clips),
        "families": len(families),
        "right": 100 * float((ranks == 0).mean()),
        "among_five": 100 * float((ranks < 5).mean()),
        "mean_over_families": float(np.mean([row["right"] for row in by_family.values()])),
        "chance": 100 / len(families),
        "by_family": by_family,
    }


def describe(families: list[str]) -> dict[str, str]:
    """Return the families by their descriptions, which complete "a person ..."."""
    descriptions = yaml.safe_load(Path(__file__).with_name("family_labels.yaml").read_text())
    return {descriptions.get(family, family.replace("-", " ")): family for family in families}
