"""Work shared by the processes that `accelerate launch` or `torchrun` started."""

import atexit
import os

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env


def this_process(**options) -> PartialState:
    """Return this process's rank, the number of processes, and its device; works without an accelerator too.

    Args:
        options (*optional*): of `torch.distributed.init_process_group`; they count the first time.
    """
    return PartialState(cpu=_is_on_cpu(), **options)


def take_device() -> torch.device:
    """Make this process's device the current one and return it, without waiting for the other processes."""
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is None or _is_on_cpu():
        return torch.device("cpu")
    device = torch.device(accelerator.type, int(os.environ.get("LOCAL_RANK", 0)) % torch.accelerator.device_count())
    torch.accelerator.set_device_index(device)
    return device


def _is_on_cpu() -> bool:
    return parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()


@atexit.register
def _leave_process_group() -> None:
    """Stop the threads that connect the processes; a process that ends while they run may abort."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
