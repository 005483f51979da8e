"""Recipes: found by path or by name, changed by `--set`, and checked against those that ship for the same stage."""

import functools
from pathlib import Path

import yaml
from transformers import SchedulerType

from .schedule import MULTISTEP


RECIPES = Path(__file__).with_name("recipes")
RECORD = "recipe.yaml"  # in the output folder: the recipe that the run there began with
INPUTS = "inputs"  # in the record: fingerprints of the models that the run began with
_MAY_CHANGE = ("optimization", "checkpoint_steps", "evaluation_steps")  # when a run resumes
_TABLES = ("", "data", "optimization", "geometry_weights")  # sections whose entries the stages read one by one
_AT_LEAST_ONE = {
    "checkpoint_steps",
    "evaluation_steps",
    *(f"optimization.{name}" for name in ("max_steps", "batch_size", "gradient_accumulation_steps", "bucket_batches")),
}
_CHOICES = {
    "data.skeleton": ["humanml3d", "kit"],
    "optimization.mixed_precision": ["no", "fp16", "bf16", "fp8"],
    "optimization.schedule": [*(str(kind.value) for kind in SchedulerType), MULTISTEP],
}


def load_recipe(stage: str, name: str, changes: list[str]) -> dict:
    """Read a stage's recipe. One that `extends` another, by name, states the entries alone that differ.

    Args:
        stage (`str`): such as `"text_to_motion"`.
        name (`str`): YAML file, or the name of a recipe that ships, such as `"small/text_to_motion"`.
        changes (`list[str]`): entries to replace, as `KEY=VALUE` with dots between sections.

    Raises:
        ValueError: when there is no such recipe, a change is of an entry that it lacks, it is the recipe of another
            stage, or an entry has a value of another kind than in the recipes that ship.
    """
    path = next((path for path in (Path(name), RECIPES / f"{name}.yaml") if path.is_file()), None)
    if path is None:
        raise ValueError(f"--recipe {name}: no such file; these come with the package: {', '.join(_shipped(stage))}")
    recipe = _read(path, f"--recipe {name}")
    recipe.pop(INPUTS, None)  # of a record
    for change in changes:
        _apply(recipe, change)
    _check(
        recipe, list(_shipped(stage).values()), list(_shipped().values()), f"--recipe {name} is no recipe of {stage}"
    )
    return recipe


def check_run(recipe: dict, output: Path) -> None:
    """Refuse an output folder whose checkpoints belong to a run of another recipe, or from other models.

    Raises:
        ValueError: names the first entry that differs.
    """
    record = output / RECORD
    if not record.is_file() or not list((output / "checkpoints").glob("step_*")):
        return
    recorded = yaml.safe_load(record.read_text(encoding="utf-8"))
    for name, model in recorded.get(INPUTS, {}).items():
        if recipe[INPUTS][name] != model:
            problem = f"{output} has checkpoints that began with another {name}"
            raise ValueError(f"{problem}: remove the folder, or name another --output")
    before, now = _flat(recorded), _flat(recipe)
    for name in sorted({*before, *now}):
        if name.split(".")[0] not in (INPUTS, *_MAY_CHANGE) and before.get(name) != now.get(name):
            raise ValueError(
                f"{output} has checkpoints of another recipe ({name} is {before.get(name)} there and {now.get(name)} "
                f"here): resume with --recipe {record}, or name another --output"
            )


@functools.cache
def _shipped(stage: str = "") -> dict[str, dict]:
    """Return the recipes that come with the package, of all stages or of one, by their names."""
    paths = sorted(RECIPES.glob(f"*/*{stage}.yaml"))
    return {f"{path.parent.name}/{path.stem}": _read(path, str(path)) for path in paths}


def _read(path: Path, source: str) -> dict:
    recipe = _parse(path.read_text(encoding="utf-8"), source)
    if not isinstance(recipe, dict):
        raise ValueError(f"{source}: it has no entries")
    if "extends" not in recipe:
        return recipe
    extended = recipe.pop("extends")
    base = RECIPES / f"{extended}.yaml"
    if not base.is_file():
        raise ValueError(f"{source} extends {extended}, and no recipe of this name comes with the package")
    return _merged(_read(base, f"{source}, {extended}"), recipe)


def _merged(base: dict, changes: dict) -> dict:
    """Return the entries of `base` with changes; sections are merged, other values replaced."""
    result = dict(base)
    for name, value in changes.items():
        both = isinstance(value, dict) and isinstance(base.get(name), dict)
        result[name] = _merged(base[name], value) if both else value
    return result


def _parse(text: str, source: str):
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{source}: not YAML: {' '.join(str(error).split())}") from None


def _apply(recipe: dict, change: str) -> None:
    """Replace the entry that a change `KEY=VALUE` names."""
    key, equals, value = change.partition("=")
    *parents, last = key.split(".")
    section = recipe
    for parent in parents:
        section = section.get(parent) if isinstance(section, dict) else None
    if not equals or not isinstance(section, dict) or last not in section:
        raise ValueError(f"--set {change}: " + (f"the recipe has no {key}" if equals else "write KEY=VALUE"))
    section[last] = _parse(value, f"--set {change}")


def _check(values: dict, examples: list[dict], others: list[dict], problem: str, section: str = "") -> None:
    """Compare a section, and the sections in it, with those of recipes that ship, for the same stage and for others.

    An entry that all recipes of the stage have is required; one that no recipe has is a slip.
    """
    missing = set.intersection(*map(set, examples)) - set(values)
    unknown = set(values) - set().union(*others)
    if missing or unknown:
        names = ", ".join(f"{section}{name}" for name in sorted(missing or unknown))
        raise ValueError(f"{problem}: it {'lacks' if missing else 'has an unknown entry'} {names}")
    for name, value in values.items():
        full = f"{section}{name}"
        same, all_known = ([recipe[name] for recipe in recipes if name in recipe] for recipes in (examples, others))
        wanted = _problem_of(value, same or all_known, full)
        if wanted:
            hint = "; in YAML, 1e-4 is text and 1.0e-4 a number" if _is_number_as_text(value) else ""
            raise ValueError(f"{full} of the recipe must be {wanted}, not {value!r}{hint}")
        if full in _TABLES:
            _check(value, same, all_known, problem, f"{full}.")


def _problem_of(value, known: list, name: str) -> str | None:
    """Return what the value of an entry should be, or None if it is that."""
    kinds = {_kind(example) for example in known}
    if name in _CHOICES:
        return None if value in _CHOICES[name] else f"one of {', '.join(_CHOICES[name])}"
    if name in _AT_LEAST_ONE:
        return None if _kind(value) == "a whole number" and value >= 1 else "a whole number of at least 1"
    if kinds == {"null"} or _kind(value) in kinds or (_kind(value) == "a whole number" and "a number" in kinds):
        return None
    may_be_null = name.split(".")[0] not in _MAY_CHANGE and ("a section" not in kinds or name == "lora")
    if value is None and may_be_null:
        return None
    return " or ".join(sorted(kinds))


def _kind(value) -> str:
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list",
             dict: "a section", type(None): "null"}  # fmt: skip
    return kinds.get(type(value), type(value).__name__)


def _is_number_as_text(value) -> bool:
    try:
        return isinstance(value, str) and float(value) is not None
    except ValueError:
        return False


def _flat(values: dict, section: str = "") -> dict:
    """Return the entries of a recipe by their full names."""
    result: dict = {}
    for name, value in values.items():
        full = f"{section}{name}"
        result |= _flat(value, f"{full}.") if isinstance(value, dict) and value else {full: value}
    return result
