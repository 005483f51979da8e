"""Speed, memory and recall of a search in a large gallery, in both stores and by both stages."""

import importlib.util
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import faiss
import numpy as np
import psutil
from transformers import pipeline

from .. import bundled
from ..retrieval.embedder import Embedder
from ..retrieval.entries import Entries
from ..retrieval.late_interaction import QueryVectors, WordScores
from ..retrieval.milvus_store import MilvusStore
from ..retrieval.rows import Rows
from ..retrieval.vector_search import VectorStore
from .timing import rounded


TEXTS = [
    f"a person {action} {manner}" for action in ("walks", "runs", "waves", "bows") for manner in ("slowly", "proudly")
]
K = 10
CHUNK = 50_000  # rows that are made together


def measure_gallery(size: int) -> dict[str, float]:
    """Time searches in a gallery, and compare what they find with an exact search.

    One vector of five lies near the embedding of a real text or motion, the others are random. Queries are texts,
    which have near neighbours, and random vectors, which have none: the harder case. The codes that the second stage
    reads, from disk, are random, which its time does not depend on. Milvus takes part where it is installed.

    Args:
        size (`int`): number of vectors.

    Returns:
        `dict[str, float]`: medians over queries; names end in their unit, recalls are shares.
    """
    rng, process, embedder = np.random.default_rng(0), psutil.Process(), Embedder(bundled())
    motions = [made["features"] for made in pipeline("text-to-motion", model=bundled())(TEXTS, duration=3.0, seed=0)]
    of_motions, query_vectors = embedder.embed_motions_and_queries(motions)
    of_texts = embedder.embed_texts(TEXTS)
    queries = {"texts": of_texts, "random": _random_units(rng, 50, embedder.dimension)}
    memory = process.memory_info().rss
    vectors = _gallery_vectors(np.concatenate([of_texts, of_motions]), size, rng)
    names, items, spans = list(map(str, range(size))), np.arange(size), np.zeros((size, 2), np.float32)
    rows = Rows(Entries(names, names, items, spans), VectorStore(vectors))
    started = time.perf_counter()
    rows.store.search(queries["random"][0], K)  # quantises the vectors
    results = {"gallery_vectors": float(size), "gallery_build_s": time.perf_counter() - started}
    results["gallery_memory_mb"] = (process.memory_info().rss - memory) / 1e6
    nearest = {kind: faiss.knn(some, vectors, K, faiss.METRIC_INNER_PRODUCT)[1] for kind, some in queries.items()}
    results |= _measure_searches("gallery", rows, queries, nearest)
    with tempfile.TemporaryDirectory() as folder:
        codes = Path(folder) / "codes"
        rows.queries = _random_codes(codes, query_vectors, size, rng)
        results["gallery_query_codes_mb"] = codes.stat().st_size / 1e6
        results["gallery_embed_text_s"] = _median(embedder.encode_words, TEXTS)
        results["gallery_late_interaction_s"] = _median(
            lambda text: _search_in_two_stages(rows, embedder, text), TEXTS
        )
        if all(map(importlib.util.find_spec, ("pymilvus", "milvus_lite"))):
            results |= _measure_milvus(Path(folder) / "gallery.db", rows, queries, nearest)
    return rounded(results)


def _measure_milvus(file: Path, rows: Rows, queries: dict, nearest: dict) -> dict[str, float]:
    """Measure a gallery with its vectors in milvus-lite."""
    store, vectors = MilvusStore(str(file), rows.store.dimension), rows.store.vectors
    started = time.perf_counter()
    for first in range(0, len(vectors), CHUNK):
        store.add(vectors[first : first + CHUNK])
    store.search(queries["random"][0], K)  # indexes what is not indexed yet
    results = {"milvus_build_s": time.perf_counter() - started}
    results["milvus_disk_mb"] = sum(part.stat().st_size for part in file.rglob("*") if part.is_file()) / 1e6
    return results | _measure_searches("milvus", Rows(rows.entries, store), queries, nearest)


def _measure_searches(name: str, rows: Rows, queries: dict, nearest: dict) -> dict[str, float]:
    """Measure the median time of a search of one stage, and the share of the true nearest neighbours it finds."""
    results = {}
    for kind, vectors in queries.items():
        found = [_search(rows, vector) for vector in vectors]
        shares = [len({*some} & {*true.tolist()}) / K for some, true in zip(found, nearest[kind])]
        results[f"{name}_search_{kind}_s"] = _median(lambda vector: _search(rows, vector), vectors)
        results[f"{name}_recall_at_{K}_{kind}"] = float(np.mean(shares))
    return results


def _search(rows: Rows, vector: np.ndarray) -> list[int]:
    return [row for row, _, _ in rows.nearest(vector[None], K, False)]


def _search_in_two_stages(rows: Rows, embedder: Embedder, text: str) -> list[int]:
    vector, words = embedder.encode_words(text)
    return [row for row, _, _ in rows.nearest(vector[None], K, False, WordScores(embedder.model, words))]


def _median(run: Callable, inputs: Iterable) -> float:
    seconds = []
    for one in inputs:
        started = time.perf_counter()
        run(one)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))


def _gallery_vectors(known: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Make vectors of which a fifth lie near known ones."""
    vectors = np.empty((size, known.shape[1]), np.float32)
    for first in range(0, size, CHUNK):
        chunk = vectors[first : first + CHUNK]
        chunk[:] = _random_units(rng, *chunk.shape)
        near = chunk[: len(chunk) // 5]
        near[:] = _units(known[rng.integers(len(known), size=len(near))] + 0.7 * near)
    return vectors


def _random_codes(path: Path, known: np.ndarray, size: int, rng: np.random.Generator) -> QueryVectors:
    """Write random codes to disk; what they stand for is learned near known `(num_motions, num_queries, size)`."""
    stored = QueryVectors.empty(*known.shape[1:])
    stored.add(np.resize(known, (1000, *known.shape[1:])) + 0.05 * rng.standard_normal((1000, *known.shape[1:])))
    learned = stored.to_tensors()
    codes = np.memmap(path, np.uint8, "w+", shape=(size, *learned["query_codes"].shape[1:]))
    for first in range(0, size, CHUNK):
        codes[first : first + CHUNK] = rng.integers(256, size=codes[first : first + CHUNK].shape, dtype=np.uint8)
    codes.flush()
    return QueryVectors(np.memmap(path, np.uint8, "r", shape=codes.shape), learned["query_centroids"])


def _random_units(rng: np.random.Generator, count: int, dimension: int) -> np.ndarray:
    return _units(rng.standard_normal((count, dimension), dtype=np.float32))


def _units(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
