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
        """Restore a store from what [`~VectorStore.to_tensors`] returned.

        Raises:
            ValueError: when a vector is not finite, or the codes are not of these vectors.
        """
        vectors = tensors["vectors"]
        for first in range(0, len(vectors), QUANTISED_FROM):
            part = vectors[first : first + QUANTISED_FROM]
            if not np.isfinite(part).all():
                raise ValueError("a vector holds NaN or infinity")
            if part.size and np.abs(part).max() > 1.01:
                raise ValueError("a vector is longer than 1")
        codes = None
        if "quantised" in tensors:
            _check_codes(tensors["quantised"], *vectors.shape)
            codes = faiss.deserialize_index(tensors["quantised"])
        return cls(vectors, codes)

    def _quantised(self) -> faiss.Index:
        if self._codes is None:
            self._codes = product_quantise(self.vectors)
        return self._codes


def product_quantise(vectors: np.ndarray) -> faiss.Index:
    """Encode vectors with four bits for every two dimensions."""
    index = _empty_codes(vectors.shape[1])
    sample = np.random.default_rng(0).choice(len(vectors), min(len(vectors), 65536), replace=False)
    index.train(np.ascontiguousarray(vectors[np.sort(sample)]))
    for first in range(0, len(vectors), QUANTISED_FROM):
        index.add(np.ascontiguousarray(vectors[first : first + QUANTISED_FROM]))
    return index


def _empty_codes(dimension: int) -> faiss.Index:
    return faiss.index_factory(dimension, f"PQ{-(-dimension // 2)}x4fs", faiss.METRIC_INNER_PRODUCT)


def _check_codes(serialised: np.ndarray, num_rows: int, dimension: int) -> None:
    """Compare serialised codes with those of an empty index, before FAISS allocates whatever sizes they state.

    The two differ in the number of rows (twice, the second rounded up to blocks of 32), a flag that training is done,
    the codebook of 16 vectors, and the codes themselves, whose size comes last before them.

    Raises:
        ValueError: when they differ in anything else.
    """
    if dimension % 2 == 0 and 0 < 64 * dimension < len(serialised):
        expected = faiss.serialize_index(_empty_codes(dimension)).copy()
        size, padded = len(expected), -(-num_rows // 32) * 32
        codebook = slice(size - 36 - 64 * dimension, size - 36)  # before a number of 4 bytes and four of 8
        num_bytes = padded // 2 * int(expected[size - 16 : size - 8].view(np.int64)[0])
        for start, number in ((8, num_rows), (size - 24, padded), (size - 8, num_bytes)):
            expected[start : start + 8] = np.frombuffer(np.int64(number).tobytes(), np.uint8)
        if len(serialised) == size + num_bytes:
            expected[32], expected[codebook] = 1, serialised[codebook]
            if np.array_equal(serialised[:size], expected):
                return
    raise ValueError("the quantised codes are not of these vectors")
