"""Batches as functions of the seed and the step: which clips, which crops, which masks, in any number of processes.

Nothing is listed in advance. Consecutive `bucket_batches` batches are a group: its clips are drawn from a generator
seeded by the seed and the group, sorted by length to save padding, cut into batches, and these are shuffled. A run
that was killed therefore continues at any step at once, and processes that share a batch see the same rows as one.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset


_GROUPS, _EPOCHS = 1, 2  # tell these generators from those of items, whose fourth number is 0


class Source(Protocol):
    """The data of a stage: items drawn by index and a random generator, and their batches."""

    lengths: np.ndarray  # [N] frames or tokens; clips of similar length are batched together
    weights: np.ndarray | None  # [N] how often each clip is drawn; None: each once an epoch

    def item(self, index: int, rng: np.random.Generator) -> dict: ...

    def collate(self, items: list[dict]) -> dict: ...


class StepDataset(Dataset):
    """Maps (step, row of the batch) to an item, which depends on the seed, the step and the row only."""

    def __init__(self, source: Source, batch_size: int, seed: int, bucket_batches: int):
        self.source, self.batch_size, self.seed, self.bucket_batches = source, batch_size, seed, bucket_batches
        self._shares = None  # of the clips up to each, by weight
        if source.weights is not None:
            total = np.cumsum(source.weights, dtype=np.float64)
            self._shares = total / total[-1]
        self._group: tuple[int, np.ndarray] | None = None
        self._epoch: tuple[int, np.ndarray] | None = None

    def __getitem__(self, position: tuple[int, int]) -> dict:
        step, row = position
        return self.source.item(int(self.clips(step)[row]), np.random.default_rng((self.seed, step, row)))

    def clips(self, step: int) -> np.ndarray:
        """Return the indices `(batch_size,)` of the clips of a batch."""
        group, batch = divmod(step, self.bucket_batches)
        if self._group is None or self._group[0] != group:
            self._group = group, self._draw(group)
        return self._group[1][batch]

    def _draw(self, group: int) -> np.ndarray:
        """Draw the clips `(bucket_batches, batch_size)` of a group, of similar length within each batch."""
        rng = np.random.default_rng((self.seed, group, 0, _GROUPS))
        count = self.bucket_batches * self.batch_size
        if self._shares is None:
            drawn = self._next(group * count, count)
        else:
            drawn = np.searchsorted(self._shares, rng.random(count), side="right")
        drawn = drawn[np.argsort(self.source.lengths[drawn], kind="stable")]
        return rng.permutation(drawn.reshape(self.bucket_batches, self.batch_size))

    def _next(self, first: int, count: int) -> np.ndarray:
        """Return `count` clips from place `first` on of an endless row of epochs, each of them a permutation."""
        epochs, places = np.divmod(np.arange(first, first + count), len(self.source.lengths))
        drawn = np.empty(count, dtype=np.int64)
        for epoch in range(epochs[0], epochs[-1] + 1):
            if self._epoch is None or self._epoch[0] != epoch:
                rng = np.random.default_rng((self.seed, epoch, 0, _EPOCHS))
                self._epoch = epoch, rng.permutation(len(self.source.lengths))
            drawn[epochs == epoch] = self._epoch[1][places[epochs == epoch]]
        return drawn


def micro_batches(
    first_step: int, last_step: int, batch_size: int, parts: int, process: int, processes: int
) -> Iterator[list[tuple[int, int]]]:
    """Yield the (step, row) of each micro-batch of a process: a batch is cut into parts, a part among processes.

    Raises:
        ValueError: when the batch does not divide into as many equal pieces.
    """
    rows, rest = divmod(batch_size, processes * parts)
    if rest or not rows:
        pieces = f"{processes} processes times {parts} accumulation steps"
        raise ValueError(f"a batch of {batch_size} does not divide into {pieces}")
    for step in range(first_step, last_step):
        for part in range(parts):
            first = (part * processes + process) * rows
            yield [(step, first + row) for row in range(rows)]


def load_batches(
    source: Source, settings: dict, seed: int, first_step: int, accelerator: Accelerator
) -> Iterator[list[dict]]:
    """Yield the micro-batches of this process for each step from `first_step` on.

    Args:
        source ([`Source`]): the data.
        settings (`dict`): the recipe's section `optimization`.
        seed (`int`): the recipe's.
        first_step (`int`): the step to continue with.
        accelerator (`Accelerator`): tells the processes and the device.
    """
    parts = settings["gradient_accumulation_steps"]
    place = accelerator.process_index, accelerator.num_processes
    loader = DataLoader(
        StepDataset(source, settings["batch_size"], seed, settings["bucket_batches"]),
        batch_sampler=micro_batches(first_step, settings["max_steps"], settings["batch_size"], parts, *place),
        collate_fn=source.collate,
        num_workers=settings["num_workers"],
        pin_memory=accelerator.device.type == "cuda",
        generator=torch.Generator().manual_seed(seed),  # else it would take a number from the model's dropout
    )
    batches = iter(loader)
    for _ in range(first_step, settings["max_steps"]):
        yield [next(batches) for _ in range(parts)]


def to_device(batch: dict, device: torch.device) -> dict:
    """Move the tensors of a batch to a device."""
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
        for name, value in batch.items()
    }
