"""Load of a server: many users at once, and more requests than the queue holds."""

import http.client
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np

from .timing import rounded


TEXTS = [
    f"a person {action}" for action in ("walks forward", "runs", "waves with the left hand", "bows", "turns left")
]
DURATION = 4.0  # seconds of each motion
BURST = 100  # requests at the same instant; the queue holds 40
_PATIENCE = 600.0  # seconds for an answer


def measure_serving(users: int = 30, seconds: float = 60.0) -> dict[str, float]:
    """Let users generate motions with the bundled model, each one after another, and fetch them as NPZ.

    Then requests come all at once, more than the queue holds. The server is a process of its own.

    Args:
        users (`int`): users at the same time.
        seconds (`float`): for how long they begin new requests.

    Returns:
        `dict[str, float]`: requests that were answered and lost, the times from a request to its file, and how the
        burst was answered; names end in their unit, counts and factors have none.
    """
    with _running_server() as address:
        _generate(address, 0)  # loads what is loaded late
        started = time.perf_counter()
        _generate(address, 1)
        alone = time.perf_counter() - started
        began, until = time.perf_counter(), time.perf_counter() + seconds
        with ThreadPoolExecutor(users) as pool:
            visits = list(pool.map(lambda user: _visit(address, user, until), range(users)))
        took = time.perf_counter() - began
        burst = _burst(address)
    times = [time for visit in visits for time in visit.times]
    p50, p95 = np.percentile(times, [50, 95]).tolist()
    results = {
        "users": users,
        "requests_answered": len(times),
        "requests_refused": sum(visit.refused for visit in visits),
        "requests_lost": sum(visit.lost for visit in visits),
        "motions_per_s": len(times) / took,
        "alone_s": alone,
        "p50_s": p50,
        "p95_s": p95,
        "p95_times_alone": p95 / alone,
        "throughput_times_alone": len(times) / took * alone,
    }
    return rounded(results | burst)


@dataclass
class _Visit:
    times: list[float] = field(default_factory=list)
    refused: int = 0
    lost: int = 0


def _visit(address: str, user: int, until: float) -> _Visit:
    """Ask for one motion after another, and come back later where there is no room."""
    visit, seed = _Visit(), 1000 * user
    while time.perf_counter() < until:
        started = time.perf_counter()
        try:
            wait = _generate(address, seed)
        except (OSError, http.client.HTTPException, RuntimeError):
            visit.lost += 1
            continue
        if wait is None:
            visit.times.append(time.perf_counter() - started)
        else:
            visit.refused += 1
            time.sleep(wait)
        seed += 1
    return visit


def _generate(address: str, seed: int) -> float | None:
    """Generate and fetch a motion; return how many seconds to wait if the server has no room.

    Raises:
        RuntimeError: when the answer is none of these.
    """
    body = json.dumps({"text": TEXTS[seed % len(TEXTS)], "duration": DURATION, "seed": seed})
    status, headers, content = _ask(address, "POST", "/jobs/generate?wait=60", body)
    if status == 503:
        return float(headers["Retry-After"])
    while status == 202:
        status, headers, content = _ask(address, "GET", f"{headers['Location']}?wait=60")
    job = json.loads(content)
    if status != 200 or job["status"] != "done" or job["result"]["seed"] != seed:
        raise RuntimeError(f"{status}: {content[:200]!r}")
    status, _, file = _ask(address, "GET", job["files"]["motion.npz"])
    if status != 200 or not file.startswith(b"PK"):
        raise RuntimeError(f"no file: {status}")
    return None


def _burst(address: str) -> dict[str, float]:
    """Send more requests at once than the queue holds; take back those that were accepted."""

    def send(seed: int) -> tuple[int, http.client.HTTPMessage, bytes]:
        return _ask(address, "POST", "/jobs/generate", json.dumps({"text": TEXTS[0], "duration": 60, "seed": seed}))

    with ThreadPoolExecutor(BURST) as pool:
        answers = list(pool.map(send, range(BURST)))
    for status, headers, _ in answers:
        if status == 202:
            _ask(address, "DELETE", headers["Location"])
    proper = [
        status == 503 and int(headers["Retry-After"]) > 0 and b"try again" in content
        for status, headers, content in answers
    ]
    accepted = sum(status == 202 for status, _, _ in answers)
    return {
        "burst_requests": BURST,
        "burst_accepted": accepted,
        "burst_refused_with_retry_after": sum(proper),
        "burst_answered_otherwise": BURST - accepted - sum(proper),
    }


def _ask(address: str, method: str, path: str, body: str | None = None) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=_PATIENCE)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


@contextmanager
def _running_server():
    """Run a server on a free port, and yield its address."""
    command = [sys.executable, "-m", "lamp_hf", "serve", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if " at http://" not in line:
            raise RuntimeError(f"the server did not start: {line!r}")
        yield line.split(" at ")[1].split(",")[0]
    finally:
        process.terminate()
        process.communicate()
