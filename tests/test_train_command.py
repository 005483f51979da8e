"""`lamp-hf train`: stages from any folder; what is wrong with recipe, data or models is said in one line."""

import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from training_stages import ROOT, environment, tiny_recipe, train

import lamp_hf
from lamp_hf.cli.train import STAGES
from training.evaluate import main as evaluate
from training.progress import progress
from training.recipe import load_recipe
from training.schedule import make_schedule


@pytest.fixture
def refusal(humanml3d_folder, tmp_path, capsys):
    """Returns the one line in which a stage refuses its arguments."""

    def refusal(stage: str, *arguments, data=humanml3d_folder) -> str:
        with pytest.raises(SystemExit, match="2"):
            train(stage, "--data", data, "--output", tmp_path / "run", *arguments)
        (line,) = capsys.readouterr().err.splitlines()
        assert not (tmp_path / "run").exists()
        return line.removeprefix(f"lamp-hf train {stage.replace('_', '-')}: error: ")

    return refusal


def test_every_stage_is_a_subcommand():
    modules = {path.stem.removeprefix("train_") for path in (ROOT / "training").glob("train_*.py")}
    assert {stage.replace("-", "_") for stage in STAGES} == modules


@pytest.mark.parametrize("path", (ROOT / "training/recipes").glob("*/*.yaml"), ids=lambda path: path.stem)
def test_recipes_that_ship_are_found_by_name_and_valid(path):
    stage, written = path.stem.removeprefix("residual_"), yaml.safe_load(path.read_text())
    recipe = load_recipe(stage, f"{path.parent.name}/{path.stem}", [])
    if "extends" not in written:
        assert recipe == written
    assert "extends" not in recipe and recipe["optimization"]["max_steps"] >= 400


def test_a_recipe_that_extends_another_states_what_differs(tmp_path):
    kit, base = (load_recipe("text_to_motion", f"{name}/text_to_motion", []) for name in ("kit", "base"))
    assert kit["data"] == base["data"] | {"skeleton": "kit", "lengths": [24, 200]}
    assert (kit["model"]["guidance_scale"], kit["optimization"]["batch_size"]) == (2.0, 16)
    (tmp_path / "mine.yaml").write_text("extends: as_released/text_to_motion\nmodel: {hidden_size: 64}\n")
    mine = load_recipe("text_to_motion", str(tmp_path / "mine.yaml"), [])
    assert mine["model"]["attention_mask_mode"] == "soft_tril" and mine["model"]["hidden_size"] == 64
    (tmp_path / "mine.yaml").write_text("extends: paper/text_to_motion\n")
    with pytest.raises(ValueError, match="extends paper/text_to_motion, and no recipe of this name"):
        load_recipe("text_to_motion", str(tmp_path / "mine.yaml"), [])


def test_a_schedule_of_steps_warms_up_and_falls_at_milestones():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    options = {"milestones": [4, 6], "gamma": 0.1}
    schedule = make_schedule(
        optimizer, {"schedule": "multistep", "warmup_steps": 2, "max_steps": 8, "schedule_options": options}
    )
    rates = []
    for _ in range(8):
        rates += schedule.get_last_lr()
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([1, 2, 2, 2, 0.2, 0.2, 0.02, 0.02])
    settings = {"schedule": "cosine_with_min_lr", "warmup_steps": 0, "max_steps": 8}
    schedule = make_schedule(optimizer, settings | {"schedule_options": {"min_lr": 0.5}})
    for _ in range(8):
        optimizer.step()
        schedule.step()
    assert schedule.get_last_lr() == pytest.approx([0.5])


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("small/lamp", "is no recipe of tokenizer: it lacks geometry_weights, start"),
        (
            "mine.yaml",
            "no such file; these come with the package: as_released/tokenizer, as_released_kit/tokenizer",
        ),
    ],
)
def test_recipes_of_other_stages_and_missing_ones_are_refused(recipe, message, refusal):
    assert message in refusal("tokenizer", "--recipe", recipe)


def test_files_that_are_no_recipe_are_refused(refusal, tmp_path):
    for content, message in {
        "": "it has no entries",
        "[1": "not YAML",
        "data: 1": "it lacks",
        "- 1": "no entries",
    }.items():
        (tmp_path / "mine.yaml").write_text(content)
        assert message in refusal("tokenizer", "--recipe", tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optimization.max_steps=abc", "optimization.max_steps of the recipe must be a whole number of at least 1"),
        ("optimization.batch_size=0", "optimization.batch_size of the recipe must be a whole number of at least 1"),
        ("optimization.learning_rate=1e-4", "must be a number, not '1e-4'; in YAML, 1e-4 is text"),
        ("optimization.warmup_steps=null", "must be a whole number, not None"),
        ("optimization.schedule=steep", "must be one of linear, cosine"),
        ("data.skeleton=smpl", "must be one of humanml3d, kit"),
        ("data.mirrored=5", "data.mirrored of the recipe must be true or false"),
        ("data.rarity_label=0", "data.rarity_label of the recipe must be text"),
        ("data=null", "data of the recipe must be a section"),
        ("data.x=1", "the recipe has no data.x"),
        ("x.y=1", "the recipe has no x.y"),
        ("seed", "write KEY=VALUE"),
        ("start=runs/none", "start runs/none is no folder, and cannot be read from the Hub"),
    ],
)
def test_changes_that_do_not_fit_are_refused(change, message, refusal):
    assert message in refusal("tokenizer", "--recipe", "small/tokenizer", "--set", change)


def test_missing_data_is_refused(refusal, tmp_path):
    recipe = ("--recipe", "small/tokenizer")
    assert "no such folder or parquet file" in refusal("tokenizer", *recipe, data=tmp_path / "none")
    assert "it has no train.txt and no val.txt" in refusal("tokenizer", *recipe, data=tmp_path)


def test_missing_models_and_models_of_another_kind_are_refused(
    refusal, model_folder, bert_folder, lamp_config, tmp_path, capsys
):
    (tmp_path / "runs" / "tokenizer" / "model").mkdir(parents=True)
    lamp_hf.MotionVQVAEModel(lamp_config.motion_config).save_pretrained(tmp_path / "tokenizer")
    capsys.readouterr()

    def lamp(folder, *options) -> str:
        return refusal("lamp", "--recipe", "small/lamp", "--tokenizer", folder, *options)

    assert lamp("missing").startswith("--tokenizer missing is no folder, and cannot be read from the Hub")
    assert lamp(tmp_path / "none").endswith("none: no such folder")
    runs = tmp_path / "runs" / "tokenizer"
    assert lamp(runs).endswith(f"did you mean {runs / 'model'}?")
    kind = "is a model of type lamp_text_to_motion with lamp; it must be"
    assert lamp(model_folder).endswith(f"{kind} motion_vqvae")
    captioner = ("--recipe", "small/captioner", "--language-model", tmp_path / "none")
    refused = refusal("captioner", *captioner, "--lamp", tmp_path / "tokenizer")
    assert refused.endswith("is a model of type motion_vqvae; it must be lamp or lamp_qformer")
    good = tmp_path / "tokenizer"
    assert "the text encoder no/encoder" in lamp(good, "--set", "text_encoder=no/encoder")
    silent = (f"text_encoder={bert_folder}", "data.synonyms=none.yaml")
    assert "data.synonyms of the recipe: no such file" in lamp(good, "--set", *silent)


def test_evaluation_names_a_missing_model_before_it_reads_clips(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["evaluate", "generation", "--data", str(tmp_path), "--model", "runs/none"])
    with pytest.raises(SystemExit, match="2"):
        evaluate()
    (line,) = capsys.readouterr().err.splitlines()
    assert "generation: error: --model runs/none" in line


def test_an_output_folder_belongs_to_one_recipe(tmp_path, humanml3d_folder, bert_folder, capsys):
    recipe, output = tiny_recipe(tmp_path, "tokenizer", bert_folder), tmp_path / "run"
    arguments = ("--recipe", recipe, "--data", humanml3d_folder, "--output", output)
    train("tokenizer", *arguments)
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        train("tokenizer", *arguments, "--set", "model.width=32")
    (line,) = capsys.readouterr().err.splitlines()
    assert "model.width is 16 there and 32 here" in line and str(output / "recipe.yaml") in line
    train("tokenizer", *arguments, "--set", "optimization.max_steps=6")
    assert "resuming from step 4" in capsys.readouterr().out
    (output / "recipe.yaml").unlink()  # as in a folder of version 0.1.0
    with pytest.raises(ValueError, match="step_00000006 is of a model of other sizes: name another --output"):
        train("tokenizer", *arguments, "--set", "model.width=32", "optimization.max_steps=8")


def test_checkpoints_belong_to_the_models_that_they_began_with(
    stage_folder, odd_clips_folder, bert_folder, tmp_path, capsys
):
    recipe, output = tiny_recipe(tmp_path, "dual_encoder", bert_folder), tmp_path / "run"
    lamp = shutil.copytree(stage_folder("lamp") / "model", tmp_path / "lamp")
    arguments = ("--data", odd_clips_folder, "--lamp", lamp, "--output", output)
    train("dual_encoder", "--recipe", recipe, *arguments)
    weights = load_file(lamp / "model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, lamp / "model.safetensors", {"format": "pt"})
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        train("dual_encoder", "--recipe", output / "recipe.yaml", *arguments)
    assert f"{output} has checkpoints that began with another lamp" in capsys.readouterr().err


def test_a_long_preparation_draws_a_bar_in_the_first_process(capsys, monkeypatch):
    assert list(progress(iter(range(3)), "composing clips", 3)) == [0, 1, 2]
    shown = capsys.readouterr().err
    assert "composing clips" in shown and "3/3" in shown
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert list(progress([1], "composing clips")) == [1]
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_a_stage_runs_from_any_folder_and_under_accelerate(tmp_path, humanml3d_folder, bert_folder):
    recipe = tiny_recipe(tmp_path, "tokenizer", bert_folder)
    arguments = ["train", "tokenizer", "--recipe", recipe, "--data", humanml3d_folder, "--output"]
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1"]
    for output, launcher in {"plain": [], "launched": launch}.items():
        words = [sys.executable, *launcher, "-m", "lamp_hf", *arguments, output]
        done = subprocess.run(
            [str(word) for word in words], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert (tmp_path / output / "model" / "config.json").is_file()
