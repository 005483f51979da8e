"""Verbs for galleries: index, search."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

import lamp_hf

from .common import OTHERS, FolderReading, Json, app, check_model, report, with_reading_options


@app.command()
@with_reading_options
def index(
    source: Annotated[Path, typer.Argument(help="Folder of motion files; its subfolders are indexed too.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the gallery.")],
    update: Annotated[
        bool, typer.Option("--update", help="Update a gallery: add new files, drop those that are gone.")
    ] = False,
    *,
    reading: FolderReading,
    model: Annotated[
        str,
        typer.Option(
            callback=check_model,
            help="Folder or Hub id of a model. Defaults to the bundled LaMP, or with --update to the gallery's own; "
            "bundled:video is LAVIMO, whose galleries can be searched by video too.",
        ),
    ] = "",
    late_interaction: Annotated[
        bool,
        typer.Option(
            "--late-interaction", help="Keep LaMP's queries too: sentences are then searched for word by word as well."
        ),
    ] = False,
    milvus: Annotated[
        str | None,
        typer.Option(help="Keep the vectors in Milvus: a file that ends in .db, or the address of a server."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a gallery of motion files for `lamp-hf search`.

    Processes that are given the same command share the files, under `accelerate launch -m lamp_hf index ...` too.
    After an interruption, run the same command again to resume.

    Example: lamp-hf index recordings/ -o gallery/
    """
    from lamp_hf.retrieval.folder import index_folder

    done = index_folder(source, output, model or None, update, late_interaction, milvus, **reading)
    for name, problem in done.broken.items():
        print(f"left out: {name}: {problem}", file=sys.stderr)
    result = {
        "output": str(output),
        "motions": done.motions,
        "added": done.added,
        "removed": done.removed,
        "broken": done.broken,
        "missing": done.missing,
        "seconds": round(done.seconds, 2),
    }
    text = f"{output}: {done.motions} motions, {done.added} of them new, {done.removed} dropped, {done.seconds:.1f} s"
    if done.missing:
        text = f"{output}: not written yet, {done.missing} files are with {OTHERS}"
    report(result, text, as_json)


@app.command()
def search(
    gallery: Annotated[Path, typer.Argument(help="Folder that `lamp-hf index` wrote.")],
    text: Annotated[str | None, typer.Argument(help="What the person does, in a sentence.")] = None,
    motion: Annotated[Path | None, typer.Option(help="Motion file; finds similar motions.")] = None,
    video: Annotated[Path | None, typer.Option(help="Video of a person; finds similar motions.")] = None,
    box: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(help="Where the person is in the video: left, top, right and bottom, in pixels."),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Number of hits.", min=1)] = 10,
    moments: Annotated[
        bool, typer.Option("--moments", help="Localise the query in time: list every part of a motion that matches.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="An .html page that plays the motions found.")
    ] = None,
    model: Annotated[
        str, typer.Option(callback=check_model, help="Folder or Hub id of the gallery's model, if it was moved.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Find motions by a sentence, a motion file, a video, or several of these.

    Example: lamp-hf search gallery/ "someone waves" -o hits.html
    """
    from lamp_hf.motion.files import write_atomically

    if output is not None and (output.suffix.lower() != ".html" or not output.parent.is_dir()):
        raise ValueError(f"cannot write {output}: give an .html file in a folder that exists")
    motions = lamp_hf.MotionIndex.load(gallery, model or None)
    hits = motions.search(text, motion, k, moments, video=video, boxes=box)
    lines = [f"{hit.score:.3f}  {hit.id}  {hit.start:.4g}-{hit.end:.4g} s{_video_part(hit)}" for hit in hits]
    report({"hits": [_rounded(hit) for hit in hits]}, "\n".join(lines or [f"{gallery} is empty"]), as_json)
    if output is not None and hits:
        html = _hits_page(hits)
        write_atomically(output, lambda path: path.write_text(html, encoding="utf-8"))


def _rounded(hit) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(hit).items()}


def _video_part(hit) -> str:
    return "" if hit.video_start is None else f"  for {hit.video_start:.4g}-{hit.video_end:.4g} s of the video"


def _hits_page(hits: list) -> str:
    """Make a page that plays the hits whose files are still there and can be read."""
    from lamp_hf.motion.files import printable
    from lamp_hf.motion.html import player_page

    motions = []
    for rank, hit in enumerate(hits, 1):
        if hit.source and Path(hit.source).is_file():
            try:
                motion = lamp_hf.Motion.load(hit.source).trim(hit.start, hit.end)
            except ValueError as error:  # it was indexed with --rig or --unit, or has changed since
                print(f"not shown: {hit.id}: {error}", file=sys.stderr)
                continue
            motion.text = f"{rank}. {printable(hit.id)} ({hit.score:.2f}, {hit.start:g}-{hit.end:g} s)"
            motions.append(motion)
    if not motions:
        raise ValueError("nothing to show: no file of a hit is where it was when it was indexed")
    return player_page(motions)
