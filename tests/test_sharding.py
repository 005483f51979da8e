"""Training in two processes with copies or with shards of the weights: the model is that of one process."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from accelerate import Accelerator
from accelerate.commands.config.config_args import load_config_from_file
from conftest import free_port
from safetensors.torch import load_file
from torch import nn
from training_stages import INPUTS, ROOT, TRAINED_STAGES, command, run, tiny_recipe

from lamp_hf.models.modeling_common import MotionSummary
from training.objective import Objective
from training.sharding import choose_shards, gather, layer_classes


LAUNCH = "training/launch/fsdp.yaml"
LORA = ("lora={r: 2, target_modules: 'language_model\\..*q_proj'}", "trained_modules=[language_projection]")
CHANGES = {"captioner": ("--set", *LORA)}
# What two processes would not do like one: each draws wrong pairs to match by itself, and rounding decides which of an
# untrained model's queries is the best.
MODELS = {
    "lamp": {"matching_weight": 0.0},
    "lamp_qformer": {"matching_weight": 0.0, "contrastive_scoring": "mean"},
}
STAGES = [stage for stage in TRAINED_STAGES if stage != "tmr"]  # which draws samples, in each process others
SHARDED_STAGES = [stage for stage in STAGES if stage != "lamp_qformer"]  # without matching a head is unused


class Towers(nn.Module):
    """Two layers, with the same weights or each with its own."""

    def __init__(self, tied: bool):
        super().__init__()
        self.first, self.second = (MotionSummary(2, 2, 2, 0.0) for _ in range(2))
        if tied:
            self.second.head = self.first.head


def test_layers_are_sharded_one_by_one_unless_they_share_weights():
    assert layer_classes(Towers(tied=False)) == {"MotionSummary"}
    assert layer_classes(Towers(tied=True)) == set()


def test_a_recipe_that_leaves_weights_unused_is_refused():
    class Unused(Objective):
        leaves_weights_unused = True

    with pytest.raises(ValueError, match="cannot be sharded"):
        choose_shards(Accelerator(cpu=True), Unused(nn.Linear(1, 1)))


def test_weights_that_are_not_sharded_stay_what_they_are():
    weight = torch.zeros(2)
    assert gather({"first": weight, "second": weight}) == {"first": weight, "second": weight}


def test_the_launch_configuration_is_one_of_accelerate():
    settings = load_config_from_file(str(ROOT / LAUNCH))
    assert settings.distributed_type == "FSDP" and settings.fsdp_config["fsdp_version"] == 2


@pytest.fixture
def stage(request, tmp_path, humanml3d_folder, bert_folder, stage_folder) -> tuple[str, list[str]]:
    """A stage's name and the arguments of its tiny run, but for the output."""
    name = request.param
    recipe = tiny_recipe(tmp_path, name, bert_folder, batch_size=8, gradient_accumulation_steps=2)
    values = yaml.safe_load(recipe.read_text())
    values.get("model", {}).update(MODELS.get(name, {}))
    recipe.write_text(yaml.safe_dump(values))
    arguments = ["--recipe", recipe, "--data", humanml3d_folder]
    for option, earlier in INPUTS.get(name, {}).items():
        arguments += [f"--{option}", stage_folder(earlier) / "model"]
    if name == "lavimo":
        arguments += ["--cache", tmp_path / "videos"]
    return name, [*map(str, arguments), *CHANGES.get(name, ())]


def run_copied(folder: Path, stage: str, *arguments: str) -> str:
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    launch += ["--master_addr", "127.0.0.1", "--master_port", str(free_port())]
    return run(folder, *launch, "-m", f"training.train_{stage}", *arguments)


def run_sharded(folder: Path, stage: str, *arguments: str) -> str:
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", LAUNCH]
    launch += ["--num_processes", "2", "--main_process_port", str(free_port())]
    return run(folder, *launch, "tests/sharded_stage.py", stage, *arguments)


def assert_same_models(first: Path, second: Path, tolerance: float) -> None:
    files = sorted(path.name for path in (first / "model").iterdir())
    assert files == sorted(path.name for path in (second / "model").iterdir())
    for name in (name for name in files if name.endswith(".safetensors")):
        ours, theirs = load_file(first / "model" / name), load_file(second / "model" / name)
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES, indirect=True)
def test_two_processes_with_copies_of_the_weights_train_like_one(stage, tmp_path):
    name, arguments = stage
    run(tmp_path, *command(name, *arguments, "--output", tmp_path / "one"))
    run_copied(tmp_path, name, *arguments, "--output", str(tmp_path / "two"))
    assert_same_models(tmp_path / "one", tmp_path / "two", tolerance=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("stage", SHARDED_STAGES, indirect=True)
def test_two_processes_with_shards_of_the_weights_train_like_one_and_resume(stage, tmp_path):
    name, arguments = stage
    one, two, stopped = (tmp_path / folder for folder in ("one", "two", "stopped"))
    run(tmp_path, *command(name, *arguments, "--output", one))
    run_sharded(tmp_path, name, *arguments, "--output", str(two))
    assert_same_models(one, two, tolerance=2e-4)
    shutil.copytree(two, stopped)
    shutil.rmtree(stopped / "model")
    shutil.rmtree(stopped / "checkpoints" / "step_00000004")
    assert "resuming from step 2" in run_sharded(tmp_path, name, *arguments, "--output", str(stopped))
    assert_same_models(two, stopped, tolerance=0)
