"""Prompts of two things at once or one after the other, judged by geometry."""

import argparse
from pathlib import Path

import numpy as np
import yaml
from transformers import pipeline

from lamp_hf.metrics.geometry import CHECKS, hand_up, measure, raised, smoothed


SECONDS = {"space": 5.0, "time": 8.0}


def evaluate_composition(arguments: argparse.Namespace) -> dict:
    """Percent of motions that show both: made as one, and in a row also by `mode="sequence"`."""
    prompts = yaml.safe_load(Path(__file__).with_name("composed_prompts.yaml").read_text())
    pipe = pipeline("text-to-motion", model=str(arguments.model))
    numbers: dict = {"seeds": 3, "wrong": []}
    for name, kind, right in (("space", "space", at_once), ("time", "time", in_turn), ("sequence", "time", in_turn)):
        texts = [prompt["text"] for prompt in prompts[kind]]
        options = {"duration": SECONDS[kind], "seed": arguments.seed, "num_return_sequences": numbers["seeds"]}
        if name == "sequence":
            made = [pipe(text, mode="sequence", **options) for text in texts]
        else:
            made = pipe(texts, batch_size=32, **options)
        answers = np.array(
            [
                [right(motion["joints"], prompt["shows"]) for motion in motions]
                for prompt, motions in zip(prompts[kind], made)
            ]
        )
        numbers[name] = 100 * float(answers.mean())
        numbers["wrong"] += [f"{name}: {text}" for text, row in zip(texts, answers) if not row.any()]
    return numbers


def at_once(joints: np.ndarray, shows: list[str]) -> bool:
    """Whether a motion does what the body and what the hands should, and goes on while the hands are up."""
    facts = measure(joints)
    if not all(CHECKS[action](facts) for action in shows):
        return False
    up = np.any([hand_up(joints, side) for side in raised(facts)], axis=0)
    speeds = np.linalg.norm(np.diff(smoothed(joints[:, 0, [0, 2]]), axis=0), axis=-1)
    return bool(speeds[up[1:]].mean() >= speeds.mean() / 2)


def in_turn(joints: np.ndarray, shows: list[str]) -> bool:
    """Whether a moment of the middle half parts the motion into one that does the first and one that does the next.

    Neither part may do the other's action; of a walk and a run, the run must be half as fast again.
    """
    first, second = shows
    count = len(joints)
    for split in range(count // 4, 3 * count // 4 + 1, 4):
        before, after = measure(joints[:split]), measure(joints[split:])
        if CHECKS[first](before) and CHECKS[second](after):
            if {first, second} == {"walk", "run"}:
                fast, slow = (after, before) if second == "run" else (before, after)
                alone = fast.speed >= 1.5 * slow.speed
            else:
                alone = not CHECKS[second](before) and not CHECKS[first](after)
            if alone:
                return True
    return False
