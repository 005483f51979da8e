"""The training loop that every stage shares, on Accelerate.

A batch is a pure function of the recipe's seed and the step, see `batches`. A run that was killed therefore resumes
exactly where it was, and processes that share a batch train like one process.
"""

import json
import os
import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import psutil
import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from torch import nn
from tqdm.auto import tqdm
from transformers.utils import PushToHubMixin

from .averaging import WeightAverage
from .batches import Source, load_batches, to_device
from .gradient_cache import ComparingObjective, losses_of_parts
from .objective import Objective
from .recipe import RECORD
from .schedule import make_schedule
from .sharding import average_gradients, callable_by_parts, choose_shards, gather


def train(
    objective: Objective,
    source: Source,
    recipe: dict,
    output: Path,
    evaluate: Callable[[nn.Module], dict[str, float]],
    processor: PushToHubMixin | None = None,
) -> None:
    """Train until the recipe's last step, resuming from the newest checkpoint in `output` if there is one.

    Args:
        objective ([`Objective`]): its `model` is saved.
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
    accelerator = _accelerator(recipe, output, objective.leaves_weights_unused)
    if settings.get("gradient_checkpointing"):
        objective.model.activation_checkpointing_enable({"use_reentrant": False})
    if accelerator.is_fsdp2:
        choose_shards(accelerator, objective)
    groups = parameter_groups(objective, settings)
    optimizer = torch.optim.AdamW(groups, settings["learning_rate"], tuple(settings["betas"]), fused=True)
    scheduler = make_schedule(optimizer, settings)
    model, optimizer = accelerator.prepare(objective, optimizer)
    average = WeightAverage(objective, settings["ema_decay"])
    accelerator.register_for_checkpointing(scheduler, average)
    wait = _patient_barrier(accelerator)
    first_step = step = _resume(accelerator, output)
    if accelerator.is_main_process:
        output.mkdir(parents=True, exist_ok=True)
        (output / RECORD).write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    progress = tqdm(total=settings["max_steps"], initial=step, disable=not accelerator.is_main_process, mininterval=5)
    objective.train()
    started = time.perf_counter()
    for parts in load_batches(source, settings, recipe["seed"], step, accelerator):
        loss, logs = _take_step(accelerator, model, objective, optimizer, parts, settings)
        scheduler.step()
        average.update()
        step += 1
        progress.update()
        if step % 10 == 0:
            logs = {name: float(value) for name, value in logs.items()} | {"loss": loss.item()}
            progress.set_postfix({name: f"{value:.3g}" for name, value in logs.items()}, refresh=False)
            accelerator.log(logs | {"learning_rate": scheduler.get_last_lr()[0]}, step=step)
        last = step == settings["max_steps"]
        if last or step % recipe["evaluation_steps"] == 0:
            with average.applied():
                _evaluate(accelerator, objective, evaluate, output, step)
                wait()
        if last or step % recipe["checkpoint_steps"] == 0:
            _save_checkpoint(accelerator, output, step, wait)
    with average.applied():
        _save_model(accelerator, objective.model, processor, output / "model")
    if accelerator.is_main_process:
        seconds = (time.perf_counter() - started) / max(step - first_step, 1)
        tqdm.write(f"{seconds:.2f} s a step, all included; memory {_memory(accelerator.device):.1f} GB")
    wait()
    accelerator.end_training()


def _save_model(accelerator: Accelerator, model: nn.Module, processor: PushToHubMixin | None, folder: Path) -> None:
    """Save the averaged model, and its processor if it has one, on the main process."""
    weights = gather(model.state_dict(keep_vars=True)) if accelerator.is_fsdp2 else None

    def write(temporary: Path) -> None:
        model.save_pretrained(temporary, state_dict=weights)
        if processor is not None:
            processor.save_pretrained(temporary)

    if accelerator.is_main_process:
        save_atomically(write, folder)


def _accelerator(recipe: dict, output: Path, leaves_weights_unused: bool) -> Accelerator:
    """Make the accelerator, seed this process and start the logs."""
    settings = recipe["optimization"]
    accelerator = Accelerator(
        gradient_accumulation_steps=settings["gradient_accumulation_steps"],
        mixed_precision=settings["mixed_precision"],
        dynamo_backend="inductor" if settings.get("compile") else None,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=leaves_weights_unused)],
        log_with="tensorboard",
        project_dir=str(output),
    )
    set_seed(recipe["seed"] + accelerator.process_index)
    accelerator.init_trackers("logs")
    return accelerator


def _take_step(
    accelerator: Accelerator, model: nn.Module, objective: Objective, optimizer, parts: list[dict], settings
):
    """Add the gradients of a batch's parts, clip their sum, update the weights; return loss and logs of the last."""
    if isinstance(objective, ComparingObjective) and len(parts) > 1:
        losses = losses_of_parts(accelerator, model, objective, parts)
    else:
        losses = (model(**to_device(part, accelerator.device)) for part in parts)
    for _ in parts:
        with accelerator.accumulate(model):
            loss, logs = next(losses)
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                if accelerator.is_fsdp2:
                    average_gradients(accelerator, objective)
                accelerator.clip_grad_norm_(model.parameters(), settings["max_grad_norm"])
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


def _patient_barrier(accelerator: Accelerator) -> Callable[[], None]:
    """Return a function that waits for all processes, a day if need be.

    The main process alone writes and, unless weights are sharded, validates. A GPU's own barrier would give up on it
    after ten minutes, which is right for a step that hangs and too short for a long validation.
    """
    if accelerator.num_processes == 1:
        return lambda: None
    group = torch.distributed.new_group(backend="gloo", timeout=timedelta(days=1))
    return lambda: torch.distributed.barrier(group)


def _save_checkpoint(accelerator: Accelerator, output: Path, step: int, wait: Callable[[], None]) -> None:
    """Save under a temporary name first, so that a folder called step_N is always complete; keep the last two."""
    temporary = output / "checkpoints" / "writing"
    accelerator.save_state(str(temporary))
    wait()
    if accelerator.is_main_process:
        final = output / "checkpoints" / f"step_{step:08d}"
        shutil.rmtree(final, ignore_errors=True)
        os.replace(temporary, final)
        for old in sorted(final.parent.glob("step_*[0-9]"))[:-2]:
            shutil.rmtree(old)
    wait()


def _evaluate(accelerator: Accelerator, objective: nn.Module, evaluate: Callable, output: Path, step: int) -> None:
    """Compute, log and append the validation numbers, on the main process; the others help if weights are sharded."""
    if not (accelerator.is_main_process or accelerator.is_fsdp2):
        return
    objective.eval()
    with torch.no_grad(), accelerator.autocast(), callable_by_parts(objective):
        numbers = {name: round(float(value), 5) for name, value in evaluate(objective).items()}
    objective.train()
    if accelerator.is_main_process:
        accelerator.log({f"val/{name}": value for name, value in numbers.items()}, step=step)
        tqdm.write(f"step {step}: {numbers}")
        with open(output / "evaluations.jsonl", "a") as file:
            file.write(json.dumps({"step": step} | numbers) + "\n")
