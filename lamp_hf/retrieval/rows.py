"""The rows of a gallery: windows of motions, their vectors and, for late interaction, the vectors of their queries."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .entries import Entries
from .late_interaction import CANDIDATES, QueryVectors, WordScores
from .milvus_store import MilvusStore
from .vector_search import VectorStore
from .windows import choose_windows


@dataclass
class Rows:
    """Three tables whose rows belong together.

    Args:
        entries ([`Entries`]): the motions.
        store ([`VectorStore`] or [`MilvusStore`]): one vector a row.
        queries ([`QueryVectors`], *optional*): one vector for each query of a row.
    """

    entries: Entries
    store: VectorStore | MilvusStore
    queries: QueryVectors | None = None

    def append(self, entries: Entries, vectors: np.ndarray, queries: np.ndarray | None = None) -> None:
        """Append motions, the vectors of their rows `(num_rows, dimension)` and, if kept, those of their queries."""
        self.store.add(vectors)
        if self.queries is not None and queries is not None:
            self.queries.add(queries)
        self.entries.append(entries)

    def join(self, other: Rows) -> None:
        """Append the rows of another gallery.

        Raises:
            ValueError: when only one has the vectors of queries, or an id occurs twice.
        """
        if (self.queries is None) != (other.queries is None):
            raise ValueError("only one of two indices has late interaction: index the motions of the other again")
        self.entries.check_new(other.entries.ids)
        self.append(other.entries, other.store.vectors)
        if self.queries is not None and other.queries is not None:
            self.queries.join(other.queries)

    def remove(self, ids: Collection[str]) -> None:
        """Remove motions, all of them or, when one is unknown, none.

        Raises:
            ValueError: when one is unknown.
        """
        kept = self.entries.remove(ids)
        if not kept.all():
            self.store.keep(kept)
            if self.queries is not None:
                self.queries.keep(kept)

    def nearest(
        self, vectors: np.ndarray, k: int, moments: bool, word_scores: WordScores | None = None
    ) -> list[tuple[int, float, int]]:
        """Find the rows most similar to any of the unit vectors `(num_vectors, dimension)`.

        Args:
            vectors (`np.ndarray`): of the query, or of its windows.
            k (`int`): number of rows.
            moments (`bool`): every part of a motion that matches, see [`choose_windows`].
            word_scores ([`WordScores`], *optional*): the second stage.

        Returns:
            `list[tuple[int, float, int]]`: row, its score, and the vector that it is most similar to; best first.
        """
        count = 4 * k if word_scores is None else max(4 * k, CANDIDATES)
        while True:
            best: dict[int, tuple[float, int]] = {}
            exhausted = True
            for number, vector in enumerate(vectors):
                rows, scores = self.store.search(vector, count)
                exhausted &= len(rows) < count
                if word_scores is not None and self.queries is not None:
                    scores = word_scores(scores, rows, self.queries)
                for row, score in zip(rows, scores):
                    if row not in best or score > best[row][0]:
                        best[row] = float(score), number
            ranked = sorted(best, key=lambda row: -best[row][0])
            chosen = choose_windows(ranked, self.entries.items, self.entries.spans, k, every_match=moments)
            if len(chosen) == k or exhausted:
                return [(row, *best[row]) for row in chosen]
            count *= 4  # the windows of a few motions took all places

    def to_tensors(self) -> dict[str, np.ndarray]:
        """Return the arrays to save."""
        queries = {} if self.queries is None else self.queries.to_tensors()
        return self.store.to_tensors() | self.entries.to_tensors() | queries

    def describe(self, folder: str | Path) -> dict[str, Any]:
        """Return what `index.json` in a folder says of the rows."""
        about = {"motions": len(self.entries), "vectors": len(self.store), "dimension": self.store.dimension}
        return about | ({"milvus": self.store.describe(folder)} if isinstance(self.store, MilvusStore) else {})

    @classmethod
    def from_tensors(cls, tensors: dict[str, np.ndarray], milvus: dict[str, Any] | None) -> Rows:
        """Restore rows from what [`~Rows.to_tensors`] returned.

        Args:
            tensors (`dict[str, np.ndarray]`): the arrays.
            milvus (`dict`, *optional*): where the vectors are, see [`~MilvusStore.describe`], if they are in Milvus.

        Raises:
            ValueError: when they are damaged.
            OSError: when Milvus has lost the vectors, or cannot be reached.
        """
        name = "vectors" if milvus is None else "keys"
        if name not in tensors:
            raise ValueError(f"{name} is missing")
        entries = Entries.from_tensors(tensors)
        queries = QueryVectors.from_tensors(tensors, len(tensors[name]))
        if milvus is None:
            return cls(entries, VectorStore.from_tensors(tensors), queries)
        return cls(entries, MilvusStore(**milvus, keys=tensors["keys"]), queries)

    def to_publish(self) -> Rows:
        """Return the rows without paths of this machine, and with their vectors even if Milvus has them."""
        entries = replace(self.entries, sources=[""] * len(self.entries), states=[])
        store = VectorStore(self.store.vectors) if isinstance(self.store, MilvusStore) else self.store
        return Rows(entries, store, self.queries)
