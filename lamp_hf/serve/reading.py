"""Reading uploaded motions in processes of their own, which are ended when a file takes too long or too much memory.

A file that is hard to parse then holds up neither the page nor the models, and the other visitors notice nothing.
"""

import contextlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..motion.clip import Motion
from ..motion.onto_character import retarget


READ_SECONDS = 20.0
MAX_MEMORY = 6 * 2**30  # bytes of a reading process, of which the libraries take a third
READERS = 2  # processes
_READY = "ready\n"


class MotionReader:
    """Reads motions and characters in another process, which is started when it is needed and there is none.

    Args:
        seconds (`float`): time for one file.
    """

    def __init__(self, seconds: float = READ_SECONDS):
        self.seconds = seconds
        self._process: subprocess.Popen | None = None

    def read(self, path: Path, max_seconds: float, fps: float | None = 20.0) -> Motion:
        """Read a motion file.

        Args:
            path (`Path`): the file.
            max_seconds (`float`): length of the longest motion.
            fps (`float`, *optional*): frames per second to resample to; None keeps those of the file.

        Raises:
            ValueError: when it cannot be read, is too long, or takes too much time or memory.
        """
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "motion.npz"
            self._do("read", path, output, max_seconds, fps)
            return Motion.load(output)

    def retarget(self, motion: Motion, onto: Path, output: Path) -> None:
        """Write a character that moves as a motion does, see [`lamp_hf.retarget`].

        Raises:
            ValueError: when the character cannot be read, or takes too much time or memory.
        """
        with tempfile.TemporaryDirectory() as folder:
            self._do("retarget", onto, output, str(motion.save(Path(folder) / "motion.npz")))

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _do(self, task: str, path: Path, output: Path, *options) -> None:
        """Have a task done with a file; raise a `ValueError` when there is a problem with it."""
        answer = self._ask(json.dumps([task, str(path), str(output), *options]))
        if not answer:
            raise ValueError(f"{path.name} takes too much time or memory to read")
        if problem := json.loads(answer):
            raise ValueError(problem)

    def _ask(self, request: str) -> str:
        """Send a line and return the line that answers it; an empty one, and no process, when none came in time."""
        process = self._process = self._process or _start_process()
        assert process.stdin and process.stdout  # both are pipes
        timer = threading.Timer(self.seconds, process.kill)
        timer.start()
        try:
            process.stdin.write(f"{request}\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:  # it was killed by the system
            answer = ""
        finally:
            timer.cancel()
        if not answer:
            self.close()
        return answer


class ReaderPool:
    """Readers, each of which works for one thread at a time.

    Args:
        size (`int`): number of readers.
        seconds (`float`): time for one file.
    """

    def __init__(self, size: int = READERS, seconds: float = READ_SECONDS):
        self._free: queue.SimpleQueue[MotionReader] = queue.SimpleQueue()
        for _ in range(size):
            self._free.put(MotionReader(seconds))

    def read(self, path: Path, max_seconds: float, fps: float | None = 20.0) -> Motion:
        """Read a motion file, see [`MotionReader.read`]."""
        with self._reader() as reader:
            return reader.read(path, max_seconds, fps)

    def retarget(self, motion: Motion, onto: Path, output: Path) -> None:
        """Write a character that moves as a motion does, see [`MotionReader.retarget`]."""
        with self._reader() as reader:
            reader.retarget(motion, onto, output)

    @contextlib.contextmanager
    def _reader(self) -> Iterator[MotionReader]:
        reader = self._free.get()
        try:
            yield reader
        finally:
            self._free.put(reader)


def check_duration(path: Path, seconds: float, max_seconds: float) -> None:
    """Refuse a motion or video that is too long.

    Raises:
        ValueError: when it is.
    """
    if seconds > max_seconds:
        raise ValueError(f"{path.name} lasts {seconds:.1f} seconds; at most {max_seconds:g} are read")


def _start_process() -> subprocess.Popen:
    """Start a process and wait until it has imported what it needs.

    Raises:
        RuntimeError: when it does not start.
    """
    command = [sys.executable, "-m", __name__]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,  # Ctrl-C in the terminal is for the server, whose end also ends this process
    )
    if process.stdout is None or process.stdout.readline() != _READY:
        process.kill()
        process.communicate()
        raise RuntimeError(f"the process that reads files did not start: {' '.join(command)}")
    return process


def _read(path: Path, output: Path, max_seconds: float, fps: float | None) -> None:
    """Read a motion and write what is known of it, but no poses as `Motion.save` does: these take long to find."""
    motion = Motion.load(path)
    check_duration(path, motion.duration, max_seconds)
    motion = motion if fps is None else motion.resample(fps)
    facts: dict[str, Any] = {"fps": motion.fps, "skeleton": motion.skeleton, "text": motion.text or "", "up": "y"}
    if motion.cycle is not None:
        facts |= {"loop_travel": motion.cycle.travel, "loop_turn": motion.cycle.turn}
    np.savez(output, joints=motion.joints, **facts)


def _retarget(onto: Path, output: Path, motion: str) -> None:
    retarget(Motion.load(motion), onto, output)


_TASKS: dict[str, Callable[..., None]] = {"read": _read, "retarget": _retarget}


def _answer(task: str, path: str, output: str, *options) -> str:
    """Do a task, and return what was wrong; nothing if it was right."""
    try:
        _TASKS[task](Path(path), Path(output), *options)
    except (ValueError, OSError) as error:
        return str(error) or "it cannot be read"
    except MemoryError:
        return f"{Path(path).name} takes too much memory to read"
    return ""


def _serve_requests() -> None:
    """Answer each line of the standard input, until there is none."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # not on every system
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY, MAX_MEMORY))
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    print(_READY, end="", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(*json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    _serve_requests()
