"""Options and output that the verbs of `lamp-hf` share."""

import json
from pathlib import Path
from typing import Annotated

import typer

import lamp_hf


app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

KINDS = ".bvh, .glb, .mp4, .gif, .html, .npz or .npy"
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for machines.")]
Model = Annotated[str, typer.Option(help="Folder or Hub id of a model. Defaults to the bundled one.")]
Rig = Annotated[Path | None, typer.Option(help="Bone map in YAML, for a BVH whose bone names are not known.")]
Unit = Annotated[float | None, typer.Option(help="Metres per unit of a BVH. Detected by default.")]
Up = Annotated[str | None, typer.Option(help="Upward axis of a BVH: x, y or z. Detected by default.")]
CleanFeet = Annotated[bool, typer.Option("--clean-feet", help="Keep standing feet in place.")]
_BUNDLED = {"text-to-motion": "text-to-motion", "motion-to-text": "captioning"}


@app.callback()
def describe() -> None:
    """Text to motion, motion to text, search, and tools for motion files."""


def load_pipeline(task: str, model: str, **options):
    """Load a pipeline with the given model, or with the bundled one if the name is empty."""
    from transformers import pipeline

    return pipeline(task, model=model or lamp_hf.bundled(_BUNDLED[task]), **options)


def report_motion(output: Path, motion: lamp_hf.Motion, as_json: bool) -> None:
    """Print which file was written and how long the motion in it is."""
    result = {"output": str(output), "seconds": motion.duration, "frames": motion.num_frames, "fps": motion.fps}
    report(result, f"{output}: {motion.duration:.1f} seconds, {motion.num_frames} frames", as_json)


def report(result: dict, text: str, as_json: bool) -> None:
    """Print a result as JSON for machines, or as text for people."""
    print(json.dumps(result) if as_json else text)
