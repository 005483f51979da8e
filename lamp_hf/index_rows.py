"""What a gallery holds of its motions: vectors, and where each is from."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Rows:
    """Vectors, the motion that each belongs to, and the seconds of it that each stands for.

    Args:
        vectors (`np.ndarray` of shape `(num_rows, dimension)`): float32, unit length.
        items (`np.ndarray` of shape `(num_rows,)`): places in the list of ids.
        spans (`np.ndarray` of shape `(num_rows, 2)`): float32, start and end.
    """

    vectors: np.ndarray
    items: np.ndarray
    spans: np.ndarray

    @classmethod
    def empty(cls, dimension: int) -> "Rows":
        return cls(np.zeros((0, dimension), np.float32), np.zeros(0, int), np.zeros((0, 2), np.float32))

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, chosen) -> "Rows":
        return Rows(self.vectors[chosen], self.items[chosen], self.spans[chosen])

    def __add__(self, other: "Rows") -> "Rows":
        pairs = ((self.vectors, other.vectors), (self.items, other.items), (self.spans, other.spans))
        return Rows(*(np.concatenate(pair) for pair in pairs))
