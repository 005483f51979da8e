"""The report on a folder of motions, tried on systems whose order is known: from real clips to noise."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

import lamp_hf
from lamp_hf.data.tables import write_csv
from lamp_hf.evaluators.sentence_embeddings import sentence_embeddings
from lamp_hf.metrics.folder_report import evaluate_folder
from lamp_hf.models.pipeline_text_to_motion import TextToMotionPipeline
from lamp_hf.models.skeleton import Skeleton, get_skeleton

from ..data import Clips, draw, load_clips, shortened
from ..text_encoder import resolve_text_encoder
from ..train_evaluator import load_evaluator
from .options import add_decoding, add_evaluator, add_licenses, add_seed, add_sentence_encoder
from .regression import fit_regressor, regress
from .text_to_motion import load_generator


SHAKE = 0.03  # metres: standard deviation along each axis
SHAKE_FRAMES = 1.0  # standard deviation of the Gaussian that smooths the noise over time
OTHER_SPLIT = {"test": "val", "val": "test"}
# Numbers that should rank the systems, and if more is better. The Fréchet distance and physics know nothing of the
# prompt, so that the nearest clips, which are real, may be the best by them.
RANKING = {"r_precision_1": True, "matching_distance": False, "family_recognised": True}


def add_arguments(parser: ArgumentParser) -> None:
    add_evaluator(parser, required=True)
    note = "new folder for prompts.csv, the real motions of `reference`, and a folder of motions for each system"
    parser.add_argument("--outputs", required=True, type=Path, help=note)
    add_sentence_encoder(parser)
    parser.add_argument("--regression-steps", default=1000, type=int, help="training steps of the plain baseline")
    add_licenses(parser)
    add_seed(parser)
    add_decoding(parser)


def evaluate(arguments: Namespace) -> dict:
    """Return the report on each system, as `lamp-hf evaluate` gives it but for samples, and what is out of order.

    Every clip of the split lends a caption, drawn at random, its family and its length, which is cut to the longest
    that the model makes. All motions are compared with the real clips of the other held-out split.

    Raises:
        FileExistsError: when there is something at `--outputs`, which would be judged too.
        ValueError: when a motion that was written cannot be read.
    """
    arguments.outputs.mkdir(parents=True)
    training, reference = (load_clips(arguments, split) for split in ("train", OTHER_SPLIT[arguments.split]))
    pipe, tree = load_generator(arguments), get_skeleton(arguments.skeleton)
    longest = round(pipe.max_duration * pipe.fps)
    prompts = draw_prompts(load_clips(arguments), longest, np.random.default_rng(arguments.seed))
    write_prompts(arguments.outputs / "prompts.csv", prompts)
    real = arguments.outputs / "reference"
    write_motions(real, [to_joints(motion[:longest], tree) for motion in reference.motions], tree)
    judge, known, reports = load_evaluator(arguments.evaluator), training.distinct_captions(), {}
    for name, make in systems(arguments, prompts, training, pipe).items():
        folder = arguments.outputs / name.replace(" ", "_")
        write_motions(folder, make(), tree)
        report = evaluate_folder(folder, arguments.outputs / "prompts.csv", real, None, arguments.seed, judge, known)
        if problems := report.pop("broken"):
            raise ValueError(f"{folder}: {'; '.join(problems.values())}")
        del report["samples"]
        reports[name] = report
    return {
        "prompts": len(prompts.captions),
        "reference_split": OTHER_SPLIT[arguments.split],
        "licenses_left_out": arguments.licenses_left_out,
        "regression_steps": arguments.regression_steps,
        "systems": reports,
        "out_of_order": out_of_order(reports),
    }


@dataclass(frozen=True)
class Prompts:
    """Requests that every system answers.

    Args:
        captions (`list[str]`): a caption of each clip.
        families (`list[str]`): kinds of action; empty where the data has none.
        motions (`list[np.ndarray]` of shape `(num_frames, num_features)`): the real clips.
    """

    captions: list[str]
    families: list[str]
    motions: list[np.ndarray]

    @property
    def lengths(self) -> list[int]:
        """Frames of each motion."""
        return [len(motion) for motion in self.motions]


def draw_prompts(clips: Clips, longest: int, rng: np.random.Generator) -> Prompts:
    """Draw a caption of every clip; clips are cut to `longest` frames."""
    captions = [draw(texts, rng) for texts in clips.captions]
    return Prompts(captions, clips.families, [motion[:longest] for motion in clips.motions])


def write_prompts(path: Path, prompts: Prompts) -> None:
    """Write the prompts as `lamp-hf evaluate --prompts` reads them."""
    rows = [
        {"name": motion_name(i), "text": text, "family": family}
        for i, (text, family) in enumerate(zip(prompts.captions, prompts.families))
    ]
    write_csv(path, ["name", "text", "family"], rows)


def write_motions(folder: Path, motions: list[np.ndarray], tree: Skeleton) -> None:
    """Write joints `(num_frames, num_joints, 3)`, in metres, as files of a system, named as the prompts are."""
    folder.mkdir()
    for i, joints in enumerate(motions):
        lamp_hf.Motion(joints, tree.fps, tree).save(folder / f"{motion_name(i)}.npy")


def motion_name(row: int) -> str:
    """Return the name of a motion, numbered from 1 as `lamp-hf generate --prompts` does."""
    return f"{row + 1:06d}"


def systems(
    arguments: Namespace, prompts: Prompts, training: Clips, pipe: TextToMotionPipeline
) -> dict[str, Callable[[], list[np.ndarray]]]:
    """Return functions that make the motions of each system, joints in metres, from the best system to the worst."""
    tree, extractor = get_skeleton(arguments.skeleton), pipe.processor.feature_extractor
    rng = np.random.default_rng((arguments.seed, 1))
    encoder = resolve_text_encoder(arguments.sentence_encoder)
    known, asked = (sentence_embeddings(texts, encoder) for texts in (training.distinct_captions(), prompts.captions))

    def all_to_joints(motions: list[np.ndarray]) -> list[np.ndarray]:
        return [to_joints(motion, tree) for motion in motions]

    def regression() -> list[np.ndarray]:
        model = fit_regressor(training, known, extractor, arguments.regression_steps, arguments.seed)
        return regress(model, asked, prompts.lengths, extractor)

    return {
        "real clips": lambda: all_to_joints(prompts.motions),
        "generator": lambda: generate(pipe, prompts, arguments.seed),
        "nearest training caption": lambda: all_to_joints(nearest(training, known, asked, prompts.lengths)),
        "regression": lambda: all_to_joints(regression()),
        "noise": lambda: [shake(joints, rng) for joints in all_to_joints(of_others(prompts, rng))],
    }


def to_joints(features: np.ndarray, tree: Skeleton) -> np.ndarray:
    """Return joints in metres, `(num_frames, num_joints, 3)`."""
    return lamp_hf.features_to_joints(features, tree) * tree.metres


def generate(pipe: TextToMotionPipeline, prompts: Prompts, first_seed: int) -> list[np.ndarray]:
    """Generate the joints of each prompt with a seed of its own, as long as its clip."""
    texts = shortened(prompts.captions, pipe.processor.tokenizer)
    durations = [length / pipe.fps for length in prompts.lengths]
    seeds = [first_seed + i for i in range(len(texts))]
    return [output["joints"] for output in pipe(texts, duration=durations, seed=seeds, batch_size=32)]


def nearest(training: Clips, known: torch.Tensor, asked: torch.Tensor, lengths: list[int]) -> list[np.ndarray]:
    """Return the training clip whose caption is the nearest, at the wanted length.

    Where clips share the caption, it is that of the nearest length.

    Args:
        training ([`Clips`]): the training split.
        known (`torch.FloatTensor` of shape `(num_texts, size)`): unit-norm embeddings of its distinct captions.
        asked (`torch.FloatTensor` of shape `(num_prompts, size)`): those of the prompts.
        lengths (`list[int]`): frames of each motion.
    """
    clips_of: list[list[int]] = [[] for _ in known]
    for row, captions in enumerate(training.indexed_captions()[1]):
        for caption in captions:
            clips_of[caption].append(row)
    found = [clips_of[caption] for caption in (asked @ known.T).argmax(1)]
    rows = [min(rows, key=lambda row: abs(training.lengths[row] - length)) for rows, length in zip(found, lengths)]
    return [cut_or_looped(training.motions[row], length) for row, length in zip(rows, lengths)]


def of_others(prompts: Prompts, rng: np.random.Generator) -> list[np.ndarray]:
    """Return for each prompt the clip of another one, at the length of its own."""
    order = rng.permutation(len(prompts.motions))
    other = dict(zip(order, np.roll(order, 1)))
    return [cut_or_looped(prompts.motions[other[i]], length) for i, length in enumerate(prompts.lengths)]


def cut_or_looped(motion: np.ndarray, length: int) -> np.ndarray:
    """Return so many frames of features, from the start again after the end; the body walks on from where it is."""
    return motion[np.arange(length) % len(motion)]


def shake(joints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move every joint by noise of 3 cm along each axis that neighbouring frames share, so that it is still a body."""
    noise = gaussian_filter1d(rng.standard_normal(joints.shape), SHAKE_FRAMES, axis=0)
    return joints + SHAKE * noise / noise.std()


def out_of_order(reports: dict[str, dict]) -> dict[str, list[str]]:
    """Return, for each number that should rank the systems, the systems that do better than the one before them."""
    names = list(reports)
    found = {}
    for number, more_is_better in RANKING.items():
        if all(number in report["text"] for report in reports.values()):
            values = [reports[name]["text"][number] * (1 if more_is_better else -1) for name in names]
            found[number] = [name for name, before, value in zip(names[1:], values, values[1:]) if value > before]
    return found
