"""Time and memory of a call."""

import sys
import time
from collections.abc import Callable

import numpy as np
import psutil
import torch


def median_seconds(run: Callable[[], object], repeats: int) -> float:
    """Return the median time of several calls, after one that does not count."""

    def run_to_end() -> None:
        run()
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()

    run_to_end()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        run_to_end()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))


def peak_memory_mb() -> float:
    """Return the most memory that this process has held, in megabytes."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def rounded(results: dict[str, float]) -> dict[str, float]:
    """Round to four significant digits."""
    return {name: float(f"{value:.4g}") for name, value in results.items()}
