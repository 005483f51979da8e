"""Verb: info."""

import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import lamp_hf

from .common import FileReading, Json, app, check_model, report, with_reading_options


_LIBRARIES = (
    "torch", "transformers", "diffusers", "accelerate", "peft", "datasets", "evaluate", "huggingface_hub",
    "safetensors", "numpy",
)  # fmt: skip


@app.command()
@with_reading_options
def info(
    path: Annotated[Path | None, typer.Argument(help="Motion file or model folder.")] = None,
    system: Annotated[
        bool, typer.Option("--system", help="Versions, machine and model, as Markdown to paste into an issue.")
    ] = False,
    model: Annotated[
        str,
        typer.Option(
            callback=check_model, help="With --system: folder or Hub id of the model. Defaults to the bundled one."
        ),
    ] = "",
    *,
    reading: FileReading,
    as_json: Json = False,
) -> None:
    """Describe a motion file, a model folder or this installation.

    For a motion file, print the assumed unit, up axis, handedness, rig and rate, and how certain each is.

    Example: lamp-hf info walk.bvh
    """
    if (path is None) != system:
        raise ValueError("give either a motion file or model folder, or --system")
    if system:
        from lamp_hf.hub.cards import format_rows

        result = _describe_system(model or lamp_hf.bundled())
        text = format_rows([["system", ""], *([name, str(value)] for name, value in result.items())])
    else:
        if path.is_dir():
            result = _describe_model(path)
        else:
            result = _describe_motion(lamp_hf.Motion.load(path, **reading))
        text = "\n".join(f"{name}: {value}" for name, value in result.items() if value is not None)
    report(result, text, as_json)


def _describe_motion(motion: lamp_hf.Motion) -> dict:
    steps = np.diff(motion.joints[:, 0, [0, 2]], axis=0)
    return {
        "frames": motion.num_frames,
        "fps": round(motion.fps, 3),
        "seconds": round(motion.duration, 3),
        "skeleton": motion.skeleton,
        "text": motion.text,
        "path_metres": round(float(np.linalg.norm(steps, axis=-1).sum()), 3),
    } | {f"assumed_{name}": str(finding) for name, finding in vars(motion.assumptions).items()}


def _describe_model(folder: Path) -> dict:
    config = folder / "config.json"
    if not config.is_file():
        raise FileNotFoundError(f"{folder} is not a model folder: it has no config.json")
    values = json.loads(config.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"{config} is not the configuration of a model")
    weights = [file.stat().st_size for file in folder.glob("*.safetensors")]
    return {"model_type": values.get("model_type"), "weight_megabytes": round(sum(weights) / 1e6, 1)}


def _describe_system(model: str) -> dict:
    """Collect what decides a result besides the arguments: versions, machine and model."""
    import torch
    from transformers import AutoConfig

    from lamp_hf.fingerprint import identify

    versions = {"lamp_hf": lamp_hf.__version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            versions[library] = "not installed"
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return versions | {
        "platform": platform.platform(),
        "cpu": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores",
        "gpu": ", ".join(gpus) or ("Apple MPS" if torch.backends.mps.is_available() else "none"),
        "threads": torch.get_num_threads(),
        "model": identify(model, AutoConfig.from_pretrained(model)),
    }
