"""The queue of jobs: how many may wait, what cancelling does, and which results are kept."""

import threading
import time

import pytest


pytest.importorskip("fastapi")
from lamp_hf.serve.errors import QueueFullError
from lamp_hf.serve.jobs import Job, JobQueue


def test_a_queue_that_is_full_refuses_with_the_time_to_wait():
    release = threading.Event()
    queue = JobQueue(lambda task, requests: release.wait(30) and requests, max_waiting=2)
    jobs = [Job("a", number) for number in range(3)]
    queue.submit(jobs[0])
    while jobs[0].status != "running":
        time.sleep(0.001)
    queue.submit(jobs[1], jobs[2])
    with pytest.raises(QueueFullError, match="2 requests are waiting already: try again in 2 s"):
        queue.submit(Job("a", 3))
    with pytest.raises(QueueFullError), queue.reserved_place():
        pass
    assert [queue.position(job) for job in jobs] == [None, 0, 1]
    release.set()
    assert [job.future.result(30) for job in jobs] == [0, 1, 2]
    queue.close()


def test_a_waiting_job_is_cancelled_and_a_running_one_dropped():
    release, seen = threading.Event(), []

    def work(task: str, requests: list) -> list:
        seen.extend(requests)
        return [release.wait(30) for _ in requests]

    queue = JobQueue(work, max_waiting=9)
    jobs = [Job("a", number) for number in range(3)]
    queue.submit(*jobs)
    while jobs[0].status != "running":
        time.sleep(0.001)
    queue.cancel(jobs[0].id)
    queue.cancel(jobs[1].id)
    release.set()
    assert jobs[2].future.result(30) and [job.status for job in jobs] == ["cancelled", "cancelled", "done"]
    assert seen == [0, 2]
    queue.close()


def test_the_latest_results_are_kept():
    queue = JobQueue(lambda task, requests: requests, max_waiting=9, max_kept=2)
    jobs = [Job("a", number) for number in range(5)]
    for job in jobs:
        queue.submit(job)
        job.future.result(30)
    kept = [job for job in jobs if job.id in queue._jobs]
    assert kept[-2:] == jobs[-2:] and len(kept) == 3  # the newest was not done when it was submitted
    queue.close()
