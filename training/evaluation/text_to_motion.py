"""Generated motion against captions and real clips: geometry, physics, a classifier of real motion, attention."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
import yaml
from transformers import pipeline

import lamp_hf
from lamp_hf.metrics.generation import halves_distance
from lamp_hf.metrics.geometry import measure
from lamp_hf.metrics.physics import bone_length_variation, foot_skating, largest_acceleration
from lamp_hf.models.pipeline_text_to_motion import TextToMotionPipeline
from lamp_hf.models.skeleton import HUMANML3D

from ..data import load_clips, shortened
from ..train_evaluator import accuracy
from .action_checks import CHECKS, SIDES, WELL_COVERED, confuses_sides
from .attention import effective_ranks
from .caption_facts import stated_styles
from .evaluator import Judge
from .options import DECODING, add_decoding, add_evaluator, add_seed


FIRST_FRAMES = 5
SINKING = 0.03  # metres below the floor


def add_arguments(parser: ArgumentParser) -> None:
    add_evaluator(parser)
    add_seed(parser)
    add_decoding(parser)
    parser.add_argument(
        "--num-candidates", type=int, help="motions to generate for each, of which LaMP keeps the best"
    )


def evaluate(arguments: Namespace) -> dict:
    """Return all numbers of [`TextToMotionTest`], and the effective rank of the generator's attention maps."""
    pipe = load_generator(arguments)
    options = {} if arguments.num_candidates is None else {"num_candidates": arguments.num_candidates}
    return TextToMotionTest(arguments)(pipe, **options) | {"attention_effective_rank": effective_ranks(pipe)}


def load_generator(arguments: Namespace) -> TextToMotionPipeline:
    """Load the pipeline, which decodes by the options given on the command line, otherwise as its model is set to."""
    pipe = pipeline("text-to-motion", model=str(arguments.model))
    for name, setting in DECODING.items():
        if getattr(arguments, name) is not None:
            setattr(pipe.model.config, setting, getattr(arguments, name))
    return pipe


class TextToMotionTest:
    """Generate a split's first captions, each as long as its real clip, and paraphrases of predicted length.

    Args:
        arguments (`argparse.Namespace`): `data`, `split`, `skeleton`, `seed` and, optionally, `evaluator`.
    """

    def __init__(self, arguments: Namespace):
        self.clips, self.seed = load_clips(arguments), arguments.seed
        self.captions = [captions[0] for captions in self.clips.captions]
        self.real = [lamp_hf.features_to_joints(motion) for motion in self.clips.motions]
        paraphrases = yaml.safe_load(Path(__file__).with_name("paraphrases.yaml").read_text())[arguments.split]
        self.paraphrases = [(action, text) for action, texts in paraphrases.items() for text in texts]
        self.judge = Judge(arguments.evaluator) if arguments.evaluator else None
        if self.judge:
            training = load_clips(arguments, "train")
            told = [(texts, style) for texts, style in zip(training.captions, training.styles) if style]
            self.stated_styles = stated_styles(self.captions, *zip(*told)) if told else [""] * len(self.clips)

    def __call__(self, pipe: TextToMotionPipeline, **options) -> dict:
        """Return the numbers of a generator, called with further options of the pipeline."""
        durations = [min(len(clip) / pipe.fps, pipe.max_duration) for clip in self.real]
        captions = shortened(self.captions, pipe.processor.tokenizer)
        seeds = [self.seed + row for row in range(len(captions))]  # clips may share their caption
        outputs = pipe(captions, duration=durations, seed=seeds, batch_size=32, **options)
        generated = [output["joints"] for output in outputs]
        actions, texts = zip(*self.paraphrases)
        outputs = pipe(list(texts), seed=self.seed, batch_size=32, **options)
        paraphrased = [output["joints"] for output in outputs]
        numbers = {
            "captions": geometry_numbers(generated, self.clips.actions),
            "real": geometry_numbers(self.real, self.clips.actions),
            "paraphrases": geometry_numbers(paraphrased, actions),
        }
        numbers["paraphrases"]["wrong"] = [
            f"{action}: {text}"
            for action, text, joints in zip(actions, texts, paraphrased)
            if not CHECKS[action](measure(joints))
        ]
        numbers |= self._compare(generated, list(range(len(generated))))
        if checked := [row for row, action in enumerate(self.clips.actions) if action in CHECKS]:
            numbers["checked_actions"] = {"clips": len(checked)} | self._compare(generated, checked)
        return numbers

    def _compare(self, generated: list[np.ndarray], rows: list[int]) -> dict:
        """Compare the generated clips of some rows to the real ones."""
        ours, real = ([clips[row] for row in rows] for clips in (generated, self.real))
        numbers = {"physics": physics_numbers(ours, real)}
        if self.judge:
            labels = ([texts[row] for row in rows] for texts in (self.clips.families, self.clips.styles))
            stated = [self.stated_styles[row] for row in rows]
            numbers["evaluator"] = evaluator_numbers(self.judge, ours, real, *labels, stated)
        return numbers


def geometry_numbers(joints: list[np.ndarray], actions: list[str]) -> dict:
    """Return the percentage of clips that do their action, over the well-covered and over all checked actions."""
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
        "well_covered": percentage(covered),
        "all": percentage(everything),
        "sides_confused": percentage(sided),
        "clips": len(everything),
        "by_action": {action: percentage(answers) for action, answers in right.items() if answers},
    }


def percentage(answers: list[bool]) -> float | None:
    """Return the percentage of answers that are true; None where there is none."""
    return 100 * float(np.mean(answers)) if answers else None


def physics_numbers(generated: list[np.ndarray], real: list[np.ndarray]) -> dict:
    """Compare feet, bone lengths and accelerations of generated clips and real clips of the same captions."""
    skating = [np.mean([foot_skating(clip) for clip in clips]) for clips in (generated, real)]
    jumps, first = (
        [np.array([largest_acceleration(clip[:frames]) for clip in clips]) for clips in (generated, real)]
        for frames in (None, FIRST_FRAMES)
    )
    sunk = [np.array([sinks(clip) for clip in clips]) for clips in (generated, real)]
    limit = float(np.quantile(first[1], 0.99))
    return {
        "skating_metres_per_second": float(skating[0]),
        "skating_of_real": float(skating[1]),
        "skating_ratio": float(skating[0] / skating[1]),
        "bone_length_variation_percent": 100 * max(bone_length_variation(clip) for clip in generated),
        "largest_acceleration_99th": float(np.quantile(jumps[0], 0.99)),
        "largest_acceleration_99th_of_real": float(np.quantile(jumps[1], 0.99)),
        "largest_acceleration_median": float(np.median(jumps[0])),
        "largest_acceleration_median_of_real": float(np.median(jumps[1])),
        "first_acceleration_99th_of_real": limit,
        "first_frames_within_percent": 100 * float(np.mean(first[0] <= limit)),
        "feet_sink_percent": 100 * float(sunk[0].mean()),
        "feet_sink_percent_of_real": 100 * float(sunk[1].mean()),
        "feet_sink_percent_where_real_do_not": 100 * float(sunk[0][~sunk[1]].mean()),
    }


def sinks(joints: np.ndarray) -> bool:
    """Return True if an ankle or a toe gets more than 3 cm below the floor."""
    feet = joints[:, HUMANML3D.feet, 1]
    return bool(feet.min() < -SINKING)


def evaluator_numbers(
    judge: Judge,
    generated: list[np.ndarray],
    real: list[np.ndarray],
    families: list[str],
    styles: list[str],
    stated_styles: list[str],
) -> dict:
    """Return the accuracy of families of action and of styles, and the Fréchet distance, by the evaluator.

    Args:
        judge ([`Judge`]): the trained evaluator.
        generated, real (`list[np.ndarray]` of shape `(num_frames, 22, 3)`): joints, in metres.
        families, styles (`list[str]`): those of the real clips; an empty style is unknown.
        stated_styles (`list[str]`): the style that each caption states.
    """
    (family, style, embedding), (real_family, real_style, real_embedding) = judge(generated), judge(real)
    stated = np.array([words == style for words, style in zip(stated_styles, styles)])
    known = np.array([bool(style) for style in styles])
    return {
        "action": accuracy(family, families),
        "action_of_real": accuracy(real_family, families),
        "style": accuracy(style, styles),
        "style_of_real": accuracy(real_style, styles),
        "captions_that_tell_their_style": 100 * float(np.mean(stated[known])) if known.any() else 0.0,
        "style_where_told": accuracy(np.array(style)[stated & known], np.array(styles)[stated & known]),
    } | frechet_numbers(real_embedding, embedding)


def frechet_numbers(real: np.ndarray, generated: np.ndarray) -> dict[str, float]:
    """Return the Fréchet distance of generated motions to real ones of the same captions, and of halves of the latter.

    Args:
        real, generated (`np.ndarray` of shape `(num_motions, embedding_size)`): embeddings by the evaluator.
    """
    distances = halves_distance(real, generated), halves_distance(real, real)
    return {
        "frechet_distance": distances[0],
        "frechet_distance_of_real_halves": distances[1],
        "frechet_ratio": distances[0] / distances[1],
    }
