"""`lamp-hf` in one of four processes: `python faulty_process.py FOLDER ARGUMENTS`.

They meet in FOLDER when each has claimed its first portion. There process 0 hangs and process 1 is killed; the others
go on once FOLDER has a file `go`. What a process works on is in its log there. Portions are of two files.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lamp_hf import Motion, batch_generation
from lamp_hf.cli import app
from lamp_hf.retrieval import folder


RANK, MEETING = os.environ["RANK"], Path(sys.argv[1])
FAULTS = {"0": signal.SIGSTOP, "1": signal.SIGKILL}


def meet(work: Callable, log: Callable) -> Callable:
    def work_after_the_meeting(*arguments, **options):
        (MEETING / RANK).touch()
        while len(list(MEETING.glob("?"))) < 4 or (RANK not in FAULTS and not (MEETING / "go").exists()):
            time.sleep(0.05)
        if RANK in FAULTS:
            os.kill(os.getpid(), FAULTS[RANK])
        with open(MEETING / f"{RANK}.log", "a") as file:
            file.writelines(f"{name}\n" for name in log(*arguments))
        return work(*arguments, **options)

    return work_after_the_meeting


folder.PORTION = 2
Motion.load = meet(Motion.load, lambda path: [path.name])
batch_generation._generate = meet(batch_generation._generate, lambda pipe, batch, *_: [p.name for p in batch])
app(sys.argv[2:])
