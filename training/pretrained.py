"""Models that a command line or a recipe names: found, and of the right kind, before any work begins."""

import json
import re
from pathlib import Path

from transformers.utils import cached_file


def check_model(name: str | Path, option: str, kinds: tuple[str, ...] | None = None) -> None:
    """Check that a model can be read, from its configuration alone.

    Args:
        name (`str` or `Path`): folder or Hub id.
        option (`str`): the option, or the entry of the recipe, that names the model.
        kinds (`tuple[str, ...]`, *optional*): model types that fit, of the model or of the LaMP inside it; any by
            default. An adapter has none.

    Raises:
        ValueError: when there is no such model, or it is of another kind.
    """
    if (Path(name) / "adapter_config.json").is_file() and kinds is None:
        return
    values = json.loads(_find_config(str(name), option).read_text(encoding="utf-8"))
    found = [part.get("model_type") for part in (values, values.get("lamp_config")) if part]
    if kinds and not set(found) & set(kinds):
        described = " with ".join(map(str, found))
        raise ValueError(f"{option} {name} is a model of type {described}; it must be {' or '.join(kinds)}")


def _find_config(name: str, option: str) -> Path:
    """Find the configuration of a model in its folder or on the Hub."""
    folder = Path(name)
    if folder.is_dir() and not (folder / "config.json").is_file():
        hint = f"; did you mean {folder / 'model'}?" if (folder / "model").is_dir() else ""
        raise ValueError(f"{option} {name} holds no model: it has no config.json{hint}")
    if not folder.is_dir() and (not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or Path(folder.parts[0]).is_dir()):
        raise ValueError(f"{option} {name}: no such folder")
    try:
        return Path(cached_file(name, "config.json"))
    except OSError as error:
        reason = str(error).split(".\n")[0].splitlines()[0]
        raise ValueError(f"{option} {name} is no folder, and cannot be read from the Hub: {reason}") from None
