"""Work shared by the processes that `accelerate launch` or `torchrun` started."""

import atexit

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env


def this_process(**options) -> PartialState:
    """Return this process's rank, the number of processes, and its device; works without an accelerator too.

    Args:
        options (*optional*): of `torch.distributed.init_process_group`; they count the first time.
    """
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    return PartialState(cpu=cpu, **options)


@atexit.register
def _leave_process_group() -> None:
    """Stop the threads that connect the processes; a process that ends while they run may abort."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
