"""The service behind the HTTP interface: checks requests, reads uploads and queues jobs."""

import asyncio
import contextlib
import re
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath
from typing import Annotated

from fastapi import Depends, Request, UploadFile

from ..models.motion_requests import check_seed
from ..motion.clip import Motion
from .errors import ApiError, as_api_error
from .jobs import Job, JobQueue
from .limits import MAX_CANDIDATES, MAX_CHARACTERS, Limits
from .reading import READERS
from .tasks import ModelTasks, Prompt
from .uploads import read_motion


class Service:
    """Models, their queue, and the limits of what may be asked.

    Args:
        tasks ([`ModelTasks`]): the models.
        limits ([`Limits`]): limits of requests.
    """

    def __init__(self, tasks: ModelTasks, limits: Limits):
        self.tasks, self.limits = tasks, limits
        self.queue = JobQueue(tasks.work, limits.max_waiting)
        self._readers = ThreadPoolExecutor(READERS, "uploads")

    def close(self) -> None:
        """Cancel what waits, and stop."""
        self.queue.close()
        self._readers.shutdown(wait=False, cancel_futures=True)

    def prompt(
        self,
        texts: list[str],
        durations: list[float | None],
        seed: int | None = None,
        num_candidates: int = 1,
        **options: float | None,
    ) -> Prompt:
        """Check a request for a motion.

        Args:
            texts (`list[str]`): what happens, one after another.
            durations (`list[float | None]`): seconds of each; None lets the model choose.
            seed (`int`, *optional*): drawn if not given.
            num_candidates (`int`): motions to generate, of which the best is kept.
            options (*optional*): further options of the pipeline; those that are None are left out.

        Raises:
            ApiError: when it is beyond the limits, or no motion can be generated from it.
        """
        texts = [read_text(text) for text in texts]
        shortest, longest = self.tasks.generator.min_duration, self.tasks.generator.max_duration
        if any(duration is not None and not duration >= shortest for duration in durations):
            raise ApiError("invalid_request", f"the duration is too short: give {shortest:g} seconds or more")
        if num_candidates > MAX_CANDIDATES:
            raise ApiError("invalid_request", f"num_candidates is {num_candidates}: at most {MAX_CANDIDATES}")
        given = tuple((name, value) for name, value in options.items() if value is not None)
        try:
            self.limits.check_length(texts, durations, longest)
            return Prompt(tuple(texts), tuple(durations), check_seed(seed), num_candidates, given)
        except ValueError as error:
            raise as_api_error(error) from None

    async def read(self, upload: UploadFile, fps: float | None = 20.0) -> Motion:
        """Read an uploaded motion, while it holds a place in the queue.

        Raises:
            ApiError: when it is no motion, or there is no room.
        """
        with self.queue.reserved_place():
            loop = asyncio.get_running_loop()
            try:
                return await loop.run_in_executor(self._readers, self._read, upload, fps)
            except (ValueError, OSError) as error:
                raise as_api_error(error if isinstance(error, ValueError) else ValueError(error)) from None

    def _read(self, upload: UploadFile, fps: float | None) -> Motion:
        name = re.sub(r"[^\w.-]", "_", PurePath(upload.filename or "").name)[-80:]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / (name or "motion")
            with open(path, "wb") as file:
                shutil.copyfileobj(upload.file, file)
            return read_motion(path, self.limits.max_seconds, fps)


def read_text(text: str) -> str:
    """Return a text with single spaces.

    Raises:
        ApiError: when it is empty or too long.
    """
    text = " ".join(text.split())
    if not text:
        raise ApiError("invalid_request", "the text is empty: describe what the person does, in a sentence")
    if len(text) > MAX_CHARACTERS:
        raise ApiError("invalid_request", f"the text has {len(text)} characters: at most {MAX_CHARACTERS} are read")
    return text


def service_of(request: Request) -> Service:
    """Return the service of the application that a request came to."""
    return request.app.state.service


Used = Annotated[Service, Depends(service_of)]


async def ended(job: Job, seconds: float) -> bool:
    """Wait until a job has ended, but not longer than `seconds`; tell if it has."""
    loop, event = asyncio.get_running_loop(), asyncio.Event()

    def notify(_) -> None:
        with contextlib.suppress(RuntimeError):  # nobody waits any more
            loop.call_soon_threadsafe(event.set)

    job.future.add_done_callback(notify)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return job.future.done()
