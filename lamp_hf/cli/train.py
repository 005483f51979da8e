"""The verb for training: train, with a subcommand for each stage."""

import importlib
import logging
from typing import Annotated

import typer

from .common import app


STAGES = {
    "tokenizer": "Motion tokenizer, on which all others build.",
    "lamp": "LaMP: text and motion in one space, and states of words for a generator.",
    "matcher": "LaMP's matcher anew, on LaMP as it is.",
    "lamp-qformer": "The paper's Q-Former, to compare with.",
    "dual-encoder": "Plain baseline of LaMP's retrieval, on the same frozen encoders.",
    "tmr": "TMR, the published baseline of LaMP's retrieval, on the same frozen encoders.",
    "text-to-motion": "Generator of motion from text.",
    "language-model": "Small language model for the captioner, in place of OPT.",
    "captioner": "Captioner, a language model that reads LaMP's queries.",
    "evaluator": "Classifier of action and style that judges generators.",
    "vision": "Small vision encoder for LAVIMO, in place of CLIP.",
    "lavimo": "LAVIMO: text, video and motion in one space.",
}
_stages = typer.Typer(
    no_args_is_help=True,
    help="Train a model on a data set of your own, stage by stage.\n\n"
    "Example: lamp-hf train tokenizer --recipe small/tokenizer --data dataset/ --output runs/tokenizer",
)
app.add_typer(_stages, name="train")


def _add_stage(stage: str, summary: str) -> None:
    """Add a subcommand; the stage itself reads its options, of which `--help` is one."""

    @_stages.command(stage, help=summary, context_settings={"ignore_unknown_options": True, "help_option_names": []})
    def train(arguments: Annotated[list[str] | None, typer.Argument()] = None) -> None:
        logging.getLogger().setLevel(logging.WARNING)  # clips that are left out are named
        module = importlib.import_module(f"lamp_hf.training.train_{stage.replace('-', '_')}")
        module.main(arguments or ["--help"])


for _stage, _summary in STAGES.items():
    _add_stage(_stage, _summary)
