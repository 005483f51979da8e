"""Options and output that the verbs of `lamp-hf` share."""

import functools
import inspect
import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, TypedDict, get_type_hints

import numpy as np
import typer

import lamp_hf


app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

KINDS = ".bvh, .glb, .vrma, .mp4, .gif, .html, .npz or .npy"
OTHERS = "other processes; run the same command again if one of them has stopped"  # who has what is missing
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for machines.")]


def check_model(name: str) -> str:
    """Return the folder or Hub id of a model that is there or in the cache, before anything waits for it.

    Args:
        name (`str`): folder or Hub id, or `bundled:video` for instance, see [`lamp_hf.bundled`]; empty stays empty.

    Raises:
        ValueError: when there is no such model.
        OSError: when the Hub cannot be asked.
    """
    if name.startswith("bundled:"):
        return lamp_hf.bundled(name.removeprefix("bundled:"))
    if not name or Path(name).is_dir():
        return name
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise ValueError(f"no such model: {name} is not a folder, and a Hub id has the form user/name")
    from huggingface_hub import HfApi, constants, try_to_load_from_cache
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        HfApi().model_info(name, timeout=10)
    except RepositoryNotFoundError:
        raise ValueError(
            f"no such model: {name} is neither a folder nor on the Hub; a private one needs `hf auth login`"
        ) from None
    except Exception as error:  # of the network, by a client that may change its library
        if not isinstance(try_to_load_from_cache(name, "config.json"), str):
            raise OSError(
                f"no such model: {name} is neither a folder nor in the cache, and the Hub cannot be reached: {error}"
            ) from None
        constants.HF_HUB_OFFLINE = True  # every file of the model would wait for the Hub
    return name


Model = Annotated[
    str,
    typer.Option(
        callback=check_model,
        help="Folder or Hub id of a model, or bundled:text-to-motion, bundled:captioning or bundled:video. Defaults "
        "to the bundled one.",
    ),
]
InPlace = Annotated[
    bool, typer.Option("--in-place", help="Take the travel over the ground away: the hips stay above the origin.")
]
RootMotion = Annotated[
    bool,
    typer.Option(
        "--root-motion",
        help="Put the travel over the ground on a node named root, the parent of the hips; for .glb and .bvh.",
    ),
]
CleanFeet = Annotated[bool, typer.Option("--clean-feet", help="Keep standing feet in place.")]
_BUNDLED = {"text-to-motion": "text-to-motion", "motion-to-text": "captioning"}


class FolderReading(TypedDict):
    """Options that tell how the motion files of a folder are read: arguments of [`lamp_hf.Motion.load`]."""

    rig: Annotated[
        Path | None, typer.Option("--rig", help="Bone map in YAML, for a BVH whose bone names are not known.")
    ]
    unit: Annotated[float | None, typer.Option("--unit", help="Metres per unit of the file. Detected by default.")]
    up: Annotated[
        str | None,
        typer.Option("--up", help="Axis of the file that points up: x, y, z, -x, -y or -z. Detected by default."),
    ]
    fps: Annotated[
        float | None,
        typer.Option("--source-fps", help="Frames per second of the file, where it states wrong ones or none."),
    ]


class FileReading(FolderReading):
    """Options that tell how single motion files are read."""

    body: Annotated[
        str | None,
        typer.Option("--body", help="The body to read where the file has several, by the name of its first joint."),
    ]


def with_reading_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb an option for each entry of its parameter `reading`, which typer cannot do by itself."""
    signature = inspect.signature(verb)
    entries = get_type_hints(signature.parameters["reading"].annotation, include_extras=True)
    parameters = []
    for parameter in signature.parameters.values():
        if parameter.name == "reading":
            changes = [{"name": f"reading_{name}", "annotation": option} for name, option in entries.items()]
            parameters += [parameter.replace(default=None, **change) for change in changes]
        else:
            parameters.append(parameter)

    @functools.wraps(verb)
    def run(**values) -> None:
        verb(reading={name: values.pop(f"reading_{name}") for name in entries}, **values)

    run.__signature__ = signature.replace(parameters=parameters)
    return run


@app.callback()
def describe() -> None:
    """Text to motion, motion to text, search, and tools for motion files."""


def load_pipeline(task: str, model: str, **options):
    """Load a pipeline with the given model, or with the bundled one if the name is empty."""
    from transformers import pipeline

    return pipeline(task, model=model or lamp_hf.bundled(_BUNDLED[task]), **options)


def check_travel(output: Path, in_place: bool, root_motion: bool) -> None:
    """Refuse what cannot be done with a motion's travel over the ground, before the motion is made.

    Raises:
        ValueError: when both options are given, or the file has no place for root motion.
    """
    if in_place and root_motion:
        raise ValueError("--in-place takes the travel away and --root-motion keeps it on a node: give one of them")
    if root_motion and output.suffix.lower() not in (".bvh", ".glb"):
        raise ValueError(f"cannot write {output} with root motion: a .bvh or a .glb has a node for it")


def motion_report(output: Path, motion: lamp_hf.Motion) -> tuple[dict, str]:
    """State which file was written and how long the motion in it is: for machines, and for people."""
    result = {"output": str(output), "seconds": motion.duration, "frames": motion.num_frames, "fps": motion.fps}
    line = f"{output}: {motion.duration:.1f} seconds, {motion.num_frames} frames"
    if motion.cycle is not None:
        result["cycle"] = asdict(motion.cycle)
        line += (
            f", a loop that travels {np.hypot(*motion.cycle.travel):.2f} m and turns {motion.cycle.turn:.0f} degrees"
        )
    return result, line


def report_motion(output: Path, motion: lamp_hf.Motion, as_json: bool) -> None:
    """Print which file was written and how long the motion in it is."""
    report(*motion_report(output, motion), as_json)


def report(result: dict, text: str, as_json: bool) -> None:
    """Print a result as JSON for machines, or as text for people."""
    print(json.dumps(result) if as_json else text)
