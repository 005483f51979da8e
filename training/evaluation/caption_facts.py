"""What a caption states of a clip, and whether that is so: action, side, style, counts, distances, turns."""

import re
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np


_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {word: i for i, word in enumerate(_WORDS)}
# Of each fact: how it is said, what the data measured, by how much both may differ to be right.
_FACTS = {
    "steps": (r"\b(\w+) steps\b", "measured_steps", 1),
    "waves": (r"\b(\w+) times\b", "measured_osc", 1),
    "metres": (r"\b(\w+) meters?\b", "measured_path", 1),
    "degrees": (r"\b(ninety) degree\b", "measured_turn", 30),
}
# Labels of two sources for one thing, which no caption tells apart.
SAME_ACTIONS = {"walking": "walk", "running": "run"}


class CaptionClassifier:
    """Tells a label from a caption's words, those it has and those it lacks: naive Bayes over words and pairs.

    Args:
        captions (`list[str]`): to learn from.
        labels (`list[str]`): one for each.
    """

    def __init__(self, captions: list[str], labels: list[str]):
        self.labels = sorted(set(labels))
        row = {label: i for i, label in enumerate(self.labels)}
        seen: dict[tuple, np.ndarray] = defaultdict(lambda: np.zeros(len(self.labels)))
        for caption, label in zip(captions, labels):
            for mark in _marks(caption):
                seen[mark][row[label]] += 1
        totals = np.array([Counter(labels)[label] for label in self.labels])
        share = {mark: np.clip(counts / totals, 1e-3, 1 - 1e-3) for mark, counts in seen.items()}
        self.absent = np.log(totals) + sum(np.log(1 - values) for values in share.values())
        self.evidence = {mark: np.log(values / (1 - values)) for mark, values in share.items()}

    def __call__(self, caption: str) -> str:
        marks = [self.evidence[mark] for mark in _marks(caption) if mark in self.evidence]
        return self.labels[int((self.absent + np.sum(marks, 0)).argmax())]


def told_styles(captions: list[str], training_captions: list[list[str]], training_styles: list[str]) -> list[str]:
    """The style that a caption's words tell: the one that nearly all training captions with a word, or two, have.

    Captions need not name the style; those that tell none are taken for the commonest.
    """
    seen: dict[tuple, Counter] = defaultdict(Counter)
    for texts, style in zip(training_captions, training_styles):
        for text in texts:
            for mark in _marks(text):
                seen[mark][style] += 1
    commonest = Counter(training_styles).most_common(1)[0][0]
    told = []
    for caption in captions:
        votes = [(*seen[mark].most_common(1)[0], seen[mark].total()) for mark in _marks(caption) if mark in seen]
        sure = [(count, style) for style, count, total in votes if count >= max(5, 0.9 * total)]
        told.append(max(sure)[1] if sure else commonest)
    return told


def _marks(caption: str) -> set[tuple[str, ...]]:
    """Words of a caption, and pairs of neighbours."""
    words = re.findall(r"[a-z']+", caption.lower())
    return {(word,) for word in words} | set(pairwise(words))


def stated_facts(caption: str) -> dict[str, float]:
    """Numbers that a caption states, by the names of `_FACTS`."""
    stated = {}
    for fact, (pattern, _, _) in _FACTS.items():
        if found := re.search(pattern, caption.lower()):
            word = found.group(1)
            number = 90 if word == "ninety" else _NUMBERS.get(word, int(word) if word.isdecimal() else None)
            if number is not None:
                stated[fact] = float(number)
    return stated


def fact_numbers(captions: list[str], measured: list[dict]) -> dict[str, dict[str, float | None]]:
    """Of each kind of fact the percent of captions that state it, and of these the percent that are right (or None).

    `several` are captions with two facts or more, right when all are.

    Args:
        captions (`list[str]`): of clips.
        measured (`list[dict]`): their `measured_...` columns.
    """
    answers: dict[str, list[bool]] = {fact: [] for fact in (*_FACTS, "several")}
    for caption, row in zip(captions, measured):
        stated = stated_facts(caption)
        right = {}
        for fact, number in stated.items():
            _, column, tolerance = _FACTS[fact]
            true = abs(row[column])
            true = min(true, 10) if number == 10 else true  # captions count no further
            right[fact] = bool(abs(number - true) <= tolerance)
            answers[fact].append(right[fact])
        if len(stated) > 1:
            answers["several"].append(all(right.values()))
    return {
        fact: {
            "stated": 100 * len(values) / len(captions),
            "right": 100 * float(np.mean(values)) if values else None,
        }
        for fact, values in answers.items()
    }


def names_its_side(caption: str, action: str) -> bool | None:
    """Whether a caption of a one-sided action names that side and not the other; None where it has no side."""
    sides = [side for side in ("left", "right") if side in action.split("-")]
    if not sides:
        return None
    words = re.findall(r"[a-z]+", caption.lower().replace("no energy left", ""))
    other = "left" if sides[0] == "right" else "right"
    return any(word.startswith(sides[0]) for word in words) and not any(word.startswith(other) for word in words)
