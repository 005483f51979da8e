"""Captions: reading them from files, cleaning and mirroring them."""

import json
import logging
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..motion.files import printable
from .tables import TOO_MANY_FIELDS, read_csv


logger = logging.getLogger(__name__)


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


class CaptionLine(NamedTuple):
    """A line of a caption file.

    Args:
        caption ([`TimedCaption`]): the sentence and the part of the clip that it describes.
        words (`list[tuple[str, str]]`): its words with their parts of speech; empty for a plain sentence.
    """

    caption: TimedCaption
    words: list[tuple[str, str]]


_OPPOSITES = {
    "left": "right",
    "clockwise": "counterclockwise",
    "clock-wise": "counter-clockwise",
    "leftward": "rightward",
    "leftwards": "rightwards",
    "leftmost": "rightmost",
}
_SWAP = _OPPOSITES | {other: word for word, other in _OPPOSITES.items()} | {"anticlockwise": "clockwise"}
# "left" as what remains, and "right" as an angle or an adverb, are no sides.
_NO_SIDE = (
    r"right[- ]angle[sd]?|all right|right (?:now|away)|no \w+ left"
    r"|(?:energy|strength|stamina|breath|nothing|anything|what|all that)(?: is|'s| was)? left"
    r"|(?:he|she|they|it) left off"
)
# Longest first, so that "counterclockwise" is not read as "clockwise".
_SIDES = "|".join(sorted(map(re.escape, _SWAP), key=len, reverse=True))
_SIDED = re.compile(rf"\b(?:(?P<no_side>{_NO_SIDE})(?!-)|{_SIDES})\b", re.IGNORECASE)


def mirror_caption(caption: str) -> str:
    """Return the caption of the mirrored clip: left and right, clockwise and counterclockwise are swapped.

    Words that name no side stay: "at a right angle", "no energy left".
    """

    def swap(match: re.Match) -> str:
        word = match.group()
        if match["no_side"]:
            return word
        other = _SWAP[word.lower()]
        return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other

    return _SIDED.sub(swap, caption)


def clean_caption(caption: str) -> str:
    """Collapse white space, and "#", which separates fields in caption files: one line, single blanks, none around."""
    return " ".join(caption.replace("#", " ").split())


def are_new(captions: list[str], known: Iterable[str]) -> np.ndarray:
    """Tell which captions do not stand among the known ones, whatever their case and punctuation.

    Returns:
        `np.ndarray` of shape `(num_captions,)`: bool.
    """
    stored = {_bare(caption) for caption in known}
    return np.array([_bare(caption) not in stored for caption in captions], dtype=bool)


def _bare(caption: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", caption.casefold()))


def load_captions(path: str | Path) -> list[str]:
    """Read the sentences of a JSON annotation file.

    Args:
        path (`str` or `Path`): holds `{id: {"annotations": [{"text": ...}, ...]}, ...}` or a list of strings.
    """
    content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    if isinstance(content, dict):
        content = [annotation["text"] for clip in content.values() for annotation in clip["annotations"]]
    return [clean_caption(caption) for caption in content]


def read_caption_file(path: Path) -> list[CaptionLine]:
    """Read the lines of a text file of captions; a file without any is named in a warning.

    Lines are HumanML3D's, `caption#word/POS word/POS ...#start#end`, or plain sentences about the whole clip. A "#"
    inside a sentence is a blank, times that are not finite are 0, and lines without a sentence are left out.

    Args:
        path (`Path`): the file, in UTF-8 with or without a byte-order mark.

    Raises:
        OSError: when the file cannot be read.
        ValueError: when it is not UTF-8.
    """
    lines = parse_caption_file(path)
    if not lines:
        logger.warning("%s holds no caption", path)
    return lines


def parse_caption_file(path: Path) -> list[CaptionLine]:
    """Read the lines of a text file of captions as [`read_caption_file`] does, without a warning if there are none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: captions must be UTF-8 text, {error.reason} at byte {error.start}") from None
    return [line for line in map(_parse_line, text.splitlines()) if line.caption.text]


def read_captions(path: Path) -> list[TimedCaption]:
    """Read the captions of a text file, see [`read_caption_file`]."""
    return [line.caption for line in read_caption_file(path)]


def _parse_line(line: str) -> CaptionLine:
    sentence, *rest = line.rsplit("#", 3)
    words = rest[0].split() if len(rest) == 3 else []
    times = [_seconds(field) for field in rest[1:]] if len(rest) == 3 else [None]
    if None in times or (words and not any("/" in word for word in words)):  # a plain sentence
        return CaptionLine(TimedCaption(clean_caption(line)), [])
    tagged = [word.rpartition("/") for word in words if "/" in word]
    return CaptionLine(TimedCaption(clean_caption(sentence), *times), [(word, part) for word, _, part in tagged])


def _seconds(field: str) -> float | None:
    """Return the time that a field holds, or None if it holds no number."""
    try:
        seconds = float(field)
    except ValueError:
        return None
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0


def format_captions(captions: list[TimedCaption]) -> str:
    """Format captions as a HumanML3D text file, without tagged words."""
    return "".join(f"{caption.text}##{caption.start:g}#{caption.end:g}\n" for caption in captions)


def read_captions_beside(path: Path) -> list[TimedCaption]:
    """Read the text file of a motion file, see [`read_caption_file`].

    It is looked for beside the motion, in `texts/` beside it, and in `texts/` beside the motion's folder.

    Returns:
        `list[TimedCaption]`: the captions of the first file that has some; empty if there is none.
    """
    folders = (path.parent, path.parent / "texts", path.parent.parent / "texts")
    files = (folder / f"{path.stem}.txt" for folder in folders)
    return next(filter(None, (read_captions(file) for file in files if file.is_file())), [])


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
                found.setdefault(clip_name(name), []).append(TimedCaption(clean_caption(text)))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{path}: not a caption file (csv with name, caption; or json): {error!r}") from None
    return found


def _read_table(path: Path) -> list[tuple[str, str]]:
    if path.suffix.lower() == ".json":
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
        return [
            (name, text) for name, texts in entries.items() for text in (texts if isinstance(texts, list) else [texts])
        ]
    captions = []
    for number, row in enumerate(read_csv(path), 1):
        if None in row:
            logger.warning("%s, row %d left out: %s", path, number, TOO_MANY_FIELDS)
        else:
            captions.append((row["name"], row["caption"] or ""))
    return captions


def clip_name(path: str) -> str:
    """Turn a path into a clip's name of letters, digits, underscores and dashes, valid on any file system."""
    return re.sub(r"[^\w-]+", "_", re.sub(r"\.(bvh|amc|npz|npy)$", "", printable(path), flags=re.IGNORECASE))
