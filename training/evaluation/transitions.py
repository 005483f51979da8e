"""Seams of motions that are made text after text, or between kept parts, against what real clips show anywhere."""

import argparse
from collections.abc import Iterable

import numpy as np

import lamp_hf
from lamp_hf.metrics.geometry import facing_angles

from ..data import load_clips, shortened
from .text_to_motion import load_generator


SEQUENCES, TEXTS, SECONDS = 100, 3, 3.0
SHORTEST = 60  # frames of a clip whose middle is made anew
AROUND = 4  # frames before and after a seam that count as it


def evaluate_seams(arguments: argparse.Namespace) -> dict:
    """Largest acceleration and turn within 4 frames of a seam; the 99th percentile of such spans of real clips.

    Of sequences of captions, and of clips whose middle third is made anew by a caption of theirs.
    """
    clips = load_clips(arguments)
    pipe = load_generator(arguments)
    captions = [shortened(row, pipe.processor.tokenizer) for row in clips.captions]
    rng = np.random.default_rng(arguments.seed)
    seams = []
    for number in range(SEQUENCES):
        texts = [str(rng.choice(captions[row])) for row in rng.integers(len(clips), size=TEXTS)]
        made = pipe(texts, mode="sequence", duration=SECONDS, seed=arguments.seed + number)["joints"]
        # Token for token: a text's last token may reach over its end.
        frames = -(-round(SECONDS * pipe.fps) // pipe.frames_per_token) * pipe.frames_per_token
        seams += around(strongest(made, pipe.fps), range(frames, TEXTS * frames, frames))
    edited = []
    long_enough = np.flatnonzero(clips.lengths >= SHORTEST)
    for number, row in enumerate(rng.choice(long_enough, SEQUENCES)):
        joints = lamp_hf.features_to_joints(clips.motions[row])
        third = len(joints) // 3
        kept = np.r_[np.ones(third, bool), np.zeros(third, bool), np.ones(len(joints) - 2 * third, bool)]
        text = str(rng.choice(captions[row]))
        made = pipe(text, motion=joints, keep=kept, seed=arguments.seed + number)["joints"]
        edited += around(strongest(made, pipe.fps), [third, 2 * third])
    real = []
    for motion in clips.motions:
        jolts = strongest(lamp_hf.features_to_joints(motion), pipe.fps)
        spans = range(0, len(jolts) - 2 * AROUND, 2 * AROUND)
        real += [jolts[first : first + 2 * AROUND].max(0) for first in spans]
    limits = np.quantile(real, 0.99, axis=0)
    names = ("acceleration_m_s2", "turn_degrees_per_frame")
    return {
        "sequences": SEQUENCES,
        "seams": len(seams),
        **compared(seams, limits, names),
        "edits": compared(edited, limits, names),
        "99th_percentile_of_real": dict(zip(names, limits.tolist())),
    }


def around(jolts: np.ndarray, seams: Iterable[int]) -> list[np.ndarray]:
    """The largest within `AROUND` frames of each seam."""
    return [jolts[seam - AROUND : seam + AROUND].max(0) for seam in seams]


def compared(seams: list[np.ndarray], limits: np.ndarray, names: tuple[str, ...]) -> dict:
    return {
        "within_percent": dict(zip(names, (100 * np.mean(np.array(seams) <= limits, axis=0)).tolist())),
        "99th_percentile": dict(zip(names, np.quantile(seams, 0.99, axis=0).tolist())),
    }


def strongest(joints: np.ndarray, fps: float) -> np.ndarray:
    """Of each frame but the last two the largest acceleration of a joint and the turn, `(num_frames - 2, 2)`."""
    acceleration = np.linalg.norm(np.diff(joints, 2, axis=0), axis=-1).max(-1) * fps**2
    turn = np.degrees(np.abs(np.diff(facing_angles(joints))))[:-1]
    return np.stack([acceleration, turn], -1)
