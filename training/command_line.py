"""The command line of a stage: its recipe, its data and the models that it starts from, checked before any work."""

import argparse
from pathlib import Path

from lamp_hf.fingerprint import content_digest

from .augmentation.descriptions import descriptions_file
from .augmentation.paraphrase import synonyms_file
from .pretrained import check_model
from .recipe import INPUTS, check_run, load_recipe
from .text_encoder import resolve_text_encoder


MODELS = {  # options that name a model, and the types that fit; None: any
    "tokenizer": ("motion_vqvae",),
    "lamp": ("lamp", "lamp_qformer"),
    "language-model": None,
    "vision": None,
}
_STARTS = {"tokenizer": ("motion_vqvae",), "text_to_motion": ("lamp_text_to_motion",)}  # types of `start`
_TEXT_ENCODERS = ("text_encoder", "sentence_encoder")


def parse_arguments(
    stage: str, description: str, command_line: list[str] | None, *inputs: str
) -> tuple[dict, argparse.Namespace]:
    """Read the command line of a stage and its recipe; end with one line where something is wrong.

    Args:
        stage (`str`): such as `"text_to_motion"`.
        description (`str`): shown by `--help`.
        command_line (`list[str]`, *optional*): the arguments; those of the process by default.
        inputs (`str`): names of further required options, each a model of [`MODELS`] or a folder.

    Returns:
        The recipe, with the changes of `--set` applied and the fingerprints of the models, and the parsed arguments.
    """
    parser = argparse.ArgumentParser(
        prog=f"lamp-hf train {stage.replace('_', '-')}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    note = f"YAML file, or the name of one that comes with the package: small/{stage}"
    parser.add_argument("--recipe", required=True, help=note)
    parser.add_argument("--data", required=True, type=Path, help="parquet file or folder in HumanML3D's layout")
    parser.add_argument("--output", required=True, type=Path, help="folder for checkpoints, logs and the model")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="e.g. optimization.max_steps=100")
    for name in inputs:
        parser.add_argument(f"--{name}", required=True, type=Path)
    arguments = parser.parse_args(command_line)
    try:
        recipe = load_recipe(stage, arguments.recipe, arguments.set)
        check_data(arguments.data, "train", "val")
        for name in inputs:
            if name in MODELS:
                model = getattr(arguments, name.replace("-", "_"))
                check_model(model, f"--{name}", MODELS[name])
                recipe.setdefault(INPUTS, {})[name] = content_digest(model)[:8]
        check_run(recipe, arguments.output)
        _check_sources(recipe, stage)
    except ValueError as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    return recipe, arguments


def check_data(data: Path, *splits: str) -> None:
    """Check that a data set is there.

    Raises:
        ValueError: when there is no such file, or the folder lacks one of the splits.
    """
    if data.is_file() and data.suffix == ".parquet":
        return
    if not data.is_dir():
        raise ValueError(f"--data {data}: no such folder or parquet file")
    missing = [f"{split}.txt" for split in splits if not (data / f"{split}.txt").is_file()]
    if missing:
        raise ValueError(f"--data {data} is not in HumanML3D's layout: it has no {' and no '.join(missing)}")


def _check_sources(recipe: dict, stage: str) -> None:
    """Check the models and files that entries of a recipe name."""
    if recipe.get("start"):
        check_model(recipe["start"], "start", _STARTS[stage])
    for section in (recipe, recipe["data"], recipe.get("model") or {}):
        for name in _TEXT_ENCODERS:
            if section.get(name):
                resolve_text_encoder(section[name])
    data = recipe["data"]
    files = {"data.synonyms": data.get("synonyms") and synonyms_file(data["synonyms"])}
    files["data.descriptions"] = data.get("descriptions") and descriptions_file(data["descriptions"])
    files |= {f"data.{name}": data.get(name) for name in ("captions", "vocabulary_captions")}
    for name, path in files.items():
        if path and not Path(path).is_file():
            raise ValueError(f"{name} of the recipe: no such file: {path}")
