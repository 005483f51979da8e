"""Weights sharded among processes (FSDP2), when Accelerate is launched with training/launch/fsdp.yaml.

Each layer is sharded by itself, so that one at a time is whole, and what is outside of layers together. PyTorch shards
no weight of zero dimensions, such as a temperature: every process keeps these, and their gradients are averaged here.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from torch import nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers.modeling_layers import GradientCheckpointingLayer

from .objective import Objective


def choose_shards(accelerator: Accelerator, objective: Objective) -> None:
    """Tell Accelerate what to shard when it prepares an objective, and in which precision to compute.

    Layers are those that gradient checkpointing recomputes one by one. Weights keep their precision and passes run
    under autocast, as without shards; Accelerate by itself would cast weights, inputs and gradients.

    Args:
        accelerator (`Accelerator`): one that shards.
        objective ([`Objective`]): what it will prepare.

    Raises:
        ValueError: if some trained weights would get no gradient; the checkpoint would lack what resuming asks for.
    """
    if objective.leaves_weights_unused:
        raise ValueError("the recipe leaves weights without a gradient: such a run cannot be sharded, use ddp.yaml")
    plugin = accelerator.state.fsdp_plugin
    plugin.transformer_cls_names_to_wrap = sorted(layer_classes(objective))
    plugin.ignored_modules = [nn.ParameterList(_kept_whole(objective)).to(accelerator.device)]
    plugin.mixed_precision_policy = MixedPrecisionPolicy()
    objective.forward = accelerator.autocast()(objective.forward)


def layer_classes(objective: nn.Module) -> set[str]:
    """Return the names of classes of layers, but for those that share weights with others and must stay with them."""
    uses = Counter(id(parameter) for _, parameter in objective.named_parameters(remove_duplicate=False))
    layers = [module for module in objective.modules() if isinstance(module, GradientCheckpointingLayer)]
    tied = [layer for layer in layers if any(uses[id(parameter)] > 1 for parameter in layer.parameters())]
    return {type(layer).__name__ for layer in layers} - {type(layer).__name__ for layer in tied}


def _kept_whole(objective: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in objective.parameters() if parameter.ndim == 0]


def average_gradients(accelerator: Accelerator, objective: nn.Module) -> None:
    """Average the gradients of weights of zero dimensions over processes; FSDP does so for all others."""
    for parameter in _kept_whole(objective):
        if parameter.grad is not None:
            parameter.grad = accelerator.reduce(parameter.grad, "mean")


@contextmanager
def callable_by_parts(objective: nn.Module) -> Iterator[None]:
    """Let the methods of a sharded objective's model be called, for the time of a `with` block.

    All processes must call the same. Layers are still whole one at a time. Without shards nothing is done.
    """
    shards = [module for module in objective.modules() if isinstance(module, FSDPModule)]
    if isinstance(objective, FSDPModule):
        objective.unshard()  # what is outside of layers
    try:
        yield
    finally:
        for module in shards:
            module.reshard()


def gather(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights with sharded ones whole, on the CPU of the first process; others take part and get none of them.

    Names of one and the same weight get one and the same result.
    """
    whole = {}
    for key, weight in {id(weight): weight for weight in weights.values()}.items():
        if isinstance(weight, DTensor):
            weight = weight.detach().full_tensor()  # all processes send their shards
            if torch.distributed.get_rank():
                continue
            weight = weight.cpu()
        whole[key] = weight
    return {name: whole[id(weight)] for name, weight in weights.items() if id(weight) in whole}


def shard_like(whole: torch.Tensor, example: torch.Tensor) -> torch.Tensor:
    """Return this process's part of a weight that all processes have, sharded like another, if that one is."""
    if not isinstance(example, DTensor):
        return whole
    whole = whole.to(example.device)
    return distribute_tensor(whole, example.device_mesh, example.placements, src_data_rank=None)
