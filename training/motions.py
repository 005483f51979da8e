"""Motions where they lie: in the memory map of a data set, which all processes of a machine share."""

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from datasets import Dataset

from lamp_hf.models.feature_extraction_motion import MotionFeatureExtractor


# Memory maps are read-only, and nothing here writes into a motion.
warnings.filterwarnings("ignore", "The given NumPy array is not writable")


def mapped_motions(dataset: Dataset) -> list[np.ndarray]:
    """Return the motions of a data set, float32 `(num_frames, feature_size)`, as views of its memory map.

    A motion is read from disk when it is used. The system keeps what it has read once for all processes, and drops it
    where memory is short.

    Args:
        dataset (`Dataset`): from `load_motion_dataset`.
    """
    views = [view for chunk in dataset.data.column("motion").chunks for view in _views(chunk.storage)]
    if dataset._indices is None:
        return views
    return [views[row] for row in dataset._indices.column(0).to_pylist()]  # a selection


def _views(motions) -> Iterator[np.ndarray]:
    """Yield the rows of an Arrow array whose type is a list of frames, each a list of numbers."""
    frames, bounds = motions.values, motions.offsets.to_numpy()
    numbers = frames.values.to_numpy(zero_copy_only=True)
    starts = frames.offsets.take(motions.offsets).to_numpy()
    for first, last, count in zip(starts[:-1], starts[1:], np.diff(bounds)):
        yield numbers[first:last].reshape(count, -1)


class NormalisedMotions(Sequence):
    """Motions as tensors `(num_frames, feature_size)`, normalised each time one is asked for.

    Args:
        motions (`list[np.ndarray]` of shape `(num_frames, feature_size)`): not normalised.
        extractor ([`MotionFeatureExtractor`]): knows the statistics.
    """

    def __init__(self, motions: list[np.ndarray], extractor: MotionFeatureExtractor):
        self._motions, self._extractor = motions, extractor
        self.lengths = np.array([len(motion) for motion in motions])

    def __len__(self) -> int:
        return len(self._motions)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._extractor.normalise(torch.tensor(self._motions[index]))

    def by_length(self, shortest: int) -> list[int]:
        """Return the indices of motions of at least `shortest` frames, from short to long."""
        order = np.argsort(self.lengths, kind="stable")
        return order[self.lengths[order] >= shortest].tolist()
