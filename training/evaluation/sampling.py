"""Quality and time against steps of decoding, and quality against guidance and codebooks."""

import argparse
import time

import numpy as np
from transformers import pipeline

from .text_to_motion import TextToMotionTest


STEPS = (1, 2, 3, 5, 8, 10, 12, 15, 20, 30)
SCALES = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
INTERVALS = ((0.0, 1.0), (0.2, 0.8))
TEXT, SECONDS, REPEATS = "a person walks forward", 6.0, 5


def evaluate_sampling(arguments: argparse.Namespace) -> dict:
    """`steps` by the model's guidance; `guidance`, and `codebooks` without the last ones, by `--steps` or the model's.

    Choose on the validation split.
    """
    if not arguments.evaluator:
        raise ValueError("sampling is judged by --evaluator too")
    pipe = pipeline("text-to-motion", model=str(arguments.model))
    test = TextToMotionTest(arguments)
    config = pipe.model.config
    steps = arguments.steps or config.num_inference_steps
    numbers = {"guidance_scale": config.guidance_scale, "guidance_interval": config.guidance_interval}
    numbers["steps"] = [
        {"num_inference_steps": count, "seconds": seconds(pipe, count)}
        | summary(test(pipe, num_inference_steps=count))
        for count in STEPS
    ]
    numbers["guidance_steps"] = steps
    numbers["guidance"] = []
    for config.guidance_interval in INTERVALS:
        for scale in SCALES:
            if scale == 1 and config.guidance_interval != INTERVALS[0]:
                continue  # no guidance is no guidance
            options = {"num_inference_steps": steps, "guidance_scale": scale}
            row = options | {"guidance_interval": config.guidance_interval}
            numbers["guidance"].append(row | summary(test(pipe, **options)))
    config.guidance_interval = numbers["guidance_interval"]
    numbers["codebooks"] = []
    books = config.motion_config.num_quantizers
    for count in range(1, books + 1):
        config.motion_config.num_quantizers = count  # codes behind these are not made, and not decoded
        numbers["codebooks"].append({"codebooks": count} | summary(test(pipe, num_inference_steps=steps)))
    config.motion_config.num_quantizers = books
    return numbers


def seconds(pipe, steps: int) -> float:
    """That a motion of six seconds takes, median."""
    taken = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        pipe(TEXT, duration=SECONDS, seed=0, num_inference_steps=steps)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def summary(numbers: dict) -> dict:
    """What a curve shows of an evaluation."""
    judged = numbers["evaluator"]
    return {
        "captions": numbers["captions"]["well_covered"],
        "paraphrases": numbers["paraphrases"]["all"],
        "skating_ratio": numbers["physics"]["skating_ratio"],
        "acceleration_ratio": numbers["physics"]["largest_acceleration_median"]
        / numbers["physics"]["largest_acceleration_median_of_real"],
    } | {name: judged[name] for name in ("action", "style", "frechet_ratio")}
