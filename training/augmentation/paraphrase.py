"""Paraphrased captions, so that a text encoder sees more words than a small data set has."""

import re
from pathlib import Path

import numpy as np
import yaml


class Paraphraser:
    """Replaces words and phrases of a caption by synonyms, each with a given probability.

    Args:
        path (`Path`): YAML file that maps phrases to lists of synonyms.
        probability (`float`): probability that a phrase is replaced.
    """

    def __init__(self, path: Path, probability: float):
        self.probability = probability
        self.synonyms: dict[str, list[str]] = yaml.safe_load(path.read_text())
        longest_first = sorted(map(re.escape, self.synonyms), key=len, reverse=True)
        self._phrase = re.compile(r"\b(" + "|".join(longest_first) + r")\b", re.IGNORECASE)

    @property
    def substitutes(self) -> list[str]:
        """All phrases that may stand in a paraphrase, repetitions included."""
        return [text for texts in self.synonyms.values() for text in texts]

    def __call__(self, caption: str, rng: np.random.Generator) -> str:
        """Return a paraphrase of the caption."""

        def replace(match: re.Match) -> str:
            if rng.random() >= self.probability:
                return match.group()
            return str(rng.choice(self.synonyms[match.group().lower()]))

        return self._phrase.sub(replace, caption)


def load_paraphraser(data: dict) -> Paraphraser | None:
    """Load the paraphraser of a recipe's section `data`, or return None if it names no `synonyms`.

    `synonyms` is a file, see [`synonyms_file`]; `paraphrase_probability` is the probability for each phrase.
    """
    if not data["synonyms"]:
        return None
    return Paraphraser(synonyms_file(data["synonyms"]), data["paraphrase_probability"])


def synonyms_file(name: str) -> Path:
    """Return the path of a file of synonyms: a path of the user's, or one beside this module."""
    path = Path(name)
    return path if path.is_file() else Path(__file__).parent / path


def wordings(
    captions: list[list[str]], paraphrase: Paraphraser | None, count: int
) -> list[list[tuple[str, list[str]]]]:
    """Pair each caption with its wordings: the caption itself and `count` paraphrases, if there is a paraphraser."""
    rng = np.random.default_rng(0)
    return [
        [(text, [text, *(paraphrase(text, rng) for _ in range(count if paraphrase else 0))]) for text in texts]
        for texts in captions
    ]
