"""A bounded queue of jobs, and the one thread that works on them."""

import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from typing import Any

from .errors import ApiError, QueueFullError, as_api_error
from .limits import KEPT_SECONDS, MAX_KEPT


MAX_BATCH = 16  # motions that are generated together
_FIRST_ESTIMATE = 1.0  # seconds a job takes, until some have been measured
_LONGEST_RETRY = 60  # seconds


class Job:
    """A piece of work for the models.

    Args:
        task (`str`): what to do.
        request: what to do it with.
        batch_key (*optional*): jobs with equal keys can be worked on together; None for one that stands alone.
        size (`int`): its share of a batch.
    """

    def __init__(self, task: str, request: Any, batch_key: Hashable | None = None, size: int = 1):
        self.task, self.request, self.batch_key, self.size = task, request, batch_key, size
        self.id = secrets.token_urlsafe(12)
        self.future: Future = Future()
        self.submitted, self.started, self.ended = time.monotonic(), math.nan, math.nan
        self.is_cancelled = False

    @property
    def status(self) -> str:
        """`queued`, `running`, `done`, `failed` or `cancelled`."""
        if self.is_cancelled:
            return "cancelled"
        if not self.future.done():
            return "running" if self.future.running() else "queued"
        return "failed" if self.future.exception() else "done"

    def result(self) -> Any:
        """Return the result.

        Raises:
            ApiError: when there is none: the job is not done, has failed, or was cancelled.
        """
        if self.status != "done":
            if self.status == "failed":
                raise as_api_error(self.future.exception())
            raise ApiError("not_ready", f"the job is {self.status}: it has no result")
        return self.future.result()

    def cancel(self) -> None:
        """Take the job back; what is already being worked on is finished, and its result dropped."""
        self.is_cancelled = True
        self.future.cancel()


class JobQueue:
    """Jobs that wait, those that are worked on, and the results of the latest.

    Jobs are worked on in the order in which they came, by one thread; those that wait further back join a batch that
    they fit into.

    Args:
        work (`Callable[[str, list], list]`): takes a task and the requests of one or several jobs, and returns a
            result or an exception for each.
        max_waiting (`int`): jobs that may wait.
        max_kept (`int`): results that are kept.
        kept_seconds (`float`): how long.
    """

    def __init__(
        self,
        work: Callable[[str, list], list],
        max_waiting: int,
        max_kept: int = MAX_KEPT,
        kept_seconds: float = KEPT_SECONDS,
    ):
        self._work, self.max_waiting = work, max_waiting
        self._max_kept, self._kept_seconds = max_kept, kept_seconds
        self._jobs: dict[str, Job] = {}
        self._waiting: deque[Job] = deque()
        self._reserved = 0
        self._seconds_per_job = _FIRST_ESTIMATE
        self._changed = threading.Condition()
        self._is_open = True
        self._thread = threading.Thread(target=self._run, name="models", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """Number of jobs that wait, and of places that are reserved."""
        return len(self._waiting) + self._reserved

    def submit(self, *jobs: Job) -> None:
        """Put jobs into the queue, all or none.

        Raises:
            QueueFullError: when there is not enough room.
            ApiError: when the server is stopping.
        """
        with self._changed:
            self._check_room(len(jobs))
            self._forget_old()
            self._jobs |= {job.id: job for job in jobs}
            self._waiting.extend(jobs)
            self._changed.notify()

    @contextmanager
    def reserved_place(self) -> Iterator[None]:
        """Hold a place while an upload is read.

        Raises:
            QueueFullError: when there is no room.
        """
        with self._changed:
            self._check_room(1)
            self._reserved += 1
        try:
            yield
        finally:
            with self._changed:
                self._reserved -= 1

    def add_done(self, job: Job, result: Any) -> None:
        """Keep a job that needs no model, and its result."""
        job.started = job.ended = time.monotonic()
        job.future.set_result(result)
        with self._changed:
            self._forget_old()
            self._jobs[job.id] = job

    def get(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            ApiError: when there is none with this id, or none any more.
        """
        with self._changed:
            self._forget_old()
            job = self._jobs.get(job_id)
        if job is None:
            kept = f"the latest {self._max_kept} results are kept for {self._kept_seconds / 60:g} minutes"
            raise ApiError("not_found", f"there is no job {job_id[:40]!r}: {kept}")
        return job

    def position(self, job: Job) -> int | None:
        """Return how many jobs come before a waiting one; None for another."""
        with self._changed:
            return self._waiting.index(job) if job in self._waiting else None

    def cancel(self, job_id: str) -> None:
        """Take a job back, or drop the result of one that has ended.

        Raises:
            ApiError: when there is no such job.
        """
        job = self.get(job_id)
        with self._changed:
            if job.future.done():
                del self._jobs[job.id]
                return
            job.cancel()
            if job in self._waiting:
                self._waiting.remove(job)
                job.ended = time.monotonic()

    def close(self, timeout: float = 5.0) -> None:
        """Cancel all jobs and stop the thread."""
        with self._changed:
            self._is_open = False
            for job in self._jobs.values():
                if not job.future.done():
                    job.cancel()
            self._waiting.clear()
            self._changed.notify()
        self._thread.join(timeout)

    def _check_room(self, count: int) -> None:
        if not self._is_open:
            raise ApiError("model_unavailable", "the server is stopping", {"Retry-After": "30"})
        if self.num_waiting + count > self.max_waiting:
            seconds = math.ceil(self.num_waiting * self._seconds_per_job)
            raise QueueFullError(self.num_waiting, min(max(seconds, 1), _LONGEST_RETRY))

    def _forget_old(self) -> None:
        ended = [job for job in self._jobs.values() if job.future.done() and not math.isnan(job.ended)]
        ended.sort(key=lambda job: job.ended)
        oldest = time.monotonic() - self._kept_seconds
        for number, job in enumerate(ended):
            if job.ended < oldest or number < len(ended) - self._max_kept:
                del self._jobs[job.id]

    # The thread.

    def _run(self) -> None:
        while batch := self._next_batch():
            started = time.monotonic()
            for job in batch:
                job.started = started
            try:
                results = self._work(batch[0].task, [job.request for job in batch])
            except Exception as error:
                results = [error] * len(batch)
            for job, result in zip(batch, results):
                self._finish(job, result)
            seconds = (time.monotonic() - started) / len(batch)
            self._seconds_per_job += 0.2 * (seconds - self._seconds_per_job)

    def _next_batch(self) -> list[Job]:
        """Wait for work; an empty list when there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._is_open)
            if not self._is_open:
                return []
            first = self._waiting[0]
            batch, size = [first], first.size
            for job in list(self._waiting)[1:] if first.batch_key is not None else []:
                if job.batch_key == first.batch_key and size + job.size <= MAX_BATCH:
                    batch.append(job)
                    size += job.size
            for job in batch:
                self._waiting.remove(job)
                job.future.set_running_or_notify_cancel()
            return batch

    def _finish(self, job: Job, result: Any) -> None:
        job.ended = time.monotonic()
        if job.is_cancelled:
            job.future.set_exception(CancelledError())
        elif isinstance(result, Exception):
            job.future.set_exception(as_api_error(result))  # logged once, here
        else:
            job.future.set_result(result)
        job.request = None
