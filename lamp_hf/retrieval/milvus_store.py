"""Vectors in Milvus: embedded, in a database of milvus-lite, or on a server or cluster."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


_BATCH = 5000  # rows in one message, which a server refuses above 64 MB
_MOST_HITS = 16_384  # that Milvus returns for one query


class MilvusStore:
    """Vectors in a collection of Milvus, and searched there, by an index that Milvus chooses (`AUTOINDEX`).

    It does for [`MotionIndex`] what [`VectorStore`] does: rows are numbered from 0 in the order in which they were
    added, and close ranks when some are removed. What is added or removed is so in Milvus at once. The primary key of
    each row's vector is saved with the gallery; vectors that no saved gallery knows are never found.

    Args:
        uri (`str`): where Milvus is, see [`check_uri`].
        dimension (`int`): length of a vector.
        collection (`str`, *optional*): the collection of a saved gallery; a new one if not given.
        keys (`np.ndarray` of shape `(num_rows,)`, *optional*): int64, primary key of each row.

    Raises:
        OSError: when Milvus cannot be reached, or has lost the collection.
    """

    def __init__(self, uri: str, dimension: int, collection: str | None = None, keys: np.ndarray | None = None):
        self.uri, self.dimension = uri, dimension
        self.collection = collection or f"motions_{uuid.uuid4().hex[:12]}"
        self._keys = np.zeros(0, np.int64) if keys is None else keys
        self._order: np.ndarray | None = None  # of rows by their keys
        if collection is None and "://" not in uri:
            Path(uri).parent.mkdir(parents=True, exist_ok=True)
        self._client = _connect(uri)
        if collection is None:
            self._create()
        elif not self._ask("has_collection"):
            raise FileNotFoundError(f"Milvus at {uri} has no collection {collection}: index the motions again")
        else:
            self._ask("load_collection")  # a server that was started again has it on disk only

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def vectors(self) -> np.ndarray:
        """All vectors, float32 `(num_rows, dimension)`, fetched from Milvus."""
        vectors = np.zeros((len(self), self.dimension), np.float32)
        for rows in _batches(len(self)):
            keys = self._keys[rows].tolist()
            by_key = {entry["key"]: entry["vector"] for entry in self._ask("get", ids=keys, output_fields=["vector"])}
            vectors[rows] = [by_key[key] for key in keys]
        return vectors

    def add(self, vectors: np.ndarray) -> None:
        """Append vectors `(num_new, dimension)`."""
        new: list[int] = []
        for rows in _batches(len(vectors)):
            new += self._ask("insert", data=[{"vector": vector} for vector in vectors[rows]])["ids"]
        self._keys, self._order = np.append(self._keys, np.array(new, np.int64)), None

    def keep(self, kept: np.ndarray) -> None:
        """Remove the rows for which `kept`, bool `(num_rows,)`, is false."""
        removed = self._keys[~kept]
        for rows in _batches(len(removed)):
            self._ask("delete", ids=removed[rows].tolist())
        self._keys, self._order = self._keys[kept], None

    def search(self, query: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the rows with the highest cosine similarity to a unit vector.

        Returns:
            `tuple[np.ndarray, np.ndarray]`: at most `count` rows, and at most 16,384, best first, and their cosines.
        """
        limit = wanted = min(count, len(self), _MOST_HITS)
        if not limit:
            return np.zeros(0, int), np.zeros(0, np.float32)
        while True:
            (hits,) = self._ask("search", data=[query.tolist()], limit=limit)
            rows = self._rows_of(np.array([hit["key"] for hit in hits], np.int64))
            if (rows >= 0).sum() >= wanted or len(hits) < limit or limit == _MOST_HITS:
                scores = np.array([hit["distance"] for hit in hits], np.float32)
                return rows[rows >= 0][:wanted], scores[rows >= 0][:wanted]
            limit = min(4 * limit, _MOST_HITS)  # vectors that were added and never saved took places

    def _rows_of(self, keys: np.ndarray) -> np.ndarray:
        """Return the row of each key, -1 where it is of none."""
        if self._order is None:
            self._order = np.argsort(self._keys)
        places = np.searchsorted(self._keys, keys, sorter=self._order)
        rows = self._order[places.clip(max=len(self) - 1)]
        return np.where(self._keys[rows] == keys, rows, -1)

    def to_tensors(self) -> dict[str, np.ndarray]:
        """Return what a saved gallery holds of the vectors, their `keys`."""
        return {"keys": self._keys}

    def describe(self, folder: str | Path) -> dict[str, Any]:
        """Return what finds the vectors again: `uri`, of a file relative to a folder, `collection` and `dimension`."""
        uri = self.uri if "://" in self.uri else os.path.relpath(self.uri, Path(folder).resolve())
        return {"uri": uri, "collection": self.collection, "dimension": self.dimension}

    def _create(self) -> None:
        from pymilvus import DataType

        schema = self._client.create_schema(auto_id=True)
        schema.add_field("key", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self.dimension)
        index = self._client.prepare_index_params()
        index.add_index("vector", index_type="AUTOINDEX", metric_type="COSINE")
        self._ask("create_collection", schema=schema, index_params=index, consistency_level="Strong")

    def _ask(self, what: str, **options) -> Any:
        """Call a method of the client for the collection.

        Raises:
            OSError: when Milvus cannot do it.
        """
        from pymilvus import MilvusException

        try:
            return getattr(self._client, what)(self.collection, **options)
        except MilvusException as error:
            raise OSError(f"Milvus at {self.uri}, {what}: {error.message:.200}") from None


def check_uri(uri: str | None) -> str:
    """Check where Milvus is, and return it, a file as its absolute path.

    Args:
        uri (`str`, *optional*): a database of milvus-lite, whose name ends in `.db`, or the address of a server,
            `http://localhost:19530` for instance. The server's `user:password` or token is taken from the environment
            variable `MILVUS_TOKEN`, which is never saved.

    Raises:
        ValueError: when it is neither, or pymilvus is missing.
    """
    try:
        import pymilvus  # noqa: F401
    except ImportError:
        raise ValueError("Milvus needs pymilvus and milvus-lite: pip install 'lamp-hf[milvus]'") from None
    if not uri or not ("://" in uri or uri.endswith(".db")):
        raise ValueError(f"Milvus needs a file such as gallery.db, or an address, http://localhost:19530, got {uri!r}")
    if "@" in uri.split("://")[-1] and "://" in uri:
        raise ValueError(
            "the address would be saved, and the password with it: set MILVUS_TOKEN=user:password instead"
        )
    return uri if "://" in uri else str(Path(uri).resolve())


def _connect(uri: str):
    """Return a client.

    Raises:
        OSError: when Milvus cannot be reached.
    """
    from pymilvus import MilvusClient, MilvusException

    for name in ("pymilvus", "milvus_lite"):  # they print what is raised below, as tracebacks
        logging.getLogger(name).addHandler(logging.NullHandler())
    try:
        return MilvusClient(uri, token=os.environ.get("MILVUS_TOKEN", ""))
    except MilvusException as error:
        advice = "does it run?" if "://" in uri else "is it one of milvus-lite, and has no other process opened it?"
        raise OSError(f"Milvus at {uri} cannot be reached: {advice} ({error.message:.120})") from None


def _batches(count: int) -> Iterator[slice]:
    return (slice(first, first + _BATCH) for first in range(0, count, _BATCH))
