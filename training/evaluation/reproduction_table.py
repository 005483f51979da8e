"""Tables of figures measured here beside those of the paper."""

import json
from pathlib import Path

import yaml


PUBLISHED: dict = yaml.safe_load(Path(__file__).with_name("published.yaml").read_text(encoding="utf-8"))
GUO = "guo"  # the evaluator by which the paper's figures of generation were measured
_METRICS = {
    "r_precision_1": "R@1",
    "r_precision_2": "R@2",
    "r_precision_3": "R@3",
    "fid": "FID",
    "mm_dist": "MM-Dist",
    "diversity": "diversity",
    "multimodality": "multimodality",
}
_CAPTIONING = {
    "bleu_1": "BLEU-1",
    "bleu_4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "cider": "CIDEr",
    "bertscore": "BERTScore",
}
_SCORINGS = ("euclidean", "both")  # the released code's, of the Q-Former, and LaMP's


def tables(dataset: str, results: Path, notes: list[str]) -> str:
    """Format what was measured so far as a page in Markdown.

    Args:
        dataset (`str`): `"humanml3d"` or `"kit-ml"`.
        results (`Path`): folder of the JSON files of `training.evaluate`.
        notes (`list[str]`): differences from the published data set.
    """
    published, parts = PUBLISHED[dataset], [f"# {dataset}: measured here and in the paper\n"]
    parts += [f"* The data differs from the published set: {note}." for note in notes]
    for name, rows in (("generation", _generation), ("retrieval", _retrieval), ("captioning", _captioning)):
        path = results / f"{name}.json"
        numbers = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        parts.append(f"\n## {name.capitalize()}\n")
        if numbers is None:
            parts.append("Not measured yet.")
            continue
        parts += ["| | as measured here | in the paper |", "|---|---|---|"]
        parts += [f"| {label} | {ours} | {theirs} |" for label, ours, theirs in rows(numbers, published[name])]
        parts.append(f"\nTest split, {_describe(numbers)}.")
    return "\n".join(parts) + "\n"


def _generation(numbers: dict, published: dict) -> list[tuple[str, str, str]]:
    rows = []
    for evaluator, kinds in numbers.items():
        for kind, values in kinds.items() if isinstance(kinds, dict) else ():
            for name, label in _METRICS.items():
                if name in values:
                    mean, interval = values[name]
                    theirs = published.get(kind, {}).get(name) if evaluator == GUO else None
                    rows.append((f"{evaluator}, {kind}: {label}", f"{mean:.3f} ± {interval:.3f}", _cell(theirs, 3)))
    return rows


def _retrieval(numbers: dict, published: dict) -> list[tuple[str, str, str]]:
    scoring = next(name for name in _SCORINGS if name in numbers["scorings"])
    measured = numbers["scorings"][scoring].get("small_batches", {})
    return [
        (f"{way.replace('_', ' ')}, gallery of {values['gallery']}: {name}", f"{values[name]:.2f}",
         _cell(published.get(way, {}).get(name), 2))
        for way, values in measured.items() for name in values if name.startswith("R@")
    ]  # fmt: skip


def _captioning(numbers: dict, published: dict) -> list[tuple[str, str, str]]:
    measured = numbers["captioner"] | numbers["captioner"]["raw"]
    rows = [(label, f"{measured[name]:.2f}", _cell(published.get(name), 2)) for name, label in _CAPTIONING.items()]
    return rows + [
        (f"R@{k}, by LaMP, gallery of 32", f"{measured[f'r_precision_{k}'] / 100:.3f}", _cell(None, 3))
        for k in (1, 2, 3)
    ]


def _describe(numbers: dict) -> str:
    about = {"clips": "clips", "repeats": "repeats"}
    return ", ".join([f"{numbers[name]} {word}" for name, word in about.items() if name in numbers]
                     + [f"seed {numbers.get('seed', 0)}"])  # fmt: skip


def _cell(value: float | None, digits: int) -> str:
    return "not comparable or not found" if value is None else f"{value:.{digits}f}"
