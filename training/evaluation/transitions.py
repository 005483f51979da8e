"""Transitions between texts made one after another and around edits, against what real clips show anywhere."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable

import numpy as np

import lamp_hf
from lamp_hf.metrics.geometry import facing_angles
from lamp_hf.models.pipeline_text_to_motion import TextToMotionPipeline

from ..data import Clips, load_clips, shortened
from .options import add_decoding, add_seed
from .text_to_motion import load_generator


SEQUENCES, TEXTS, SECONDS = 100, 3, 3.0
SHORTEST = 60  # frames of a clip whose middle is regenerated
AROUND = 4  # frames before and after a transition that belong to it
NAMES = ("acceleration_m_s2", "turn_degrees_per_frame")


def add_arguments(parser: ArgumentParser) -> None:
    add_seed(parser)
    add_decoding(parser)


def evaluate(arguments: Namespace) -> dict:
    """Return the largest acceleration and turn within four frames of a transition, compared to real clips.

    The transitions are those of sequences of three captions, and of real clips whose middle third is regenerated for
    one of their captions. Their limit is the 99th percentile over spans of eight frames of real clips.
    """
    clips = load_clips(arguments)
    pipe = load_generator(arguments)
    captions = [shortened(row, pipe.processor.tokenizer) for row in clips.captions]
    rng = np.random.default_rng(arguments.seed)
    between_texts = sequence_transitions(pipe, captions, rng, arguments.seed)
    around_edits = edit_transitions(pipe, clips, captions, rng, arguments.seed)
    real = []
    for motion in clips.motions:
        jolts = per_frame_jolts(lamp_hf.features_to_joints(motion), pipe.fps)
        spans = range(0, len(jolts) - 2 * AROUND, 2 * AROUND)
        real += [jolts[first : first + 2 * AROUND].max(0) for first in spans]
    limits = np.quantile(real, 0.99, axis=0)
    return {
        "sequences": SEQUENCES,
        "seams": len(between_texts),
        **compare(between_texts, limits),
        "edits": compare(around_edits, limits),
        "99th_percentile_of_real": dict(zip(NAMES, limits.tolist())),
    }


def sequence_transitions(
    pipe: TextToMotionPipeline, captions: list[list[str]], rng: np.random.Generator, seed: int
) -> list[np.ndarray]:
    """Generate sequences of random captions and measure the transitions between their texts."""
    transitions = []
    for number in range(SEQUENCES):
        texts = [str(rng.choice(captions[row])) for row in rng.integers(len(captions), size=TEXTS)]
        joints = pipe(texts, mode="sequence", duration=SECONDS, seed=seed + number)["joints"]
        # Texts end with a whole token, which may reach beyond their seconds.
        frames = -(-round(SECONDS * pipe.fps) // pipe.frames_per_token) * pipe.frames_per_token
        transitions += largest_around(per_frame_jolts(joints, pipe.fps), range(frames, TEXTS * frames, frames))
    return transitions


def edit_transitions(
    pipe: TextToMotionPipeline, clips: Clips, captions: list[list[str]], rng: np.random.Generator, seed: int
) -> list[np.ndarray]:
    """Regenerate the middle third of real clips and measure the transitions on both of its sides."""
    transitions = []
    long_enough = np.flatnonzero(clips.lengths >= SHORTEST)
    for number, row in enumerate(rng.choice(long_enough, SEQUENCES)):
        joints = lamp_hf.features_to_joints(clips.motions[row])
        third = len(joints) // 3
        kept = np.r_[np.ones(third, bool), np.zeros(third, bool), np.ones(len(joints) - 2 * third, bool)]
        text = str(rng.choice(captions[row]))
        edited = pipe(text, motion=joints, keep=kept, seed=seed + number)["joints"]
        transitions += largest_around(per_frame_jolts(edited, pipe.fps), [third, 2 * third])
    return transitions


def per_frame_jolts(joints: np.ndarray, fps: float) -> np.ndarray:
    """Return each frame's largest acceleration of a joint and its turn, `(num_frames - 2, 2)`."""
    acceleration = np.linalg.norm(np.diff(joints, 2, axis=0), axis=-1).max(-1) * fps**2
    turn = np.degrees(np.abs(np.diff(facing_angles(joints))))[:-1]
    return np.stack([acceleration, turn], -1)


def largest_around(jolts: np.ndarray, transitions: Iterable[int]) -> list[np.ndarray]:
    """Return the largest jolts within `AROUND` frames of each transition."""
    return [jolts[frame - AROUND : frame + AROUND].max(0) for frame in transitions]


def compare(transitions: list[np.ndarray], limits: np.ndarray) -> dict:
    """Return the percentage of transitions within the limits, and their own 99th percentile."""
    return {
        "within_percent": dict(zip(NAMES, (100 * np.mean(np.array(transitions) <= limits, axis=0)).tolist())),
        "99th_percentile": dict(zip(NAMES, np.quantile(transitions, 0.99, axis=0).tolist())),
    }
