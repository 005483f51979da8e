"""Verbs on the Hub: push, card."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from .common import Json, app, report


@app.command()
def push(
    kind: Annotated[
        str, typer.Argument(help="text-to-motion, captioning, video, any other model, dataset, index, metric or demo.")
    ],
    repository: Annotated[str, typer.Argument(help="user/name on the Hub.")],
    source: Annotated[
        Path | None, typer.Option(help="Folder of the model, data set or gallery; the bundled model if not given.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    stage: Annotated[Path | None, typer.Option(help="Write what would be uploaded here, upload nothing.")] = None,
    as_json: Json = False,
) -> None:
    """Upload a model, a data set, a gallery, the metric or the demo.

    Log in before with `hf auth login`. A model's card holds its measured numbers; one that lacks a number is not
    pushed.

    Example: lamp-hf push text-to-motion me/lamp-small
    """
    from lamp_hf.hub import push as hub

    if stage is not None:
        if stage.exists():
            raise ValueError(f"{stage} exists already: name a new folder")
        with tempfile.TemporaryDirectory(dir=stage.resolve().parent) as temporary:
            whole = Path(temporary) / "whole"
            whole.mkdir()
            hub.stage(kind, repository, source, whole)
            whole.rename(stage)
        place = str(stage)
    else:
        place = hub.push(kind, repository, source, private)
    report({"kind": kind, "repository": repository, "place": place}, place, as_json)


@app.command()
def card(
    folder: Annotated[Path, typer.Argument(help="Weights and what training/evaluate.py wrote beside them.")],
    as_json: Json = False,
) -> None:
    """Write a model's card, README.md, from its template and its measured numbers.

    Example: lamp-hf card lamp_hf/checkpoints/lamp_small
    """
    from lamp_hf.hub.cards import render
    from lamp_hf.motion.files import write_atomically

    text = render(folder)
    write_atomically(folder / "README.md", lambda path: path.write_text(text, encoding="utf-8"))
    report({"output": str(folder / "README.md")}, str(folder / "README.md"), as_json)
