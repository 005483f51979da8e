"""Constraints of generated motion: how closely they are met, and what they cost in realism, faithfulness and time."""

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable

import numpy as np
import torch

import lamp_hf
from lamp_hf import Constraint
from lamp_hf.metrics.generation import halves_distance
from lamp_hf.metrics.physics import foot_skating, largest_acceleration
from lamp_hf.models.path_following import sample
from lamp_hf.models.skeleton import HUMANML3D

from ..data import load_clips, shortened
from .evaluator import Judge
from .options import add_decoding, add_evaluator, add_seed
from .text_to_motion import load_generator


POSES = (0.2, 0.5, 0.8)  # shares of the duration at which key poses are
POINT, HAND = 0.65, "right_wrist"
SHORTEST = 20  # frames of a clip that a path is taken from
TIMED = 10  # prompts whose times are compared


def add_arguments(parser: ArgumentParser) -> None:
    add_evaluator(parser)
    parser.add_argument("--prompts", default=100, type=int, help="captions that are drawn from the split")
    parser.add_argument(
        "--any-family", action="store_true", help="take paths and poses from clips of any family, not of the caption's"
    )
    add_seed(parser)
    add_decoding(parser)


def evaluate(arguments: Namespace) -> dict:
    """Return errors in centimetres, realism, families and times, by what is constrained.

    The root has to be where that of another real clip, played in the caption's duration, is in every frame. Key poses
    and the place of a hand are that clip's, too. "none" is the same generator without constraints.
    """
    pipe, rng = load_generator(arguments), np.random.default_rng(arguments.seed)
    clips = load_clips(arguments)
    real = [lamp_hf.features_to_joints(motion) for motion in clips.motions]
    rows = rng.permutation(len(clips))[: arguments.prompts].tolist()
    texts = shortened([clips.captions[row][0] for row in rows], pipe.processor.tokenizer)
    lengths = [min(len(real[row]), round(pipe.max_duration * pipe.fps)) for row in rows]
    families = [clips.families[row] for row in rows]
    sources = [draw_source(row, real, clips.families, arguments.any_family, rng) for row in rows]
    references = [played(real[source], frames) for source, frames in zip(sources, lengths)]
    judge = Judge(arguments.evaluator) if arguments.evaluator else None
    drawn = Scores(judge, [real[row] for row in rows], families)
    numbers: dict = {"prompts": len(rows), "any_family": arguments.any_family}
    for name, make in KINDS.items():
        outputs, refused = [], 0
        for text, frames, reference in zip(texts, lengths, references):
            wanted = make(reference, pipe.fps)
            options = {"duration": frames / pipe.fps, "seed": arguments.seed}
            try:
                outputs.append(pipe(text, **options, **({"constraints": wanted} if wanted else {})))
            except ValueError:
                refused += 1
                outputs.append(None)
        numbers[name] = {"refused": refused} | errors(outputs) | drawn(outputs)
    numbers["time_ratio"] = time_ratio(pipe, texts, lengths, references, arguments.seed)
    return numbers


def path(reference: np.ndarray, fps: float) -> list[Constraint]:
    return [Constraint.path(reference[:, 0, [0, 2]], times=np.arange(len(reference)) / fps)]


def poses(reference: np.ndarray, fps: float) -> list[Constraint]:
    frames = [round(share * (len(reference) - 1)) for share in POSES]
    return [Constraint.pose(frame / fps, reference[frame]) for frame in dict.fromkeys(frames)]


def point(reference: np.ndarray, fps: float) -> list[Constraint]:
    frame = round(POINT * (len(reference) - 1))
    return [Constraint.point(HAND, frame / fps, reference[frame, HUMANML3D.joint_names.index(HAND)])]


KINDS: dict[str, Callable[[np.ndarray, float], list[Constraint]]] = {
    "none": lambda reference, fps: [],
    "path": path,
    "path_and_poses": lambda reference, fps: path(reference, fps) + poses(reference, fps),
    "path_and_hand": lambda reference, fps: path(reference, fps) + point(reference, fps),
}


def draw_source(row: int, real: list[np.ndarray], families: list[str], any_family: bool, rng) -> int:
    """Draw another clip of the same family, of any family where there is none."""
    others = [other for other in range(len(real)) if other != row and len(real[other]) >= SHORTEST]
    same = [other for other in others if families[other] == families[row]]
    return int(rng.choice(others if any_family or not same else same))


def played(joints: np.ndarray, num_frames: int) -> np.ndarray:
    """Play a clip `(any, num_joints, 3)` in another number of frames."""
    frames = torch.linspace(0, len(joints) - 1, num_frames, dtype=torch.float64)
    return sample(torch.from_numpy(joints).double(), frames).numpy()


def errors(outputs: list[dict | None]) -> dict:
    """Return the mean and the 95th percentile of errors in centimetres: of the path, and of poses or points."""
    made = [np.array(output["constraint_error"]) for output in outputs if output and "constraint_error" in output]
    parts = {"root": [error[:1] for error in made], "joints": [error[1:] for error in made]}
    numbers = {}
    for part, values in parts.items():
        if values and (joined := np.concatenate(values)).size:
            numbers |= {
                f"{part}_error_cm": 100 * float(joined.mean()),
                f"{part}_error_95th_cm": 100 * float(np.quantile(joined, 0.95)),
            }
    return numbers


class Scores:
    """Realism and faithfulness of generated motions against the real clips of their captions.

    Args:
        judge ([`Judge`], *optional*): tells families and embeds motions.
        real (`list[np.ndarray]` of shape `(num_frames, 22, 3)`): the captions' own clips.
        families (`list[str]`): theirs.
    """

    def __init__(self, judge: Judge | None, real: list[np.ndarray], families: list[str]):
        self.judge, self.real, self.families = judge, real, families

    def __call__(self, outputs: list[dict | None]) -> dict:
        """Return the numbers of the motions that were made."""
        rows = [row for row, output in enumerate(outputs) if output]
        made, real = [outputs[row]["joints"] for row in rows], [self.real[row] for row in rows]
        skating = [float(np.mean([foot_skating(clip) for clip in clips])) for clips in (made, real)]
        numbers = {
            "skating_ratio": skating[0] / skating[1],
            "largest_acceleration_median": float(np.median([largest_acceleration(clip) for clip in made])),
        }
        if self.judge is None:
            return numbers
        answers, _, embedded = self.judge(made)
        _, _, real_embedded = self.judge(real)
        right = [answer == self.families[row] for answer, row in zip(answers, rows)]
        halves = halves_distance(real_embedded, real_embedded)
        return numbers | {
            "family_recognised": 100 * float(np.mean(right)),
            "frechet_ratio": halves_distance(real_embedded, embedded) / halves,
        }


def time_ratio(pipe, texts: list[str], lengths: list[int], references: list[np.ndarray], seed: int) -> dict:
    """Return how many times as long generation takes with constraints: the median over prompts, by processor time."""
    ratios: dict[str, list[float]] = {name: [] for name in KINDS if name != "none"}
    for text, frames, reference in list(zip(texts, lengths, references))[:TIMED]:
        spent = {}
        for name, make in KINDS.items():
            wanted = make(reference, pipe.fps)
            start = time.process_time()
            try:
                pipe(text, duration=frames / pipe.fps, seed=seed, **({"constraints": wanted} if wanted else {}))
            except ValueError:
                continue
            spent[name] = time.process_time() - start
        for name in spent.keys() & ratios.keys():
            ratios[name].append(spent[name] / spent["none"])
    return {name: float(np.median(values)) for name, values in ratios.items() if values}
