"""Clips in memory, as the stages draw them."""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from lamp_hf.data.dataset import load_motion_dataset
from lamp_hf.models.feature_extraction_motion import MotionFeatureExtractor
from lamp_hf.models.modeling_motion_vqvae import MotionVQVAEModel

from .augmentation.composition import Composer


class Clips:
    """A split of a data set, in memory.

    Args:
        path (`Path`): parquet file or folder.
        split (`str`): `"train"`, `"val"` or `"test"`.
        data (`dict`): the recipe's section: `skeleton`, `mirrored` (train only).
    """

    def __init__(self, path: Path, split: str, data: dict):
        mirrored = data["mirrored"] and split == "train"
        dataset = load_motion_dataset(path, split, data["skeleton"], mirrored)
        self.motions: list[np.ndarray] = [row["motion"] for row in dataset]
        self.captions: list[list[str]] = [[str(caption) for caption in row["captions"]] for row in dataset]
        self.names: list[str] = list(dataset["name"])
        self.actions: list[str] = list(dataset["action"])
        self.styles: list[str] = list(dataset["style"])
        self.lengths = np.array([len(motion) for motion in self.motions])

    def __len__(self) -> int:
        return len(self.motions)

    def compose(self, count: int, seed: int, max_frames: int = 196) -> None:
        """Adds `count` clips composed in space and as many in time; rare actions take part more often."""
        if not count:
            return
        real = len(self.motions)
        try:
            composer = Composer(self.motions, self.captions, self.rarity_weights(0.5), max_frames)
        except ValueError as error:
            raise ValueError(f"{error}; data.composed=0 goes without") from None
        for clip in composer(count, seed):
            self.motions.append(clip.motion)
            self.captions.append(clip.captions)
            self.names.append("+".join(self.names[part] for part in clip.parts))
            self.actions.append(clip.kind)
            self.styles.append("")
        self.lengths = np.array([len(motion) for motion in self.motions])
        print(f"{len(self.motions) - real} clips composed of {real}")

    def rarity_weights(self, exponent: float) -> np.ndarray:
        """Draws a clip of an action with n clips n^-exponent times as often as the clip of an action with one."""
        counts = Counter(self.actions)
        return np.array([counts[action] for action in self.actions], dtype=float) ** -exponent


def load_clips(arguments: argparse.Namespace, split: str | None = None) -> Clips:
    """What the command line of an evaluation asks for: `data`, `split` and `skeleton`."""
    return Clips(arguments.data, split or arguments.split, {"skeleton": arguments.skeleton, "mirrored": False})


def normalised(clips: Clips, extractor: MotionFeatureExtractor) -> list[torch.Tensor]:
    return [extractor.normalise(torch.from_numpy(motion)) for motion in clips.motions]


def pad_motions(motions: list[torch.Tensor], multiple: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Zero-padded `(B, T, D)` batch and its `(B, T)` mask; T is rounded up to a multiple."""
    frames = -(-max(len(motion) for motion in motions) // multiple) * multiple
    batch = torch.zeros(len(motions), frames, motions[0].shape[-1])
    mask = torch.zeros(len(motions), frames, dtype=torch.bool)
    for i, motion in enumerate(motions):
        batch[i, : len(motion)] = motion
        mask[i, : len(motion)] = True
    return batch, mask


def shortened(texts: list[str], tokenizer) -> list[str]:
    """Texts without their last words where they are longer than the model reads."""
    result = list(texts)
    for i, pieces in enumerate(tokenizer(result)["input_ids"]):
        words = texts[i].split()
        while len(pieces) > tokenizer.model_max_length and len(words) > 1:
            words.pop()
            result[i] = " ".join(words)
            pieces = tokenizer(result[i])["input_ids"]
    return result


@torch.no_grad()
def tokenise(motions: list[torch.Tensor], tokenizer: MotionVQVAEModel, max_frames: int) -> list[list[torch.Tensor]]:
    """Codes of each normalised clip, for each frame of the first token that it may start at.

    Returns:
        For each clip a list over starts 0, 1, ... of `(num_tokens, num_quantizers)` indices.
    """
    tokenizer.eval()
    factor = tokenizer.config.downsampling_factor
    codes: list[list[torch.Tensor]] = [[] for _ in motions]
    for start in range(factor):
        # Clips of like length together; a clip too short to start later has fewer starts.
        order = sorted(
            (i for i, motion in enumerate(motions) if len(motion) - start >= factor), key=lambda i: len(motions[i])
        )
        for first in range(0, len(order), 64):
            rows = order[first : first + 64]
            values, mask = pad_motions([motions[i][start : start + max_frames] for i in rows], factor)
            batch, token_mask = tokenizer.encode(values.to(tokenizer.device), mask.to(tokenizer.device))
            batch = batch.unflatten(-1, (-1, 1)) if batch.ndim == 2 else batch
            for i, row, count in zip(rows, batch.cpu(), token_mask.sum(1).tolist()):
                codes[i].append(row[:count])
    return codes
