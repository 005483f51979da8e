"""Captions in other words, so that a text encoder meets more words than a small data set has."""

import re
from pathlib import Path

import numpy as np
import yaml


class Paraphraser:
    """Replaces words and phrases of a caption by others of their meaning, each with a given probability.

    Args:
        path (`Path`): YAML file, `{phrase: [other phrases]}`.
        probability (`float`): of replacing a phrase, 0 to 1.
    """

    def __init__(self, path: Path, probability: float):
        self.probability = probability
        self.synonyms: dict[str, list[str]] = yaml.safe_load(path.read_text())
        longest_first = sorted(map(re.escape, self.synonyms), key=len, reverse=True)
        self._phrase = re.compile(r"\b(" + "|".join(longest_first) + r")\b", re.IGNORECASE)

    def __call__(self, caption: str, rng: np.random.Generator) -> str:
        def replace(match: re.Match) -> str:
            if rng.random() >= self.probability:
                return match.group()
            return str(rng.choice(self.synonyms[match.group().lower()]))

        return self._phrase.sub(replace, caption)


def load_paraphraser(data: dict) -> Paraphraser | None:
    """What a recipe's data section asks for: `synonyms`, a file beside the recipes, and `paraphrase_probability`."""
    if not data["synonyms"]:
        return None
    return Paraphraser(Path(__file__).with_name(data["synonyms"]), data["paraphrase_probability"])
