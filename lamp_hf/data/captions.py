"""Captions: reading, cleaning and mirroring."""

import json
import re
from pathlib import Path


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
    """The caption of a mirrored clip: left and right, clockwise and counterclockwise change places."""

    def swap(match: re.Match) -> str:
        word = match.group()
        other = _SWAP[word.lower()]
        return other.capitalize() if word[0].isupper() else other

    return _SIDED.sub(swap, caption.replace("anticlockwise", "counterclockwise"))


def clean_caption(caption: str) -> str:
    """One line, single spaces, no surrounding blanks."""
    return " ".join(caption.split())


def load_captions(path: str | Path) -> list[str]:
    """Sentences of an annotation file: `{id: {"annotations": [{"text": ...}, ...]}, ...}` or a list of strings."""
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    if isinstance(content, dict):
        content = [annotation["text"] for clip in content.values() for annotation in clip["annotations"]]
    return [clean_caption(caption) for caption in content]
