"""The training loop that every stage shares, on Accelerate.

A batch is a pure function of the recipe's seed and the step: which clips, which crops, which masks. A run that was
killed therefore resumes exactly where it was, and processes that share a batch see the same batches as one process.
"""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import psutil
import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm
from transformers import PreTrainedModel
from transformers.utils import PushToHubMixin

from .recipe import RECORD
from .schedule import make_schedule


class Source(Protocol):
    """The data of a stage: items drawn by index and a random generator, and their batches."""

    lengths: np.ndarray  # [N] frames or tokens; clips of similar length are batched together
    weights: np.ndarray | None  # [N] how often each clip is drawn; None: each once an epoch

    def item(self, index: int, rng: np.random.Generator) -> dict: ...

    def collate(self, items: list[dict]) -> dict: ...


class Objective(nn.Module):
    """A model and its loss: called with a batch, returns the loss and a dictionary of numbers to log.

    This one takes the model's own loss. Stages with losses of their own derive from it.
    """

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model

    def forward(self, **batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return self.model(**batch).loss, {}


class StepDataset(Dataset):
    """Maps (step, row of the batch) to an item, which depends on the seed, the step and the row only."""

    def __init__(self, source: Source, batch_size: int, seed: int, bucket_batches: int):
        self.source, self.batch_size, self.seed, self.bucket_batches = source, batch_size, seed, bucket_batches
        self._order: tuple[int, np.ndarray] | None = None

    def __getitem__(self, position: tuple[int, int]) -> dict:
        step, row = position
        batches = max(1, len(self.source.lengths) // self.batch_size)
        epoch, batch = divmod(step, batches)
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, self._draw(epoch, batches)
        index = int(self._order[1][batch, row])
        return self.source.item(index, np.random.default_rng((self.seed, step, row)))

    def _draw(self, epoch: int, batches: int) -> np.ndarray:
        """Draw clips `(batches, batch_size)` at random, sorted by length within groups of batches to save padding."""
        rng = np.random.default_rng((self.seed, epoch))
        lengths, weights = self.source.lengths, self.source.weights
        count = batches * self.batch_size
        if weights is None:
            order = np.concatenate([rng.permutation(len(lengths)) for _ in range(count // len(lengths) + 1)])[:count]
        else:
            order = rng.choice(len(lengths), count, p=weights / weights.sum())
        groups = np.array_split(order, max(1, round(batches / self.bucket_batches)))
        order = np.concatenate([group[np.argsort(lengths[group], kind="stable")] for group in groups])
        return rng.permutation(order.reshape(batches, self.batch_size))


def train(
    objective: nn.Module,
    source: Source,
    recipe: dict,
    output: Path,
    evaluate: Callable[[nn.Module], dict[str, float]],
    processor: PushToHubMixin | None = None,
) -> None:
    """Train until the recipe's last step, resuming from the newest checkpoint in `output` if there is one.

    Args:
        objective (`nn.Module`): see [`Objective`]; its `model` is saved.
        source ([`Source`]): the data.
        recipe (`dict`): `seed`, `checkpoint_steps`, `evaluation_steps` and `optimization`.
        output (`Path`): holds `recipe.yaml`, `checkpoints/`, TensorBoard logs, `evaluations.jsonl` and, at the end,
            `model/`.
        evaluate (`Callable`): returns the validation numbers of an objective.
        processor (*optional*): saved beside the model.

    Raises:
        ValueError: when no clip of the training split is usable, or the checkpoint there is of another model.
    """
    if source.weights is not None and not np.any(source.weights):
        raise ValueError(
            "the train split has no clip that this stage can use: all are too short, or lack what it reads"
        )
    settings = recipe["optimization"]
    accelerator = _accelerator(recipe, output)
    optimizer = torch.optim.AdamW(
        parameter_groups(objective, settings), lr=settings["learning_rate"], betas=tuple(settings["betas"])
    )
    scheduler = make_schedule(optimizer, settings)
    averaged = AveragedModel(objective, multi_avg_fn=get_ema_multi_avg_fn(settings["ema_decay"]))
    averaged.to(accelerator.device)
    model, optimizer = accelerator.prepare(objective, optimizer)
    _share_frozen_weights(averaged.module, accelerator.unwrap_model(model))
    accelerator.register_for_checkpointing(scheduler, averaged)
    first_step = step = _resume(accelerator, output)
    if accelerator.is_main_process:
        output.mkdir(parents=True, exist_ok=True)
        (output / RECORD).write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    loader = _loader(source, settings, recipe["seed"], step, accelerator)
    progress = tqdm(total=settings["max_steps"], initial=step, disable=not accelerator.is_main_process, mininterval=5)
    model.train()
    started = time.perf_counter()
    for micro_batch, batch in enumerate(loader):
        loss, logs = _micro_step(accelerator, model, optimizer, batch, settings["max_grad_norm"])
        if (micro_batch + 1) % settings["gradient_accumulation_steps"]:
            continue
        scheduler.step()
        averaged.update_parameters(accelerator.unwrap_model(model))
        step += 1
        progress.update()
        if step % 10 == 0:
            logs = {name: float(value) for name, value in logs.items()} | {"loss": loss.item()}
            progress.set_postfix({name: f"{value:.3g}" for name, value in logs.items()}, refresh=False)
            accelerator.log(logs | {"learning_rate": scheduler.get_last_lr()[0]}, step=step)
        last = step == settings["max_steps"]
        if last or step % recipe["evaluation_steps"] == 0:
            _evaluate(accelerator, averaged.module, evaluate, output, step)
        if last or step % recipe["checkpoint_steps"] == 0:
            _save_checkpoint(accelerator, output, step)
    if accelerator.is_main_process:
        _save_model(averaged.module.model, processor, output / "model")
        seconds = (time.perf_counter() - started) / max(step - first_step, 1)
        tqdm.write(f"{seconds:.2f} s a step, all included; memory {_memory(accelerator.device):.1f} GB")
    accelerator.wait_for_everyone()
    accelerator.end_training()


def _save_model(model: nn.Module, processor: PushToHubMixin | None, folder: Path) -> None:
    """Save the averaged model, and its processor if it has one."""
    parts = [model] if processor is None else [model, processor]
    save_atomically(lambda temporary: [part.save_pretrained(temporary) for part in parts], folder)


def _share_frozen_weights(averaged: nn.Module, model: nn.Module) -> None:
    """Let the averaged model use the frozen weights, such as those of a large language model, without a copy."""
    for ours, theirs in zip(averaged.parameters(), model.parameters(), strict=True):
        if not theirs.requires_grad:
            ours.data = theirs.data


def _accelerator(recipe: dict, output: Path) -> Accelerator:
    """Make the accelerator, seed this process and start the logs."""
    settings = recipe["optimization"]
    accelerator = Accelerator(
        gradient_accumulation_steps=settings["gradient_accumulation_steps"],
        mixed_precision=settings["mixed_precision"],
        # A loss of weight 0 leaves its head without a gradient.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        log_with="tensorboard",
        project_dir=str(output),
    )
    set_seed(recipe["seed"] + accelerator.process_index)
    accelerator.init_trackers("logs")
    return accelerator


def _micro_step(accelerator: Accelerator, model: nn.Module, optimizer, batch: dict, max_grad_norm: float):
    """Add a micro-batch's gradient; the last one of a batch also clips it and updates the weights."""
    with accelerator.accumulate(model):
        loss, logs = model(**to_device(batch, accelerator.device))
        accelerator.backward(loss)
        if accelerator.sync_gradients:
            accelerator.clip_grad_norm_(model.parameters(), max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
    return loss, logs


def _memory(device: torch.device) -> float:
    """Return the gigabytes in use by this process, or the peak on its GPU if it has one."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return psutil.Process().memory_info().rss / 1e9


def parameter_groups(objective: nn.Module, settings: dict) -> list[dict]:
    """Group parameters with and without weight decay and by learning rate.

    `learning_rate_scales` maps parts of parameter names to factors of the learning rate; 0 freezes.
    """
    groups: dict[tuple, dict] = {}
    for name, parameter in objective.named_parameters():
        scales = [scale for part, scale in settings["learning_rate_scales"].items() if part in name]
        scale = min(scales, default=1.0)
        if scale == 0:
            parameter.requires_grad_(False)
        if not parameter.requires_grad:
            continue
        decay = settings["weight_decay"] if parameter.ndim > 1 else 0.0
        group = {"params": [], "lr": settings["learning_rate"] * scale, "weight_decay": decay}
        groups.setdefault((scale, decay), group)["params"].append(parameter)
    return list(groups.values())


def save_atomically(write: Callable[[Path], None], folder: Path) -> None:
    """Let `write` fill a temporary folder, then move it to `folder`, replacing what was there."""
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    write(temporary)
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(temporary, folder)


def _loader(source: Source, settings: dict, seed: int, first_step: int, accelerator: Accelerator) -> DataLoader:
    """Load batches from `first_step` on: a step's micro-batches one after another, rows in the order of processes."""
    batch_size, accumulation = settings["batch_size"], settings["gradient_accumulation_steps"]
    rows, rest = divmod(batch_size, accelerator.num_processes * accumulation)
    if rest or not rows:
        parts = f"{accelerator.num_processes} processes times {accumulation} accumulation steps"
        raise ValueError(f"a batch of {batch_size} does not divide into {parts}")
    micro_batches = [
        [(step, (part * accelerator.num_processes + accelerator.process_index) * rows + row) for row in range(rows)]
        for step in range(first_step, settings["max_steps"])
        for part in range(accumulation)
    ]
    dataset = StepDataset(source, batch_size, seed, settings["bucket_batches"])
    workers = settings["num_workers"]
    return DataLoader(dataset, batch_sampler=micro_batches, collate_fn=source.collate, num_workers=workers)


def to_device(batch: dict, device: torch.device) -> dict:
    """Move the tensors of a batch to a device."""
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}


def _resume(accelerator: Accelerator, output: Path) -> int:
    """Load the newest checkpoint and return its step; 0 if there is none.

    Raises:
        ValueError: if the checkpoint does not fit the model.
    """
    checkpoints = sorted((output / "checkpoints").glob("step_*[0-9]"))
    if not checkpoints:
        return 0
    try:
        accelerator.load_state(str(checkpoints[-1]))
    except RuntimeError:  # its message is a page of weights
        raise ValueError(f"{checkpoints[-1]} is of a model of other sizes: name another --output") from None
    step = int(checkpoints[-1].name.removeprefix("step_"))
    if accelerator.is_main_process:
        tqdm.write(f"resuming from step {step}")
    return step


def _save_checkpoint(accelerator: Accelerator, output: Path, step: int) -> None:
    """Save under a temporary name first, so that a folder called step_N is always complete; keep the last two."""
    temporary = output / "checkpoints" / "writing"
    accelerator.save_state(str(temporary))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        final = output / "checkpoints" / f"step_{step:08d}"
        shutil.rmtree(final, ignore_errors=True)
        os.replace(temporary, final)
        for old in sorted(final.parent.glob("step_*[0-9]"))[:-2]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


def _evaluate(accelerator: Accelerator, objective: nn.Module, evaluate: Callable, output: Path, step: int) -> None:
    """Compute, log and append the validation numbers, on the main process."""
    if accelerator.is_main_process:
        objective.eval()
        with torch.no_grad(), accelerator.autocast():
            numbers = {name: round(float(value), 5) for name, value in evaluate(objective).items()}
        accelerator.log({f"val/{name}": value for name, value in numbers.items()}, step=step)
        tqdm.write(f"step {step}: {numbers}")
        with open(output / "evaluations.jsonl", "a") as file:
            file.write(json.dumps({"step": step} | numbers) + "\n")
    accelerator.wait_for_everyone()
