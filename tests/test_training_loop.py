"""The training loop: batches are functions of seed and step, runs resume exactly, processes share a batch."""

import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from training_stages import ROOT, TRAINED_STAGES, assert_same, command, environment, run, tiny_recipe, train, weights

from training.averaging import WeightAverage
from training.batches import StepDataset, micro_batches
from training.loop import train as run_loop


class Indices:
    """Ten clips that are their index and a random number."""

    def __init__(self, lengths=range(10), weights=None):
        self.lengths, self.weights = np.array(lengths), weights

    def item(self, index, rng):
        return index, rng.random()


def test_a_batch_is_a_function_of_seed_and_step():
    def batches(seed):
        dataset = StepDataset(Indices(), batch_size=4, seed=seed, bucket_batches=1)
        return [[dataset[step, row] for row in range(4)] for step in (3, 0, 1)]

    assert batches(seed=0) == batches(seed=0) != batches(seed=1)


def test_without_weights_every_clip_is_drawn_once_an_epoch():
    dataset = StepDataset(Indices(), batch_size=4, seed=0, bucket_batches=2)
    drawn = np.concatenate([dataset.clips(step) for step in range(20)])
    assert np.bincount(drawn).tolist() == [8] * 10  # eighty draws


def test_clips_are_drawn_in_proportion_to_their_weights():
    weights = np.array([1.0, 0, 3, 0])
    dataset = StepDataset(Indices(range(4), weights), batch_size=50, seed=0, bucket_batches=4)
    drawn = np.bincount(np.concatenate([dataset.clips(step) for step in range(100)]), minlength=4) / 5000
    assert drawn[[1, 3]].tolist() == [0, 0]
    assert drawn[2] == pytest.approx(0.75, abs=0.02)


def test_clips_of_a_batch_are_of_similar_length_and_batches_of_all_lengths_take_turns():
    dataset = StepDataset(Indices(range(1000), np.ones(1000)), batch_size=10, seed=0, bucket_batches=8)
    spreads = [np.ptp(dataset.clips(step)) for step in range(80)]
    means = [dataset.clips(step).mean() for step in range(80)]
    assert np.mean(spreads) < 200 and np.std(means) > 200


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_share_the_rows_of_a_batch_from_any_step_on(processes):
    shares = [list(micro_batches(7, 9, 12, 2, process, processes)) for process in range(processes)]
    parts = [[row for rows in part for row in rows] for part in zip(*shares)]
    assert parts == [[(step, row) for row in rows] for step in (7, 8) for rows in (range(6), range(6, 12))]


def test_a_billion_steps_begin_at_once():
    first = next(micro_batches(10**9, 2 * 10**9, 256, 1, 0, 8))
    assert first[0] == (10**9, 0) and len(first) == 32


class TestWeightAverage:
    def module(self):
        module = torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False), torch.nn.Linear(1, 1))
        module[1].requires_grad_(False)
        return module

    def test_it_keeps_averages_of_trained_weights_alone(self):
        assert set(WeightAverage(self.module(), 0.5).state_dict()) == {"module.0.weight", "n_averaged"}

    def test_it_is_that_of_pytorch(self):
        module = self.module()
        ours = WeightAverage(module, 0.9)
        theirs = torch.optim.swa_utils.AveragedModel(
            module, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
        )
        for _ in range(3):
            torch.nn.init.normal_(module[0].weight)
            ours.update()
            theirs.update_parameters(module)
        trained = module[0].weight.detach().clone()
        with ours.applied():
            torch.testing.assert_close(module[0].weight, theirs.module[0].weight)
        assert torch.equal(module[0].weight, trained)

    def test_a_checkpoint_of_pytorchs_average_is_read(self):
        module = self.module()
        theirs = torch.optim.swa_utils.AveragedModel(module)
        theirs.update_parameters(module)
        torch.nn.init.zeros_(module[0].weight)
        ours = WeightAverage(module, 0.9)
        ours.load_state_dict(theirs.state_dict())
        with ours.applied():
            assert torch.equal(module[0].weight, theirs.module[0].weight)

    def test_a_checkpoint_without_an_average_is_refused_by_name(self):
        with pytest.raises(ValueError, match=r"the checkpoint has no average of 0\.weight"):
            WeightAverage(self.module(), 0.9).load_state_dict({})


def test_a_batch_that_does_not_divide_is_refused(tmp_path, humanml3d_folder, bert_folder):
    recipe = tiny_recipe(tmp_path, "tokenizer", bert_folder, batch_size=5, gradient_accumulation_steps=2)
    with pytest.raises(ValueError, match="does not divide"):
        train("tokenizer", "--recipe", recipe, "--data", humanml3d_folder, "--output", tmp_path / "run")


def test_a_resumed_run_saves_the_averages_of_one_that_was_not_stopped(tmp_path, humanml3d_folder, bert_folder):
    recipe = tiny_recipe(tmp_path, "tokenizer", bert_folder, gradient_accumulation_steps=2)
    recipe.write_text(recipe.read_text().replace("  width: 16\n", "  width: 16\n  dropout: 0.5\n"))
    arguments = ("--recipe", recipe, "--data", humanml3d_folder, "--output")
    train("tokenizer", *arguments, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "stopped")
    shutil.rmtree(tmp_path / "stopped" / "model")
    shutil.rmtree(tmp_path / "stopped" / "checkpoints" / "step_00000004")
    train("tokenizer", *arguments, tmp_path / "stopped")
    assert_same(tmp_path / "whole", tmp_path / "stopped")
    last = torch.load(tmp_path / "stopped" / "checkpoints" / "step_00000004" / "custom_checkpoint_1.pkl")
    saved = weights(tmp_path / "stopped")
    for name, average in last.items():
        if name != "n_averaged":
            assert torch.equal(average, saved[name.removeprefix("module.model.")])


@pytest.mark.parametrize("stage", TRAINED_STAGES)
def test_every_trained_weight_gets_a_gradient(stage, stage_folder):
    """Else processes would wait for gradients that never come, unless the objective says so."""
    state = torch.load(stage_folder(stage) / "checkpoints" / "step_00000004" / "optimizer.bin")
    assert len(state["state"]) == sum(len(group["params"]) for group in state["param_groups"])


def test_a_split_of_unusable_clips_is_refused(tmp_path):
    source = Indices(weights=np.zeros(10))
    with pytest.raises(ValueError, match="the train split has no clip that this stage can use"):
        run_loop(torch.nn.Linear(1, 1), source, {}, tmp_path, evaluate=lambda objective: {})


@pytest.mark.slow
def test_a_killed_run_resumes_exactly_where_it_was(tmp_path, humanml3d_folder, bert_folder):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    arguments = ("--recipe", tiny_recipe(tmp_path, "tokenizer", bert_folder, max_steps=12), "--data", humanml3d_folder)
    run(tmp_path, *command("tokenizer", *arguments, "--output", whole))
    process = subprocess.Popen(
        command("tokenizer", *arguments, "--output", killed),
        cwd=ROOT, env=environment(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list((killed / "checkpoints").glob("step_*4")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list((killed / "checkpoints").glob("step_*"))
    assert "resuming from step" in run(tmp_path, *command("tokenizer", *arguments, "--output", killed))
    assert_same(whole, killed)


@pytest.mark.parametrize("name", ["ddp", "ddp_machines"])
def test_launch_configurations_are_ones_of_accelerate(name):
    settings = load_config_from_file(str(ROOT / f"training/launch/{name}.yaml"))
    assert settings.distributed_type == "MULTI_GPU" and settings.num_processes == 8 * settings.num_machines
