"""Speed and memory of the bundled models on this machine."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import psutil
import torch

import lamp_hf

from ..data.preparation import prepare
from ..models.skeleton import HUMANML3D
from ..motion.rotations import rest_directions, rest_positions
from ..retrieval.embedder import Embedder


def measure() -> dict[str, float]:
    """Seconds, frames per second and megabytes; see the names. Medians of several runs."""
    from transformers import pipeline

    pipe = pipeline("text-to-motion", model=lamp_hf.bundled())
    caption = pipeline("motion-to-text", model=lamp_hf.bundled("captioning"))
    text = "a person walks forward and waves with the left hand"
    joints = pipe(text, duration=6.0, seed=0)["joints"]
    batch = torch.from_numpy(np.stack([joints] * 64))
    motion = lamp_hf.Motion(joints)
    frames = batch.shape[0] * batch.shape[1]
    embedder = Embedder(lamp_hf.bundled())
    results = {
        "generate_6_seconds_s": median_seconds(lambda: pipe(text, duration=6.0, seed=0), 9),
        "generate_batch_of_8_s": median_seconds(lambda: pipe([text] * 8, duration=6.0, seed=0), 3),
        "caption_6_seconds_s": median_seconds(lambda: caption(motion), 9),
        "embed_6_second_clips_per_s": 64 / median_seconds(lambda: embedder.embed_motions([motion.features] * 64), 3),
        "embed_texts_per_s": 64 / median_seconds(lambda: embedder.embed_texts([text] * 64), 3),
        "joints_to_features_frames_per_s": frames / median_seconds(lambda: lamp_hf.joints_to_features(batch), 5),
        "features_to_joints_frames_per_s": frames
        / median_seconds(lambda: lamp_hf.features_to_joints(torch.zeros(64, batch.shape[1], 263)), 5),
        "render_224_frames_per_s": len(joints) / median_seconds(lambda: motion.render(224), 1),
        "film_224_frames_per_s": 10 * len(joints) / median_seconds(lambda: _films(motion), 1),
        "embed_6_second_film_s": _film_seconds(motion),
        **{f"save_10_seconds_{suffix}_s": seconds for suffix, seconds in _save_seconds().items()},
        "prepare_clips_per_s": _prepare_speed(),
        "import_torch_s": _import_seconds("torch"),
        "import_torch_and_lamp_hf_s": _import_seconds("torch, lamp_hf"),
        "memory_mb": psutil.Process().memory_info().rss / 1e6,
        "threads": torch.get_num_threads(),
    }
    return {name: float(f"{value:.4g}") for name, value in results.items()}


def measure_gallery(size: int) -> dict[str, float]:
    """Search in a gallery of so many vectors, four of five random, the others near those of real texts and motions.

    Recall is measured against an exact search, by texts, which lie near some vectors, and by random queries, which lie
    near none: the harder case.
    """
    from transformers import pipeline

    rng, process = np.random.default_rng(0), psutil.Process()
    index = lamp_hf.MotionIndex(lamp_hf.bundled())
    pipe = pipeline("text-to-motion", model=lamp_hf.bundled())
    texts = [f"a person {does} {how}" for does in ("walks", "runs", "waves", "bows") for how in ("slowly", "proudly")]
    made = [motion["features"] for motion in pipe(texts, duration=3.0, seed=0)]
    queries = {"texts": index.embedder.embed_texts(texts), "random": _unit(rng, 50, index.embedder.dimension)}
    known = np.concatenate([queries["texts"], index.embedder.embed_motions(made)])
    vectors = _unit(rng, size, known.shape[1])
    near = rng.integers(len(known), size=size // 5)
    vectors[: len(near)] = _normalised(known[near] + 0.7 * vectors[: len(near)])
    before = process.memory_info().rss
    index.add_vectors(vectors, [str(i) for i in range(size)])
    started = time.perf_counter()
    index.search_vector(queries["random"][0])
    results = {"gallery_vectors": size, "gallery_build_s": time.perf_counter() - started}
    results["gallery_memory_mb"] = (process.memory_info().rss - before) / 1e6
    for name, some in queries.items():
        exact = faiss.knn(some, vectors, 10, metric=faiss.METRIC_INNER_PRODUCT)[1]
        seconds, right = [], []
        for query, best in zip(some, exact):
            started = time.perf_counter()
            hits = index.search_vector(query)
            seconds.append(time.perf_counter() - started)
            right.append(len({int(hit.id) for hit in hits} & set(best.tolist())) / 10)
        results[f"gallery_search_{name}_s"] = float(np.median(seconds))
        results[f"gallery_recall_at_10_{name}"] = float(np.mean(right))
    return {name: float(f"{value:.4g}") for name, value in results.items()}


def _unit(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    return _normalised(rng.standard_normal((count, size), dtype=np.float32))


def _normalised(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _films(motion: lamp_hf.Motion) -> None:
    """By ten random views."""
    for seed in range(10):
        motion.render(224, camera=lamp_hf.random_view("benchmark", seed))


def _film_seconds(motion: lamp_hf.Motion) -> float:
    """From an mp4 of 640 pixels to its vector."""
    embedder = Embedder(lamp_hf.bundled("video"))
    with tempfile.TemporaryDirectory() as folder:
        path = motion.save(Path(folder) / "film.mp4", size=640)
        return median_seconds(lambda: embedder.embed_video(path), 3)


def _save_seconds() -> dict[str, float]:
    """Of a motion of ten seconds; pictures have 256 pixels."""
    rng = np.random.default_rng(0)
    swing = np.cumsum(rng.normal(0, 0.005, (200, HUMANML3D.num_joints, 3)), 0)
    motion = lamp_hf.Motion(_rest_body() + swing, text="a person sways")
    with tempfile.TemporaryDirectory() as folder:
        paths = {suffix: Path(folder) / f"clip.{suffix}" for suffix in ("bvh", "glb", "html", "npz", "mp4", "gif")}
        return {
            suffix: median_seconds(lambda path=path: motion.save(path, size=256), 3) for suffix, path in paths.items()
        }


def _prepare_speed(clips: int = 3000) -> float:
    """Clips a second that `prepare` makes of arrays of joints, three seconds each, on all cores."""
    body = _rest_body() + np.linspace(0, 1, 60)[:, None, None] * [0, 0, 1]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        source.mkdir()
        for i in range(clips):
            np.save(source / f"{i}.npy", body.astype(np.float32))
        (source / "captions.json").write_text(json.dumps({str(i): "a person glides" for i in range(clips)}))
        return clips / prepare(source, Path(folder) / "data").seconds


def _rest_body() -> np.ndarray:
    offsets = rest_directions(HUMANML3D) * np.array(HUMANML3D.bone_lengths)[:, None]
    return rest_positions(offsets, HUMANML3D.parents) + [0, 0.95, 0]


def median_seconds(run: Callable, repeats: int) -> float:
    def whole() -> None:
        run()
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()

    whole()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        whole()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def _import_seconds(modules: str) -> float:
    def run() -> None:
        subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)

    return median_seconds(run, 3)
