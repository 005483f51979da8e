"""The training loop: batches are functions of seed and step, runs resume exactly, processes share a batch."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import free_port
from training_stages import ROOT, assert_same, command, environment, run, tiny_recipe, train

from training.loop import StepDataset
from training.loop import train as run_loop


class Indices:
    """Ten clips that are their index and a random number."""

    lengths = np.arange(10)
    weights = None

    def item(self, index, rng):
        return index, rng.random()


def test_a_batch_is_a_function_of_seed_and_step():
    def batches(seed):
        dataset = StepDataset(Indices(), batch_size=4, seed=seed, bucket_batches=1)
        return [[dataset[step, row] for row in range(4)] for step in (3, 0, 1)]

    assert batches(seed=0) == batches(seed=0) != batches(seed=1)
    _, first, second = batches(seed=0)
    assert len({index for index, _ in first + second}) == 8  # an epoch draws no clip twice


def test_a_batch_that_does_not_divide_is_refused(tmp_path, humanml3d_folder, bert_folder):
    recipe = tiny_recipe(tmp_path, "tokenizer", bert_folder, batch_size=5, gradient_accumulation_steps=2)
    with pytest.raises(ValueError, match="does not divide"):
        train("tokenizer", "--recipe", recipe, "--data", humanml3d_folder, "--output", tmp_path / "run")


def test_a_split_of_unusable_clips_is_refused(tmp_path):
    source = Indices()
    source.weights = np.zeros(10)
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


@pytest.mark.slow
def test_two_processes_train_like_one_with_the_same_batch(tmp_path, humanml3d_folder, bert_folder):
    arguments = ("--recipe", tiny_recipe(tmp_path, "tokenizer", bert_folder, batch_size=8), "--data", humanml3d_folder)
    run(tmp_path, *command("tokenizer", *arguments, "--output", tmp_path / "one"))
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    launch += ["--master_addr", "127.0.0.1", "--master_port", str(free_port())]
    run(tmp_path, *launch, "-m", "training.train_tokenizer", *map(str, arguments), "--output", str(tmp_path / "two"))
    assert_same(tmp_path / "one", tmp_path / "two", tolerance=2e-4)
