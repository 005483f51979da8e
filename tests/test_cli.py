import json
import subprocess
import sys

import numpy as np
import pytest


def run(*arguments: str):
    return subprocess.run(
        [sys.executable, "-c", "from lamp_hf.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def test_a_sentence_becomes_a_file_with_the_bundled_model(tmp_path):
    path = tmp_path / "wave.bvh"
    done = run("generate", "a person waves with the left hand", "-o", path, "--duration", "3", "--seed", "0", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"output": str(path), "seconds": 3.0, "frames": 60, "fps": 20.0}
    told = json.loads(run("info", path, "--json").stdout)
    assert told["frames"] == 60 and told["skeleton"] == "humanml3d"


def test_the_bundled_model_waves_the_hand_it_is_asked_to():
    from transformers import pipeline

    import lamp_hf
    from lamp_hf.metrics.geometry import CHECKS, measure

    pipe = pipeline("text-to-motion", model=lamp_hf.bundled())
    actions = ("wave-left-hand", "wave-right-hand", "walk", "raise-up-both-hands")
    texts = ["a person waves with the left hand", "a person waves with the right hand", "a person walks forward"]
    made = pipe([*texts, "a person raises both hands"], duration=4.0, seed=0)
    for action, motion in zip(actions, made):
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
        ("generate", "walk", "-o", "out.bvh", "--duration", "60"),
        ("generate", "walk", "-o", "out.bvh", "--model", "no/such/folder"),
        ("info", "missing.bvh"),
        ("info", "broken.npy"),
        ("info", "."),
    ],
    ids=lambda arguments: " ".join(arguments)[:40],
)
def test_what_a_hurried_user_does_wrong_ends_in_one_line(tmp_path, arguments, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("broken.npy", np.full((5, 22, 3), np.nan))
    done = run(*arguments)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("lamp-hf: ") and done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.npy"]


def test_importing_the_package_does_not_import_transformers():
    code = "import sys, lamp_hf; print('transformers' in sys.modules or 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
