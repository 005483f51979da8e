"""Model cards: README.md from a template, or from its owner's text, and from the numbers in evaluation.json."""

import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import lamp_hf


# Inside the package where it is installed, beside it in a checkout.
TEMPLATES = next(
    folder
    for folder in (Path(__file__).parents[1] / "hub_cards", Path(__file__).parents[2] / "hub_cards")
    if folder.is_dir()
)

_TRUST = """
The code is in this repository, and `trust_remote_code=True` allows it to run. If the package `lamp_hf` is installed,
`import lamp_hf` replaces that option, and the package reads and writes motion files. Without it, motions are arrays:
joints of shape `[frames, 22, 3]` in metres.
"""
_PLACEHOLDER = re.compile(r"\b(?:TODO|TBD)\b")  # numbers that are missing are refused by `Measurements`
_TABLE_HEAD = ["measured", ""]


class Measurements(dict):
    """Measured numbers, nested as in a JSON file, that refuse to be looked up where one is missing.

    Args:
        values (`dict`): numbers, texts, lists and further dictionaries.
        path (`str`): where the values are from, for messages.

    Raises:
        ValueError: when a value is null or not finite, and on the lookup of a missing one, with the path to it.
    """

    def __init__(self, values: dict, path: str = ""):
        super().__init__({key: _checked(value, f"{path}[{key}]" if path else key) for key, value in values.items()})
        self.path = path

    def __missing__(self, key):
        raise ValueError(f"the card needs {self.path + f'[{key}]' if self.path else key}, which was not measured")


def _checked(value, path: str):
    if isinstance(value, dict):
        return Measurements(value, path)
    if isinstance(value, list):
        return [_checked(entry, f"{path}[{i}]") for i, entry in enumerate(value)]
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"the card needs {path}, which was not measured")
    return value


def read_measurements(path: Path) -> Measurements:
    """Read a JSON file of measured numbers.

    Raises:
        ValueError: when there is no such file, or a value in it is null or not finite.
    """
    if not path.is_file():
        raise ValueError(f"{path.parent} has no {path.name}: a card is not written without measured numbers")
    return Measurements(json.loads(path.read_text(encoding="utf-8")), path.stem)


def model_card(folder: Path, repository: str | None = None) -> str:
    """Write the text of a model's card.

    A bundled model's card comes from its template. Any other model's card is the README.md that its owner wrote,
    followed by a table of the numbers in evaluation.json. A model that `lamp-hf import-checkpoint` wrote was not
    trained here: its README.md is the card.

    Args:
        folder (`Path`): folder of the model.
        repository (`str`, *optional*): `user/name` on the Hub, for the code in the card. Defaults to the package.

    Returns:
        `str`: Markdown.

    Raises:
        ValueError: when a text or a number is missing.
    """
    if folder.resolve().parent == Path(lamp_hf.bundled()).resolve().parent:
        return render_template(folder, repository)
    if not (folder / "README.md").is_file():
        raise ValueError(f"{folder} has no README.md: describe its training data, its licence and its limits there")
    card = (folder / "README.md").read_text(encoding="utf-8")
    if placeholder := _PLACEHOLDER.search(card):
        raise ValueError(f"{folder / 'README.md'} has a blank: {placeholder.group()}")
    if (folder / "conversion.json").is_file():
        return card
    head = re.escape(format_rows([_TABLE_HEAD]))
    card = re.sub(rf"\n## Measured\n\n{head}\n.*", "", card, flags=re.DOTALL)  # from an earlier call
    return f"{card.rstrip()}\n\n{measurements_table(folder)}"


def render_template(folder: Path, repository: str | None = None) -> str:
    """Fill a bundled model's template in `hub_cards/` with the numbers in its evaluation.json.

    Args:
        folder (`Path`): folder of the model; its name is the template's.
        repository (`str`, *optional*): `user/name` on the Hub, for the code in the card. Defaults to the package.

    Returns:
        `str`: Markdown.

    Raises:
        ValueError: when there is no such template, or a number is missing, with the number's name.
    """
    tasks = {name: task for task, name in lamp_hf.BUNDLED.items()}
    if folder.name not in tasks:
        raise ValueError(f"no card template named {folder.name}.md; known: {', '.join(sorted(tasks))}")
    task = "" if folder.name == Path(lamp_hf.bundled()).name else f'"{tasks[folder.name]}"'
    bundled, results = f"lamp_hf.bundled({task})", f"training/results/{folder.name}/README.md"
    return (TEMPLATES / f"{folder.name}.md").read_text(encoding="utf-8").format(
        evaluation=read_measurements(folder / "evaluation.json"),
        size=sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e6,
        model=f'"{repository}"' if repository else bundled,
        trusted_model=f'"{repository}", trust_remote_code=True' if repository else bundled,
        import_package="" if repository else "import lamp_hf\n",
        trust=_TRUST if repository else "",
        results=f"`{results}` of the source code" if repository else f"[{results}](../../../{results})",
    )  # fmt: skip


def measurements_table(folder: Path) -> str:
    """Format every number in a folder's evaluation.json as a Markdown table under a heading.

    Raises:
        ValueError: when the file is missing, holds no number, or holds one that is null or not finite.
    """
    values = dict(_leaves(read_measurements(folder / "evaluation.json")))
    if not any(isinstance(value, (int, float)) for value in values.values()):
        raise ValueError(f"{folder / 'evaluation.json'} holds no number: measure with training.evaluate")
    rows = [[name, f"{value:.4g}" if isinstance(value, float) else str(value)] for name, value in values.items()]
    return f"## Measured\n\n{format_rows([_TABLE_HEAD, *rows])}\n"


def _leaves(values: dict, path: tuple[str, ...] = ()) -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, name))
        elif not isinstance(value, list):
            yield ", ".join((*path, name)).replace("_", " "), value


def format_rows(rows: Iterable[list[str]]) -> str:
    """Format rows as a Markdown table; the first row is the head."""
    head, *body = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body))
