"""`python -m training.evaluate`: one subcommand a task, with the options that the task reads."""

import pytest
import yaml
from training_stages import ROOT

from training.ablations import STUDIES
from training.evaluate import ALIASES, TASKS, main


@pytest.fixture
def call(monkeypatch):
    def call(*arguments: str) -> None:
        monkeypatch.setattr("sys.argv", ["evaluate", *arguments])
        main()

    return call


@pytest.mark.parametrize("task", TASKS)
def test_a_task_tells_its_options(task, call, capsys):
    for name in (task, *ALIASES.get(task, [])):
        with pytest.raises(SystemExit, match="0"):
            call(name, "--help")
        shown = capsys.readouterr().out
        assert all(option in shown for option in ("--data", "--split", "--model", "--output"))


@pytest.mark.parametrize(
    ("task", "option"),
    [
        ("sampling", "--temperature"),
        ("tokenizer", "--seed"),
        ("retrieval", "--steps"),
        ("captioning", "--guidance-scale"),
        ("text-to-motion", "--rerank"),
    ],
)
def test_options_that_a_task_does_not_read_are_refused(task, option, call, capsys):
    required = ["--evaluator", "x"] if task == "sampling" else []
    with pytest.raises(SystemExit, match="2"):
        call(task, "--data", "x", "--model", "x", *required, option, "1")
    assert f"unrecognized arguments: {option} 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "option", "message"),
    [
        ("sampling", (), "sampling tries settings, which are chosen on validation: give --split val"),
        ("generation", ("--guidance-scale", "3"), "--guidance-scale replaces a setting of the model"),
        ("captioning", ("--num-beams", "3"), "--num-beams replaces a setting of the model"),
    ],
)
def test_nothing_is_chosen_on_the_test_split(task, option, message, call, capsys, humanml3d_folder, model_folder):
    required = ["--evaluator", str(model_folder)] if task == "sampling" else []
    with pytest.raises(SystemExit, match="2"):
        call(task, "--data", str(humanml3d_folder), "--model", str(model_folder), *required, *option)
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{task}: error: {message}" in line


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_ablations_change_settings_that_their_recipes_have(study):
    recipe = yaml.safe_load((ROOT / f"training/recipes/small/{study.stage}.yaml").read_text())
    for change in [*study.changes, *(change for changes in study.variants.values() for change in changes)]:
        section = recipe
        for name in change.partition("=")[0].split("."):
            assert name in section, change
            section = section[name]
