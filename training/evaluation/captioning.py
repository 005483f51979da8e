"""The captioner and LaMP-BertScore, measured on a split."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import Dataset
from transformers import pipeline

import lamp_hf
from lamp_hf.metrics.bertscore import BertScorer
from lamp_hf.metrics.captions import CONVENTIONS, caption_metrics
from lamp_hf.metrics.generation import matching_distance, r_precision
from lamp_hf.metrics.geometry import WELL_COVERED
from lamp_hf.metrics.motion_bertscore import derangement, lamp_bertscore
from lamp_hf.models.skeleton import get_skeleton
from lamp_hf.retrieval.embedder import Embedder

from ..data import Clips, load_clips
from ..train_evaluator import load_evaluator
from .caption_facts import SAME_ACTIONS, CaptionClassifier, fact_numbers, names_its_side, told_styles


def evaluate_captioning(arguments: argparse.Namespace) -> dict:
    """The captioner's captions of a split, and beside them those of each clip's nearest neighbour in training.

    What captions state is judged where the data has actions, styles and measurements: the parquet file.
    """
    clips, training = load_clips(arguments), load_clips(arguments, "train")
    judge = CaptionJudge(arguments, clips, training)
    pipe = pipeline("motion-to-text", model=str(arguments.model))
    options = {"num_beams": arguments.num_beams, "length_penalty": arguments.length_penalty}
    options = {name: value for name, value in options.items() if value is not None}
    captions = [answer[0]["generated_text"] for answer in pipe(clips.motions, batch_size=32, **options)]
    numbers = {"captioner": judge(captions)}
    if arguments.evaluator:
        neighbours = nearest_captions(arguments.evaluator, clips, training)
        numbers["nearest_neighbour"] = judge(neighbours)
    if all(len(texts) > 1 for texts in clips.captions):
        numbers["reference"] = judge([texts[0] for texts in clips.captions], [texts[1:] for texts in clips.captions])
    numbers["examples"] = dict(list(zip(clips.names, captions))[:: max(1, len(captions) // 12)])
    return numbers


class CaptionJudge:
    """All numbers of captions, one for each clip of a split."""

    def __init__(self, arguments: argparse.Namespace, clips: Clips, training: Clips):
        self.clips, self.training = clips, training
        self.measured = None
        if arguments.data.suffix == ".parquet":
            rows = Dataset.from_parquet(str(arguments.data), filters=[("split", "==", arguments.split)])
            measured = {row["name"]: row for row in rows}
            self.measured = [measured[name] for name in clips.names]
        sentences = [(text, action) for texts, action in zip(training.captions, training.actions) for text in texts]
        actions = [SAME_ACTIONS.get(action, action) for _, action in sentences]
        self.classifier = CaptionClassifier([text for text, _ in sentences], actions)
        self.lamp = Embedder(arguments.lamp)
        self.motions = self.lamp.embed_motions(clips.motions)
        self.order = np.random.default_rng(arguments.seed).permutation(len(clips))

    def __call__(self, captions: list[str], references: list[list[str]] | None = None) -> dict:
        references = references or self.clips.captions
        numbers = {convention: caption_metrics(captions, references, convention) for convention in CONVENTIONS}
        for convention, split in CONVENTIONS.items():
            # An empty caption says nothing, and nobody reads more than forty words.
            words = [split(caption)[:40] or ["."] for caption in captions]
            texts = self.lamp.embed_texts([" ".join(sentence) for sentence in words])[self.order]
            precision = r_precision(texts, self.motions[self.order])
            numbers[convention] |= {f"r_precision_{k}": 100 * share for k, share in enumerate(precision, 1)}
            numbers[convention]["mm_dist"] = matching_distance(texts, self.motions[self.order])
        scores = BertScorer()(captions, references)
        numbers |= {"bertscore": 100 * float(scores.f1.mean()), "bertscore_hashcode": scores.hashcode}
        return numbers | (self._stated(captions) if self.measured else {})

    def _stated(self, captions: list[str]) -> dict:
        """Percent of captions that are right about the clip."""
        actions = [SAME_ACTIONS.get(action, action) for action in self.clips.actions]
        right = np.array([self.classifier(caption) == action for caption, action in zip(captions, actions)])
        covered = np.array([action in WELL_COVERED for action in self.clips.actions])
        sides = [names_its_side(caption, action) for caption, action in zip(captions, self.clips.actions)]
        told = np.array(told_styles(captions, self.training.captions, self.training.styles))
        naming = told != "normal"
        return {
            "action": 100 * float(right[covered].mean()),
            "action_of_all": 100 * float(right.mean()),
            "side": 100 * float(np.mean([side for side in sides if side is not None])),
            "style_named": 100 * float(naming.mean()),
            "style": 100 * float((told == np.array(self.clips.styles))[naming].mean()) if naming.any() else None,
            "facts": fact_numbers(captions, self.measured),
        }


def nearest_captions(evaluator: Path, clips: Clips, training: Clips) -> list[str]:
    """The first caption of the training clip that the evaluator finds most similar."""
    model = load_evaluator(evaluator)
    similarity = model.embed_motions(clips.motions) @ model.embed_motions(training.motions).T
    return [training.captions[i][0] for i in similarity.argmax(1)]


def evaluate_lamp_bertscore(arguments: argparse.Namespace) -> dict:
    """LaMP-BertScore of real motion, generated for the caption, generated for another clip's, and noise.

    One caption a clip, and the clip's length, as in the evaluation of text to motion.
    """
    clips = load_clips(arguments)
    skeleton = get_skeleton(arguments.skeleton)
    real = [lamp_hf.features_to_joints(motion, skeleton) * skeleton.metres for motion in clips.motions]
    captions = [texts[i % len(texts)] for i, texts in enumerate(clips.captions)]
    pipe = pipeline("text-to-motion", model=str(arguments.model))
    longest = int(pipe.max_duration * pipe.fps)
    durations = [min(len(joints), longest) / pipe.fps for joints in real]
    made = [motion["joints"] for motion in pipe(captions, duration=durations, seed=arguments.seed, batch_size=32)]
    rng = np.random.default_rng(arguments.seed)
    other = derangement(len(clips), rng)
    motions = {
        "real": real,
        "generated": made,
        "generated_for_another_caption": [made[i] for i in other],
        "real_of_another_caption": [real[i] for i in other],
        "noise": [joints[:1] + rng.normal(0, 0.02, joints.shape).cumsum(0) for joints in real],
    }
    numbers: dict[str, dict] = {"one_reference": {}, "all_references": {}}
    scorer = BertScorer()
    for name, shown in motions.items():
        scores = lamp_bertscore(shown, captions, captioner=str(arguments.captioner))
        numbers["hashcode"] = scores["hashcode"]
        numbers["one_reference"][name] = _with_interval(scores["f1"], rng)
        numbers["all_references"][name] = _with_interval(scorer(scores["captions"], clips.captions).f1, rng)
    return numbers


def _with_interval(values: Sequence[float], rng: np.random.Generator) -> dict[str, float]:
    """Mean in percent, and its 95 % interval over clips, by 1,000 resamples."""
    values = 100 * np.array(values)
    means = values[rng.integers(len(values), size=(1000, len(values)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}
