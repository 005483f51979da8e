"""Sentences for families of action that are no captions of clips, so that a text encoder sees what people type."""

import re
from pathlib import Path

import yaml

from lamp_hf.data.captions import mirror_caption


class FamilyDescriptions:
    """Tells which sentences of a file describe a clip.

    The file maps a family to `any`, sentences that hold for all its clips, and `kinds`, each with a regular expression
    `where` and `wordings` that hold for clips one of whose captions matches it. Sentences that name a side are written
    for the left: for clips whose captions name the right they are mirrored, and so are those of `wave-left-hand` for
    `wave-right-hand`.

    Args:
        path (`Path`): YAML file.
    """

    def __init__(self, path: Path):
        self.families: dict[str, dict] = yaml.safe_load(path.read_text(encoding="utf-8"))

    @property
    def sentences(self) -> list[str]:
        """All sentences, as they are written and mirrored, repetitions included."""
        written = [text for family in self.families for text in self.of_family(family)]
        return written + [mirror_caption(text) for text in written]

    def of_family(self, family: str) -> list[str]:
        """Return the sentences of a family, of all kinds, as they are written; often none."""
        written = self._written(family)
        kinds = [text for kind in written.get("kinds", []) for text in kind["wordings"]]
        return written["any"] + kinds

    def __call__(self, family: str, captions: list[str]) -> list[str]:
        """Return the sentences that describe a clip of a family with these captions; often none."""
        written = self._written(family)
        texts = list(written["any"])
        for kind in written.get("kinds", []):
            if any(re.search(kind["where"], caption.lower()) for caption in captions):
                texts += kind["wordings"]
        named = sides(captions)
        if named == {"right"}:
            return [mirror_caption(text) for text in texts]
        return texts if named == {"left"} else [text for text in texts if not sides([text])]

    def _written(self, family: str) -> dict:
        return self.families.get(family) or self.families.get(mirror_caption(family)) or {"any": []}


def sides(texts: list[str]) -> set[str]:
    """Return which of "left" and "right" texts name; clockwise is a turn to the right."""
    words = " ".join(texts).lower()
    # Mirroring changes the words of a side and no others, so that "at a right angle" names none.
    changed = [word for word, other in zip(words.split(), mirror_caption(words).split()) if word != other]
    left = re.compile(r"left|anticlock|counter-?clock")
    return {"left" if left.search(word) else "right" for word in changed}


def load_descriptions(data: dict) -> FamilyDescriptions | None:
    """Load the file of a recipe's section `data`, or return None if it names no `descriptions`."""
    return FamilyDescriptions(descriptions_file(data["descriptions"])) if data.get("descriptions") else None


def descriptions_file(name: str) -> Path:
    """Return the path of a file of descriptions: a path of the user's, or one beside this module."""
    path = Path(name)
    return path if path.is_file() else Path(__file__).parent / path
