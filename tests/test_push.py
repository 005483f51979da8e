"""Pushes and cards: everything that is uploaded works where it arrives; what is incomplete is refused."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from conftest import damage_number, free_port, make_motion, python_blocks
from loopback_hub import USER, LoopbackHub

import lamp_hf
from lamp_hf.hub.cards import model_card, render_template
from lamp_hf.hub.push import stage


def test_a_bundled_model_is_staged_with_code_weights_and_a_card_of_its_own_name(tmp_path):
    stage("text-to-motion", "me/lamp-small", None, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"README.md", "config.json", "tokenizer.json", "evaluation.json"} <= names
    assert {"pipeline_text_to_motion.py", "modeling_lamp_text_to_motion.py", "windowed_generation.py"} <= names
    weights = sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    bundled = sum(path.stat().st_size for path in Path(lamp_hf.bundled()).glob("*.safetensors"))
    assert weights == bundled  # in half precision, as it lies in the package
    card = (tmp_path / "README.md").read_text()
    assert 'pipeline("text-to-motion", model="me/lamp-small", trust_remote_code=True)' in card
    assert "bundled(" not in card and "{" not in card.split("```")[0]


@pytest.mark.parametrize("name", ["lamp_small", "lamp_small_captioning", "lavimo_small"])
def test_the_committed_cards_hold_the_committed_numbers(name):
    folder = Path(lamp_hf.bundled()).parent / name
    assert model_card(folder) == (folder / "README.md").read_text()


NUMBERS = [
    ("lamp_small", "families", "recognised"),
    ("lamp_small", "text_to_motion", "captions_right"),
    ("lamp_small", "two_actions", "same_time"),
    ("lamp_small", "two_actions", "one_after_another_of_real"),
    ("lamp_small", "retrieval", "clips"),
    ("lamp_small", "retrieval", "r1"),
    ("lamp_small", "retrieval", "r10", "low"),
    ("lamp_small", "text_to_motion"),
    ("lamp_small_captioning", "captioning", "captioner", "action"),
    ("lamp_small_captioning", "lamp_bertscore", "generated"),
    ("lavimo_small", "retrieval", "video_to_motion", "other_renderer_compressed", "value"),
]


def copy_of_the_numbers(model: str, folder: Path) -> None:
    """Copy a bundled model without its weights, which a card does not read: there are dozens of these copies."""
    shutil.copytree(Path(lamp_hf.bundled()).parent / model, folder, ignore=shutil.ignore_patterns("*.safetensors"))


@pytest.mark.parametrize("damage", ["missing", "null", "nan"])
@pytest.mark.parametrize(("model", "names"), [(model, names) for model, *names in NUMBERS])
def test_a_card_without_a_number_is_refused_by_the_numbers_name(tmp_path, model, names, damage):
    folder = tmp_path / model
    copy_of_the_numbers(model, folder)
    numbers = json.loads((folder / "evaluation.json").read_text())
    damage_number(numbers, names, damage)
    (folder / "evaluation.json").write_text(json.dumps(numbers))
    path = "evaluation" + "".join(f"[{name}]" for name in names)
    with pytest.raises(ValueError, match=re.escape(path)):
        render_template(folder)


@pytest.mark.parametrize("model", ["lamp_small", "lamp_small_captioning", "lavimo_small"])
def test_a_card_without_an_evaluation_is_refused_by_its_name(tmp_path, model):
    folder = tmp_path / model
    copy_of_the_numbers(model, folder)
    (folder / "evaluation.json").unlink()
    with pytest.raises(ValueError, match=r"no evaluation\.json"):
        render_template(folder)


def test_another_model_does_not_get_a_bundled_ones_card_by_its_name(tmp_path):
    folder = tmp_path / "lamp_small"
    shutil.copytree(lamp_hf.bundled(), folder)
    (folder / "README.md").write_text("# Mine, trained on HumanML3D\n")
    (tmp_path / "stage").mkdir()
    stage("text-to-motion", "me/mine", folder, tmp_path / "stage")
    card = (tmp_path / "stage" / "README.md").read_text()
    assert card.startswith("# Mine, trained on HumanML3D\n\n## Measured") and "Bandai" not in card
    assert "| text to motion, skating ratio |" in card


@pytest.mark.parametrize(
    ("kind", "repository", "message"),
    [
        ("weights", "me/x", "unknown kind 'weights'"),
        ("model", "me/x", "name its folder with --source"),
        ("text-to-motion", "lamp-small", "user/name"),
        ("dataset", "me/x", "name its folder with --source"),
    ],
)
def test_wrong_calls_are_refused_in_one_line(kind, repository, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        stage(kind, repository, None, tmp_path)


def test_a_model_of_ones_own_needs_its_card_and_its_numbers(model_folder, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(model_folder, folder)
    with pytest.raises(ValueError, match=r"README\.md"):
        stage("text-to-motion", "me/mine", folder, tmp_path / "a")
    (folder / "README.md").write_text("# mine\nFID TODO\n")
    with pytest.raises(ValueError, match="blank: TODO"):
        stage("text-to-motion", "me/mine", folder, tmp_path / "b")
    words = 'None of my recordings shows a face; a missing marker is NaN.\n\n```json\n{"fps": null}\n```\n'
    (folder / "README.md").write_text(f"# mine\n{words}")
    for numbers, message in ((None, r"no evaluation\.json"), ({}, "no number"), ({"fid": None}, r"evaluation\[fid\]")):
        if numbers is not None:
            (folder / "evaluation.json").write_text(json.dumps(numbers))
        with pytest.raises(ValueError, match=message):
            stage("text-to-motion", "me/mine", folder, tmp_path / "c")
    (folder / "evaluation.json").write_text(json.dumps({"by me": {"fid": 0.25}}))
    (tmp_path / "d").mkdir()
    stage("text-to-motion", "me/mine", folder, tmp_path / "d")
    card = (tmp_path / "d" / "README.md").read_text()
    assert card.startswith(f"# mine\n{words}") and "| by me, fid | 0.25 |" in card


def test_the_card_of_a_model_of_ones_own_follows_its_numbers(tmp_path):
    (tmp_path / "README.md").write_text("# mine\n\n## Measured\n\nBy my own judge.\n")
    for fid in (0.25, 0.125):
        (tmp_path / "evaluation.json").write_text(json.dumps({"fid": fid}))
        card = model_card(tmp_path)
        assert card.startswith("# mine\n\n## Measured\n\nBy my own judge.\n\n## Measured\n\n| measured | ")
        assert card.endswith(f"| fid | {fid} |\n") and card.count("| fid |") == 1
        (tmp_path / "README.md").write_text(card)


def test_a_tokenizer_and_a_converted_model_are_staged_with_code_and_statistics(processor, lamp_config, tmp_path):
    for name, numbers in (("evaluation.json", {"joint_error_mm": 17.5}), ("conversion.json", {"kind": "vqvae"})):
        folder, staged = tmp_path / name / "model", tmp_path / name / "staged"
        lamp_hf.MotionVQVAEModel(lamp_config.motion_config).save_pretrained(folder)
        processor.feature_extractor.save_pretrained(folder)
        (folder / "README.md").write_text("# A tokenizer of my recordings\n")
        (folder / name).write_text(json.dumps(numbers))
        staged.mkdir()
        stage("model", "me/tokenizer", folder, staged)
        names = {path.name for path in staged.iterdir()}
        assert {"modeling_motion_vqvae.py", "preprocessor_config.json", name} <= names
        card = (staged / "README.md").read_text()
        assert ("| joint error mm | 17.5 |" in card) == (name == "evaluation.json")
        assert lamp_hf.MotionVQVAEModel.from_pretrained(staged).config.width == 16


def test_a_data_set_states_its_licence_and_its_size(humanml3d_folder, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(humanml3d_folder, data)
    with pytest.raises(ValueError, match=r"about\.json"):
        stage("dataset", "me/data", data, tmp_path / "stage")
    (data / "about.json").write_text(json.dumps({"title": "Walks", "license": "", "source": "me"}))
    with pytest.raises(ValueError, match="license"):
        stage("dataset", "me/data", data, tmp_path / "stage")
    (data / "about.json").write_text(json.dumps({"title": "Walks", "license": "mine: see mail", "source": "me"}))
    with pytest.raises(ValueError, match="Hub's name"):
        stage("dataset", "me/data", data, tmp_path / "stage")
    (data / "about.json").write_text(json.dumps({"title": "Walks", "license": "cc-by-4.0", "source": "me"}))
    stage("dataset", "me/data", data, tmp_path / "stage")
    card = (tmp_path / "stage" / "README.md").read_text()
    assert "license: cc-by-4.0" in card and "| val | 2 | 2 |" in card
    assert (tmp_path / "stage" / "new_joint_vecs").is_dir()


@pytest.fixture(scope="module")
def hub(humanml3d_folder, tmp_path_factory):
    """A Hub to which `lamp-hf push` has uploaded every bundled model, the metric, a data set and a gallery."""
    data = tmp_path_factory.mktemp("pushed") / "data"
    shutil.copytree(humanml3d_folder, data)
    (data / "about.json").write_text(json.dumps({"title": "Walks", "license": "cc-by-4.0", "source": "me"}))
    index = lamp_hf.MotionIndex()
    index.add([make_motion().astype("float32")], ids=["walk"])
    index.save(data.parent / "gallery")
    sources = {"dataset": ("--source", data), "index": ("--source", data.parent / "gallery")}
    with LoopbackHub() as hub:
        for kind in ("text-to-motion", "captioning", "video", "metric", "dataset", "index"):
            source = sources.get(kind, ())
            printed = run(
                hub, data, sys.executable, "-m", "lamp_hf", "push", kind, f"{USER}/{kind}", *source, "--json"
            )
            assert json.loads(printed)["repository"] == f"{USER}/{kind}"
        yield hub


def run(hub: LoopbackHub, folder: Path, *command) -> str:
    """Return the output of a process for which this Hub is the Hub."""
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_loopback",
                                "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(folder / "home")}  # fmt: skip
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, env=environment, cwd=folder, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def workshop(tmp_path) -> Path:
    """A folder with the files that the examples on cards read."""
    for seed, name in enumerate(("walk.bvh", "wave.bvh", "walk.npy")):
        lamp_hf.Motion(make_motion(seed=seed)).save(tmp_path / name)
    lamp_hf.Motion(make_motion()).save(tmp_path / "phone.mp4", size=64)
    return tmp_path


@pytest.mark.slow
def test_the_metric_and_a_data_set_reach_the_hub(hub):
    assert {"lamp_bertscore.py", "app.py", "lamp_hf/serve/demo.py"} <= set(hub.files("space", f"{USER}/metric"))
    files = hub.files("dataset", f"{USER}/dataset")
    assert "new_joint_vecs/000000.npy" in files and b"cc-by-4.0" in files["README.md"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text-to-motion", "captioning", "video", "dataset", "index"])
def test_the_example_of_a_pushed_card_runs(hub, workshop, kind):
    run(hub, workshop, sys.executable, "-c", example(hub, kind))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text-to-motion", "captioning"])
def test_the_example_of_a_pushed_card_runs_without_the_package(hub, workshop, kind, strangers_python):
    run(hub, workshop, strangers_python, "-c", example(hub, kind))


def example(hub: LoopbackHub, kind: str) -> str:
    """Return the code on the card of a pushed repository."""
    repo_type = "dataset" if kind in ("dataset", "index") else "model"
    (code,) = python_blocks(hub.files(repo_type, f"{USER}/{kind}")["README.md"].decode())
    assert f'"{USER}/{kind}"' in code
    return code


@pytest.mark.parametrize("name", ["lamp_small", "lamp_small_captioning", "lavimo_small"])
def test_the_example_of_a_card_in_the_package_runs(name, workshop, monkeypatch):
    monkeypatch.chdir(workshop)
    (code,) = python_blocks((Path(lamp_hf.bundled()).parent / name / "README.md").read_text())
    exec(compile(code, name, "exec"), {})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "endpoint", "inputs", "answer"),
    [
        ("demo", "/generate", ("a person walks", 1.0, 0), "seed 0"),
        ("metric", "/score", ("walk.bvh", "he walks"), "F1"),
    ],
)
def test_a_space_runs_without_the_package_installed(workshop, strangers_python, kind, endpoint, inputs, answer):
    client = pytest.importorskip("gradio_client")
    (workshop / "space").mkdir()
    stage(kind, "me/space", None, workshop / "space")
    needed = (workshop / "space" / "requirements.txt").read_text()
    assert "gradio" in needed and "torch>=" in needed and "pytest" not in needed and "lamp" not in needed
    port = free_port()
    server = subprocess.Popen(
        [str(strangers_python), "app.py"],
        cwd=workshop / "space", env=os.environ | {"GRADIO_SERVER_PORT": str(port)},
    )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}/config", server)
        inputs = [client.handle_file(workshop / text) if str(text).endswith(".bvh") else text for text in inputs]
        answered = client.Client(f"http://127.0.0.1:{port}", verbose=False).predict(*inputs, api_name=endpoint)
        assert answer in str(answered)
    finally:
        server.terminate()
        server.wait(30)


def wait_for(address: str, server: subprocess.Popen, seconds: float = 120) -> bytes:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            return urllib.request.urlopen(address, timeout=10).read()
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"nothing at {address}; the server's status is {server.poll()}")
