"""Simple prompts judged by geometry: at every length, on the right side, standing still where they say so."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Container, Iterable
from pathlib import Path

import numpy as np
import yaml

import lamp_hf
from lamp_hf.metrics.geometry import Measurements, measure
from lamp_hf.models.pipeline_text_to_motion import TextToMotionPipeline

from ..data import Clips, load_clips
from .action_checks import DIRECTIONS, PROMPT_CHECKS, stays
from .options import add_decoding, add_seed
from .text_to_motion import load_generator


SECONDS = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.5)
BATCH_SIZE = 32


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--seeds", default=8, type=int, help="motions of each prompt and length")
    add_seed(parser)
    add_decoding(parser)


def evaluate(arguments: Namespace) -> dict:
    """Return the percentages of motions that do as prompts of the split say, at eight lengths and by direction.

    `real` is the percentage of the split's clips of the same actions that pass the checks.
    """
    prompts = yaml.safe_load(Path(__file__).with_name("geometry_prompts.yaml").read_text())[arguments.split]
    clips = load_clips(arguments)
    pipe = load_generator(arguments)
    options = {"seed": arguments.seed, "num_return_sequences": arguments.seeds}
    return {
        "seeds": arguments.seeds,
        "lengths": length_numbers(pipe, prompts["lengths"], **options),
        "directions": direction_numbers(pipe, prompts["directions"], **options),
        "standing": grid(pipe, dict.fromkeys(prompts["standing"], stays), **options),
        "real": shares_shown(clips, map(lamp_hf.features_to_joints, clips.motions), set(prompts["lengths"].values())),
    }


def length_numbers(pipe: TextToMotionPipeline, prompts: dict[str, str], **options) -> dict:
    """Return the percentages of motions that pass the check of their prompt, by prompt and length."""
    return grid(pipe, {text: PROMPT_CHECKS[name] for text, name in prompts.items()}, **options)


def grid(pipe: TextToMotionPipeline, checks: dict[str, Callable[[Measurements], bool]], **options) -> dict:
    """Return the percentages of motions that pass their prompt's check: all, the worst cell, by prompt and seconds."""
    cells = {text: {} for text in checks}
    for seconds in SECONDS:
        for text, motions in measured(pipe, list(checks), duration=seconds, **options).items():
            cells[text][f"{seconds:g}"] = percentage(checks[text](motion) for motion in motions)
    shares = [share for row in cells.values() for share in row.values()]
    return {"all": float(np.mean(shares)), "worst_cell": min(shares), "by_prompt": cells}


def direction_numbers(pipe: TextToMotionPipeline, prompts: dict[str, dict], **options) -> dict:
    """Return the percentages of motions that go in the direction of their prompt, and in the opposite one.

    Motions last as long as the model chooses. Those that go neither way count as neither.
    """
    kinds = {}
    for kind, sides in prompts.items():
        signs = dict.fromkeys(sides["positive"], 1) | dict.fromkeys(sides["negative"], -1)
        value, least = DIRECTIONS[kind]
        rows = measured(pipe, list(signs), **options)
        towards = {text: [signs[text] * value(motion) for motion in motions] for text, motions in rows.items()}
        kinds[kind] = {
            "shown": percentage(size >= least for sizes in towards.values() for size in sizes),
            "swapped": percentage(size <= -least for sizes in towards.values() for size in sizes),
            "swapped_by_prompt": {
                text: percentage(size <= -least for size in sizes) for text, sizes in towards.items()
            },
        }
    summary = {name: float(np.mean([kind[name] for kind in kinds.values()])) for name in ("shown", "swapped")}
    return summary | {"by_kind": kinds}


def shares_shown(clips: Clips, motions: Iterable[np.ndarray], names: Container[str]) -> dict[str, float]:
    """Return the percentage of motions that pass the check of their clip's action or, if it has none, of its family.

    Args:
        clips ([`Clips`]): tell the actions and families.
        motions (`Iterable[np.ndarray]` of shape `(num_frames, 22, 3)`): joints, one motion for each clip.
        names (`Container[str]`): the checks to take, of `PROMPT_CHECKS`.
    """
    answers: dict[str, list[bool]] = {}
    for joints, action, family in zip(motions, clips.actions, clips.families, strict=True):
        for name in {str(action), str(family)}:
            if name in names:
                answers.setdefault(name, []).append(PROMPT_CHECKS[name](measure(joints)))
    return {name: percentage(rights) for name, rights in sorted(answers.items())}


def measured(pipe: TextToMotionPipeline, texts: list[str], **options) -> dict[str, list[Measurements]]:
    """Generate motions of each text and measure them."""
    outputs = pipe(texts, batch_size=BATCH_SIZE, **options)
    outputs = [motions if isinstance(motions, list) else [motions] for motions in outputs]  # one seed: no list
    return {text: [measure(motion["joints"]) for motion in motions] for text, motions in zip(texts, outputs)}


def percentage(answers) -> float:
    """Return the percentage of answers that are true."""
    return 100 * float(np.mean(list(answers)))
