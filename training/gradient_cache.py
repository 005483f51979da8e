"""Losses that compare all rows of a batch, also where it is processed in parts (GradCache, Gao et al., 2021).

A part alone would offer fewer wrong pairs. Each part is therefore embedded twice: first without gradients, which takes
little memory; then the rows of all parts are compared, which gives the gradient of each embedding; and then once more,
to carry these gradients on to the weights. Random numbers are the same both times. Loss and gradients are those of the
whole batch at once, at the cost of one more forward pass of the encoders.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import nn

from .batches import to_device
from .objective import Objective


Rows = dict[str, torch.Tensor]  # each with the rows of a batch, or several of them a row, in its first dimension


@dataclass
class Comparison:
    """Loss of a whole batch, with its gradients for the rows of one part.

    Args:
        loss (`torch.FloatTensor` of shape `()`): value of the loss.
        logs (`dict[str, torch.Tensor]`): numbers to log.
        row_gradients (`dict[str, torch.Tensor]`): for each tensor of rows that the loss depends on.
        weight_gradients (`list[torch.Tensor]`): for each of `comparing_weights`; only with the last part, whose
            backward pass is the one in which processes exchange gradients.
        parts (`int`): of the batch, by whose number the gradients will be divided.
    """

    loss: torch.Tensor
    logs: dict[str, torch.Tensor]
    row_gradients: Rows
    weight_gradients: list[torch.Tensor]
    parts: int

    def loss_of(self, rows: Rows, weights: list[nn.Parameter]) -> torch.Tensor:
        """Return the loss as a function of the rows of a part, embedded again, and of the weights."""
        products = [(rows[name] * gradient).sum() for name, gradient in self.row_gradients.items()]
        products += [(weight * gradient).sum() for weight, gradient in zip(weights, self.weight_gradients)]
        linear = self.parts * sum(products)
        return self.loss + linear - linear.detach()


class ComparingObjective(Objective):
    """An objective with a loss that compares all rows of a batch, and possibly losses of each row by itself."""

    def comparing_weights(self) -> list[nn.Parameter]:
        """Return the weights that `compare` uses, such as a temperature."""
        raise NotImplementedError

    def trained_comparing_weights(self) -> list[nn.Parameter]:
        """Return those of them that are not frozen."""
        return [weight for weight in self.comparing_weights() if weight.requires_grad]

    def embed(self, **batch) -> tuple[Rows, object]:
        """Return what `compare` needs of a batch, and whatever else `judge` needs."""
        raise NotImplementedError

    def compare(self, rows: Rows) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss of rows that are compared with each other, and numbers to log."""
        raise NotImplementedError

    def judge(self, encoded: object, **batch) -> tuple[torch.Tensor | float, dict[str, torch.Tensor]]:
        """Return the other losses, means over the rows of a batch, and numbers to log; none by default."""
        return 0.0, {}

    def forward(self, comparison: Comparison | None = None, only_embed: bool = False, **batch):
        """Return loss and logs of a batch, with its rows compared with each other or as `comparison` tells.

        Args:
            comparison ([`Comparison`], *optional*): of the whole batch that this one is a part of.
            only_embed (`bool`): return the rows alone.
            batch: from the source.
        """
        rows, encoded = self.embed(**batch)
        if only_embed:
            return rows
        if comparison is None:
            loss, logs = self.compare(rows)
        else:
            loss, logs = comparison.loss_of(rows, self.trained_comparing_weights()), comparison.logs
        others, more = self.judge(encoded, **batch)
        return loss + others, logs | more


def losses_of_parts(
    accelerator: Accelerator, model: nn.Module, objective: ComparingObjective, parts: list[dict]
) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
    """Yield loss and logs of each part of a batch, whose mean has the gradients of the whole batch.

    Args:
        accelerator (`Accelerator`): moves batches and sets the precision.
        model (`nn.Module`): the objective as prepared by it.
        objective ([`ComparingObjective`]): the objective.
        parts (`list[dict]`): micro-batches.
    """
    seeds = torch.randint(2**62, (len(parts),)).tolist()
    rows = []
    for part, seed in zip(parts, seeds):
        torch.manual_seed(seed)
        with torch.no_grad():
            rows.append(model(only_embed=True, **to_device(part, accelerator.device)))
    with accelerator.autocast():
        comparisons = compare_parts(objective, rows)
    for part, seed, comparison in zip(parts, seeds, comparisons):
        torch.manual_seed(seed)
        yield model(comparison=comparison, **to_device(part, accelerator.device))


def compare_parts(objective: ComparingObjective, parts: list[Rows]) -> list[Comparison]:
    """Compare the rows of all parts and return the result for each."""
    whole = {name: join([rows[name] for rows in parts]) for name in parts[0]}
    embedded = [name for name, values in whole.items() if values.is_floating_point()]
    for name in embedded:
        whole[name].requires_grad_()
    weights = objective.trained_comparing_weights()
    with torch.enable_grad():
        loss, logs = objective.compare(whole)
        inputs = [*(whole[name] for name in embedded), *weights]
        gradients = torch.autograd.grad(loss, inputs, allow_unused=True)
    by_name = {name: value for name, value in zip(embedded, gradients) if value is not None}
    of_weights = [torch.zeros_like(w) if g is None else g for w, g in zip(weights, gradients[len(embedded) :])]
    split = {name: part_rows(gradient, [rows[name] for rows in parts]) for name, gradient in by_name.items()}
    return [
        Comparison(
            loss.detach(),
            logs,
            {name: pieces[number] for name, pieces in split.items()},
            of_weights if number == len(parts) - 1 else [],
            len(parts),
        )
        for number in range(len(parts))
    ]


def join(parts: list[torch.Tensor]) -> torch.Tensor:
    """Concatenate rows, padded with zeros in the second dimension to the longest."""
    if parts[0].ndim > 1:
        longest = max(part.shape[1] for part in parts)
        rest = (0, 0) * (parts[0].ndim - 2)
        parts = [nn.functional.pad(part, (*rest, 0, longest - part.shape[1])) for part in parts]
    return torch.cat(parts)


def part_rows(joined: torch.Tensor, parts: list[torch.Tensor]) -> list[torch.Tensor]:
    """Cut what [`join`] made of parts into pieces of their shapes."""
    pieces = joined.split([len(part) for part in parts])
    return [piece[:, : part.shape[1]] if part.ndim > 1 else piece for piece, part in zip(pieces, parts)]
