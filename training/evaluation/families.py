"""Families of action in generated motion, recognised by a classifier of real motion: captions and paraphrases."""

import re
from argparse import ArgumentParser, Namespace
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import yaml
from datasets import Dataset

import lamp_hf
from lamp_hf.data.dataset import load_motion_dataset
from lamp_hf.models.pipeline_text_to_motion import TextToMotionPipeline

from ..augmentation.descriptions import FamilyDescriptions, descriptions_file
from ..data import Clips, load_clips, shortened, without_licenses
from .evaluator import Judge, share
from .options import add_decoding, add_evaluator, add_licenses, add_seed
from .text_to_motion import load_generator


def add_arguments(parser: ArgumentParser) -> None:
    add_evaluator(parser, required=True)
    parser.add_argument("--least", default=28, type=int, help="training clips that a family has at least")
    add_licenses(parser)
    parser.add_argument("--per-family", default=60, type=int, help="motions generated from a family's captions")
    parser.add_argument("--seeds", default=4, type=int, help="motions of each paraphrase")
    add_seed(parser)
    add_decoding(parser)


def evaluate(arguments: Namespace) -> dict:
    """Return how often families are recognised in generated and in real clips, and in motions of paraphrases.

    Captions are those of the split's clips in families with enough training clips, and each motion lasts as long as
    its clip. Real clips are those of the validation and test splits, neither of which the evaluator was trained on.
    """
    pipe = load_generator(arguments)
    judge = Judge(arguments.evaluator)
    covered = covered_families(arguments)
    clips = {split: load_clips(arguments, split) for split in ("val", "test")}
    real = recognised_of_real(judge, list(clips.values()))
    texts, durations, rows = draw_captions(clips[arguments.split], covered, arguments, pipe)
    families = [clips[arguments.split].families[row] for row in rows]
    seeds = [arguments.seed + number for number in range(len(texts))]  # a clip may lend the same caption again
    outputs = pipe(texts, duration=durations, seed=seeds, batch_size=32)
    answers, _, _ = judge(output["joints"] for output in outputs)
    generated = {family: [a for a, truth in zip(answers, families) if truth == family] for family in covered}
    prompts = yaml.safe_load(Path(__file__).with_name("family_prompts.yaml").read_text())
    paraphrases = prompts["paraphrases" if arguments.split == "test" else "paraphrases_val"]
    numbers = paraphrase_numbers(pipe, judge, paraphrases, covered, training_words(arguments), arguments)
    return {
        "least_training_clips": arguments.least,
        "licenses_left_out": arguments.licenses_left_out,
        "distinct_clips": len(set(rows)),
        "captions": compare(generated, real, covered),
        "paraphrases": numbers,
    }


def training_clips(arguments: Namespace) -> Dataset:
    """Return the clips that the model was trained on."""
    dataset = load_motion_dataset(arguments.data, "train", arguments.skeleton)
    return without_licenses(dataset, arguments.licenses_left_out, check=True)


def covered_families(arguments: Namespace) -> dict[str, int]:
    """Return the families with enough training clips, and the number of these."""
    counts = Counter(str(family) for family in training_clips(arguments)["family"])
    return {family: count for family, count in sorted(counts.items()) if family and count >= arguments.least}


def training_words(arguments: Namespace) -> dict[str, set[str]]:
    """Return, by family, the words of the captions and descriptions that the model was trained on."""
    dataset = training_clips(arguments).with_format(None)
    descriptions = FamilyDescriptions(descriptions_file("descriptions.yaml"))
    words: dict[str, set[str]] = defaultdict(set)
    for family, captions in zip(dataset["family"], dataset["captions"]):
        words[family] |= words_of(captions)
    return {family: known | words_of(descriptions.of_family(family)) for family, known in words.items()}


def words_of(texts: list[str]) -> set[str]:
    """Return the words of texts in lower case; left and right are one, since clips are mirrored."""
    return set(re.findall(r"[a-z]+", " ".join(texts).lower().replace("right", "left")))


def recognised_of_real(judge: Judge, splits: list[Clips]) -> dict[str, list[str]]:
    """Return, by the family of real clips, the family that is recognised in each."""
    real: dict[str, list[str]] = defaultdict(list)
    for clips in splits:
        for family, answer in zip(clips.families, judge(map(lamp_hf.features_to_joints, clips.motions))[0]):
            real[family].append(answer)
    return real


def draw_captions(
    clips: Clips, covered: dict[str, int], arguments: Namespace, pipe: TextToMotionPipeline
) -> tuple[list[str], list[float], list[int]]:
    """Draw captions of each family, all clips equally often, and return them, their clips' seconds and rows."""
    rng = np.random.default_rng(arguments.seed)
    texts, durations, drawn = [], [], []
    for family in covered:
        rows = [row for row, name in enumerate(clips.families) if name == family]
        for number in range(arguments.per_family if rows else 0):
            row = rows[number % len(rows)]
            texts.append(clips.captions[row][rng.integers(len(clips.captions[row]))])
            durations.append(min(clips.lengths[row] / pipe.fps, pipe.max_duration))
            drawn.append(row)
    return shortened(texts, pipe.processor.tokenizer), durations, drawn


def compare(generated: dict[str, list[str]], real: dict[str, list[str]], covered: dict[str, int]) -> dict:
    """Return the percentages recognised of generated and of real clips, by family, their means and the smallest.

    Args:
        generated, real (`dict[str, list[str]]`): by family, the family recognised in each clip.
        covered (`dict[str, int]`): the families to compare, and how many training clips they have.
    """
    rows = {}
    for family, count in covered.items():
        if not generated.get(family) or not real.get(family):
            continue
        shares = {name: share(some[family], family) for name, some in (("generated", generated), ("real", real))}
        taken_for = Counter(answer for answer in generated[family] if answer != family)
        rows[family] = shares | {
            "ratio": shares["generated"] / shares["real"] if shares["real"] else None,
            "training_clips": count,
            "real_clips": len(real[family]),
            "taken_for": dict(taken_for.most_common(3)),
        }
    if not rows:
        raise ValueError("no family has enough training clips and a clip of this split; lower --least")
    means = {name: float(np.mean([row[name] for row in rows.values()])) for name in ("generated", "real")}
    worst = min(rows, key=lambda family: rows[family]["generated"])
    return means | {
        "ratio": means["generated"] / means["real"] if means["real"] else None,
        "smallest": rows[worst]["generated"],
        "smallest_family": worst,
        "by_family": rows,
    }


def paraphrase_numbers(
    pipe: TextToMotionPipeline,
    judge: Judge,
    paraphrases: dict[str, list[str]],
    covered: dict[str, int],
    known: dict[str, set[str]],
    arguments: Namespace,
) -> dict:
    """Return the percentage of motions of paraphrases, as long as the model chooses, whose family is recognised.

    `with_new_words` is the same for paraphrases with a word that is not among the `known` ones of their family.
    """
    families = [family for family, texts in paraphrases.items() for _ in texts]
    texts = [text for some in paraphrases.values() for text in some]
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    answers: list[list[str]] = []
    for seed in seeds:
        outputs = pipe(texts, seed=seed, batch_size=32)
        answers.append(judge(output["joints"] for output in outputs)[0])
    by_text = {text: share(row, family) for text, family, row in zip(texts, families, zip(*answers))}
    new = [text for text, family in zip(texts, families) if words_of([text]) - known.get(family, set())]
    by_family = {family: float(np.mean([by_text[text] for text in some])) for family, some in paraphrases.items()}
    return {
        "prompts": len(texts),
        "seeds": len(seeds),
        "all": float(np.mean(list(by_text.values()))),
        "covered_families": float(np.mean([by_text[t] for t, family in zip(texts, families) if family in covered])),
        "with_new_words": {"prompts": len(new), "all": float(np.mean([by_text[text] for text in new]))},
        "by_family": by_family,
        "wrong": [f"{family}: {text}" for text, family in zip(texts, families) if not by_text[text]],
    }
