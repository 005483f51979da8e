"""The `lamp-hf` command."""

import io
import logging
import os
import sys
import warnings

from . import (  # noqa: F401 - their verbs
    checking,
    demo,
    galleries,
    generation,
    hub,
    info,
    models,
    motion_files,
    reproduce,
    serve,
    train,
)
from .common import app


def main() -> None:
    """Run the command; an error on the user's side ends in one line and exit code 1."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be UTF-8, nor the terminal
    logging.getLogger().setLevel(logging.ERROR)
    warnings.showwarning = lambda message, *_: print(f"lamp-hf: {message}", file=sys.stderr)
    try:
        app()
    except (OSError, ValueError) as error:
        message = " ".join(str(error).split())
        print(f"lamp-hf: {message}", file=sys.stderr)
        sys.exit(1)
