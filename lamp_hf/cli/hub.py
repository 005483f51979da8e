"""Verbs for models and the Hub: push, card, import-checkpoint."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from .common import Json, app, report


@app.command()
def push(
    kind: Annotated[
        str,
        typer.Argument(help="text-to-motion, captioning, video, model (any other), dataset, index, metric or demo."),
    ],
    repository: Annotated[str, typer.Argument(help="user/name on the Hub.")],
    source: Annotated[
        Path | None, typer.Option(help="Folder of the model, data set or gallery. Defaults to the bundled model.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    stage: Annotated[
        Path | None, typer.Option(help="New folder for what would be uploaded; nothing is uploaded.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Upload a model, a data set, a gallery, the metric or the demo.

    Log in first with `hf auth login`. A model's card shows its measured numbers; a model without them is not pushed.

    Example: lamp-hf push text-to-motion me/lamp-small
    """
    from lamp_hf.hub import push as hub

    if stage is not None:
        if stage.exists():
            raise ValueError(f"{stage} exists already: name a new folder")
        with tempfile.TemporaryDirectory(dir=stage.resolve().parent) as temporary:
            staged = Path(temporary) / "staged"
            staged.mkdir()
            hub.stage(kind, repository, source, staged)
            staged.rename(stage)
        place = str(stage)
    else:
        place = hub.push(kind, repository, source, private)
    report({"kind": kind, "repository": repository, "place": place}, place, as_json)


@app.command()
def card(
    folder: Annotated[Path, typer.Argument(help="Model folder with evaluation.json and, unless bundled, README.md.")],
    as_json: Json = False,
) -> None:
    """Write a model's card, README.md, with its measured numbers.

    A bundled model's card comes from its template in hub_cards/. For any other model the numbers in evaluation.json
    are put below the text in README.md.

    Example: lamp-hf card lamp_hf/checkpoints/lamp_small
    """
    from lamp_hf.hub.cards import model_card
    from lamp_hf.motion.files import write_atomically

    text = model_card(folder)
    write_atomically(folder / "README.md", lambda path: path.write_text(text, encoding="utf-8"))
    report({"output": str(folder / "README.md")}, str(folder / "README.md"), as_json)


@app.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
def import_checkpoint(arguments: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Import a published checkpoint of LaMP, T2M-GPT or MoMask as a model folder.

    Example: lamp-hf import-checkpoint net_last.pth --output tokenizer --mean Mean.npy --std Std.npy
    """
    from lamp_hf.import_checkpoint.__main__ import main

    main(arguments or ["--help"])
