"""Moving averages of the trained parameters, which validation and the saved model use."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from .sharding import gather, shard_like


class WeightAverage:
    """Exponential moving averages of a module's trained parameters; frozen ones and buffers need none.

    Args:
        module (`nn.Module`): its parameters that require gradients are averaged.
        decay (`float`): share of the average that each update keeps.
    """

    def __init__(self, module: nn.Module, decay: float):
        self._trained = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
        self._averages = {name: weight.detach().clone() for name, weight in self._trained.items()}
        self._num_updates = 0
        self._average = get_ema_multi_avg_fn(decay)

    @torch.no_grad()
    def update(self) -> None:
        """Move the averages towards the parameters; the first time, copy them."""
        averages, weights = list(self._averages.values()), list(self._trained.values())
        if self._num_updates:
            self._average(averages, weights, self._num_updates)
        else:
            for average, weight in zip(averages, weights):
                average.copy_(weight)
        self._num_updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the module the averages for the time of a `with` block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, weight in self._trained.items():
            kept = weight.clone()
            weight.copy_(self._averages[name])
            self._averages[name].copy_(kept)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return whole averages under the names that PyTorch's `AveragedModel` gives them; see [`gather`]."""
        averages = {f"module.{name}": average for name, average in gather(self._averages).items()}
        return averages | {"n_averaged": torch.tensor(self._num_updates)}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Take the averages of a checkpoint.

        Raises:
            ValueError: when one is missing.
        """
        if missing := [name for name in self._averages if f"module.{name}" not in state]:
            raise ValueError(f"the checkpoint has no average of {missing[0]}")
        for name, average in self._averages.items():
            average.copy_(shard_like(state[f"module.{name}"], average))
        self._num_updates = int(state["n_averaged"])
