"""Prompts of two things at once or one after the other, judged by geometry."""

import argparse
from pathlib import Path

import numpy as np
import yaml
from transformers import pipeline

from lamp_hf.metrics.geometry import CHECKS, measure


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
    facts = measure(joints)
    return all(CHECKS[action](facts) for action in shows)


def in_turn(joints: np.ndarray, shows: list[str]) -> bool:
    """Whether a moment of the middle half parts the motion into one that does the first and one that does the next."""
    count = len(joints)
    splits = range(count // 4, 3 * count // 4 + 1, 4)
    first, second = (CHECKS[action] for action in shows)
    return any(first(measure(joints[:split])) and second(measure(joints[split:])) for split in splits)
