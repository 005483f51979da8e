"""Speed, memory and recall of a search in a large gallery."""

import time

import faiss
import numpy as np
import psutil
from transformers import pipeline

from .. import bundled
from ..retrieval.index import MotionIndex
from .timing import rounded


TEXTS = [
    f"a person {action} {manner}" for action in ("walks", "runs", "waves", "bows") for manner in ("slowly", "proudly")
]
K = 10


def measure_gallery(size: int) -> dict[str, float]:
    """Time searches in a gallery, and compare what they find with an exact search.

    One vector of five lies near the embedding of a real text or motion, the others are random. Queries are texts,
    which have near neighbours, and random vectors, which have none: the harder case.

    Args:
        size (`int`): number of vectors.

    Returns:
        `dict[str, float]`: medians over queries; names end in their unit, recalls are shares.
    """
    rng, process = np.random.default_rng(0), psutil.Process()
    index = MotionIndex(bundled())
    queries = {"texts": index.embedder.embed_texts(TEXTS), "random": _random_units(rng, 50, index.embedder.dimension)}
    vectors = _gallery_vectors(index, queries["texts"], size, rng)
    memory = process.memory_info().rss
    index.add_vectors(vectors, [str(i) for i in range(size)])
    started = time.perf_counter()
    index.search_vector(queries["random"][0])  # quantises the vectors
    results = {"gallery_vectors": float(size), "gallery_build_s": time.perf_counter() - started}
    results["gallery_memory_mb"] = (process.memory_info().rss - memory) / 1e6
    for kind, vectors_of_kind in queries.items():
        seconds, recall = _search_all(index, vectors_of_kind, vectors)
        results |= {f"gallery_search_{kind}_s": seconds, f"gallery_recall_at_{K}_{kind}": recall}
    return rounded(results)


def _gallery_vectors(index: MotionIndex, texts: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    generate = pipeline("text-to-motion", model=bundled())
    motions = [result["features"] for result in generate(TEXTS, duration=3.0, seed=0)]
    known = np.concatenate([texts, index.embedder.embed_motions(motions)])
    vectors = _random_units(rng, size, known.shape[1])
    near = rng.integers(len(known), size=size // 5)
    vectors[: len(near)] = _units(known[near] + 0.7 * vectors[: len(near)])
    return vectors


def _search_all(index: MotionIndex, queries: np.ndarray, vectors: np.ndarray) -> tuple[float, float]:
    """Return the median time of a search, and the share of the true nearest neighbours that were found."""
    nearest = faiss.knn(queries, vectors, K, metric=faiss.METRIC_INNER_PRODUCT)[1]
    seconds, found = [], []
    for query, rows in zip(queries, nearest):
        started = time.perf_counter()
        hits = index.search_vector(query, K)
        seconds.append(time.perf_counter() - started)
        found.append(len({int(hit.id) for hit in hits} & set(rows.tolist())) / K)
    return float(np.median(seconds)), float(np.mean(found))


def _random_units(rng: np.random.Generator, count: int, dimension: int) -> np.ndarray:
    return _units(rng.standard_normal((count, dimension), dtype=np.float32))


def _units(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
