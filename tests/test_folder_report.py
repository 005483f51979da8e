"""`lamp-hf evaluate`: numbers of a folder of motions."""

import json

import numpy as np
import pytest
import torch
from conftest import make_motion
from test_cli import run

import lamp_hf
from lamp_hf.data.prompts import Prompt, read_prompt_table
from lamp_hf.evaluators.motion_evaluator import MotionEvaluatorConfig, MotionEvaluatorModel, MotionTextEvaluator
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


@pytest.fixture
def judge(processor, bert_folder, tmp_path) -> MotionTextEvaluator:
    """An evaluator that nobody trained."""
    torch.manual_seed(0)
    sizes = {"width": 8, "embedding_size": 8, "text_encoder": str(bert_folder), "text_size": 16}
    MotionEvaluatorModel(MotionEvaluatorConfig(actions=["walk"], styles=["calm"], **sizes)).save_pretrained(
        tmp_path / "judge"
    )
    processor.feature_extractor.save_pretrained(tmp_path / "judge")
    return MotionTextEvaluator(tmp_path / "judge")


def test_files_of_any_system_are_judged_by_another_network_on_prompts_of_a_file(folder, judge, tmp_path):
    words = ["walks" if i < 10 else "steps and strolls" for i in range(33)]
    lines = [f"{i},a person {words[i]} {i} steps to the left,{'synonym; far' if i % 2 else ''}" for i in range(33)]
    (tmp_path / "prompts.csv").write_text("\n".join(["name,text,stratum", *lines]))
    known = [f"A person walks {i} steps to the left." for i in range(10)]
    numbers = evaluate_folder(folder, tmp_path / "prompts.csv", folder, evaluator=judge, training_captions=known)
    assert numbers["evaluator"].startswith("judge@") and "lamp_bertscore" not in numbers["text"]
    text, strata = numbers["text"], numbers["strata"]
    assert (text["gallery"], text["r_precision_gallery"], text["captions"]) == (33, 32, 33)
    for name in ("R@1", "matching_distance", "r_precision_1"):
        low, high = text["intervals"][name]
        assert low <= text[name] <= high, name
    assert strata["synonym"]["motions"] == strata["far"]["motions"] == 16 and strata["synonym"]["gallery"] == 33
    assert strata["known caption"]["motions"] == 10 and strata["new word"]["motions"] == 23
    assert {"1 event", "legs", "sides"} <= set(strata) and "arms" not in strata
    samples = {row["name"]: row for row in numbers["samples"]}
    assert len(samples) == 33 and samples["1.npz"]["strata"] == [
        "synonym", "far", "1 event", "legs", "sides", "known caption", "known words",
    ]  # fmt: skip
    assert np.mean([row["rank"] for row in samples.values()]) == pytest.approx(text["rank"])
    low, high = numbers["distribution"]["intervals"]["frechet_distance"]
    assert low == 0 <= high and numbers["distribution"]["jitter_m_s3_of_real"] == numbers["physics"]["jitter_m_s3"]
    assert all(np.isfinite(row["foot_skating_m_s"]) for row in samples.values())


def test_the_interval_holds_the_distance_that_few_motions_make_large(folder, judge, tmp_path):
    (few := tmp_path / "few").mkdir()
    for i in range(8):
        (folder / f"{i}.npz").rename(few / f"{i}.npz")
    numbers = evaluate_folder(few, real=folder, evaluator=judge)["distribution"]
    low, high = numbers["intervals"]["frechet_distance"]
    assert 0 <= low < numbers["frechet_distance"] < high


def test_families_that_prompts_ask_for_are_recognised(folder, judge, tmp_path):
    prompts = tmp_path / "prompts.csv"
    lines = [f"{i},a person walks,{'walk' if i % 2 else ''}" for i in range(33)]
    prompts.write_text("\n".join(["name,text,family", *lines]))
    numbers = evaluate_folder(folder, prompts, evaluator=judge)
    assert numbers["text"]["family_recognised"] == 100  # the judge knows no other
    low, high = numbers["text"]["intervals"]["family_recognised"]
    assert 75 < low < 90 and high == 100  # sixteen right ones of sixteen do not make certainty
    assert sum("family_recognised" in row for row in numbers["samples"]) == 16
    prompts.write_text("name,text,family\n1,a person moonwalks,moonwalk\n")
    with pytest.raises(ValueError, match="knows no family 'moonwalk'"):
        evaluate_folder(folder, prompts, evaluator=judge)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("prompts.csv", "name,sentence\n1,a person walks\n", "it has no column text"),
        ("prompts.csv", "name,text\n1,a person walks, then bows\n", "more fields than columns"),
        ("prompts.json", '["a person walks"]', "not a file of prompts"),
        ("prompts.txt", "\n", "holds no prompt"),
        ("prompts.doc", "a person walks", "the suffix is .doc"),
    ],
)
def test_files_that_hold_no_prompts_are_refused(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_prompt_table(tmp_path / name)


def test_lines_without_names_are_numbered_as_generation_does(tmp_path):
    (tmp_path / "prompts.txt").write_text("she bows\n\nshe jumps\n")
    assert read_prompt_table(tmp_path / "prompts.txt") == {"000001": Prompt("she bows"), "000003": Prompt("she jumps")}


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
