"""Generated motion against captions and real clips: geometry, physics, a classifier of real motion, attention."""

import argparse
from pathlib import Path

import numpy as np
import torch
import yaml
from transformers import pipeline

import lamp_hf
from lamp_hf.evaluators.motion_evaluator import MotionEvaluatorModel
from lamp_hf.metrics.generation import halves_distance
from lamp_hf.metrics.geometry import CHECKS, SIDES, WELL_COVERED, confuses_sides, measure
from lamp_hf.metrics.physics import bone_length_variation, foot_skating, largest_acceleration
from lamp_hf.models.feature_extraction_motion import MotionFeatureExtractor
from lamp_hf.models.pipeline_text_to_motion import TextToMotionPipeline

from ..data import Clips, load_clips, shortened
from ..train_evaluator import accuracy, judge
from .attention import effective_ranks
from .caption_facts import told_styles


# Options of the command line, by the names that they have in a model's configuration.
DECODING = {
    "guidance_scale": "guidance_scale",
    "guidance_interval": "guidance_interval",
    "steps": "num_inference_steps",
    "temperature": "temperature",
    "choice_temperature": "choice_temperature",
}


def evaluate_text_to_motion(arguments: argparse.Namespace) -> dict:
    pipe = load_generator(arguments)
    return TextToMotionTest(arguments)(pipe) | {"attention_effective_rank": effective_ranks(pipe)}


def load_generator(arguments: argparse.Namespace) -> TextToMotionPipeline:
    """The pipeline, which decodes as `DECODING` on the command line says, else as its model is set to."""
    pipe = pipeline("text-to-motion", model=str(arguments.model))
    for name, setting in DECODING.items():
        if getattr(arguments, name) is not None:
            setattr(pipe.model.config, setting, getattr(arguments, name))
    return pipe


class TextToMotionTest:
    """A split's first captions, each as long as the real clip; then the paraphrases, of predicted length.

    Args:
        arguments (`argparse.Namespace`): `data`, `split`, `skeleton`, `seed` and, if there is one, `evaluator`.
    """

    def __init__(self, arguments: argparse.Namespace):
        self.clips, self.seed, self.evaluator = load_clips(arguments), arguments.seed, arguments.evaluator
        self.captions = [captions[0] for captions in self.clips.captions]
        self.real = [lamp_hf.features_to_joints(motion) for motion in self.clips.motions]
        paraphrases = yaml.safe_load(Path(__file__).with_name("paraphrases.yaml").read_text())[arguments.split]
        self.paraphrases = [(action, text) for action, texts in paraphrases.items() for text in texts]
        if self.evaluator:
            training = load_clips(arguments, "train")
            self.told = told_styles(self.captions, training.captions, training.styles)

    def __call__(self, pipe, **options) -> dict:
        """Numbers of a generator with options of decoding."""
        durations = [min(len(clip) / pipe.fps, pipe.max_duration) for clip in self.real]
        captions = shortened(self.captions, pipe.processor.tokenizer)
        made = pipe(captions, duration=durations, seed=self.seed, batch_size=32, **options)
        made = [motion["joints"] for motion in made]
        actions = [action for action, _ in self.paraphrases]
        answers = pipe([text for _, text in self.paraphrases], seed=self.seed, batch_size=32, **options)
        answers = [motion["joints"] for motion in answers]
        numbers = {
            "captions": geometry_numbers(made, self.clips.actions),
            "real": geometry_numbers(self.real, self.clips.actions),
            "paraphrases": geometry_numbers(answers, actions),
            "physics": physics_numbers(made, self.real),
        }
        numbers["paraphrases"]["wrong"] = [
            f"{action}: {text}"
            for (action, text), joints in zip(self.paraphrases, answers)
            if not CHECKS[action](measure(joints))
        ]
        if self.evaluator:
            numbers["evaluator"] = evaluator_numbers(self.evaluator, made, self.real, self.clips, self.told)
        return numbers


def geometry_numbers(joints: list[np.ndarray], actions: list[str]) -> dict:
    """Percent of clips that do their action, over the well-covered actions and over all that can be checked."""
    facts = [measure(clip) for clip in joints]
    right = {action: [] for action in CHECKS}
    for fact, action in zip(facts, actions):
        if action in CHECKS:
            right[action].append(CHECKS[action](fact))
    sided = [
        confuses_sides(action, fact)
        for fact, action in zip(facts, actions)
        if action.replace("right", "left") in SIDES
    ]
    covered = [answer for action in WELL_COVERED for answer in right[action]]
    everything = [answer for answers in right.values() for answer in answers]
    return {
        "well_covered": 100 * float(np.mean(covered)),
        "all": 100 * float(np.mean(everything)),
        "sides_confused": 100 * float(np.mean(sided)),
        "clips": len(everything),
        "by_action": {action: 100 * float(np.mean(answers)) for action, answers in right.items() if answers},
    }


def physics_numbers(made: list[np.ndarray], real: list[np.ndarray]) -> dict:
    """Made and real clips have the same captions, so the same actions."""
    skating = [np.mean([foot_skating(clip) for clip in clips]) for clips in (made, real)]
    jumps = [np.array([largest_acceleration(clip) for clip in clips if len(clip) > 2]) for clips in (made, real)]
    return {
        "skating_metres_per_second": float(skating[0]),
        "skating_of_real": float(skating[1]),
        "skating_ratio": float(skating[0] / skating[1]),
        "bone_length_variation_percent": 100 * max(bone_length_variation(clip) for clip in made),
        "largest_acceleration_99th": float(np.quantile(jumps[0], 0.99)),
        "largest_acceleration_99th_of_real": float(np.quantile(jumps[1], 0.99)),
        "largest_acceleration_median": float(np.median(jumps[0])),
        "largest_acceleration_median_of_real": float(np.median(jumps[1])),
    }


def evaluator_numbers(folder: Path, made: list[np.ndarray], real: list[np.ndarray], clips: Clips, told) -> dict:
    model = MotionEvaluatorModel.from_pretrained(folder)
    extractor = MotionFeatureExtractor.from_pretrained(folder)
    features = [
        [extractor.normalise(torch.from_numpy(lamp_hf.joints_to_features(clip))) for clip in motions]
        for motions in (made, real)
    ]
    (action, style, embedding), (real_action, real_style, real_embedding) = (
        judge(model, motions) for motions in features
    )
    telling = np.array([words == style for words, style in zip(told, clips.styles)])
    distances = halves_distance(real_embedding, embedding), halves_distance(real_embedding, real_embedding)
    return {
        "action": accuracy(action, clips.actions),
        "action_of_real": accuracy(real_action, clips.actions),
        "style": accuracy(style, clips.styles),
        "style_of_real": accuracy(real_style, clips.styles),
        "captions_that_tell_their_style": 100 * float(np.mean(telling)),
        "style_where_told": accuracy(
            np.array(style)[telling], [style for style, tells in zip(clips.styles, telling) if tells]
        ),
        "frechet_distance": distances[0],
        "frechet_distance_of_real_halves": distances[1],
        "frechet_ratio": distances[0] / distances[1],
    }
