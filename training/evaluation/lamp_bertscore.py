"""LaMP-BertScore of real motion, of motion generated for a caption or for another one, and of noise."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import pipeline

import lamp_hf
from lamp_hf.metrics.bertscore import BertScorer
from lamp_hf.metrics.motion_bertscore import derangement, lamp_bertscore
from lamp_hf.models.skeleton import get_skeleton

from ..data import load_clips, shortened
from .options import add_seed


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--captioner", default=lamp_hf.bundled("captioning"), type=Path, help="motion-to-text model")
    add_seed(parser)


def evaluate(arguments: Namespace) -> dict:
    """Return the score of each kind of motion against the one caption it was generated from, and against all of them.

    Motions are as long as the clips.
    """
    clips = load_clips(arguments)
    skeleton = get_skeleton(arguments.skeleton)
    real = [lamp_hf.features_to_joints(motion, skeleton) * skeleton.metres for motion in clips.motions]
    pipe = pipeline("text-to-motion", model=str(arguments.model))
    captions = [texts[i % len(texts)] for i, texts in enumerate(clips.captions)]
    captions = shortened(captions, pipe.processor.tokenizer)
    longest = int(pipe.max_duration * pipe.fps)
    durations = [min(len(joints), longest) / pipe.fps for joints in real]
    outputs = pipe(captions, duration=durations, seed=arguments.seed, batch_size=32)
    generated = [output["joints"] for output in outputs]
    rng = np.random.default_rng(arguments.seed)
    other = derangement(len(clips), rng)
    motions = {
        "real": real,
        "generated": generated,
        "generated_for_another_caption": [generated[i] for i in other],
        "real_of_another_caption": [real[i] for i in other],
        "noise": [joints[:1] + rng.normal(0, 0.02, joints.shape).cumsum(0) for joints in real],
    }
    numbers: dict[str, dict] = {"one_reference": {}, "all_references": {}}
    scorer = BertScorer()
    for name, joints in motions.items():
        scores = lamp_bertscore(joints, captions, captioner=str(arguments.captioner))
        numbers["hashcode"] = scores["hashcode"]
        numbers["one_reference"][name] = _with_interval(scores["f1"], rng)
        numbers["all_references"][name] = _with_interval(scorer(scores["captions"], clips.captions).f1, rng)
    return numbers


def _with_interval(values: Sequence[float], rng: np.random.Generator) -> dict[str, float]:
    """Return the mean in percent and its 95 % interval over clips, from 1,000 bootstrap samples."""
    values = 100 * np.array(values)
    means = values[rng.integers(len(values), size=(1000, len(values)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}
