"""Work that processes share: each portion is done once, whoever hangs or dies."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import make_clip
from transformers import pipeline

from lamp_hf import Motion
from lamp_hf.batch_generation import generate_files, read_prompts
from lamp_hf.claims import claim, name_portion, own_number
from lamp_hf.retrieval import folder
from lamp_hf.retrieval.storage import read_manifest


FAULTY = Path(__file__).with_name("faulty_process.py")


def test_what_others_have_is_left_to_them_and_what_they_leave_is_taken_over(tmp_path):
    done = set()
    one, other, third = (claim("abc", tmp_path, lambda name: [name] * (name not in done)) for _ in range(3))
    assert (next(one), next(other), next(third)) == (["a"], ["b"], ["c"])
    done |= {"b", "c"}
    assert list(other) == []  # one still has a
    one.close()
    assert next(third) == ["a"]


def test_rests_of_portions_are_claimed_together(tmp_path):
    rests = {"a": [1], "b": [], "c": [2, 3], "d": [4]}
    claims = claim(rests, tmp_path, rests.get, size=3)
    assert next(claims) == [1, 2, 3]
    assert list(claim(rests, tmp_path, rests.get)) == [[4]]
    assert list(claims) == [[4]]


def test_the_smallest_free_number_is_taken(tmp_path):
    with own_number(tmp_path) as first:
        with own_number(tmp_path) as second:
            assert (first, second) == (0, 1)
        with own_number(tmp_path) as again:
            assert again == 1


def test_a_portion_is_known_by_what_it_is():
    assert name_portion(["a", 1]) == name_portion(["a", 1]) != name_portion(["a", 2])


@contextmanager
def processes(meeting: Path, *arguments) -> Iterator[list[subprocess.Popen]]:
    """Start four, as `accelerate launch` does, of which the first is going to hang and the second to die."""
    meeting.mkdir()
    started = [start(rank, meeting, *arguments) for rank in range(4)]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def start(rank: int, meeting: Path, *arguments) -> subprocess.Popen:
    ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "4"}
    return subprocess.Popen(
        [sys.executable, FAULTY, meeting, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=os.environ | ranks | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def run_with_faults(meeting: Path, *arguments) -> list[str]:
    """Run four processes, of which one hangs and one dies, and then the same again; return what each printed."""
    with processes(meeting, *arguments) as (hanging, dying, *others):
        assert dying.wait(900) == -9
        (meeting / "go").touch()
        printed = [process.communicate(timeout=900) for process in others]
        assert [process.returncode for process in others] == [0, 0], printed
        assert hanging.poll() is None
    again = start(4, meeting, *arguments)
    printed.append(again.communicate(timeout=900))
    assert again.returncode == 0, printed
    return [output for output, _ in printed]


def done_by(meeting: Path, *ranks: int) -> Counter:
    logs = [(meeting / f"{rank}.log").read_text().split() for rank in ranks]
    return sum(map(Counter, logs), Counter())


@pytest.mark.slow
def test_a_gallery_is_made_once_though_one_process_hangs_and_one_is_killed(lamp_folder, tmp_path, monkeypatch):
    recordings, meeting, gallery = (tmp_path / name for name in ("recordings", "meeting", "four"))
    recordings.mkdir()
    for i in range(7):
        make_clip(seed=i).save(recordings / f"{i}.npz")
    (recordings / "7.npy").write_bytes(b"no array")
    *printed, completed = run_with_faults(meeting, "index", recordings, "-o", gallery, "--model", lamp_folder)
    line = r".*/four: not written yet, (\d) files are with other processes; run the same command again if .*\n"
    left = [re.fullmatch(line, text)[1] for text in printed]
    assert min(left) == "2" and max(left) in "24"  # the first to leave may leave the other at work
    assert completed.startswith(f"{gallery}: 7 motions, 7 of them new, 0 dropped")
    assert done_by(meeting, 2, 3, 4) == Counter(path.name for path in recordings.iterdir())
    assert done_by(meeting, 4).total() == 2

    monkeypatch.setattr(folder, "PORTION", 2)
    alone = folder.index_folder(recordings, tmp_path / "one", lamp_folder)
    assert read_manifest(gallery)["sha256"] == read_manifest(tmp_path / "one")["sha256"]
    assert list(alone.broken) == ["7.npy"]
    assert {path.name for path in tmp_path.iterdir()} == {"recordings", "meeting", "four", "one"}


@pytest.mark.slow
def test_prompts_are_done_once_though_one_process_hangs_and_one_is_killed(model_folder, tmp_path):
    prompts, meeting, four = (tmp_path / name for name in ("prompts.txt", "meeting", "four"))
    texts = ("a person walks", "she bows", "a man turns", "someone waves with the left hand")
    prompts.write_text("\n".join(2 * texts))
    arguments = ("--prompts", prompts, "-o", four, "--model", model_folder, "--batch-size", 2, "--kind", "npz")
    *printed, completed = (json.loads(text) for text in run_with_faults(meeting, "generate", *arguments, "--json"))
    assert min(done["missing"] for done in printed) == 2 and sum(done["made"] for done in printed) == 6
    assert (completed["made"], completed["kept"], completed["missing"]) == (2, 6, 0)
    requests, _ = read_prompts(prompts, 0)
    assert done_by(meeting, 2, 3, 4) == Counter(request.name for request in requests)

    generate_files(pipeline("text-to-motion", model=str(model_folder)), requests, tmp_path / "one", "npz", 2)
    for request in requests:
        shared, alone = (Motion.load(part / f"{request.name}.npz").joints for part in (four, tmp_path / "one"))
        np.testing.assert_array_equal(shared, alone)
