"""Training with weights sharded among processes: the same weights as in one process, and the same after a stop."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from conftest import free_port
from safetensors.torch import load_file
from torch import nn
from training_stages import INPUTS, ROOT, command, run, tiny_recipe

from lamp_hf.models.modeling_common import MotionSummary
from training.sharding import gather, layer_classes


LAUNCH = "training/launch/fsdp.yaml"
LORA = ("lora={r: 2, target_modules: 'language_model\\..*q_proj'}", "trained_modules=[language_projection]")
CHANGES = {"captioner": ("--set", *LORA)}


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


def test_weights_that_are_not_sharded_stay_what_they_are():
    weight = torch.zeros(2)
    assert gather({"first": weight, "second": weight}) == {"first": weight, "second": weight}


def test_the_launch_configuration_is_one_of_accelerate():
    settings = load_config_from_file(str(ROOT / LAUNCH))
    assert settings.distributed_type == "FSDP" and settings.fsdp_config["fsdp_version"] == 2


@pytest.fixture
def stage(request, tmp_path, humanml3d_folder, bert_folder, stage_folder) -> tuple[str, list[str]]:
    """A stage's name and the arguments of its tiny run, but for the output."""
    recipe = tiny_recipe(tmp_path, request.param, bert_folder, batch_size=8, gradient_accumulation_steps=2)
    if request.param == "lamp":  # each process draws wrong pairs to match by itself
        recipe.write_text(recipe.read_text().replace("  trunk_size: 16\n", "  trunk_size: 16\n  matching_weight: 0\n"))
    arguments = ["--recipe", recipe, "--data", humanml3d_folder, *CHANGES.get(request.param, ())]
    for option, earlier in INPUTS.get(request.param, {}).items():
        arguments += [f"--{option}", stage_folder(earlier) / "model"]
    return request.param, list(map(str, arguments))


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
@pytest.mark.parametrize("stage", ["tokenizer", "lamp", "text_to_motion", "captioner"], indirect=True)
def test_two_processes_that_share_the_weights_train_like_one_and_resume(stage, tmp_path):
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
