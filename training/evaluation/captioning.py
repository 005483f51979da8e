"""Captions of real clips: the usual text metrics, R-precision, and whether they are right about the motion."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
from datasets import Dataset
from transformers import pipeline

from lamp_hf.metrics.bertscore import BertScorer
from lamp_hf.metrics.captions import CONVENTIONS, caption_metrics
from lamp_hf.metrics.claims import claim_numbers, posture
from lamp_hf.metrics.generation import matching_distance, r_precision
from lamp_hf.models.motion_representation import features_to_joints
from lamp_hf.models.skeleton import HUMANML3D, get_skeleton
from lamp_hf.retrieval.embedder import Embedder

from ..data import Clips, load_clips
from ..train_evaluator import load_evaluator
from .action_checks import WELL_COVERED
from .caption_facts import MEASURED, SAME_ACTIONS, CaptionClassifier, fact_numbers, names_its_side, style_numbers
from .options import add_evaluator, add_lamp, add_seed


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--num-beams", type=int)
    parser.add_argument("--length-penalty", type=float)
    add_evaluator(parser)
    add_lamp(parser)
    add_seed(parser)


def evaluate(arguments: Namespace) -> dict:
    """Judge the captioner's captions of a split and, for comparison, other captions of the same clips.

    With `--evaluator` the captions of each clip's nearest neighbour in the training split are judged too, and with
    several references a clip the first of them against the others. Statements about the motion are judged where the
    data has actions, styles and measurements, which is in the parquet file; claims that geometry can check are judged
    for HumanML3D's skeleton, also those of the captions of noise.
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
    if judge.postures:
        rng = np.random.default_rng(arguments.seed)
        noise = [joints[:1] + rng.normal(0, 0.02, joints.shape).cumsum(0) for joints in judge.joints[:100]]
        answers = pipe(noise, batch_size=32, **options)
        texts = [answer[0]["generated_text"] for answer in answers]
        numbers["noise"] = {"claims": claim_numbers(texts, [posture(joints) for joints in noise])}
    numbers["examples"] = dict(list(zip(clips.names, captions))[:: max(1, len(captions) // 12)])
    return numbers


class CaptionJudge:
    """Computes all numbers of a list of captions, one for each clip of a split.

    Args:
        arguments (`argparse.Namespace`): `data`, `split`, `lamp` and `seed`.
        clips ([`Clips`]): the clips that the captions describe.
        training ([`Clips`]): the training split, from whose captions the words of actions and styles are learned.
    """

    def __init__(self, arguments: Namespace, clips: Clips, training: Clips):
        self.clips, self.training = clips, training
        self.joints = self.postures = []
        if get_skeleton(arguments.skeleton) is HUMANML3D:
            self.joints = [features_to_joints(motion) for motion in clips.motions]
            self.postures = [posture(joints) for joints in self.joints]
        self.measured = None
        if arguments.data.suffix == ".parquet":
            rows = Dataset.from_parquet(str(arguments.data), filters=[("split", "==", arguments.split)])
            if set(MEASURED) <= set(rows.column_names):
                measured = {row["name"]: row for row in rows}
                self.measured = [measured[name] for name in clips.names]
        sentences = [(text, action) for texts, action in zip(training.captions, training.actions) for text in texts]
        actions = [SAME_ACTIONS.get(action, action) for _, action in sentences]
        self.classifier = CaptionClassifier([text for text, _ in sentences], actions)
        self.lamp = Embedder(arguments.lamp)
        self.motions = self.lamp.embed_motions(clips.motions)
        self.order = np.random.default_rng(arguments.seed).permutation(len(clips))

    def __call__(self, captions: list[str], references: list[list[str]] | None = None) -> dict:
        """Judge captions; `references` are those of the clips if not given."""
        references = references or self.clips.captions
        numbers = {convention: caption_metrics(captions, references, convention) for convention in CONVENTIONS}
        for convention, split in CONVENTIONS.items():
            # An empty caption is judged as a full stop, a long one by its first forty words.
            words = [split(caption)[:40] or ["."] for caption in captions]
            texts = self.lamp.embed_texts([" ".join(sentence) for sentence in words])[self.order]
            precision = r_precision(texts, self.motions[self.order])
            numbers[convention] |= {f"r_precision_{k}": 100 * share for k, share in enumerate(precision, 1)}
            numbers[convention]["mm_dist"] = matching_distance(texts, self.motions[self.order])
        scores = BertScorer()(captions, references)
        numbers |= {"bertscore": 100 * float(scores.f1.mean()), "bertscore_hashcode": scores.hashcode}
        numbers |= {"claims": claim_numbers(captions, self.postures)} if self.postures else {}
        return numbers | (self._statements(captions) if self.measured else {})

    def _statements(self, captions: list[str]) -> dict:
        """Return the percentage of captions that are right about the clip's action, side, style and numbers."""
        actions = [SAME_ACTIONS.get(action, action) for action in self.clips.actions]
        right = np.array([self.classifier(caption) == action for caption, action in zip(captions, actions)])
        covered = np.array([action in WELL_COVERED for action in self.clips.actions])
        sides = [names_its_side(caption, action) for caption, action in zip(captions, self.clips.actions)]
        return {
            "action": 100 * float(right[covered].mean()),
            "action_of_all": 100 * float(right.mean()),
            "side": 100 * float(np.mean([side for side in sides if side is not None])),
            **style_numbers(captions, self.clips.styles, self.training.captions, self.training.styles),
            "facts": fact_numbers(captions, self.measured),
        }


def nearest_captions(evaluator: Path, clips: Clips, training: Clips) -> list[str]:
    """Return the first caption of the training clip that the evaluator finds most similar to each clip."""
    model = load_evaluator(evaluator)
    similarity = model.embed_motions(clips.motions) @ model.embed_motions(training.motions).T
    return [training.captions[i][0] for i in similarity.argmax(1)]
