"""Quality and time against decoding steps, and quality against guidance and codebooks."""

import time
from argparse import ArgumentParser, Namespace

import numpy as np
from transformers import pipeline

from lamp_hf.models.pipeline_text_to_motion import TextToMotionPipeline

from .options import add_evaluator, add_seed
from .text_to_motion import TextToMotionTest


STEPS = (1, 2, 3, 5, 8, 10, 12, 15, 20, 30)
SCALES = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
INTERVALS = ((0.0, 1.0), (0.2, 0.8))
TEXT, SECONDS, REPEATS = "a person walks forward", 6.0, 5


def add_arguments(parser: ArgumentParser) -> None:
    add_evaluator(parser, required=True)
    add_seed(parser)
    parser.add_argument("--steps", type=int, help="steps in the sweeps of guidance and codebooks")


def evaluate(arguments: Namespace) -> dict:
    """Sweep the number of steps with the model's guidance, then guidance and codebooks with `--steps` steps.

    Make choices on the validation split.
    """
    pipe = pipeline("text-to-motion", model=str(arguments.model))
    test = TextToMotionTest(arguments)
    config = pipe.model.config
    steps = arguments.steps or config.num_inference_steps
    return {
        "guidance_scale": config.guidance_scale,
        "guidance_interval": config.guidance_interval,
        "steps": sweep_steps(pipe, test),
        "guidance_steps": steps,
        "guidance": sweep_guidance(pipe, test, steps),
        "codebooks": sweep_codebooks(pipe, test, steps),
    }


def sweep_steps(pipe: TextToMotionPipeline, test: TextToMotionTest) -> list[dict]:
    """Return quality and seconds for each number of decoding steps."""
    return [
        {"num_inference_steps": count, "seconds": median_seconds(pipe, count)}
        | summary(test(pipe, num_inference_steps=count))
        for count in STEPS
    ]


def sweep_guidance(pipe: TextToMotionPipeline, test: TextToMotionTest, steps: int) -> list[dict]:
    """Return the quality of each scale within each interval of steps; scale 1 is the same within all of them."""
    config, rows = pipe.model.config, []
    configured = config.guidance_interval
    for interval in INTERVALS:
        config.guidance_interval = interval
        for scale in SCALES:
            if scale == 1 and interval != INTERVALS[0]:
                continue
            options = {"num_inference_steps": steps, "guidance_scale": scale}
            rows.append(options | {"guidance_interval": interval} | summary(test(pipe, **options)))
    config.guidance_interval = configured
    return rows


def sweep_codebooks(pipe: TextToMotionPipeline, test: TextToMotionTest, steps: int) -> list[dict]:
    """Return the quality with the first codebooks only; the codes of later ones are neither generated nor decoded."""
    config, rows = pipe.model.config.motion_config, []
    books = config.num_quantizers
    for count in range(1, books + 1):
        config.num_quantizers = count
        rows.append({"codebooks": count} | summary(test(pipe, num_inference_steps=steps)))
    config.num_quantizers = books
    return rows


def median_seconds(pipe: TextToMotionPipeline, steps: int) -> float:
    """Return the median time that a motion of six seconds takes."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        pipe(TEXT, duration=SECONDS, seed=0, num_inference_steps=steps)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def summary(numbers: dict) -> dict:
    """Pick the numbers of an evaluation that the curves show."""
    physics, judged = numbers["physics"], numbers["evaluator"]
    return {
        "captions": numbers["captions"]["well_covered"],
        "paraphrases": numbers["paraphrases"]["all"],
        "skating_ratio": physics["skating_ratio"],
        "acceleration_ratio": physics["largest_acceleration_median"] / physics["largest_acceleration_median_of_real"],
        **{name: judged[name] for name in ("action", "style", "frechet_ratio")},
    }
