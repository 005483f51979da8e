"""Work that any number of processes share through a folder; none of them waits for another.

A claim is a lock of the system on a file. A process that dies loses its claims at once, and another takes its work
over; one that is slow or hangs keeps them, and the others do the rest.
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout


Item = TypeVar("Item")


def name_portion(content: Any) -> str:
    """Name a portion of work by what it is, given as JSON, so that all processes know it by the same name."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def claim(
    names: Iterable[str], folder: Path, find_missing: Callable[[str], list[Item]], size: int = 1
) -> Iterator[list[Item]]:
    """Yield what is missing of the portions that no other process has, each portion once.

    The portions that are left at the end are those that others still had when this process had nothing else to do.

    Args:
        names (`Iterable[str]`): of the portions.
        folder (`Path`): the same for all processes, made if it is missing; holds the locks, `NAME.lock`.
        find_missing (`Callable`): lists what is missing of a portion, which this process has claimed by then.
        size (`int`): least number of items to yield together, from several portions if need be.
    """
    left = list(names)
    with ExitStack() as claims:
        while left:
            tried, left, items = left, [], []
            for name in tried:
                lock = _try_lock(folder / f"{name}.lock")
                if lock is None:
                    left.append(name)
                elif missing := find_missing(name):
                    claims.callback(lock.release)
                    items += missing
                else:
                    lock.release()
                if len(items) >= size:
                    yield items
                    items = []
                    claims.close()
            if items:
                yield items
                claims.close()
            if len(left) == len(tried):  # nobody has finished, or died, since the last look
                return


@contextmanager
def own_number(folder: Path) -> Iterator[int]:
    """Give this process the smallest number that no other process of the folder has at present."""
    for number in itertools.count():
        lock = _try_lock(folder / f"process {number}.lock")
        if lock is not None:
            with lock:
                yield number
            return


def _try_lock(path: Path) -> FileLock | None:
    """Lock a file; None where another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock
