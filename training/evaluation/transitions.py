"""Transitions between texts made one after another and around edits, against what real clips show anywhere."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable

import numpy as np

import lamp_hf
from lamp_hf.metrics.geometry import facing_angles
from lamp_hf.models.pipeline_text_to_motion import TextToMotionPipeline
from lamp_hf.models.windowed_generation import cut_at_tokens

from ..data import Clips, load_clips, shortened
from .options import add_decoding, add_seed
from .text_to_motion import load_generator


SEQUENCES, TEXTS, SECONDS = 100, 3, 3.0
SHORTEST = 60  # frames of a clip whose middle is regenerated
AROUND = 4  # frames before and after a transition that belong to it
GENERATED = 40  # frames that extend a clip
CLOSE = (3, 2)  # accelerations before and after a seam that are round it
NAMES = ("acceleration_m_s2", "turn_degrees_per_frame")


def add_arguments(parser: ArgumentParser) -> None:
    add_seed(parser)
    add_decoding(parser)


def evaluate(arguments: Namespace) -> dict:
    """Return the largest acceleration and turn within four frames of a transition, compared to real clips.

    The transitions are those of sequences of three captions, and of real clips whose middle third is regenerated for
    one of their captions. Their limit is the 99th percentile over spans of eight frames of real clips.

    Clips are also extended, as a prefix, as a suffix and as both: there it is the share of seams whose five closest
    frames jolt more than 99 % of spans of five frames of real clips.
    """
    clips = load_clips(arguments)
    pipe = load_generator(arguments)
    captions = [shortened(row, pipe.processor.tokenizer) for row in clips.captions]
    rng = np.random.default_rng(arguments.seed)
    between_texts = sequence_transitions(pipe, captions, rng, arguments.seed)
    around_edits = edit_transitions(pipe, clips, captions, rng, arguments.seed)
    around_extensions = extension_seams(pipe, clips, captions, rng, arguments.seed)
    real = [per_frame_jolts(lamp_hf.features_to_joints(motion), pipe.fps) for motion in clips.motions]
    limits, close = real_limits(real, 2 * AROUND), real_limits(real, sum(CLOSE))
    return {
        "sequences": SEQUENCES,
        "seams": len(between_texts),
        **compare(between_texts, limits),
        "edits": compare(around_edits, limits),
        "extensions": {name: compare(seams, close) for name, seams in around_extensions.items()},
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
        ends = np.cumsum(cut_at_tokens([round(SECONDS * pipe.fps)] * TEXTS, pipe.frames_per_token))
        transitions += largest_around(per_frame_jolts(joints, pipe.fps), ends[:-1].tolist())
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


def extension_seams(
    pipe: TextToMotionPipeline, clips: Clips, captions: list[list[str]], rng: np.random.Generator, seed: int
) -> dict[str, list[np.ndarray]]:
    """Generate two seconds after a part of a real clip, before one, and between two, and measure each side's seams."""
    long_enough = np.flatnonzero(clips.lengths >= GENERATED)
    seams = {name: [] for name in ("prefix", "suffix", "both_prefix", "both_suffix")}
    for number, (row, other) in enumerate(rng.choice(long_enough, (SEQUENCES, 2))):
        first, last = (lamp_hf.features_to_joints(clips.motions[clip]) for clip in (row, other))
        prefix = first[: rng.integers(GENERATED // 2, len(first))]
        suffix = last[-rng.integers(GENERATED // 2, len(last)) :]
        text, count = str(rng.choice(captions[row])), len(prefix)
        for given, places in (
            ({"prefix": prefix}, {"prefix": count}),
            ({"suffix": suffix}, {"suffix": GENERATED}),
            ({"prefix": prefix, "suffix": suffix}, {"both_prefix": count, "both_suffix": count + GENERATED}),
        ):
            joints = pipe(text, duration=GENERATED / pipe.fps, seed=seed + number, **given)["joints"]
            jolts = per_frame_jolts(joints, pipe.fps)
            for name, place in places.items():
                seams[name] += largest_around(jolts, [place], *CLOSE)
    return seams


def real_limits(real: list[np.ndarray], span: int) -> np.ndarray:
    """Return the 99th percentile of the largest jolts over spans of frames of real clips."""
    spans = [jolts[i : i + span].max(0) for jolts in real for i in range(0, len(jolts) - span, span)]
    return np.quantile(spans, 0.99, axis=0)


def per_frame_jolts(joints: np.ndarray, fps: float) -> np.ndarray:
    """Return each frame's largest acceleration of a joint and its turn, `(num_frames - 2, 2)`."""
    acceleration = np.linalg.norm(np.diff(joints, 2, axis=0), axis=-1).max(-1) * fps**2
    turn = np.degrees(np.abs(np.diff(facing_angles(joints))))[:-1]
    return np.stack([acceleration, turn], -1)


def largest_around(
    jolts: np.ndarray, transitions: Iterable[int], before: int = AROUND, after: int = AROUND
) -> list[np.ndarray]:
    """Return the largest jolts within some frames of each transition."""
    return [jolts[frame - before : frame + after].max(0) for frame in transitions]


def compare(transitions: list[np.ndarray], limits: np.ndarray) -> dict:
    """Return the percentage of transitions within the limits, and their own 99th percentile."""
    return {
        "within_percent": dict(zip(NAMES, (100 * np.mean(np.array(transitions) <= limits, axis=0)).tolist())),
        "99th_percentile": dict(zip(NAMES, np.quantile(transitions, 0.99, axis=0).tolist())),
    }
