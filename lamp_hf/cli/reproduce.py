"""The verb that reproduces the paper: reproduce."""

import importlib
import logging
from typing import Annotated

import typer

from .common import app


@app.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
def reproduce(arguments: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Train and evaluate the paper's system on HumanML3D or KIT-ML, beside the paper's figures.

    Example: lamp-hf reproduce humanml3d --data HumanML3D --output runs/humanml3d --guo guo/
    """
    logging.getLogger().setLevel(logging.WARNING)  # clips that are left out are named
    importlib.import_module("lamp_hf.training.reproduce").main(arguments or ["--help"])
