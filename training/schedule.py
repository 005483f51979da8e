"""Learning-rate schedules: those of transformers, and steps at milestones, as released code of the field uses them."""

from bisect import bisect_right

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from transformers import get_scheduler


MULTISTEP = "multistep"


def make_schedule(optimizer: Optimizer, settings: dict) -> LRScheduler:
    """Make the schedule of a recipe's section `optimization`.

    Args:
        optimizer (`Optimizer`): its learning rate is the highest one.
        settings (`dict`): `schedule`, `warmup_steps`, `max_steps` and, optionally, `schedule_options`: those of
            transformers' schedule, or for `"multistep"` the `milestones`, in steps, at each of which the rate is
            multiplied by `gamma`.
    """
    options, warmup = settings.get("schedule_options") or {}, settings["warmup_steps"]
    if settings["schedule"] != MULTISTEP:
        return get_scheduler(
            settings["schedule"], optimizer, warmup, settings["max_steps"], scheduler_specific_kwargs=options
        )
    milestones, gamma = sorted(options["milestones"]), options["gamma"]

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / max(warmup, 1)) * gamma ** bisect_right(milestones, step)

    return LambdaLR(optimizer, rate)
