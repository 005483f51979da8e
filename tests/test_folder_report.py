"""`lamp-hf evaluate`: numbers of a folder of motions."""

import json

import numpy as np
import pytest
from conftest import make_motion
from test_cli import run

import lamp_hf
from lamp_hf.metrics.folder_report import evaluate_folder


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "made"
    made.mkdir()
    for i in range(33):
        lamp_hf.Motion(make_motion(40, seed=i), text="a person walks" if i else None).save(made / f"{i}.npz")
    np.save(made / "broken.npy", np.full((5, 22, 3), np.nan))
    return made


def test_motions_are_judged_by_physics_text_and_distance(folder, tmp_path):
    numbers = evaluate_folder(folder, real=folder)
    assert numbers["motions"] == 33 and list(numbers["broken"]) == ["broken.npy"]
    assert numbers["text"]["captions"] == 32  # the one without a caption is left out there
    assert 0 <= numbers["text"]["r_precision_1"] <= numbers["text"]["r_precision_3"] <= 1
    assert 0 < numbers["text"]["lamp_bertscore"] <= 1
    assert numbers["distribution"]["frechet_distance"] == pytest.approx(0, abs=1e-6)
    assert numbers["physics"]["bone_length_variation"] < 1e-3 < numbers["physics"]["foot_skating_m_s"]


def test_captions_of_a_file_come_first(folder, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    (folder / "1.npz").rename(few / "1.npz")
    (few / "captions.csv").write_text("name,caption\n1,she bows\n")
    told, own = evaluate_folder(few)["text"], None
    (few / "captions.csv").unlink()
    own = evaluate_folder(few)["text"]
    assert told["captions"] == own["captions"] == 1 and "r_precision_1" not in told
    assert told["matching_distance"] != own["matching_distance"]


@pytest.mark.slow
def test_on_the_command_line(folder, tmp_path):
    done = run("evaluate", folder, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["motions"] == 33
    (tmp_path / "empty").mkdir()
    for arguments in (
        (tmp_path / "none",),
        (folder, "--real", tmp_path / "empty"),
        (folder, "--captions", tmp_path / "no.csv"),
    ):
        done = run("evaluate", *arguments)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
