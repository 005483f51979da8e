"""`lamp-hf reproduce`: the folder is checked, stages and protocols run once, figures stand beside the paper's."""

import json
import shutil

import numpy as np
import pytest
import yaml
from conftest import CAPTIONS, make_motion
from training_stages import TINY

import lamp_hf
from training.evaluation.reproduction_table import PUBLISHED, tables
from training.recipe import load_recipe
from training.reproduce import check_folder, main


def write_folder(folder, train: int, val: int, test: int):
    """Write clips of 40 to 52 frames in HumanML3D's layout."""
    for name in ("new_joint_vecs", "texts"):
        (folder / name).mkdir(parents=True)
    for split, count in {"train": train, "val": val, "test": test}.items():
        names = [f"{split}{i:03d}" for i in range(count)]
        (folder / f"{split}.txt").write_text("\n".join(names))
        for i, name in enumerate(names):
            features = lamp_hf.joints_to_features(make_motion(41 + i % 13, seed=i))
            np.save(folder / "new_joint_vecs" / f"{name}.npy", features)
            caption = f"{CAPTIONS[i % 4]}#a/DET person/NOUN#0.0#0.0\n"
            (folder / "texts" / f"{name}.txt").write_text(caption + caption.replace(" the ", " his "))
    return folder


@pytest.fixture
def data(tmp_path):
    return write_folder(tmp_path / "data", 2, 1, 1)


def test_what_differs_from_the_published_data_is_noted(data):
    notes = check_folder(data, "humanml3d")
    assert notes[0] == "2 clips of train.txt have their files, of the published split 23384" and len(notes) == 3
    (data / "test.txt").write_text("Mtrain000")
    for kind, suffix in (("new_joint_vecs", "npy"), ("texts", "txt")):
        shutil.copy(data / kind / f"train000.{suffix}", data / kind / f"Mtrain000.{suffix}")
    assert "1 clips of test.txt, or their mirror images, are also trained on" in check_folder(data, "humanml3d")


@pytest.mark.parametrize(
    ("dataset", "damage", "message"),
    [
        ("humanml3d", lambda data: (data / "val.txt").unlink(), "it has no val.txt"),
        ("humanml3d", lambda data: (data / "texts/test000.txt").unlink(), "no clip of test.txt has its motion"),
        ("humanml3d", lambda data: (data / "test.txt").write_text(""), "no clip of test.txt has its motion"),
        ("kit-ml", lambda data: None, "has 263 features a frame, kit-ml has 251"),
    ],
)
def test_a_folder_that_is_not_the_data_set_is_refused_in_one_line(dataset, damage, message, data, tmp_path, capsys):
    damage(data)
    with pytest.raises(SystemExit, match="2"):
        main([dataset, "--data", str(data), "--output", str(tmp_path / "runs")])
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and not (tmp_path / "runs").exists()


def test_figures_stand_beside_the_papers_where_they_compare(tmp_path):
    measured = {"r_precision_1": (0.5, 0.002), "fid": (0.04, 0.001)}
    numbers = {
        "repeats": 20,
        "clips": 4000,
        "seed": 0,
        "guo": {"generated": measured},
        "LaMP": {"generated": measured},
    }
    (tmp_path / "generation.json").write_text(json.dumps(numbers))
    page = tables("humanml3d", tmp_path, [])
    assert "| guo, generated: R@1 | 0.500 ± 0.002 | 0.557 |" in page
    assert "| LaMP, generated: R@1 | 0.500 ± 0.002 | not comparable or not found |" in page
    assert "4000 clips, 20 repeats, seed 0" in page and "Not measured yet." in page


def test_the_published_figures_have_both_data_sets_and_all_splits():
    for published in PUBLISHED.values():
        assert set(published) == {"splits", "generation", "retrieval", "captioning"}
        assert set(published["splits"]) == {"train", "val", "test"}


def tiny_recipes(folder, bert) -> None:
    """Write the recipes of the released system with tiny networks, few steps and no workers."""
    folder.mkdir()
    for stage in ("tokenizer", "lamp_qformer", "text_to_motion", "captioner"):
        recipe = load_recipe(stage, f"as_released/{stage}", [])
        sizes = TINY[stage].get("model", {})
        recipe["model"] |= {name: value for name, value in sizes.items() if name != "condition_mode"}
        quick = {"max_steps": 4, "batch_size": 4, "warmup_steps": 1, "mixed_precision": "no", "num_workers": 0}
        recipe["optimization"] |= quick
        recipe |= {"checkpoint_steps": 4, "evaluation_steps": 4}
        if stage == "lamp_qformer":
            recipe["text_encoder"] = str(bert)
        if stage == "captioner":
            recipe |= {"language_model_dtype": "float32"}
            recipe["model"] |= {"num_beams": 1, "max_new_tokens": 8}
        (folder / f"{stage}.yaml").write_text(yaml.safe_dump(recipe))


@pytest.mark.slow
def test_all_stages_and_protocols_run_once_and_fill_the_tables(
    tmp_path, bert_folder, language_folder, capfd, monkeypatch
):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    data = write_folder(tmp_path / "data", 12, 4, 130)
    tiny_recipes(tmp_path / "recipes", bert_folder)
    command = ["humanml3d", "--data", data, "--output", tmp_path / "runs", "--recipes", tmp_path / "recipes"]
    command += ["--language-model", language_folder, "--sentence-encoder", bert_folder, "--repeats", "2"]
    command += ["--multimodality-texts", "1"]
    main([str(part) for part in command])
    page = (tmp_path / "runs" / "README.md").read_text()
    assert "Not measured yet" not in page
    assert "130 clips of test.txt have their files, of the published split 4384" in page
    assert "generated: FID" in page and "real: R@1" in page
    assert "text to motion, gallery of 32: R@1" in page and "| 67.18 |" in page and "BLEU-4" in page
    capfd.readouterr()
    main([str(part) for part in command])
    printed = capfd.readouterr().out
    assert printed.count("done before") == 8 and "starts" not in printed
