"""Paraphrased captions, and texts cut to the length that models read."""

import re

import numpy as np
import yaml
from training_stages import ROOT

from training.augmentation.paraphrase import Paraphraser, wordings
from training.data import shortened


SYNONYMS = ROOT / "training/augmentation/synonyms.yaml"


def test_paraphrases_keep_sides_and_leave_the_words_kept_for_testing_alone():
    paraphrase = Paraphraser(SYNONYMS, probability=1.0)
    rng = np.random.default_rng(0)
    for _ in range(50):
        words = paraphrase("someone turns to the left and waves with the right hand", rng).split()
        assert "right" in words
        assert any(side in word for word in words for side in ("left", "counterclock", "anticlock"))
    assert Paraphraser(SYNONYMS, probability=0.0)("a man walks", rng) == "a man walks"

    def words_of(texts):
        return {word for text in texts for word in re.findall(r"[a-z]+", str(text).lower())}

    kept = yaml.safe_load((ROOT / "training/evaluation/paraphrases.yaml").read_text())
    kept = words_of(text for split in kept.values() for texts in split.values() for text in texts)
    # Captions of the bundled model's data have these, and the phrases that are replaced.
    captions = {"along", "at", "down", "fists", "foot", "front", "high", "off", "on", "toward"}
    captions |= words_of(paraphrase.synonyms)
    assert not kept & words_of(paraphrase.substitutes) - captions


def test_wordings_are_the_caption_and_its_paraphrases():
    paraphrase = Paraphraser(SYNONYMS, probability=1.0)
    ((caption, words),) = wordings([["a man walks"]], paraphrase, 2)[0]
    assert caption == words[0] == "a man walks" and len(words) == 3 and "a man walks" not in words[1:]
    assert wordings([["a man walks"]], None, 2) == [[("a man walks", ["a man walks"])]]


def test_texts_are_cut_to_what_the_model_reads(processor):
    long, words = "she bows " * 40, "she bows"
    cut = shortened([words, long], processor.tokenizer)
    limit = processor.tokenizer.model_max_length
    assert cut[0] == words and long.startswith(cut[1])
    assert limit - 2 <= len(processor.tokenizer(cut[1])["input_ids"]) <= limit
