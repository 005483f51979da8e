"""Statements of captions, compared to the clip: action, side, style, counts, distances and turns."""

import re
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np

from lamp_hf.metrics.claims import NUMBER, read_number


# For each fact: its pattern in captions, the column of its measurement, and the tolerance within which it is right.
_FACTS = {
    "steps": (rf"\b{NUMBER} steps\b", "measured_steps", 1),
    "waves": (rf"\b{NUMBER} times\b", "measured_osc", 1),
    "metres": (rf"\b{NUMBER} meters?\b", "measured_path", 1),
    "degrees": (r"\b(ninety) degree\b", "measured_turn", 30),
}
MEASURED = [column for _, column, _ in _FACTS.values()]
"""Columns of a data set that statements are compared with."""
# Two sources of the data label the same action differently; no caption tells these apart.
SAME_ACTIONS = {"walking": "walk", "running": "run"}


class CaptionClassifier:
    """Classifies a caption by naive Bayes over the presence and absence of words and of pairs of words.

    Args:
        captions (`list[str]`): captions to learn from.
        labels (`list[str]`): the label of each.
    """

    def __init__(self, captions: list[str], labels: list[str]):
        self.labels = sorted(set(labels))
        row = {label: i for i, label in enumerate(self.labels)}
        seen: dict[tuple, np.ndarray] = defaultdict(lambda: np.zeros(len(self.labels)))
        for caption, label in zip(captions, labels):
            for phrase in _phrases(caption):
                seen[phrase][row[label]] += 1
        totals = np.array([Counter(labels)[label] for label in self.labels])
        share = {phrase: np.clip(counts / totals, 1e-3, 1 - 1e-3) for phrase, counts in seen.items()}
        self.absent = np.log(totals) + sum(np.log(1 - values) for values in share.values())
        self.evidence = {phrase: np.log(values / (1 - values)) for phrase, values in share.items()}

    def __call__(self, caption: str) -> str:
        evidence = [self.evidence[phrase] for phrase in _phrases(caption) if phrase in self.evidence]
        return self.labels[int((self.absent + np.sum(evidence, 0)).argmax())]


def stated_styles(captions: list[str], training_captions: list[list[str]], training_styles: list[str]) -> list[str]:
    """Return the style that each caption states: the one of nearly all training captions that share a word with it.

    Pairs of neighbouring words count too. A caption that states no style gets the most common one.
    """
    seen: dict[tuple, Counter] = defaultdict(Counter)
    for texts, style in zip(training_captions, training_styles):
        for text in texts:
            for phrase in _phrases(text):
                seen[phrase][style] += 1
    commonest = Counter(training_styles).most_common(1)[0][0]
    stated = []
    for caption in captions:
        votes = [
            (*seen[phrase].most_common(1)[0], seen[phrase].total()) for phrase in _phrases(caption) if phrase in seen
        ]
        sure = [(count, style) for style, count, total in votes if count >= max(5, 0.9 * total)]
        stated.append(max(sure)[1] if sure else commonest)
    return stated


def style_numbers(
    captions: list[str], styles: list[str], training_captions: list[list[str]], training_styles: list[str]
) -> dict[str, float | None]:
    """Return the percentage of captions that name a style, and the percentage right among these.

    Args:
        captions (`list[str]`): one caption a clip.
        styles (`list[str]`): the clips' own; those of clips whose style is unknown, which is empty, are left out.
        training_captions (`list[list[str]]`): captions of clips from which the words of styles are learned.
        training_styles (`list[str]`): the styles of these clips; clips whose style is unknown are left out.
    """
    known = [row for row, style in enumerate(styles) if style]
    told = [(texts, style) for texts, style in zip(training_captions, training_styles) if style]
    if not known or not told:
        return {"style_named": None, "style": None}
    stated = stated_styles([captions[row] for row in known], *zip(*told))
    right = [said == styles[row] for said, row in zip(stated, known) if said != "normal"]
    return {
        "style_named": 100 * len(right) / len(known),
        "style": 100 * float(np.mean(right)) if right else None,
    }


def _phrases(caption: str) -> set[tuple[str, ...]]:
    """Return the words of a caption and the pairs of neighbouring words."""
    words = re.findall(r"[a-z']+", caption.lower())
    return {(word,) for word in words} | set(pairwise(words))


def stated_facts(caption: str) -> dict[str, float]:
    """Return the numbers that a caption states, by the names of `_FACTS`."""
    stated = {}
    for fact, (pattern, _, _) in _FACTS.items():
        if found := re.search(pattern, caption.lower()):
            word = found.group(1)
            stated[fact] = 90.0 if word == "ninety" else read_number(word)
    return stated


def fact_numbers(captions: list[str], measured: list[dict]) -> dict[str, dict[str, float | None]]:
    """Return for each kind of fact the percentage of captions that state it, and the percentage right among these.

    `several` counts captions with two facts or more, which are right if all their facts are. `right` is None where no
    caption states the fact.

    Args:
        captions (`list[str]`): one caption a clip.
        measured (`list[dict]`): the `measured_...` columns of the clips.
    """
    answers: dict[str, list[bool]] = {fact: [] for fact in (*_FACTS, "several")}
    for caption, row in zip(captions, measured):
        stated = stated_facts(caption)
        right = {}
        for fact, number in stated.items():
            _, column, tolerance = _FACTS[fact]
            true = abs(row[column])
            true = min(true, 10) if number == 10 else true  # captions count to ten
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
    """Return True if a caption names the side of a one-sided action and not the other; None for other actions."""
    sides = [side for side in ("left", "right") if side in action.split("-")]
    if not sides:
        return None
    words = re.findall(r"[a-z]+", caption.lower().replace("no energy left", ""))
    other = "left" if sides[0] == "right" else "right"
    return any(word.startswith(sides[0]) for word in words) and not any(word.startswith(other) for word in words)
