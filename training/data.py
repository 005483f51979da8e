"""Clips of a data set, and what the stages do with them: normalise, pad, tokenise, draw and batch."""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset

from lamp_hf.data.dataset import PUBLISHED_LENGTHS, load_motion_dataset
from lamp_hf.evaluators.sentence_embeddings import sentence_embeddings
from lamp_hf.models.feature_extraction_motion import MotionFeatureExtractor
from lamp_hf.models.modeling_motion_vqvae import MotionVQVAEModel

from .augmentation.composition import Composer
from .augmentation.lengths import Lengthener
from .motions import NormalisedMotions, mapped_motions
from .progress import progress
from .text_encoder import resolve_text_encoder


class Clips:
    """A split of a data set; its motions stay on disk, those that are added are in memory.

    Args:
        path (`Path`): parquet file or folder in HumanML3D's layout.
        split (`str`): `"train"`, `"val"` or `"test"`.
        data (`dict`): the recipe's section `data`: `skeleton`, `mirrored` (for the training split only) and,
            optionally, `lengths` (of clips, see [`load_motion_dataset`]), `licenses_left_out` (values of
            `license_class` whose clips are not used) and `rarity_label`
            (`"action"` or `"family"`: whose clips `rarity_weights` counts).

    `natural_length` tells for each clip if its captions suggest its length: false for those that `lengthen` and
    `compose` add. `composed` is true for those that `compose` adds.

    Raises:
        ValueError: when no training clip has a licence that is to be left out: misspelt, it would let its clips in.
    """

    def __init__(self, path: Path, split: str, data: dict):
        mirrored = data["mirrored"] and split == "train"
        dataset = load_motion_dataset(path, split, data["skeleton"], mirrored, data.get("lengths"))
        dataset = without_licenses(dataset, data.get("licenses_left_out", []), check=split == "train")
        if not len(dataset):
            raise ValueError(f"{path}: all clips of the {split} split have licences that the recipe leaves out")
        self.motions: list[np.ndarray] = mapped_motions(dataset)
        self.captions: list[list[str]] = dataset.with_format(None)["captions"][:]
        self.names: list[str] = list(dataset["name"])
        self.actions: list[str] = list(dataset["action"])
        self.styles: list[str] = list(dataset["style"])
        self.families: list[str] = list(dataset["family"])
        self._counted = self.families if data.get("rarity_label", "action") == "family" else self.actions
        self.natural_length: list[bool] = [True] * len(self.motions)
        self.composed: list[bool] = [False] * len(self.motions)
        self.lengths = np.array([len(motion) for motion in self.motions])

    def __len__(self) -> int:
        return len(self.motions)

    def lengthen(self, count: int, seed: int, max_frames: int = 196) -> None:
        """Add `count` clips made of real ones at other lengths, with their captions; rare actions more often."""
        if not count:
            return
        try:
            lengthener = Lengthener(self.motions, self.captions, self.rarity_weights(0.5), max_frames)
        except ValueError as error:
            raise ValueError(f"{error}; set data.lengthened=0 to train without such clips") from None
        kinds: Counter = Counter()
        for clip in progress(lengthener(count, seed), "making clips longer and shorter", count):
            self.motions.append(clip.motion)
            self.captions.append(clip.captions)
            self.names.append(f"{self.names[clip.source]}, {clip.kind}")
            for labels in (self.actions, self.families, self.styles):
                labels.append(labels[clip.source])
            self.natural_length.append(False)
            self.composed.append(False)
            kinds[clip.kind] += 1
        self.lengths = np.array([len(motion) for motion in self.motions])
        print("clips at other lengths: " + ", ".join(f"{number} {kind}" for kind, number in kinds.items()))

    def compose(self, count: int, seed: int, max_frames: int = 196) -> None:
        """Add `count` clips composed in space and as many composed in time; rare actions take part more often.

        Clips that `lengthen` added take no part: those that follow come after all real ones.
        """
        if not count:
            return
        real = sum(self.natural_length)
        try:
            weights = self.rarity_weights(0.5)[:real]
            composer = Composer(self.motions[:real], self.captions[:real], weights, max_frames)
        except ValueError as error:
            raise ValueError(f"{error}; set data.composed=0 to train without composed clips") from None
        for clip in progress(composer(count, seed), "composing clips", 2 * count):
            self.motions.append(clip.motion)
            self.captions.append(clip.captions)
            self.names.append("+".join(self.names[part] for part in clip.parts))
            self.actions.append(clip.kind)
            self.families.append(clip.kind)
            self.styles.append("")
            self.natural_length.append(False)
            self.composed.append(True)
        self.lengths = np.array([len(motion) for motion in self.motions])
        print(f"{sum(self.composed)} clips composed of {real}")

    def rarity_weights(self, exponent: float, composed_share: float | None = None) -> np.ndarray:
        """Return weights `(num_clips,)` of n^-exponent for each clip of an action, or family, that has n clips.

        With a `composed_share`, composed clips have this share of the weight, if there are any.
        """
        counts = Counter(self._counted)
        weights = np.array([counts[label] for label in self._counted], dtype=float) ** -exponent
        composed = np.array(self.composed)
        if composed_share is not None and composed.any():
            weights[composed] *= composed_share / weights[composed].sum()
            weights[~composed] *= (1 - composed_share) / weights[~composed].sum()
        return weights

    def distinct_captions(self) -> list[str]:
        """Return the captions of all clips, sorted, each once."""
        return sorted({caption for captions in self.captions for caption in captions})

    def indexed_captions(self) -> tuple[list[str], list[list[int]]]:
        """Return the distinct captions and, for each clip, the indices of its own among them."""
        texts = self.distinct_captions()
        index = {text: i for i, text in enumerate(texts)}
        return texts, [[index[caption] for caption in captions] for captions in self.captions]


def without_licenses(dataset: Dataset, left_out: list[str], check: bool) -> Dataset:
    """Return the clips whose `license_class` is none of those left out; `check` that each of these occurs."""
    classes = [str(name) for name in dataset["license_class"]]
    if check and (unknown := sorted(set(left_out) - set(classes))):
        raise ValueError(f"no clip has the licence {unknown[0]!r}; known: {', '.join(sorted(set(classes)))}")
    return dataset.select([i for i, name in enumerate(classes) if name not in left_out]) if left_out else dataset


class CaptionSimilarity:
    """Batch inputs of losses that know false negatives: ids that equal captions share, and sentence embeddings.

    Args:
        captions (`list[list[str]]`): all captions that will be asked for.
        sentence_encoder (`str`, *optional*): Hub id or folder of a frozen sentence encoder; without one there are ids
            only.
    """

    def __init__(self, captions: list[list[str]], sentence_encoder: str | None):
        self._ids = {text: i for i, text in enumerate(dict.fromkeys(text for texts in captions for text in texts))}
        self._embeddings = None
        if sentence_encoder:
            self._embeddings = sentence_embeddings(list(self._ids), resolve_text_encoder(sentence_encoder))

    def __call__(self, captions: list[str]) -> dict[str, torch.Tensor]:
        ids = torch.tensor([self._ids[caption] for caption in captions])
        batch = {"caption_ids": ids}
        return batch if self._embeddings is None else batch | {"sentence_embeds": self._embeddings[ids]}


def load_clips(arguments: argparse.Namespace, split: str | None = None) -> Clips:
    """Load unmirrored clips by the `data`, `split` and `skeleton` of a command line; `split` replaces that one.

    Clips of `licenses_left_out`, and clips of lengths that the literature leaves out (`published_lengths`), are left
    out where the command line has these options.
    """
    data = {"skeleton": arguments.skeleton, "mirrored": False}
    data["lengths"] = PUBLISHED_LENGTHS[arguments.skeleton] if getattr(arguments, "published_lengths", False) else None
    data["licenses_left_out"] = getattr(arguments, "licenses_left_out", [])
    return Clips(arguments.data, split or arguments.split, data)


def draw(options: Sequence, rng: np.random.Generator):
    """Return one of the options at random."""
    return options[rng.integers(len(options))]


def batched(rows: Sequence, size: int) -> Iterator[Sequence]:
    """Yield slices of `size` rows; the last one may be shorter."""
    for first in range(0, len(rows), size):
        yield rows[first : first + size]


def by_length(items: Sequence) -> list[int]:
    """Return indices that sort items by length, so that batches of similar length need little padding."""
    return sorted(range(len(items)), key=lambda i: len(items[i]))


def in_one_block(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return tensors as views of one: hundreds of thousands of small ones make every allocation beside them slow."""
    return list(torch.cat(tensors).split([len(tensor) for tensor in tensors]))


def normalised(clips: Clips, extractor: MotionFeatureExtractor) -> NormalisedMotions:
    """Return the clips' features `(num_frames, feature_size)`, normalised by the extractor's statistics."""
    return NormalisedMotions(clips.motions, extractor)


def pad_motions(motions: list[torch.Tensor], multiple: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a zero-padded `(B, T, D)` batch and its `(B, T)` mask; T is rounded up to a multiple."""
    frames = -(-max(len(motion) for motion in motions) // multiple) * multiple
    batch = torch.zeros(len(motions), frames, motions[0].shape[-1])
    mask = torch.zeros(len(motions), frames, dtype=torch.bool)
    for i, motion in enumerate(motions):
        batch[i, : len(motion)] = motion
        mask[i, : len(motion)] = True
    return batch, mask


def shortened(texts: list[str], tokenizer) -> list[str]:
    """Return the texts, with trailing words removed where a text is longer than the model reads."""
    result = list(texts)
    for i, pieces in enumerate(tokenizer(result)["input_ids"]):
        words = texts[i].split()
        while len(pieces) > tokenizer.model_max_length and len(words) > 1:
            words.pop()
            result[i] = " ".join(words)
            pieces = tokenizer(result[i])["input_ids"]
    return result


@torch.no_grad()
def tokenise(motions: NormalisedMotions, tokenizer: MotionVQVAEModel, max_frames: int) -> list[list[torch.Tensor]]:
    """Encode each normalised clip into codes, once for each frame within its first token that a crop may start at.

    Returns:
        For each clip a list over starts 0, 1, ... of `(num_tokens, num_quantizers)` indices. A clip too short for a
        token after a start has fewer starts.
    """
    tokenizer.eval()
    factor = tokenizer.config.downsampling_factor
    codes: list[list[torch.Tensor]] = [[] for _ in motions]
    for start in range(factor):
        for rows in progress(list(batched(motions.by_length(factor + start), 64)), f"tokenising, offset {start}"):
            values, mask = pad_motions([motions[i][start : start + max_frames] for i in rows], factor)
            batch, token_mask = tokenizer.encode(values.to(tokenizer.device), mask.to(tokenizer.device))
            batch = batch.unflatten(-1, (-1, 1)) if batch.ndim == 2 else batch
            for i, row, count in zip(rows, batch.cpu(), token_mask.sum(1).tolist()):
                codes[i].append(row[:count])
    return codes
