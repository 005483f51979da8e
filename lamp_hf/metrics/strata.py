"""Strata of prompts by simple rules: how many events, which limbs, sides, words and captions that training has."""

import re
from collections.abc import Iterable

import numpy as np

from ..data.captions import are_new, mirror_caption
from ..models.prompt_splitting import parts_in_order


_LIMBS = {
    "arms": r"arms?|hands?|elbows?|wrists?|fists?|fingers?|wav(?:e|es|ing)|clap\w*|punch\w*|throw\w*|box(?:es|ing)?",
    "legs": r"legs?|foot|feet|knees?|ankles?|kick\w*|walk\w*|run(?:s|ning)?|jump\w*|hop\w*|step\w*|squat\w*|kneel\w*",
}
_MOST_EVENTS = 4


class Strata:
    """Tells the strata of prompts.

    Args:
        known (`Iterable[str]`, *optional*): captions that the judged system was trained on; without them there are no
            strata of new captions and words.
    """

    def __init__(self, known: Iterable[str] | None = None):
        self.known = None if known is None else list(known)
        self.words = {word for caption in self.known or () for word in _words(caption)}

    def __call__(self, prompts: list[str]) -> list[list[str]]:
        """Return the names of each prompt's strata."""
        strata = [[_events(text), *_limbs(text), *["sides"] * names_a_side(text)] for text in prompts]
        if self.known is not None:
            for names, text, new in zip(strata, prompts, are_new(prompts, self.known)):
                names.append("new caption" if new else "known caption")
                names.append("new word" if _words(text) - self.words else "known words")
        return strata


def names_a_side(text: str) -> bool:
    """Tell if the mirrored motion would have another caption."""
    return mirror_caption(text) != text


def _events(text: str) -> str:
    count = len(parts_in_order(text))
    return "1 event" if count == 1 else f"{count} events" if count < _MOST_EVENTS else f"{_MOST_EVENTS}+ events"


def _limbs(text: str) -> list[str]:
    return [name for name, words in _LIMBS.items() if re.search(rf"\b(?:{words})\b", text, re.IGNORECASE)]


def _words(text: str) -> set[str]:
    return set(re.findall(r"[^\W\d_]+", text.casefold()))


def by_stratum(strata: list[list[str]]) -> dict[str, np.ndarray]:
    """Return the rows of each stratum, by its name, sorted."""
    names = sorted({name for row in strata for name in row})
    return {name: np.array([i for i, row in enumerate(strata) if name in row]) for name in names}
