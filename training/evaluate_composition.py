"""Prompts of two things at once or one after the other, judged by geometry."""

import argparse
from pathlib import Path

import numpy as np
import yaml
from transformers import pipeline

from lamp_hf.metrics.geometry import CHECKS, hand_up, measure, raised, smoothed


SECONDS = {"space": 5.0, "time": 8.0}


def evaluate_composition(arguments: argparse.Namespace) -> dict:
    """Percent of motions that show both."""
    prompts = yaml.safe_load(Path(__file__).with_name("composed_prompts.yaml").read_text())
    pipe = pipeline("text-to-motion", model=str(arguments.model))
    numbers: dict = {"seeds": 3, "wrong": []}
    for kind, right in (("space", at_once), ("time", in_turn)):
        made = pipe(
            [prompt["text"] for prompt in prompts[kind]],
            duration=SECONDS[kind],
            seed=arguments.seed,
            num_return_sequences=numbers["seeds"],
            batch_size=32,
        )
        answers = np.array(
            [
                [right(motion["joints"], prompt["shows"]) for motion in motions]
                for prompt, motions in zip(prompts[kind], made)
            ]
        )
        numbers[kind] = 100 * float(answers.mean())
        never = [prompt["text"] for prompt, row in zip(prompts[kind], answers) if not row.any()]
        numbers["wrong"] += [f"{kind}: {text}" for text in never]
    numbers["all"] = (numbers["space"] + numbers["time"]) / 2
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
