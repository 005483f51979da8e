"""The `lamp-hf` command: verbs that work with real files, and errors of one line."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import make_motion, tiny_qformer_config
from transformers.utils.logging import disable_progress_bar, enable_progress_bar

import lamp_hf
from lamp_hf.cli import main
from lamp_hf.cli.common import check_model
from lamp_hf.fingerprint import fingerprint
from lamp_hf.retrieval.storage import model_reference


def run(*arguments: str, **environment: str):
    return subprocess.run(
        [sys.executable, "-c", "from lamp_hf.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | environment,
    )


def test_a_sentence_becomes_a_file_with_the_bundled_model(tmp_path):
    path = tmp_path / "wave.bvh"
    done = run("generate", "a person waves with the left hand", "-o", path, "--duration", "3", "--seed", "0", "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made.items() >= {"output": str(path), "seconds": 3.0, "frames": 60, "fps": 20.0, "seed": 0}.items()
    assert {"familiarity", "nearest", "unfamiliar"} <= made.keys()
    described = json.loads(run("info", path, "--json").stdout)
    assert described["frames"] == 60 and described["skeleton"] == "humanml3d"


def test_the_system_is_described_for_an_issue_and_for_machines(processor, tmp_path):
    folder = tmp_path / "tokenizer"
    lamp_hf.MotionVQVAEModel(tiny_qformer_config(processor).motion_config).save_pretrained(folder)
    done = run("info", "--system", "--model", folder, "--json")
    assert done.returncode == 0, done.stderr
    system = json.loads(done.stdout)
    assert system["lamp_hf"] == lamp_hf.__version__ and system["model"] == fingerprint(folder)
    assert system["torch"] == torch.__version__ and system["numpy"] == np.__version__
    assert {"python", "transformers", "peft", "platform", "cpu", "gpu", "threads"} <= system.keys()
    head, rule, *rows = run("info", "--system", "--model", folder).stdout.splitlines()
    assert (head, rule) == ("| system |  |", "| --- | --- |")
    assert rows == [f"| {name} | {value} |" for name, value in system.items()]


def test_the_bundled_model_waves_the_hand_it_is_asked_to():
    from transformers import pipeline

    import lamp_hf
    from lamp_hf.metrics.geometry import measure
    from training.evaluation.action_checks import CHECKS

    pipe = pipeline("text-to-motion", model=lamp_hf.bundled())
    actions = ("wave-left-hand", "wave-right-hand", "walk", "raise-up-both-hands")
    texts = ["a person waves with the left hand", "a person waves with the right hand", "a person walks forward"]
    motions = pipe([*texts, "a person raises both hands"], duration=6.0, seed=0)  # short waves often fail
    for action, motion in zip(actions, motions):
        assert CHECKS[action](measure(motion["joints"])), action


@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", "", "-o", "out.bvh"),
        ("generate", "word " * 2000, "-o", "out.bvh"),
        ("generate", "walk", "-o", "out.fbx"),
        ("generate", "walk", "-o", "missing/out.bvh"),
        ("generate", "walk", "-o", "out.bvh", "--duration", "0"),
        ("generate", "walk", "-o", "out.bvh", "--duration", "nan"),
        ("generate", "walk", "-o", "out.bvh", "--duration", "601"),
        ("generate", "walk", "-o", "out.bvh", "--model", "no/such/folder"),
        ("generate", "walk", "-o", "out.bvh", "--model", "nosuch/model"),
        ("search", "gallery", "walk", "--model", "nosuch/model"),
        ("generate", "walk", "-o", "out.bvh", "--temperature", "nan"),
        ("generate", "walk", "-o", "out.bvh", "--keep", "0..1"),
        ("generate", "walk", "-o", "out.bvh", "--keep", "0-1"),
        ("info", "missing.bvh"),
        ("info", "broken.npy"),
        ("info",),
        ("info", "walk.bvh", "--system"),
        ("info", "--system", "--model", "no/such/folder"),
        ("import-checkpoint", "broken.npy", "--output", "out"),
        ("info", "."),
        ("convert", "broken.npy", "out.bvh"),
        ("convert", "missing.bvh", "out.glb"),
        ("convert", "broken.npy", "out.fbx"),
        ("view", "broken.npy", "-o", "out.html"),
        ("prepare", ".", "-o", "missing/../missing.npy/x", "--captions", "none.csv"),
    ],
    ids=lambda arguments: " ".join(arguments)[:40],
)
def test_what_a_hurried_user_does_wrong_ends_in_one_line(tmp_path, arguments, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("broken.npy", np.full((5, 22, 3), np.nan))
    monkeypatch.setattr("sys.argv", ["lamp-hf", *arguments])
    disable_progress_bar()  # as in a process of its own, where the command sets the environment before any import
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        enable_progress_bar()
    printed = capsys.readouterr()
    assert ended.value.code == 1 and printed.out == ""
    assert printed.err.startswith("lamp-hf: ") and printed.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.npy"]


@pytest.mark.parametrize("task", lamp_hf.BUNDLED)
def test_every_verb_finds_a_bundled_model_by_its_task(task, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["lamp-hf", "info", "--system", "--json", "--model", f"bundled:{task}"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert json.loads(capsys.readouterr().out)["model"] == fingerprint(lamp_hf.bundled(task))


def test_a_bundled_model_that_does_not_exist_is_refused_before_anything_is_read(capsys, monkeypatch):
    for verb in (["caption", "missing.bvh"], ["index", "missing", "-o", "gallery"], ["demo"]):
        monkeypatch.setattr("sys.argv", ["lamp-hf", *verb, "--model", "bundled:nonsense"])
        with pytest.raises(SystemExit):
            main()
        assert capsys.readouterr().err.startswith("lamp-hf: no bundled model for 'nonsense'; there is one for: text-")


def test_a_gallery_of_a_bundled_model_is_one_wherever_the_package_is():
    assert model_reference(check_model("bundled:video")) == "bundled:video"


def test_a_model_that_does_not_exist_is_named_at_once(tmp_path):
    started = time.perf_counter()
    done = run("generate", "walk", "-o", tmp_path / "out.bvh", "--model", "nosuch/model", HF_HUB_OFFLINE="0")
    assert done.returncode == 1 and "no such model: nosuch/model" in done.stderr
    assert time.perf_counter() - started < 20  # it took 46 s to retry each file


@pytest.mark.slow
def test_options_of_decoding_are_those_of_the_pipeline(model_folder, tmp_path):
    from transformers import pipeline

    options = ("--guidance-scale", "3", "--num-inference-steps", "4", "--temperature", "0.5", "--num-motions", "2")
    done = run("generate", "she bows", "-o", tmp_path / "bow.npy", "--model", model_folder, "--duration", "1",
               "--seed", "3", *options, "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = [tmp_path / f"bow-{number}.npy" for number in (1, 2)]
    assert [made["output"] for made in json.loads(done.stdout)["motions"]] == list(map(str, files))
    pipe = pipeline("text-to-motion", model=str(model_folder))
    sampling = {"guidance_scale": 3.0, "num_inference_steps": 4, "temperature": 0.5}
    wanted = pipe("she bows", duration=1.0, seed=3, num_return_sequences=2, mode="sequence", **sampling)
    for file, motion in zip(files, wanted):
        np.testing.assert_allclose(np.load(file), motion["joints"], atol=1e-5)


@pytest.mark.slow
def test_a_part_of_a_motion_is_kept(model_folder, tmp_path):
    lamp_hf.Motion(make_motion(60)).save(tmp_path / "walk.npy")
    done = run("generate", "she bows", "-o", tmp_path / "out.npy", "--model", model_folder,
               "--motion", tmp_path / "walk.npy", "--keep", "0-1.5", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    given, made = (np.load(tmp_path / name) for name in ("walk.npy", "out.npy"))
    assert len(made) == 60
    np.testing.assert_allclose(made[:26], given[:26], atol=1e-4)
    assert np.abs(made[40:] - given[40:]).max() > 0.01


def test_an_error_ends_the_process_with_one_line_and_exit_code_1(tmp_path):
    done = run("convert", tmp_path / "missing.bvh", tmp_path / "out.glb")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("lamp-hf: ") and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_motion_goes_from_kind_to_kind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lamp_hf.Motion(make_motion()).save("walk.npy")
    for output in ("walk.bvh", "walk.glb", "walk.gif"):
        done = run("convert", "walk.npy", output, "--clean-feet", "--size", 64, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["frames"] == 60
    assert run("convert", "walk.bvh", "fast.npz", "--fps", 60, "--text", "a walk").returncode == 0
    described = json.loads(run("info", "fast.npz", "--json").stdout)
    assert described["fps"] == 60 and described["text"] == "a walk"
    assert run("view", "walk.bvh", "fast.npz", "-o", "page.html").returncode == 0
    assert (tmp_path / "page.html").read_text().count('"frames"') == 2


def test_a_data_set_is_prepared_from_the_command_line(tmp_path):
    for i in range(3):
        lamp_hf.Motion(make_motion(seed=i)).save(tmp_path / f"{i}.bvh")
    (tmp_path / "captions.csv").write_text("name,caption\n0,a man walks\n1.bvh,a man walks\n")
    done = run("prepare", tmp_path, "-o", tmp_path / "data", "--mirror", "--json")
    assert done.returncode == 0, done.stderr
    described = json.loads(done.stdout)
    assert described["clips"] == 4 and described["broken"] == {"2.bvh": "it has no caption"}
