"""Verbs on models: generate, caption, benchmark."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from tqdm import tqdm

import lamp_hf

from .common import KINDS, CleanFeet, Json, Model, Rig, Unit, Up, app, load_pipeline, report, report_motion, write_csv


@app.command()
def generate(
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="What the person does, in a sentence; several, and what one says comes then, in a row."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help=f"A file: {KINDS}. With --prompts, a folder.")
    ] = None,
    duration: Annotated[
        list[float] | None,
        typer.Option(help="Seconds, any number of them; chosen by the model if not given. Once for each sentence."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same motion.")] = 0,
    prefix: Annotated[Path | None, typer.Option(help="A motion file that comes before what is made.")] = None,
    suffix: Annotated[Path | None, typer.Option(help="A motion file that comes after what is made.")] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="A .txt of sentences or a .csv (text, name, duration, seed), a motion for each."),
    ] = None,
    kind: Annotated[str, typer.Option(help="Ending of the files that --prompts makes.")] = "npz",
    batch_size: Annotated[int, typer.Option(help="Motions at once, with --prompts.", min=1)] = 16,
    clean_feet: CleanFeet = False,
    model: Model = "",
    as_json: Json = False,
) -> None:
    """Make a motion from a sentence, or a motion for each sentence of a file.

    What --prompts has made already is not made again. Under `accelerate launch -m lamp_hf generate --prompts ...` the
    processes share the sentences.

    Example: lamp-hf generate "a person walks forward" "waves" -o walk.mp4 --duration 5 --duration 3 --seed 0
    """
    from lamp_hf.motion.clip import check_output_path

    if bool(texts) == (prompts is not None) or output is None:
        raise ValueError("give a sentence and -o FILE, or --prompts FILE and -o FOLDER")
    if prompts is not None:
        if duration or prefix or suffix or clean_feet:
            raise ValueError(
                "with --prompts, durations are a column of the csv, and there is no prefix, suffix or cleaning"
            )
        from lamp_hf.batch_generation import generate_files, read_prompts
        from lamp_hf.distributed import this_process

        requests = read_prompts(prompts, seed)
        pipe = load_pipeline("text-to-motion", model, device=this_process().device)  # each process has its own
        done = generate_files(pipe, requests, output, kind.removeprefix("."), batch_size)
        result = {"output": str(output), **asdict(done)}
        lines = [f"{output}: {done.made} made, {done.kept} there before, {len(done.failed)} failed"]
        lines += [f"{name}: {problem}" for name, problem in done.failed.items()]
        report(result, "\n".join(lines), as_json)
        if done.failed and not done.made + done.kept and this_process().num_processes == 1:
            raise ValueError("no prompt could be made into a motion")
        return
    if len(texts) > 1 and all(len(text.split()) == 1 for text in texts):
        raise ValueError(f'put the sentence in quotes: lamp-hf generate "{" ".join(texts)}" -o {output}')
    check_output_path(output)
    pipe = load_pipeline("text-to-motion", model)
    durations = duration[0] if duration and len(duration) == 1 else duration or None
    edit = {
        name: lamp_hf.Motion.load(path).resample(pipe.fps)
        for name, path in (("prefix", prefix), ("suffix", suffix))
        if path
    }
    if edit and len(texts) == 1:
        made = pipe(texts[0], duration=durations, seed=seed, **edit)
    else:
        made = pipe(texts, duration=durations, seed=seed, mode="sequence", **edit)
    motion = lamp_hf.Motion(made["joints"], fps=made["fps"], skeleton=pipe.skeleton.name, text=made["text"])
    motion = motion.clean() if clean_feet else motion
    report_motion(motion.save(output), motion, as_json)


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
    pipe = load_pipeline("motion-to-text", model)
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
        write_csv(output, rows)
    several = len(rows) > 1
    lines = [f"{row['name']} {row['start']:g}-{row['end']:g} s: {row['caption']}" for row in rows]
    lines = lines if several else [row["caption"] for row in rows]
    lines = [f"{output}: {len(rows)} captions"] if output else lines
    for name, problem in broken.items():
        print(f"left out: {name}: {problem}", file=sys.stderr)
    report({"captions": rows, "broken": broken}, "\n".join(lines), as_json)


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(help="Motion files, those below it too.")],
    captions: Annotated[Path | None, typer.Option(help="csv (name, caption) or json file of captions.")] = None,
    real: Annotated[Path | None, typer.Option(help="Folder of real motions to compare with.")] = None,
    seed: Annotated[int, typer.Option(help="Of the batches of R-precision.")] = 0,
    model: Model = "",
    as_json: Json = False,
) -> None:
    """Judge motions: feet and floor, whether they show their captions, how far they are from real ones.

    Example: lamp-hf evaluate made/ --captions captions.csv --real recordings/
    """
    from lamp_hf.metrics.folder_report import evaluate_folder

    result = evaluate_folder(folder, captions, real, model or None, seed)
    lines = [f"{result['motions']} motions, judged by {result['evaluator']}"]
    for section in ("physics", "text", "distribution"):
        numbers = result.get(section, {})
        lines += [f"{name}: {value:.4g}" for name, value in numbers.items() if isinstance(value, (int, float))]
    lines += [f"left out: {name}: {problem}" for name, problem in result["broken"].items()]
    report(result, "\n".join(lines), as_json)


@app.command()
def benchmark(
    gallery: Annotated[int, typer.Option(help="Time a search among so many vectors instead.", min=0)] = 0,
    generation: Annotated[bool, typer.Option("--generation", help="Time text to motion, and its stages.")] = False,
    as_json: Json = False,
) -> None:
    """Time the bundled models and the motion tools on this machine.

    Example: lamp-hf benchmark --gallery 1000000
    """
    if generation and gallery:
        raise ValueError("time either a search, --gallery, or --generation")
    from lamp_hf.benchmark.gallery import measure_gallery
    from lamp_hf.benchmark.generation import measure_generation
    from lamp_hf.benchmark.library import measure_library

    result = measure_generation() if generation else measure_gallery(gallery) if gallery else measure_library()
    report(result, "\n".join(f"{name}: {value:g}" for name, value in result.items()), as_json)


def _read_motions(source: Path, pipe, **reading) -> tuple[list[str], list[np.ndarray], dict[str, str]]:
    """What a pipeline reads of a file, or of a folder's files, with their names; of broken ones what is wrong."""
    from lamp_hf.motion.clip import read_folder

    if not source.is_dir():
        return [source.name], [pipe.read(lamp_hf.Motion.load(source, **reading), str(source))], {}
    motions, broken = read_folder(source, pipe.read, **reading)
    return list(motions), list(motions.values()), broken
