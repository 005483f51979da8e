"""Caption metrics: BLEU, ROUGE-L and CIDEr, in percent, as the field's tables report them.

Two conventions are in use, and numbers under one cannot be compared with numbers under the other:

* `"raw"`: words are separated by blanks; punctuation and capitals count (MotionGPT and later work).
* `"lemmas"`: lower-cased words of letters alone, each in its base form, except "left" (TM2T, HumanML3D's text files).
  The originals lemmatise nouns and verbs with spaCy; this is simplemma, of the `eval` extra, on all words.
"""

import math
import re
from collections import Counter
from collections.abc import Callable

import numpy as np


Tokens = list[str]
_MAX_ORDER = 4


def caption_metrics(
    predictions: list[str], references: list[str] | list[list[str]], convention: str = "raw"
) -> dict[str, float | str]:
    """Compute all caption metrics.

    Args:
        predictions (`list[str]`): one caption per clip.
        references (`list[str]` or `list[list[str]]`): one or several captions per clip.
        convention (`str`): `"raw"` or `"lemmas"`.

    Returns:
        `bleu_1` to `bleu_4`, `rouge_l`, `cider`, in percent, and `convention`.

    Raises:
        ValueError: when counts differ, or a clip has no reference.
    """
    references = check_references(predictions, references)
    if convention not in CONVENTIONS:
        raise ValueError(f"unknown convention {convention!r}; known: {', '.join(CONVENTIONS)}")
    split = CONVENTIONS[convention]
    words = [split(text) for text in predictions]
    expected = [[split(text) for text in texts] for texts in references]
    scores = {f"bleu_{order}": score for order, score in enumerate(bleu(words, expected), 1)}
    scores |= {"rouge_l": rouge_l(words, expected), "cider": cider(words, expected)}
    return {name: 100 * score for name, score in scores.items()} | {"convention": convention}


def check_references(predictions: list, references: list[str] | list[list[str]]) -> list[list[str]]:
    """Return each prediction's references as a list.

    Raises:
        ValueError: when there is no prediction, when counts differ, or when a reference is missing or empty.
    """
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions but {len(references)} references")
    if not len(predictions):
        raise ValueError("nothing to score: no predictions")
    lists = [[texts] if isinstance(texts, str) else list(texts) for texts in references]
    for i, texts in enumerate(lists):
        if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
            raise ValueError(f"prediction {i} has an empty reference")
    return lists


def _lemmas(text: str) -> Tokens:
    try:
        from simplemma import lemmatize
    except ImportError:
        raise ImportError("the convention 'lemmas' needs simplemma: pip install simplemma") from None
    words = re.findall(r"[^\W\d_]+", text.lower().replace("-", ""))
    return [word if word == "left" else lemmatize(word, lang="en") for word in words]


CONVENTIONS: dict[str, Callable[[str], Tokens]] = {"raw": str.split, "lemmas": _lemmas}


def bleu(predictions: list[Tokens], references: list[list[Tokens]]) -> list[float]:
    """Return corpus BLEU-1 to BLEU-4, 0 to 1, without smoothing, with the closest reference length.

    Source: Papineni et al., ACL 2002.
    """
    matched, total = np.zeros(_MAX_ORDER), np.zeros(_MAX_ORDER)
    length = reference_length = 0
    for words, texts in zip(predictions, references):
        length += len(words)
        reference_length += min((abs(len(text) - len(words)), len(text)) for text in texts)[1]
        for order in range(1, _MAX_ORDER + 1):
            found = _ngrams(words, order)
            most: Counter = Counter()
            for text in texts:
                most |= _ngrams(text, order)
            matched[order - 1] += (found & most).total()
            total[order - 1] += found.total()
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.where(total > 0, matched / total, 0))
    penalty = min(1.0, math.exp(1 - reference_length / length)) if length else 0.0
    return [float(penalty * np.exp(logs[:order].mean())) for order in range(1, _MAX_ORDER + 1)]


def rouge_l(predictions: list[Tokens], references: list[list[Tokens]]) -> float:
    """Return the mean F1 of the longest common subsequence with the best reference, 0 to 1.

    Source: Lin, 2004.
    """
    scores = []
    for words, texts in zip(predictions, references):
        common = [_common_subsequence(words, text) for text in texts]
        scores.append(max(2 * c / max(len(words) + len(text), 1) for c, text in zip(common, texts)))
    return float(np.mean(scores))


def cider(predictions: list[Tokens], references: list[list[Tokens]], sigma: float = 6.0) -> float:
    """Return CIDEr-D, 0 to 10, with document frequencies counted in the given references.

    Source: Vedantam et al., CVPR 2015.
    """
    documents = [{gram for text in texts for gram in _all_ngrams(text)} for texts in references]
    frequency = Counter(gram for grams in documents for gram in grams)
    most = math.log(len(references))

    def vector(words: Tokens) -> list[dict[tuple, float]]:
        weights: list[dict[tuple, float]] = [{} for _ in range(_MAX_ORDER)]
        for gram, count in Counter(_all_ngrams(words)).items():
            weights[len(gram) - 1][gram] = count * (most - math.log(max(1, frequency[gram])))
        return weights

    def similarity(left: list[dict], right: list[dict], difference: int) -> float:
        values = []
        for mine, theirs in zip(left, right):
            norm = math.hypot(*mine.values()) * math.hypot(*theirs.values())
            product = sum(min(weight, theirs[gram]) * theirs[gram] for gram, weight in mine.items() if gram in theirs)
            values.append(product / norm if norm else 0.0)
        return float(np.mean(values)) * math.exp(-(difference**2) / (2 * sigma**2))

    scores = []
    for words, texts in zip(predictions, references):
        mine, pairs = vector(words), max(len(words) - 1, 0)  # the COCO code compares numbers of word pairs
        parts = [similarity(mine, vector(text), pairs - max(len(text) - 1, 0)) for text in texts]
        scores.append(10 * float(np.mean(parts)))
    return float(np.mean(scores))


def _ngrams(words: Tokens, order: int) -> Counter:
    return Counter(zip(*(words[i:] for i in range(order))))


def _all_ngrams(words: Tokens) -> list[tuple]:
    return [gram for order in range(1, _MAX_ORDER + 1) for gram in zip(*(words[i:] for i in range(order)))]


def _common_subsequence(left: Tokens, right: Tokens) -> int:
    """Return the length of the longest common subsequence."""
    row = [0] * (len(right) + 1)
    for word in left:
        above = row
        row = [0]
        for i, other in enumerate(right):
            row.append(above[i] + 1 if word == other else max(above[i + 1], row[i]))
    return row[-1]
