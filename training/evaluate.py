"""Measure a model on a split, print the numbers and write them as JSON; one subcommand a task.

python -m training.evaluate tokenizer --data mocap.parquet --model runs/tokenizer/model --output numbers.json
python -m training.evaluate text-to-motion --data mocap.parquet --model lamp_hf/checkpoints/lamp_small
python -m training.evaluate TASK --help
"""

import argparse
import json

from .command_line import check_data
from .evaluation import (
    captioning,
    composition,
    constraints,
    contact_sheets,
    evaluator,
    familiarity,
    families,
    generation,
    geometry,
    knockouts,
    known_systems,
    lamp_bertscore,
    lavimo,
    loops,
    queries,
    retrieval,
    sampling,
    temporal_localization,
    text_to_motion,
    tokenizer,
    transitions,
    zero_shot_classification,
)
from .evaluation.options import DECODING, add_common_arguments
from .pretrained import check_model


TASKS = {
    "tokenizer": tokenizer,
    "text-to-motion": text_to_motion,
    "families": families,
    "familiarity": familiarity,
    "geometry": geometry,
    "contact-sheets": contact_sheets,
    "generation": generation,
    "sampling": sampling,
    "known-systems": known_systems,
    "transitions": transitions,
    "loops": loops,
    "composition": composition,
    "constraints": constraints,
    "captioning": captioning,
    "lamp-bertscore": lamp_bertscore,
    "retrieval": retrieval,
    "queries": queries,
    "knock-outs": knockouts,
    "temporal-localization": temporal_localization,
    "zero-shot-classification": zero_shot_classification,
    "lavimo": lavimo,
    "evaluator": evaluator,
}
ALIASES = {"transitions": ["seams"], "temporal-localization": ["moments"]}  # earlier names
_SETTINGS = ("seed", "num_candidates", *DECODING)  # recorded beside the numbers where a task has them
CHOOSING = ("sampling",)  # tasks that try settings
_CHOICES = (*DECODING, "num_beams", "length_penalty")  # options that replace settings of a model
_MODELS = ("model", "lamp", "evaluator")  # options that name a model


def main(command_line: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(required=True, metavar="TASK")
    for name, module in TASKS.items():
        summary = module.__doc__.splitlines()[0]
        task = tasks.add_parser(
            name, aliases=ALIASES.get(name, []), help=summary.replace("%", "%%"), description=summary
        )
        add_common_arguments(task)
        module.add_arguments(task)
        task.set_defaults(task=name, evaluate=module.evaluate)
    arguments = parser.parse_args(command_line)
    try:
        for name in _MODELS:
            if value := getattr(arguments, name, None):
                check_model(value, f"--{name}")
        for folder in getattr(arguments, "baseline", []):
            check_model(folder, "--baseline")
        check_data(arguments.data, arguments.split)
        check_choices(arguments)
    except ValueError as error:
        parser.exit(2, f"{parser.prog} {arguments.task}: error: {error}\n")
    numbers = {"task": arguments.task, "data": arguments.data.name, "split": arguments.split}
    numbers |= {name: value for name in _SETTINGS if (value := getattr(arguments, name, None)) is not None}
    numbers |= arguments.evaluate(arguments)
    text = json.dumps(numbers, indent=2)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n")


def check_choices(arguments: argparse.Namespace) -> None:
    """Refuse to choose on the test split, which is for reporting.

    Raises:
        ValueError: when the task tries settings, or an option replaces one, on the test split.
    """
    if arguments.split != "test":
        return
    if arguments.task in CHOOSING:
        raise ValueError(f"{arguments.task} tries settings, which are chosen on validation: give --split val")
    given = [name for name in _CHOICES if getattr(arguments, name, None) is not None]
    if given:
        raise ValueError(
            f"--{given[0].replace('_', '-')} replaces a setting of the model, which is chosen on validation: give "
            "--split val, or set it in the model's configuration"
        )


if __name__ == "__main__":
    main()
