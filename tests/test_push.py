"""`lamp-hf push`: what is uploaded, and what is refused."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from loopback_hub import USER, LoopbackHub

import lamp_hf
from lamp_hf.cards import render
from lamp_hf.push import stage


def test_a_bundled_model_is_staged_with_code_weights_and_a_card_of_its_own_name(tmp_path):
    stage("text-to-motion", "me/lamp-small", None, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"README.md", "config.json", "tokenizer.json", "evaluation.json"} <= names
    assert {"pipeline_text_to_motion.py", "modeling_lamp_text_to_motion.py", "motion_windows.py"} <= names
    weights = sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    bundled = sum(path.stat().st_size for path in Path(lamp_hf.bundled()).glob("*.safetensors"))
    assert weights == bundled  # in half precision, as it lies in the package
    card = (tmp_path / "README.md").read_text()
    assert 'pipeline("text-to-motion", model="me/lamp-small")' in card
    assert "bundled(" not in card and "{" not in card.split("```")[0]


@pytest.mark.parametrize("name", ["lamp_small", "lamp_small_captioning", "lavimo_small"])
def test_the_committed_cards_hold_the_committed_numbers(name):
    folder = Path(lamp_hf.bundled()).parent / name
    assert render(folder) == (folder / "README.md").read_text()


@pytest.mark.parametrize("damage", ["missing", "null", "nan"])
def test_a_card_without_a_number_is_refused_by_the_numbers_name(tmp_path, damage):
    folder = tmp_path / "lamp_small"
    shutil.copytree(lamp_hf.bundled(), folder)
    numbers = json.loads((folder / "evaluation.json").read_text())
    if damage == "missing":
        del numbers["physics"]["skating_metres_per_second"]
    else:
        numbers["physics"]["skating_metres_per_second"] = None if damage == "null" else float("nan")
    (folder / "evaluation.json").write_text(json.dumps(numbers))
    with pytest.raises(ValueError, match=r"evaluation\[physics\]\[skating_metres_per_second\]"):
        stage("text-to-motion", "me/lamp-small", folder, tmp_path / "stage")
    assert not (tmp_path / "stage").exists()


@pytest.mark.parametrize(
    ("kind", "repository", "message"),
    [
        ("model", "me/x", "unknown kind 'model'"),
        ("text-to-motion", "lamp-small", "user/name"),
        ("dataset", "me/x", "Give its folder"),
    ],
)
def test_wrong_calls_are_told_in_a_line(kind, repository, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        stage(kind, repository, None, tmp_path)


def test_a_model_of_ones_own_needs_its_card_and_its_numbers(model_folder, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(model_folder, folder)
    with pytest.raises(ValueError, match=r"README\.md"):
        stage("text-to-motion", "me/mine", folder, tmp_path / "a")
    (folder / "evaluation.json").write_text("{}")
    (folder / "README.md").write_text("# mine\nFID TODO\n")
    with pytest.raises(ValueError, match="blank: TODO"):
        stage("text-to-motion", "me/mine", folder, tmp_path / "b")
    (folder / "README.md").write_text("# mine\nTrained on my own recordings.\n")
    (tmp_path / "c").mkdir()
    stage("text-to-motion", "me/mine", folder, tmp_path / "c")
    assert (tmp_path / "c" / "README.md").read_text().startswith("# mine")


def test_a_data_set_tells_its_licence_and_its_size(humanml3d_folder, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(humanml3d_folder, data)
    with pytest.raises(ValueError, match=r"about\.json"):
        stage("dataset", "me/data", data, tmp_path / "stage")
    (data / "about.json").write_text(json.dumps({"title": "Walks", "license": "", "source": "me"}))
    with pytest.raises(ValueError, match="license"):
        stage("dataset", "me/data", data, tmp_path / "stage")
    (data / "about.json").write_text(json.dumps({"title": "Walks", "license": "cc-by-4.0", "source": "me"}))
    stage("dataset", "me/data", data, tmp_path / "stage")
    card = (tmp_path / "stage" / "README.md").read_text()
    assert "license: cc-by-4.0" in card and "| val | 2 | 2 |" in card
    assert (tmp_path / "stage" / "new_joint_vecs").is_dir()


def test_the_metric_and_a_data_set_reach_the_hub(humanml3d_folder, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(humanml3d_folder, data)
    (data / "about.json").write_text(json.dumps({"title": "Walks", "license": "cc-by-4.0", "source": "me"}))
    with LoopbackHub() as hub:
        environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_loopback",
                                    "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}  # fmt: skip
        for kind, source in (("metric", ()), ("dataset", ("--source", data))):
            done = subprocess.run(
                [sys.executable, "-m", "lamp_hf", "push", kind, f"{USER}/{kind}", *map(str, source), "--json"],
                capture_output=True, text=True, env=environment, timeout=300,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["repository"] == f"{USER}/{kind}"
        assert "lamp_bertscore.py" in hub.files("space", f"{USER}/metric")
        files = hub.files("dataset", f"{USER}/dataset")
        assert "new_joint_vecs/000000.npy" in files and b"cc-by-4.0" in files["README.md"]
