"""The `lamp-hf` command."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import lamp_hf


app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for machines.")]
Model = Annotated[str, typer.Option(help="Folder or Hub id of a model; the bundled one if not given.")]


@app.callback()
def describe() -> None:
    """Motion-language models: text to motion, and the tools around it."""


@app.command()
def generate(
    text: Annotated[str, typer.Argument(help="What the person does, in a sentence.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A .bvh, .mp4, .npy or .npz file.")],
    duration: Annotated[float | None, typer.Option(help="Seconds; chosen by the model if not given.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same motion.")] = 0,
    model: Model = "",
    as_json: Json = False,
) -> None:
    """Make a motion from a sentence.

    Example: lamp-hf generate "a person walks forward" -o walk.mp4 --duration 5 --seed 0
    """
    from lamp_hf.motion.clip import check_output

    if not check_output(output).parent.is_dir():
        raise FileNotFoundError(f"cannot write {output}: there is no folder {output.parent}")
    pipe = _pipeline("text-to-motion", model)
    made = pipe(text, duration=duration, seed=seed)
    motion = lamp_hf.Motion(made["joints"], fps=made["fps"], skeleton=pipe.skeleton.name, text=text)
    motion.save(output)
    result = {"output": str(output), "seconds": motion.duration, "frames": motion.num_frames, "fps": motion.fps}
    _report(result, f"{output}: {motion.duration:.1f} seconds, {motion.num_frames} frames", as_json)


@app.command()
def info(
    path: Annotated[Path, typer.Argument(help="A motion file or a model folder.")], as_json: Json = False
) -> None:
    """Tell what a motion file or a model folder holds.

    Example: lamp-hf info walk.bvh
    """
    if path.is_dir():
        result = _describe_model(path)
    else:
        motion = lamp_hf.Motion.load(path)
        steps = np.diff(motion.joints[:, 0, [0, 2]], axis=0)
        result = {
            "frames": motion.num_frames,
            "fps": round(motion.fps, 3),
            "seconds": round(motion.duration, 3),
            "skeleton": motion.skeleton,
            "text": motion.text,
            "path_metres": round(float(np.linalg.norm(steps, axis=-1).sum()), 3),
        }
    _report(result, "\n".join(f"{name}: {value}" for name, value in result.items() if value is not None), as_json)


@app.command()
def benchmark(as_json: Json = False) -> None:
    """Time the bundled model and the motion tools on this machine.

    Example: lamp-hf benchmark
    """
    from lamp_hf.benchmark import measure

    result = measure()
    _report(result, "\n".join(f"{name}: {value:g}" for name, value in result.items()), as_json)


def _describe_model(folder: Path) -> dict:
    config = folder / "config.json"
    if not config.is_file():
        raise FileNotFoundError(f"{folder} is not a model folder: it has no config.json")
    values = json.loads(config.read_text(encoding="utf-8"))
    weights = [file.stat().st_size for file in folder.glob("*.safetensors")]
    return {"model_type": values.get("model_type"), "weight_megabytes": round(sum(weights) / 1e6, 1)}


def _pipeline(task: str, model: str):
    from transformers import pipeline

    return pipeline(task, model=model or lamp_hf.bundled(task))


def _report(result: dict, text: str, as_json: bool) -> None:
    print(json.dumps(result) if as_json else text)


def main() -> None:
    """Runs the command; what goes wrong on the user's side ends in one line and exit code 1."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    logging.getLogger().setLevel(logging.ERROR)
    try:
        app()
    except (OSError, ValueError) as error:
        message = " ".join(str(error).split())
        print(f"lamp-hf: {message}", file=sys.stderr)
        sys.exit(1)
