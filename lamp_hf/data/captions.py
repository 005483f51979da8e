"""Captions: reading them from files, cleaning and mirroring them."""

import csv
import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np


class TimedCaption(NamedTuple):
    """A caption with the part of the clip that it describes.

    Args:
        text (`str`): the sentence.
        start, end (`float`): seconds; both 0 for the whole clip.
    """

    text: str
    start: float = 0.0
    end: float = 0.0

    @property
    def is_whole(self) -> bool:
        """Tell if the caption describes the whole clip."""
        return self.end <= self.start


_OPPOSITES = {
    "left": "right",
    "clockwise": "counterclockwise",
    "clock-wise": "counter-clockwise",
    "leftward": "rightward",
    "leftwards": "rightwards",
}
_SWAP = _OPPOSITES | {other: word for word, other in _OPPOSITES.items()}
# Longest first, so that "counterclockwise" is not read as "clockwise".
_SIDED = re.compile(r"\b(" + "|".join(sorted(map(re.escape, _SWAP), key=len, reverse=True)) + r")\b", re.IGNORECASE)


def mirror_caption(caption: str) -> str:
    """Return the caption of the mirrored clip: left and right, clockwise and counterclockwise are swapped."""

    def swap(match: re.Match) -> str:
        word = match.group()
        other = _SWAP[word.lower()]
        return other.capitalize() if word[0].isupper() else other

    return _SIDED.sub(swap, caption.replace("anticlockwise", "counterclockwise"))


def clean_caption(caption: str) -> str:
    """Collapse white space: one line, single blanks, none around."""
    return " ".join(caption.split())


def load_captions(path: str | Path) -> list[str]:
    """Read the sentences of a JSON annotation file.

    Args:
        path (`str` or `Path`): holds `{id: {"annotations": [{"text": ...}, ...]}, ...}` or a list of strings.
    """
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    if isinstance(content, dict):
        content = [annotation["text"] for clip in content.values() for annotation in clip["annotations"]]
    return [clean_caption(caption) for caption in content]


def parse_captions(text: str) -> list[TimedCaption]:
    """Parse a HumanML3D text file, whose lines are `caption#word/POS word/POS ...#start#end`.

    Raises:
        ValueError: when a line does not end in two numbers.
    """
    captions = []
    for line in text.splitlines():
        if not line.strip():
            continue
        fields = line.strip().split("#")
        start, end = (float(np.nan_to_num(float(field))) for field in fields[-2:])
        captions.append(TimedCaption(clean_caption(fields[0]), start, end))
    return captions


def format_captions(captions: list[TimedCaption]) -> str:
    """Format captions as a HumanML3D text file, without tagged words."""
    return "".join(f"{caption.text}##{caption.start:g}#{caption.end:g}\n" for caption in captions)


def read_captions_beside(path: Path) -> list[TimedCaption]:
    """Read the text file of a motion file: HumanML3D's lines, or plain sentences.

    It is looked for beside the motion, in `texts/` beside it, and in `texts/` beside the motion's folder.

    Returns:
        `list[TimedCaption]`: the captions; empty if there is no such file.
    """
    for candidate in (path.with_suffix(".txt"), path.parent / "texts" / f"{path.stem}.txt",
                      path.parent.parent / "texts" / f"{path.stem}.txt"):  # fmt: skip
        if candidate.is_file():
            lines = [line for line in candidate.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
            lines = [line if line.count("#") == 3 else f"{line.replace('#', ' ')}##0#0" for line in lines]
            return parse_captions("\n".join(lines))
    return []


def read_caption_table(source: Path, path: Path | None = None) -> dict[str, list[TimedCaption]]:
    """Read captions by clip name, see [`clip_name`].

    Args:
        source (`Path`): folder in which `captions.csv` or `captions.json` is looked for.
        path (`Path`, *optional*): another file: csv with the columns `name` and `caption`, or json
            (`{name: caption or list of captions}`).

    Returns:
        `dict[str, list[TimedCaption]]`: captions of whole clips; empty if there is no file.

    Raises:
        FileNotFoundError: when `path` is given but missing.
        ValueError: when the file cannot be read.
    """
    if path is None:
        path = next((source / name for name in ("captions.csv", "captions.json") if (source / name).is_file()), None)
    if path is None:
        return {}
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    found: dict[str, list[TimedCaption]] = {}
    try:
        for name, text in _read_table(path):
            if clean_caption(text):
                found.setdefault(clip_name(name), []).append(TimedCaption(clean_caption(text).replace("#", " ")))
    except (ValueError, KeyError, AttributeError, TypeError, csv.Error) as error:
        raise ValueError(f"{path}: not a caption file (csv with name, caption; or json): {error!r}") from None
    return found


def _read_table(path: Path) -> list[tuple[str, str]]:
    if path.suffix.lower() == ".json":
        entries = json.loads(path.read_text(encoding="utf-8"))
        return [
            (name, text) for name, texts in entries.items() for text in (texts if isinstance(texts, list) else [texts])
        ]
    with open(path, newline="", encoding="utf-8-sig") as file:
        return [(row["name"], row["caption"]) for row in csv.DictReader(file)]


def clip_name(path: str) -> str:
    """Turn a path into a clip's name of letters, digits, underscores and dashes, valid on any file system."""
    return re.sub(r"[^\w-]+", "_", re.sub(r"\.(bvh|amc|npz|npy)$", "", path, flags=re.IGNORECASE))
