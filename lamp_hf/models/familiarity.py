"""Familiarity of a text: how near it is to what a model was trained on, and which sentences of that are nearest."""

import json
import os
import tempfile
import textwrap
import warnings
from collections.abc import Callable
from numbers import Integral, Real
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from transformers.utils import cached_file

from .configuration_common import HUB_OPTIONS


SETTINGS, VECTORS = "familiarity.json", "familiarity.safetensors"
MOST_NEAREST = 3  # sentences that are named
_KEYS = {"sentences", "families", "threshold", "num_neighbours"}
_UNIT = 0.01  # by which the length of a vector in half precision may differ from 1
_BATCH = 64  # texts that are embedded at the same time


class UnfamiliarPromptWarning(UserWarning):
    """Warns of a text that is unlike all that the model was trained on."""


class Familiarity:
    """Compares texts with sentences that a model was trained on.

    The familiarity of a text is its mean cosine to the nearest sentences, from 0 to 1.

    Args:
        sentences (`list[str]`): what the model was trained on, or a selection of it.
        families (`list[str]`): the kind of action of each; empty where it is not known.
        embeddings (`torch.FloatTensor` of shape `(num_sentences, size)`): unit vectors of the sentences by
            [`LampModel.get_sentence_features`], kept in half precision.
        threshold (`float`): familiarity below which a text is unlike all that the model was trained on.
        num_neighbours (`int`): sentences whose cosine counts.

    Raises:
        ValueError: when the parts do not fit together.
    """

    def __init__(
        self,
        sentences: list[str],
        families: list[str],
        embeddings: torch.FloatTensor,
        threshold: float,
        num_neighbours: int = 5,
    ):
        _check_texts(sentences, "sentences")
        _check_texts(families, "families", may_be_empty=True)
        if not sentences or len(families) != len(sentences):
            raise ValueError(
                f"{len(sentences)} sentences and {len(families)} families: one for each, and at least one"
            )
        if embeddings.ndim != 2 or len(embeddings) != len(sentences) or not embeddings.is_floating_point():
            shape = f"{list(embeddings.shape)} of {embeddings.dtype}"
            raise ValueError(f"embeddings must be {len(sentences)} vectors of floating point, got {shape}")
        if not embeddings.isfinite().all():
            raise ValueError("embeddings hold NaN or infinity")
        if ((embeddings.float().norm(dim=1) - 1).abs() > _UNIT).any():
            raise ValueError("embeddings must have unit length")
        if isinstance(threshold, bool) or not isinstance(threshold, Real) or not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be a number from 0 to 1, got {threshold!r}")
        is_count = isinstance(num_neighbours, Integral) and not isinstance(num_neighbours, bool)
        if not is_count or not 1 <= num_neighbours <= len(sentences):
            raise ValueError(f"num_neighbours must be from 1 to {len(sentences)}, got {num_neighbours!r}")
        self.sentences, self.families = sentences, families
        self.embeddings = embeddings.half().cpu()
        self.threshold, self.num_neighbours = float(threshold), int(num_neighbours)

    def __call__(self, embeddings: torch.FloatTensor) -> tuple[list[float], list[list[str]]]:
        """Compare texts, given by their unit vectors `(batch_size, size)`, with the sentences.

        Returns:
            The familiarity of each text, and up to three of the nearest sentences, each of another family.

        Raises:
            ValueError: when the vectors are of another size than those of the sentences.
        """
        if embeddings.shape[1] != self.embeddings.shape[1]:
            sizes = f"{embeddings.shape[1]} numbers, those of familiarity {self.embeddings.shape[1]}"
            raise ValueError(f"the model's embeddings have {sizes}: it was made with another model")
        cosines = embeddings.float().cpu() @ self.embeddings.float().T
        scores = cosines.topk(self.num_neighbours).values.mean(1).clamp(0, 1).tolist()
        return scores, [self._nearest(row) for row in cosines.argsort(descending=True).tolist()]

    def is_unfamiliar(self, score: float | None) -> bool:
        """Tell if a familiarity is below the threshold."""
        return score is not None and score < self.threshold

    def by_family(self) -> dict[str, list[str]]:
        """Return the sentences of each family, in their order; families are sorted by name."""
        known: dict[str, list[str]] = {family: [] for family in sorted(set(self.families))}
        for family, sentence in zip(self.families, self.sentences):
            known[family].append(sentence)
        return known

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Write `familiarity.json` and `familiarity.safetensors` into a folder, each atomically."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        settings = {name: getattr(self, name) for name in ("threshold", "num_neighbours", "families", "sentences")}
        text = json.dumps(settings, indent=1, ensure_ascii=False) + "\n"
        vectors = save({"embeddings": self.embeddings.contiguous()})
        _replace(folder / VECTORS, lambda path: path.write_bytes(vectors))
        _replace(folder / SETTINGS, lambda path: path.write_text(text, encoding="utf-8"))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs) -> "Familiarity | None":
        """Load from a folder or Hub id; None where there is neither of the two files.

        Args:
            pretrained_model_name_or_path (`str` or `Path`): folder or Hub id.
            kwargs (*optional*): `revision`, `token` and other options of the Hub; any others have no effect.

        Raises:
            ValueError: when one of the files is missing or damaged, or they do not fit together.
        """
        options = {name: kwargs[name] for name in HUB_OPTIONS if kwargs.get(name) is not None}
        found = {name: _find(pretrained_model_name_or_path, name, options) for name in (SETTINGS, VECTORS)}
        if not any(found.values()):
            return None
        for name, path in found.items():
            if path is None:
                raise ValueError(f"{pretrained_model_name_or_path}: {name} is missing")
        settings = _read_settings(found[SETTINGS])
        embeddings = _read_vectors(found[VECTORS], len(settings["sentences"]))
        try:
            return cls(embeddings=embeddings, **settings)
        except ValueError as error:
            raise ValueError(f"{found[SETTINGS]}: {error}") from None

    def _nearest(self, order: list[int]) -> list[str]:
        """Return the first sentences of an order that are of families of their own."""
        chosen: list[int] = []
        for row in order:
            family = self.families[row]
            if not family or family not in [self.families[other] for other in chosen]:
                chosen.append(row)
            if len(chosen) == MOST_NEAREST:
                break
        return [self.sentences[row] for row in chosen]


def recognise(lamp, processor, texts: list[str]) -> list[dict]:
    """Tell how familiar texts are to a model, and warn, once each, of those that are not.

    Args:
        lamp ([`LampModel`]): embeds the texts.
        processor ([`LampProcessor`]): tokenizes the texts, and holds the familiarity, if the model has it.
        texts (`list[str]`): the texts.

    Returns:
        `list[dict]`: for each text its `familiarity`, from 0 to 1, and `nearest`, sentences that the model was
        trained on; None and an empty list if nothing is known.
    """
    familiarity = processor.familiarity
    if familiarity is None:
        return [{"familiarity": None, "nearest": []} for _ in texts]
    known, distinct = {}, list(dict.fromkeys(texts))
    for first in range(0, len(distinct), _BATCH):
        batch = distinct[first : first + _BATCH]
        inputs = processor(text=batch).to(lamp.device)
        scores, nearest = familiarity(lamp.get_sentence_features(inputs["input_ids"], inputs["attention_mask"]))
        for text, score, sentences in zip(batch, scores, nearest):
            known[text] = {"familiarity": score, "nearest": sentences}
            if familiarity.is_unfamiliar(score):
                warnings.warn(unfamiliar(text, sentences), UnfamiliarPromptWarning, stacklevel=2)
    return [dict(known[text]) for text in texts]


def least_familiar(parts: list[dict]) -> dict:
    """Return the least familiar of the results of [`recognise`]."""
    return min(parts, key=lambda part: (part["familiarity"] is not None, part["familiarity"]))


def unfamiliar(text: str, nearest: list[str]) -> str:
    """Return the line that warns of an unfamiliar text."""
    known = ", ".join(f'"{sentence}"' for sentence in nearest)
    return f'the model was not trained on anything like "{textwrap.shorten(text, 80)}"; nearest it knows: {known}'


def _check_texts(texts: list[str], name: str, may_be_empty: bool = False) -> None:
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{name} must be a list of texts")
    for text in texts:
        if not text.isprintable() or not (text.strip() or may_be_empty):
            raise ValueError(f"{name} hold {text[:40]!a}, which is no text of one line")


def _find(name: str | Path, file: str, options: dict) -> Path | None:
    path = cached_file(
        name,
        file,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,  # offline, what is not in the cache is taken to be missing
        **options,
    )
    return None if path is None else Path(path)


def _read_settings(path: Path) -> dict:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged: {error!r:.200}") from None
    if not isinstance(settings, dict) or settings.keys() != _KEYS or not isinstance(settings["sentences"], list):
        raise ValueError(f"{path}: it must hold {', '.join(sorted(_KEYS))}, and nothing else")
    return settings


def _read_vectors(path: Path, count: int) -> torch.Tensor:
    """Read as many vectors as there are sentences, after a look at the file's header."""
    try:
        with safe_open(path, "pt") as file:
            if list(file.keys()) != ["embeddings"]:
                raise ValueError(f"{path}: it must hold embeddings, and nothing else")
            entry = file.get_slice("embeddings")
            dtype, shape = entry.get_dtype(), entry.get_shape()
            if dtype != "F16" or len(shape) != 2 or shape[0] != count:
                raise ValueError(f"{path}: embeddings are {dtype} of shape {shape}, wanted F16 of [{count}, size]")
            return file.get_tensor("embeddings")
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged: {error}") from None


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, then rename it."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-") as folder:
        temporary = Path(folder) / path.name
        write(temporary)
        os.replace(temporary, path)


__all__ = ["Familiarity", "UnfamiliarPromptWarning", "least_familiar", "recognise", "unfamiliar"]
