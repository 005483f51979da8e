"""The `lamp-hf` command."""

import csv
import json
import logging
import os
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from tqdm import tqdm

import lamp_hf


app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

KINDS = ".bvh, .glb, .mp4, .gif, .html, .npz or .npy"
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for machines.")]
Model = Annotated[str, typer.Option(help="Folder or Hub id of a model; the bundled one if not given.")]
Rig = Annotated[Path | None, typer.Option(help="Bone map in YAML, for a BVH whose bones are not known.")]
Unit = Annotated[float | None, typer.Option(help="Metres in one unit of a BVH; found out if not given.")]
Up = Annotated[str | None, typer.Option(help="Axis of a BVH that is up, x, y or z; found out if not given.")]
CleanFeet = Annotated[bool, typer.Option("--clean-feet", help="Hold standing feet in place.")]


@app.callback()
def describe() -> None:
    """Motion-language models: text to motion, and the tools around it."""


@app.command()
def generate(
    text: Annotated[str, typer.Argument(help="What the person does, in a sentence.")],
    output: Annotated[Path, typer.Option("-o", "--output", help=f"A file: {KINDS}.")],
    duration: Annotated[float | None, typer.Option(help="Seconds; chosen by the model if not given.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same motion.")] = 0,
    clean_feet: CleanFeet = False,
    model: Model = "",
    as_json: Json = False,
) -> None:
    """Make a motion from a sentence.

    Example: lamp-hf generate "a person walks forward" -o walk.mp4 --duration 5 --seed 0
    """
    from lamp_hf.motion.clip import check_output

    check_output(output)
    pipe = _pipeline("text-to-motion", model)
    made = pipe(text, duration=duration, seed=seed)
    motion = lamp_hf.Motion(made["joints"], fps=made["fps"], skeleton=pipe.skeleton.name, text=text)
    motion = motion.clean() if clean_feet else motion
    _report_motion(motion.save(output), motion, as_json)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="A .bvh, .npz (ours, AMASS) or .npy (HumanML3D, KIT-ML) file.")],
    output: Annotated[Path, typer.Argument(help=f"A file: {KINDS}.")],
    fps: Annotated[float | None, typer.Option(help="Frames a second; the source's if not given.")] = None,
    rig: Rig = None,
    unit: Unit = None,
    up: Up = None,
    text: Annotated[str | None, typer.Option(help="A caption to go with it.")] = None,
    clean_feet: CleanFeet = False,
    smooth: Annotated[float, typer.Option(help="Smooth over so many seconds.", min=0, max=2)] = 0.0,
    size: Annotated[int, typer.Option(help="Pixels of a picture's side.")] = 480,
    camera: Annotated[str, typer.Option(help="Of pictures: follow, fixed or orbit.")] = "follow",
    as_json: Json = False,
) -> None:
    """Turn a motion file into another kind.

    Example: lamp-hf convert walk.bvh walk.glb
    """
    from lamp_hf.motion.clip import check_output

    check_output(output)
    motion = lamp_hf.Motion.load(source, rig, unit, up)
    motion = motion if fps is None else motion.resample(fps)
    motion.text = text or motion.text
    motion = motion.clean(clean_feet, smooth) if clean_feet or smooth else motion
    _report_motion(motion.save(output, size, camera), motion, as_json)


@app.command()
def caption(
    source: Annotated[Path, typer.Argument(help="A motion file, or a folder of them.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A .csv file: name, caption, start, end.")
    ] = None,
    prompt: Annotated[str, typer.Option(help="How each caption begins.")] = "",
    rig: Rig = None,
    unit: Unit = None,
    up: Up = None,
    model: Model = "",
    as_json: Json = False,
) -> None:
    """Say in words what motion files show; of long ones what they show when.

    Example: lamp-hf caption recordings/ -o captions.csv
    """
    if output is not None and (output.suffix.lower() != ".csv" or not output.parent.is_dir()):
        raise ValueError(f"cannot write {output}: give a .csv file in a folder that exists")
    if not source.exists():
        raise FileNotFoundError(f"no such file: {source}")
    pipe = _pipeline("motion-to-text", model)
    names, motions, broken = _read_motions(source, pipe, rig=rig, unit=unit, up=up)
    rows = []
    starts = range(0, len(motions), 16)
    for first in tqdm(starts, unit=" batches", disable=True if len(motions) <= 16 else None):
        answers = pipe(motions[first : first + 16], return_timestamps=True, prompt=prompt)
        for name, (answer,) in zip(names[first:], answers):
            for chunk in answer["chunks"]:
                start, end = (round(second, 2) for second in chunk["timestamp"])
                rows.append({"name": name, "caption": chunk["text"], "start": start, "end": end})
    if output is not None:
        _write_csv(output, rows)
    several = len(rows) > 1
    lines = [f"{row['name']} {row['start']:g}-{row['end']:g} s: {row['caption']}" for row in rows]
    lines = lines if several else [row["caption"] for row in rows]
    lines = [f"{output}: {len(rows)} captions"] if output else lines
    for name, problem in broken.items():
        print(f"left out: {name}: {problem}", file=sys.stderr)
    _report({"captions": rows, "broken": broken}, "\n".join(lines), as_json)


@app.command()
def index(
    source: Annotated[Path, typer.Argument(help="Folder of motion files, searched with those below it.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the gallery.")],
    update: Annotated[bool, typer.Option("--update", help="Add what is new to a gallery, drop what is gone.")] = False,
    rig: Rig = None,
    unit: Unit = None,
    up: Up = None,
    model: Annotated[
        str,
        typer.Option(help="Folder or Hub id of a model, or bundled:video, LAVIMO, whose gallery films search too."),
    ] = "bundled:text-to-motion",
    as_json: Json = False,
) -> None:
    """Make a gallery of motion files, which `lamp-hf search` searches.

    Under `accelerate launch -m lamp_hf index ...` the processes share the files.

    Example: lamp-hf index recordings/ -o gallery/
    """
    from lamp_hf.indexing import index_folder

    done = index_folder(source, output, model, update, rig=rig, unit=unit, up=up)
    if done is None:
        return  # not the main process
    for name, problem in done.broken.items():
        print(f"left out: {name}: {problem}", file=sys.stderr)
    result = {
        "output": str(output),
        "motions": done.motions,
        "added": done.added,
        "removed": done.removed,
        "broken": done.broken,
        "seconds": round(done.seconds, 2),
    }
    text = f"{output}: {done.motions} motions, {done.added} of them new, {done.removed} dropped, {done.seconds:.1f} s"
    _report(result, text, as_json)


@app.command()
def search(
    gallery: Annotated[Path, typer.Argument(help="What `lamp-hf index` wrote.")],
    text: Annotated[str | None, typer.Argument(help="What the person does, in a sentence.")] = None,
    motion: Annotated[Path | None, typer.Option(help="A motion file to find the like of.")] = None,
    video: Annotated[Path | None, typer.Option(help="A film of somebody to find the like of.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many to find.", min=1)] = 10,
    moments: Annotated[bool, typer.Option("--moments", help="Tell every part of a long motion that fits.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="An .html page that plays what is found.")
    ] = None,
    model: Annotated[str, typer.Option(help="Where the gallery's model lies now, if it was moved.")] = "",
    as_json: Json = False,
) -> None:
    """Find motions by a sentence, by an example, by a film, or by several of these.

    Example: lamp-hf search gallery/ "someone waves" -o hits.html
    """
    from lamp_hf.motion.files import write_atomically

    if output is not None and (output.suffix.lower() != ".html" or not output.parent.is_dir()):
        raise ValueError(f"cannot write {output}: give an .html file in a folder that exists")
    found = lamp_hf.MotionIndex.load(gallery, model or None)
    hits = found.search(text, motion, k, moments, video=video)
    if output is not None:
        html = _hits_page(hits)
        write_atomically(output, lambda path: path.write_text(html, encoding="utf-8"))
    rows = [
        {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(hit).items()}
        for hit in hits
    ]
    lines = [f"{hit.score:.3f}  {hit.id}  {hit.start:.4g}-{hit.end:.4g} s{_of_video(hit)}" for hit in hits]
    _report({"hits": rows}, "\n".join(lines or [f"{gallery} is empty"]), as_json)


@app.command()
def view(
    sources: Annotated[list[Path], typer.Argument(help="Motion files, shown side by side.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the page here, open nothing.")] = None,
    as_json: Json = False,
) -> None:
    """Play motions in the browser, on one page that needs no network.

    Example: lamp-hf view walk.bvh wave.npz
    """
    import tempfile
    import webbrowser

    from lamp_hf.motion.clip import page
    from lamp_hf.motion.files import write_atomically

    if output is not None and output.suffix.lower() != ".html":
        raise ValueError(f"cannot write {output}: the page is an .html file")
    motions = [lamp_hf.Motion.load(source) for source in sources]
    for motion, source in zip(motions, sources):
        motion.text = motion.text or source.name
    place = output or Path(tempfile.mkdtemp(prefix="lamp-hf-")) / "motion.html"
    write_atomically(place, lambda path: path.write_text(page(motions), encoding="utf-8"))
    if output is None:
        webbrowser.open(place.as_uri())
    _report({"output": str(place), "motions": len(motions)}, str(place), as_json)


@app.command()
def prepare(
    source: Annotated[Path, typer.Argument(help="Folder of motion files, and of captions.csv, .json or .txt files.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="New folder, in HumanML3D's layout.")],
    captions: Annotated[Path | None, typer.Option(help="csv (name, caption) or json file of captions.")] = None,
    mirror: Annotated[bool, typer.Option(help="Add each clip's mirror image.")] = False,
    parquet: Annotated[bool, typer.Option(help="Write motions.parquet as well.")] = False,
    workers: Annotated[int | None, typer.Option(help="Processes; one a core if not given.", min=1)] = None,
    rig: Rig = None,
    unit: Unit = None,
    up: Up = None,
    as_json: Json = False,
) -> None:
    """Make a data set in HumanML3D's layout from motion files and captions.

    Example: lamp-hf prepare recordings/ -o dataset/ --mirror
    """
    from lamp_hf.data.preparation import prepare as run

    done = run(source, output, captions, mirror, parquet, workers, rig=rig, unit=unit, up=up)
    speed = (done.clips - done.kept) / max(done.seconds, 1e-9)
    result = {
        "output": str(output),
        "clips": done.clips,
        "kept": done.kept,
        "broken": done.broken,
        "seconds": round(done.seconds, 2),
        "clips_per_second": round(speed, 1),
    }
    lines = [f"{output}: {done.clips} clips, {done.kept} of them from before, {speed:.0f} a second"]
    lines += [f"left out: {name}: {reason}" for name, reason in list(done.broken.items())[:10]]
    lines += [f"{len(done.broken) - 10} more are in broken.csv"] * (len(done.broken) > 10)
    _report(result, "\n".join(lines), as_json)


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
def benchmark(
    gallery: Annotated[int, typer.Option(help="Time a search among so many vectors instead.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Time the bundled models and the motion tools on this machine.

    Example: lamp-hf benchmark --gallery 1000000
    """
    from lamp_hf.benchmark import measure, measure_gallery

    result = measure_gallery(gallery) if gallery else measure()
    _report(result, "\n".join(f"{name}: {value:g}" for name, value in result.items()), as_json)


def _describe_model(folder: Path) -> dict:
    config = folder / "config.json"
    if not config.is_file():
        raise FileNotFoundError(f"{folder} is not a model folder: it has no config.json")
    values = json.loads(config.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"{config} is no model's configuration")
    weights = [file.stat().st_size for file in folder.glob("*.safetensors")]
    return {"model_type": values.get("model_type"), "weight_megabytes": round(sum(weights) / 1e6, 1)}


_BUNDLED = {"text-to-motion": "text-to-motion", "motion-to-text": "captioning"}


def _pipeline(task: str, model: str):
    from transformers import pipeline

    return pipeline(task, model=model or lamp_hf.bundled(_BUNDLED[task]))


def _read_motions(source: Path, pipe, **reading) -> tuple[list[str], list[np.ndarray], dict[str, str]]:
    """What a pipeline reads of a file, or of a folder's files, with their names; of broken ones what is wrong."""
    from lamp_hf.motion.clip import READABLE

    if not source.is_dir():
        return [source.name], [pipe.read(lamp_hf.Motion.load(source, **reading), str(source))], {}
    names, motions, broken = [], [], {}
    for path in sorted(path for path in source.rglob("*") if path.suffix.lower() in READABLE and path.is_file()):
        name = str(path.relative_to(source))
        try:
            motions.append(pipe.read(lamp_hf.Motion.load(path, **reading), name))
            names.append(name)
        except ValueError as error:
            broken[name] = " ".join(str(error).split())
    if not names:
        raise ValueError(f"{source}: no motion file in it can be read ({', '.join(READABLE)})")
    return names, motions, broken


def _of_video(hit) -> str:
    return "" if hit.video_start is None else f"  for {hit.video_start:.4g}-{hit.video_end:.4g} s of the video"


def _hits_page(hits: list) -> str:
    """A page that plays hits whose files are still there."""
    from lamp_hf.motion.clip import page

    motions = []
    for rank, hit in enumerate(hits, 1):
        if hit.source and Path(hit.source).is_file():
            motion = lamp_hf.Motion.load(hit.source).trim(hit.start, hit.end)
            motion.text = f"{rank}. {hit.id} ({hit.score:.2f}, {hit.start:g}-{hit.end:g} s)"
            motions.append(motion)
    if not motions:
        raise ValueError("nothing to show: no file of a hit is where it was when it was indexed")
    return page(motions)


def _write_csv(path: Path, rows: list[dict]) -> None:
    from lamp_hf.motion.files import write_atomically

    def write(temporary: Path) -> None:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    write_atomically(path, write)


def _report_motion(output: Path, motion: lamp_hf.Motion, as_json: bool) -> None:
    result = {"output": str(output), "seconds": motion.duration, "frames": motion.num_frames, "fps": motion.fps}
    _report(result, f"{output}: {motion.duration:.1f} seconds, {motion.num_frames} frames", as_json)


def _report(result: dict, text: str, as_json: bool) -> None:
    print(json.dumps(result) if as_json else text)


def main() -> None:
    """Runs the command; what goes wrong on the user's side ends in one line and exit code 1."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    logging.getLogger().setLevel(logging.ERROR)
    warnings.showwarning = lambda message, *_: print(f"lamp-hf: {message}", file=sys.stderr)
    try:
        app()
    except (OSError, ValueError) as error:
        message = " ".join(str(error).split())
        print(f"lamp-hf: {message}", file=sys.stderr)
        sys.exit(1)
