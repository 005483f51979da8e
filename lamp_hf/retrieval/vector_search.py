"""Nearest neighbours among the unit vectors of a gallery.

A small gallery is searched exactly. A large one (100,000 vectors and more) is scanned in full as 4-bit
product-quantised codes held in registers (FAISS's fast scan), and the best candidates are scored exactly. Inverted
lists (IVF) would scan less, but miss neighbours where vectors do not cluster; the scan takes milliseconds and misses
none (`docs/retrieval.md` has the numbers).
"""

from __future__ import annotations

import faiss
import numpy as np


QUANTISED_FROM = 100_000  # vectors
MIN_CANDIDATES = 10_000  # that a scan leaves to be scored exactly


class VectorStore:
    """Vectors held in memory, or mapped from disk, and searched with FAISS.

    This is all that [`MotionIndex`] asks of a store: rows are numbered from 0 in the order in which they were added,
    and close ranks when some are removed.

    Args:
        vectors (`np.ndarray` of shape `(num_rows, dimension)`): float32, unit norm.
        codes (`faiss.Index`, *optional*): the vectors product-quantised, when that was done before.
    """

    def __init__(self, vectors: np.ndarray, codes: faiss.Index | None = None):
        self.vectors, self._codes = vectors, codes

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.vectors.shape[1]

    def add(self, vectors: np.ndarray) -> None:
        """Append vectors `(num_new, dimension)`."""
        self.vectors = np.concatenate([self.vectors, vectors])
        if self._codes is not None:
            self._codes.add(np.ascontiguousarray(vectors))

    def keep(self, kept: np.ndarray) -> None:
        """Remove the rows for which `kept`, bool `(num_rows,)`, is false."""
        self.vectors, self._codes = self.vectors[kept], None

    def search(self, query: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the rows with the highest cosine similarity to a unit vector.

        Returns:
            `tuple[np.ndarray, np.ndarray]`: at most `count` rows, best first, and their cosines.
        """
        count = min(count, len(self))
        if not count:
            return np.zeros(0, int), np.zeros(0, np.float32)
        if len(self) < QUANTISED_FROM or count > len(self) // 4:
            scores, rows = faiss.knn(query[None], self.vectors, count, metric=faiss.METRIC_INNER_PRODUCT)
            return rows[0], scores[0]
        _, candidates = self._quantised().search(query[None], max(MIN_CANDIDATES, 4 * count))
        rows = np.sort(candidates[0][candidates[0] >= 0])
        scores = self.vectors[rows] @ query
        best = np.argsort(-scores, kind="stable")[:count]
        return rows[best], scores[best]

    def to_tensors(self) -> dict[str, np.ndarray]:
        """Return the arrays to save: `vectors`, and `quantised`, the serialised codes of a large gallery."""
        tensors = {"vectors": np.ascontiguousarray(self.vectors)}
        if self._codes is not None or len(self) >= QUANTISED_FROM:
            tensors["quantised"] = faiss.serialize_index(self._quantised())
        return tensors

    @classmethod
    def from_tensors(cls, tensors: dict[str, np.ndarray]) -> VectorStore:
        """Restore a store from what [`~VectorStore.to_tensors`] returned."""
        codes = faiss.deserialize_index(tensors["quantised"]) if "quantised" in tensors else None
        return cls(tensors["vectors"], codes)

    def _quantised(self) -> faiss.Index:
        if self._codes is None:
            self._codes = product_quantise(self.vectors)
        return self._codes


def product_quantise(vectors: np.ndarray) -> faiss.Index:
    """Encode vectors with four bits for every two dimensions."""
    dimension = vectors.shape[1]
    index = faiss.index_factory(dimension, f"PQ{-(-dimension // 2)}x4fs", faiss.METRIC_INNER_PRODUCT)
    sample = np.random.default_rng(0).choice(len(vectors), min(len(vectors), 65536), replace=False)
    index.train(np.ascontiguousarray(vectors[np.sort(sample)]))
    for first in range(0, len(vectors), QUANTISED_FROM):
        index.add(np.ascontiguousarray(vectors[first : first + QUANTISED_FROM]))
    return index
