"""Speed and memory of the bundled model on this machine."""

import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

import lamp_hf


def measure() -> dict[str, float]:
    """Seconds, frames per second and megabytes; see the names. Medians of several runs."""
    from transformers import pipeline

    pipe = pipeline("text-to-motion", model=lamp_hf.bundled())
    text = "a person walks forward and waves with the left hand"
    joints = pipe(text, duration=6.0, seed=0)["joints"]
    batch = torch.from_numpy(np.stack([joints] * 64))
    frames = batch.shape[0] * batch.shape[1]
    results = {
        "generate_6_seconds_s": _median(lambda: pipe(text, duration=6.0, seed=0), 9),
        "generate_batch_of_8_s": _median(lambda: pipe([text] * 8, duration=6.0, seed=0), 3),
        "joints_to_features_frames_per_s": frames / _median(lambda: lamp_hf.joints_to_features(batch), 5),
        "features_to_joints_frames_per_s": frames
        / _median(lambda: lamp_hf.features_to_joints(torch.zeros(64, batch.shape[1], 263)), 5),
        "render_224_frames_per_s": len(joints) / _median(lambda: lamp_hf.Motion(joints).render(224), 1),
        "import_torch_s": _import_seconds("torch"),
        "import_torch_and_lamp_hf_s": _import_seconds("torch, lamp_hf"),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads": torch.get_num_threads(),
    }
    return {name: float(f"{value:.4g}") for name, value in results.items()}


def _median(run: Callable, repeats: int) -> float:
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def _import_seconds(modules: str) -> float:
    def run() -> None:
        subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)

    return _median(run, 3)
