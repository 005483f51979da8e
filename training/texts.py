"""The texts of a split's clips, each once, and what is drawn of them."""

from pathlib import Path

import numpy as np

from lamp_hf.data.captions import load_captions

from .augmentation.descriptions import FamilyDescriptions
from .augmentation.paraphrase import Paraphraser
from .data import Clips, draw


def known_sentences(
    clips: Clips,
    paraphrase: Paraphraser | None = None,
    descriptions: FamilyDescriptions | None = None,
    file: str | Path | None = None,
) -> list[str]:
    """Return the sentences whose words a trimmed vocabulary keeps.

    Args:
        clips ([`Clips`]): their captions.
        paraphrase ([`Paraphraser`], *optional*): the words that it puts in.
        descriptions ([`FamilyDescriptions`], *optional*): its sentences.
        file (`str` or `Path`, *optional*): further captions, see [`load_captions`].
    """
    sentences = clips.distinct_captions() + (paraphrase.substitutes if paraphrase else [])
    return sentences + (descriptions.sentences if descriptions else []) + (load_captions(file) if file else [])


class TextTable:
    """The distinct captions of clips, a paraphrase of each if there is a paraphraser, and descriptions of families.

    Args:
        clips ([`Clips`]): the clips.
        paraphrase ([`Paraphraser`], *optional*): adds a paraphrase of each caption.
        descriptions ([`FamilyDescriptions`], *optional*): adds the sentences that describe clips of a family.

    `texts` are all of them. `captions` and `descriptions` hold, for each clip, the rows of its own.
    """

    def __init__(
        self,
        clips: Clips,
        paraphrase: Paraphraser | None = None,
        descriptions: FamilyDescriptions | None = None,
    ):
        captions, self.captions = clips.indexed_captions()
        self._count, rng = len(captions), np.random.default_rng(0)
        self._variants = 2 if paraphrase else 1
        paraphrases = [paraphrase(text, rng) for text in captions] if paraphrase else []
        described = [descriptions(*pair) if descriptions else [] for pair in zip(clips.families, clips.captions)]
        distinct = sorted({text for texts in described for text in texts})
        row_of = {text: self._count * self._variants + i for i, text in enumerate(distinct)}
        self.texts = captions + paraphrases + distinct
        self.descriptions = [[row_of[text] for text in texts] for texts in described]
        number_of = {family: i for i, family in enumerate(sorted(set(clips.families)))}
        self._family_ids = [len(self.texts) + number_of[family] for family in clips.families]

    def draw(self, index: int, rng: np.random.Generator, description_probability: float = 0.0) -> int:
        """Return the row of a caption of a clip, or of its paraphrase, or with a probability of a description."""
        if self.descriptions[index] and rng.random() < description_probability:
            return int(draw(self.descriptions[index], rng))
        return int(draw(self.captions[index], rng) + self._count * rng.integers(self._variants))

    def draw_several(self, index: int, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return ids and rows `(count,)` of captions of a clip, the last of several a description if there is one.

        Texts of the same id say the same: a caption and its paraphrase, all descriptions of a family.
        """
        own = self.captions[index]
        ids = rng.choice(own, count, replace=len(own) < count)
        rows = ids + rng.integers(self._variants, size=count) * self._count
        if count > 1 and self.descriptions[index]:
            ids[-1], rows[-1] = self._family_ids[index], draw(self.descriptions[index], rng)
        return ids, rows
