r"""Measure what training costs: a data set of any size made of noise, the speed of the loader, and the work of a step.

    python -m training.scale folder noise/ --clips 29000
    python -m training.scale loader --data noise/
    python -m training.scale steps

`loader` reads a folder as stage 1 does. `steps` counts the operations and the memory of a step of the tokenizer, of
LaMP and of the generator in the sizes of the papers, with random weights, and reckons hours and costs on H100.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import psutil
import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lamp_hf.models.configuration_lamp import LampConfig
from lamp_hf.models.configuration_lamp_text_to_motion import LampTextToMotionConfig
from lamp_hf.models.configuration_motion_vqvae import MotionVQVAEConfig
from lamp_hf.models.feature_extraction_motion import MotionFeatureExtractor
from lamp_hf.models.modeling_lamp_pretraining import LampForPreTraining
from lamp_hf.models.modeling_lamp_text_to_motion import LampForTextToMotion
from lamp_hf.models.modeling_motion_vqvae import MotionVQVAEModel
from lamp_hf.models.skeleton import HUMANML3D

from .batches import load_batches
from .data import Clips
from .objective import Objective
from .recipe import load_recipe
from .train_tokenizer import TokenizerObjective, WindowSource


TOKENS, WORDS = 36, 15  # of HumanML3D's average clip and caption
# Assumptions about an H100: these layers are small, so that most of its 989e12 operations a second are out of reach.
OPERATIONS_PER_SECOND = 0.15 * 989e12
SHORTEST_STEP = 0.03  # seconds; what launching a step's kernels takes
DOLLARS_PER_HOUR = 2.5
HUMANML3D_HOURS = 57.2  # mirrored clips included


def make_folder(folder: Path, clips: int, seed: int = 0) -> None:
    """Write a data set in HumanML3D's layout, whose motions are noise of 40 to 196 frames.

    Args:
        folder (`Path`): new folder.
        clips (`int`): 80% of them for training, 5% for validation.
        seed (`int`): of lengths and noise.
    """
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(20_000, HUMANML3D.num_features)).astype(np.float32)
    for name in ("new_joint_vecs", "texts"):
        (folder / name).mkdir(parents=True)
    names = [f"{number:07d}" for number in range(clips)]
    for number, name in enumerate(names):
        frames = rng.integers(40, 197)
        first = rng.integers(len(noise) - frames)
        np.save(folder / "new_joint_vecs" / f"{name}.npy", noise[first : first + frames])
        text = f"a person does action {number % 1000}#a/DET person/NOUN#0.0#0.0\n"
        (folder / "texts" / f"{name}.txt").write_text(text)
    bounds = [0, int(0.8 * clips), int(0.85 * clips), clips]
    for split, first, last in zip(("train", "val", "test"), bounds, bounds[1:]):
        (folder / f"{split}.txt").write_text("\n".join(names[first:last]))


def measure_loader(data: Path, recipe: dict, batches: int = 20) -> dict[str, float]:
    """Read the training split as the tokenizer's stage does and draw batches from the middle of the run.

    Returns:
        Clips; seconds of processor time until the clips are open, until the first batch, and a sample; gigabytes of
        memory that this process has for itself.
    """
    settings = recipe["optimization"] | {"num_workers": 0}
    started = time.process_time()
    clips = Clips(data, "train", recipe["data"])
    opened = time.process_time()
    extractor = MotionFeatureExtractor.from_statistics(clips.motions, recipe["data"]["skeleton"])
    measured = time.process_time()
    source = WindowSource(clips, extractor, recipe["data"])
    drawn = load_batches(source, settings, recipe["seed"], settings["max_steps"] // 2, Accelerator(cpu=True))
    next(drawn)
    first = time.process_time()
    for _ in range(batches):
        next(drawn)
    sample = (time.process_time() - first) / (batches * settings["batch_size"])
    return {
        "clips": len(clips),
        "open_seconds": opened - started,
        "statistics_seconds": measured - opened,
        "first_batch_seconds": first - measured,
        "sample_seconds": sample,
        "own_memory_gb": psutil.Process().memory_full_info().uss / 1e9,
    }


def measure_step(objective: nn.Module, batch: dict, clips: int) -> dict[str, float]:
    """Count a training step.

    Args:
        objective (`nn.Module`): returns a loss first.
        batch (`dict`): its arguments.
        clips (`int`): in the batch.

    Returns:
        Floating-point operations and gigabytes of activations in single precision for each clip, and millions of
        trained and of frozen parameters.
    """
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            kept[storage._cdata] = storage.nbytes()
        return tensor

    objective.train()
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    # By matrix products, which the counter knows on every device.
    with FlopCounterMode(display=False) as counter, hooks, sdpa_kernel(SDPBackend.MATH):
        objective(**batch)[0].backward()
    sizes = {True: 0, False: 0}
    for weight in objective.parameters():
        sizes[weight.requires_grad] += weight.numel()
    return {
        "gflop_per_clip": counter.get_total_flops() / clips / 1e9,
        "activations_gb_per_clip": sum(kept.values()) / clips / 1e9,
        "trained_millions": sizes[True] / 1e6,
        "frozen_millions": sizes[False] / 1e6,
    }


def reckon(gflop_per_clip: float, batch_size: int, max_steps: int, gpus: int, data_hours: float) -> dict[str, float]:
    """Return hours and dollars of a stage for as many epochs as the recipe has of HumanML3D.

    Args:
        gflop_per_clip (`float`): from [`measure_step`].
        batch_size, max_steps (`int`): of the recipe; with more data than HumanML3D, each GPU has a batch of this size.
        gpus (`int`): number of H100.
        data_hours (`float`): length of the data set.
    """
    growth = max(data_hours / HUMANML3D_HOURS, 1)
    batch = batch_size * gpus if growth > 1 else batch_size
    steps = max_steps * growth * batch_size / batch
    seconds = max(gflop_per_clip * 1e9 * batch / gpus / OPERATIONS_PER_SECOND, SHORTEST_STEP)
    hours = steps * seconds / 3600
    return {"hours": round(hours, 1), "dollars": round(hours * gpus * DOLLARS_PER_HOUR)}


def tokenizer(recipe: dict, clips: int) -> tuple[nn.Module, dict]:
    """Build the objective of stage 1 and a batch of windows."""
    zeros, ones = [0.0] * HUMANML3D.num_features, [1.0] * HUMANML3D.num_features
    extractor = MotionFeatureExtractor(mean=zeros, std=ones)
    model = MotionVQVAEModel(MotionVQVAEConfig(**recipe["model"]))
    window = recipe["data"]["window"]
    batch = {"motion_values": torch.randn(clips, window, HUMANML3D.num_features)}
    batch |= {"motion_attention_mask": torch.ones(clips, window, dtype=torch.bool)}
    return TokenizerObjective(model, extractor, recipe["geometry_weights"]), batch


def lamp(recipe: dict, clips: int) -> tuple[nn.Module, dict]:
    """Build the objective of stage 2 and a batch, encoded by its frozen encoders."""
    model = LampForPreTraining(LampConfig(**recipe["model"]))
    texts = clips * recipe["data"]["captions_per_step"]
    config = model.config
    batch = {
        "input_ids": torch.randint(1000, (texts, WORDS)),
        "attention_mask": torch.ones(texts, WORDS, dtype=torch.long),
        "text_states": torch.randn(texts, WORDS, config.text_config.hidden_size),
        "latents": torch.randn(clips, TOKENS, config.motion_config.codebook_dim),
        "latent_mask": torch.ones(clips, TOKENS, dtype=torch.bool),
        "motion_codes": torch.randint(config.motion_config.codebook_size, (clips, TOKENS)),
        "clip_ids": torch.arange(clips),
        "caption_ids": torch.arange(texts),
    }
    return Objective(model), batch


def text_to_motion(recipe: dict, clips: int) -> tuple[nn.Module, dict]:
    """Build the objective of stage 3 and a batch of codes with the conditions of their texts."""
    model = LampForTextToMotion(LampTextToMotionConfig(lamp_config=LampConfig().to_dict(), **recipe["model"]))
    codes = torch.randint(model.config.motion_config.codebook_size, (clips, TOKENS))
    batch = {"codes": codes, "labels": codes, "token_mask": torch.ones(clips, TOKENS, dtype=torch.bool)}
    return Objective(model), batch | {"condition": torch.randn(clips, 1 + WORDS, model.config.condition_size)}


STAGES = (tokenizer, lamp, text_to_motion)


def measure_steps(clips: int) -> dict[str, dict]:
    """Count a step of each stage, see [`measure_step`], and reckon what its training costs."""
    numbers = {}
    for build in STAGES:
        recipe = load_recipe(build.__name__, f"base/{build.__name__}", [])
        found = measure_step(*build(recipe, clips), clips)
        run = {name: recipe["optimization"][name] for name in ("batch_size", "max_steps")}
        costs = {
            f"{data_hours:g} hours, {gpus} H100": reckon(
                found["gflop_per_clip"], **run, gpus=gpus, data_hours=data_hours
            )
            for data_hours in (HUMANML3D_HOURS, 2000)
            for gpus in (1, 8)
        }
        numbers[build.__name__] = found | run | costs
    return numbers


def main(command_line: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    folder = commands.add_parser("folder", help="write a data set of noise")
    folder.add_argument("output", type=Path)
    folder.add_argument("--clips", type=int, default=29_000)
    loader = commands.add_parser("loader", help="measure how fast a data set is read")
    loader.add_argument("--data", type=Path, required=True)
    loader.add_argument("--recipe", default="base/tokenizer")
    steps = commands.add_parser("steps", help="count the operations and the memory of steps")
    steps.add_argument("--clips", type=int, default=4, help="in a batch")
    arguments = parser.parse_args(command_line)
    if arguments.command == "folder":
        if arguments.output.exists():
            parser.exit(2, f"{parser.prog}: error: {arguments.output} exists: name a new folder\n")
        make_folder(arguments.output, arguments.clips)
    elif arguments.command == "loader":
        print(json.dumps(measure_loader(arguments.data, load_recipe("tokenizer", arguments.recipe, [])), indent=2))
    else:
        print(json.dumps(measure_steps(arguments.clips), indent=2))


if __name__ == "__main__":
    main()
