"""Command-line options that several evaluation tasks share."""

from argparse import ArgumentParser
from pathlib import Path

import lamp_hf


# Options of decoding, and the settings of a generator's configuration that they replace.
DECODING = {
    "guidance_scale": "guidance_scale",
    "guidance_interval": "guidance_interval",
    "steps": "num_inference_steps",
    "temperature": "temperature",
    "choice_temperature": "choice_temperature",
}


def add_common_arguments(parser: ArgumentParser) -> None:
    """Add the options of every task: data, split, skeleton, model and output."""
    parser.add_argument("--data", required=True, type=Path, help="parquet file or folder in HumanML3D's layout")
    parser.add_argument("--split", default="test", choices=["val", "test"], help="choose on val, report on test")
    parser.add_argument("--skeleton", default="humanml3d", choices=["humanml3d", "kit"])
    note = "leave out clips that the literature leaves out: below 40 frames (KIT-ML: 24) or from 200 frames on"
    parser.add_argument("--published-lengths", action="store_true", help=note)
    parser.add_argument("--model", required=True, type=Path, help="folder of the model to evaluate")
    parser.add_argument("--output", type=Path, help="JSON file to write the numbers to")


def add_seed(parser: ArgumentParser) -> None:
    parser.add_argument("--seed", default=0, type=int)


def add_evaluator(parser: ArgumentParser, required: bool = False) -> None:
    note = "folder that training.train_evaluator wrote"
    parser.add_argument("--evaluator", required=required, type=Path, help=note)


def add_lamp(parser: ArgumentParser) -> None:
    parser.add_argument("--lamp", default=lamp_hf.bundled(), type=Path, help="LaMP model to judge with")


def add_sentence_encoder(parser: ArgumentParser) -> None:
    default = "sentence-transformers/all-MiniLM-L6-v2"
    parser.add_argument("--sentence-encoder", default=default, help="decides which captions are similar")


def add_licenses(parser: ArgumentParser) -> None:
    note = "values of license_class whose clips the model was trained without, e.g. 'CC BY-SA 3.0'"
    parser.add_argument("--licenses-left-out", nargs="*", default=[], metavar="CLASS", help=note)


def add_decoding(parser: ArgumentParser) -> None:
    """Add the options of decoding; those not given stay as the model is configured."""
    parser.add_argument("--guidance-scale", type=float)
    parser.add_argument("--guidance-interval", nargs=2, type=float, help="shares of the steps between which to guide")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--choice-temperature", type=float)
