"""Files of prompts that motions were made from, by the names of the motions."""

import json
from dataclasses import dataclass
from pathlib import Path

from .captions import clean_caption, clip_name
from .tables import TOO_MANY_FIELDS, read_csv


@dataclass(frozen=True)
class Prompt:
    """A prompt.

    Args:
        text (`str`): the sentence.
        strata (`tuple[str, ...]`): groups that it belongs to, such as `"synonym"`.
        family (`str`): kind of action that it asks for, such as `"walk"`; empty if nobody says.
    """

    text: str
    strata: tuple[str, ...] = ()
    family: str = ""


def read_prompt_table(path: Path) -> dict[str, Prompt]:
    """Read prompts by clip name.

    Args:
        path (`Path`): csv with a column `text` or `caption` and, optionally, `name`, `stratum` (several are
            separated by semicolons) and `family`; json (`{name: sentence or list of sentences}`, of which the first
            counts); or txt, a sentence a line. Rows and lines without a name are called 000001, 000002, ..., as
            `lamp-hf generate --prompts` does.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it cannot be read, or holds no prompt.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        rows = _read_rows(path)
    except (ValueError, AttributeError, TypeError, KeyError, IndexError) as error:
        raise ValueError(f"{path}: not a file of prompts (csv with text; json; txt): {error}") from None
    prompts = {
        clip_name(str(name or f"{number:06d}")): Prompt(
            clean_caption(text),
            tuple(filter(None, (part.strip() for part in (strata or "").split(";")))),
            (family or "").strip(),
        )
        for number, (name, text, strata, family) in enumerate(rows, 1)
        if clean_caption(text or "")
    }
    if not prompts:
        raise ValueError(f"{path} holds no prompt")
    return prompts


def _read_rows(path: Path) -> list[tuple[str | None, str, str | None, str | None]]:
    """Return names, sentences, strata and families."""
    suffix = path.suffix.lower()
    if suffix == ".txt":
        return [(None, line, None, None) for line in path.read_text(encoding="utf-8-sig").splitlines()]
    if suffix == ".json":
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
        return [(name, text if isinstance(text, str) else text[0], None, None) for name, text in entries.items()]
    if suffix != ".csv":
        raise ValueError(f"the suffix is {suffix or 'missing'}")
    rows = read_csv(path)
    if not rows or not {"text", "caption"} & {name for name in rows[0] if name}:
        raise ValueError("it has no column text")
    if any(None in row for row in rows):
        raise ValueError(TOO_MANY_FIELDS)
    return [
        (row.get("name"), row.get("text") or row.get("caption") or "", row.get("stratum"), row.get("family"))
        for row in rows
    ]
