"""Verbs on models: actions, caption, evaluate, benchmark."""

import json
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from tqdm import tqdm

import lamp_hf

from .common import FolderReading, Json, Model, app, load_pipeline, report, with_reading_options


_EXAMPLES, _SHORT = 2, 10  # sentences of each kind of action, and words of those that are shown first


@app.command()
def actions(model: Model = "", as_json: Json = False) -> None:
    """List the actions that a text-to-motion model knows, with example sentences and the number of sentences.

    The sentences are of its training captions, or a selection of them.

    Example: lamp-hf actions --model user/name
    """
    from lamp_hf.models.familiarity import Familiarity

    name = model or lamp_hf.bundled()
    familiarity = Familiarity.from_pretrained(name)
    if familiarity is None:
        raise ValueError(f"{name} does not say what it was trained on: it has no familiarity.json")
    rows = [
        {
            "action": family.replace("-", " ") or "other",
            "sentences": len(sentences),
            "examples": sorted(sentences, key=lambda text: len(text.split()) > _SHORT)[:_EXAMPLES],
        }
        for family, sentences in familiarity.by_family().items()
    ]
    lines = [
        f"{row['action']} ({row['sentences']}): " + ", ".join(f'"{text}"' for text in row["examples"]) for row in rows
    ]
    report({"sentences": len(familiarity.sentences), "actions": rows}, "\n".join(lines), as_json)


@app.command()
@with_reading_options
def caption(
    source: Annotated[Path, typer.Argument(help="A motion file, or a folder of them.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A .csv file: name, caption, start, end.")
    ] = None,
    prompt: Annotated[str, typer.Option(help="Beginning of each caption.")] = "",
    *,
    reading: FolderReading,
    model: Model = "",
    as_json: Json = False,
) -> None:
    """Describe motion files in words; long ones get a caption for each part, with its times.

    Example: lamp-hf caption recordings/ -o captions.csv
    """
    if output is not None and (output.suffix.lower() != ".csv" or not output.parent.is_dir()):
        raise ValueError(f"cannot write {output}: give a .csv file in a folder that exists")
    if not source.exists():
        raise FileNotFoundError(f"no such file: {source}")
    from lamp_hf.data.tables import write_csv

    pipe = load_pipeline("motion-to-text", model)
    motions, broken = _read_motions(source, pipe, **reading)
    rows = _caption_rows(pipe, motions, prompt)
    if output is not None:
        write_csv(output, list(rows[0]), rows)
        lines = [f"{output}: {len(rows)} captions"]
    elif len(rows) == 1:
        lines = [rows[0]["caption"]]
    else:
        lines = [f"{row['name']} {row['start']:g}-{row['end']:g} s: {row['caption']}" for row in rows]
    for name, problem in broken.items():
        print(f"left out: {name}: {problem}", file=sys.stderr)
    report({"captions": rows, "broken": broken}, "\n".join(lines), as_json)


def _read_motions(source: Path, pipe, **options) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read the motions of a file or folder for a pipeline; return them, and the problems of broken files, by name."""
    from lamp_hf.motion.clip import read_folder
    from lamp_hf.motion.files import printable

    if not source.is_dir():
        return {printable(source.name): pipe.read(lamp_hf.Motion.load(source, **options), str(source))}, {}
    return read_folder(source, pipe.read, **options)


def _caption_rows(pipe, motions: dict[str, np.ndarray], prompt: str, batch_size: int = 16) -> list[dict]:
    """Caption motions; return a row with name, caption, start and end (seconds) for each part of each motion."""
    rows, names = [], list(motions)
    starts = range(0, len(names), batch_size)
    for first in tqdm(starts, unit=" batches", disable=True if len(names) <= batch_size else None):
        batch = names[first : first + batch_size]
        answers = pipe([motions[name] for name in batch], return_timestamps=True, prompt=prompt)
        for name, (answer,) in zip(batch, answers):
            for chunk in answer["chunks"]:
                start, end = (round(second, 2) for second in chunk["timestamp"])
                rows.append({"name": name, "caption": chunk["text"], "start": start, "end": end})
    return rows


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(help="Folder of motion files of any system, in subfolders too.")],
    prompts: Annotated[
        Path | None,
        typer.Option(
            "--prompts",
            "--captions",
            help="What the motions should show: .csv (text or caption; name, stratum, family), .json or .txt.",
        ),
    ] = None,
    real: Annotated[Path | None, typer.Option(help="Folder of real motions to compare with.")] = None,
    evaluator: Annotated[
        Path | None,
        typer.Option(help="Folder of a judge that `lamp-hf train evaluator` wrote, in place of LaMP."),
    ] = None,
    training_captions: Annotated[
        Path | None,
        typer.Option(
            help="Captions that the system was trained on (.txt, .csv or .json), for strata of new captions and words."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="JSON file for all numbers, those of each motion too.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of diversity and of bootstrap samples.")] = 0,
    model: Model = "",
    as_json: Json = False,
) -> None:
    """Evaluate motions: feet and floor, agreement with their prompts, distance from real motions.

    Example: lamp-hf evaluate generated/ --prompts prompts.csv --real recordings/ -o report.json
    """
    from lamp_hf.metrics.folder_report import evaluate_folder
    from lamp_hf.motion.files import write_atomically

    if output is not None and (output.suffix.lower() != ".json" or not output.parent.is_dir()):
        raise ValueError(f"cannot write {output}: give a .json file in a folder that exists")
    if evaluator is not None and model:
        raise ValueError("choose one judge: --evaluator or --model")
    known = _read_sentences(training_captions) if training_captions else None
    judge = _load_evaluator(evaluator) if evaluator else None
    result = evaluate_folder(folder, prompts, real, model or None, seed, judge, known)
    lines = [f"{result['motions']} motions, judged by {result['evaluator']}"]
    lines += ["this judge is LaMP, which lamp-small reads texts with: --evaluator names another"] * (judge is None)
    for section in ("physics", "text", "distribution"):
        lines += _lines(result.get(section, {}))
    for name, numbers in result.get("strata", {}).items():
        lines.append(f"{name} ({numbers['motions']} of a gallery of {numbers['gallery']}):")
        lines += [f"  {line}" for line in _lines(numbers) if line.startswith(("R@", "sides_right"))]
    lines += [f"left out: {name}: {problem}" for name, problem in result["broken"].items()]
    if output is not None:
        content = json.dumps(result, indent=2)
        write_atomically(output, lambda path: path.write_text(content, encoding="utf-8"))
    report(result, "\n".join(lines), as_json)


def _read_sentences(path: Path) -> list[str]:
    """Read every sentence of a file of captions or prompts."""
    from lamp_hf.data.captions import load_captions
    from lamp_hf.data.prompts import read_prompt_table

    if path.suffix.lower() != ".json":
        return [prompt.text for prompt in read_prompt_table(path).values()]
    try:
        return load_captions(path)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path}: give a list of sentences, or annotations as KIT-ML's, in JSON") from None


def _load_evaluator(folder: Path):
    from lamp_hf.training.pretrained import check_model as check_kind
    from lamp_hf.training.train_evaluator import load_evaluator

    check_kind(folder, "--evaluator", ("motion_evaluator",))
    return load_evaluator(folder)


def _lines(numbers: dict) -> list[str]:
    """Return a line for each number, with its interval if it has one."""
    intervals = numbers.get("intervals", {})
    return [
        f"{name}: {value:.4g}" + ("  [{:.4g}, {:.4g}]".format(*intervals[name]) if name in intervals else "")
        for name, value in numbers.items()
        if isinstance(value, (int, float))
    ]


@app.command()
def benchmark(
    gallery: Annotated[
        int, typer.Option(help="Time a search in a gallery of this many vectors, not the models.", min=0)
    ] = 0,
    generation: Annotated[bool, typer.Option("--generation", help="Time text to motion and its stages.")] = False,
    serve: Annotated[
        int, typer.Option(help="Run a server and simulate this many users for a minute, not the models.", min=0)
    ] = 0,
    peers: Annotated[
        bool, typer.Option("--peers", help="Time our networks and tools beside plain ones of the usual kind.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Time the bundled models and the motion tools on this machine, which should be idle.

    Example: lamp-hf benchmark --gallery 1000000
    """
    if sum(map(bool, (gallery, generation, serve, peers))) > 1:
        raise ValueError("choose one of --gallery, --generation, --serve and --peers")
    from lamp_hf.benchmark.gallery import measure_gallery
    from lamp_hf.benchmark.generation import measure_generation
    from lamp_hf.benchmark.library import measure_library
    from lamp_hf.benchmark.peers import measure_peers
    from lamp_hf.benchmark.serving import measure_serving

    if gallery or serve:
        result = measure_gallery(gallery) if gallery else measure_serving(serve)
    else:
        result = measure_peers() if peers else measure_generation() if generation else measure_library()
    report(result, "\n".join(f"{name}: {value:g}" for name, value in result.items()), as_json)
