"""Windows: the parts of a motion or video that have an embedding of their own, and the choice among those found."""

from collections.abc import Iterable

import numpy as np


WINDOW = 4.0  # seconds


def windows_of(num_frames: int, max_frames: int, fps: float) -> list[tuple[int, int]]:
    """Split a motion or video into the parts that are embedded.

    What fits into the model is one part. A longer motion is covered twice: by windows of 4 seconds that start one
    second apart, and by windows of `max_frames` that start half their length apart.

    Args:
        num_frames (`int`): length of the motion.
        max_frames (`int`): the longest motion that the model reads.
        fps (`float`): frames per second.

    Returns:
        `list[tuple[int, int]]`: first frame of each part and the frame after its last.
    """
    if num_frames <= max_frames:
        return [(0, num_frames)]
    parts = []
    for size, overlap in ((round(WINDOW * fps), 4), (max_frames, 2)):
        starts = [*range(0, num_frames - size, size // overlap), num_frames - size]
        parts += [(start, start + size) for start in starts]
    return parts


def choose_windows(
    ranked: Iterable[int], items: np.ndarray, spans: np.ndarray, k: int, every_match: bool = False
) -> list[int]:
    """Choose at most `k` windows, best first, so that no part of a motion is found twice.

    Args:
        ranked (`Iterable[int]`): rows of windows, best first.
        items (`np.ndarray` of shape `(num_rows,)`): the motion that each row belongs to.
        spans (`np.ndarray` of shape `(num_rows, 2)`): start and end of each row in its motion, in seconds.
        k (`int`): how many to choose.
        every_match (`bool`): choose all windows of a motion that do not overlap a better one, instead of its best
            window only.
    """
    chosen: list[int] = []
    taken: dict[int, list[np.ndarray]] = {}
    for row in ranked:
        start, end = spans[row]
        better = taken.setdefault(int(items[row]), [])
        if better and (not every_match or any(start < other[1] and other[0] < end for other in better)):
            continue
        better.append(spans[row])
        chosen.append(row)
        if len(chosen) == k:
            break
    return chosen
