r"""Reproduce the paper on HumanML3D or KIT-ML: check the folder, train all stages, evaluate, fill the tables.

lamp-hf reproduce humanml3d --data HumanML3D --output runs/humanml3d --guo guo/
"""

import argparse
import contextlib
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lamp_hf.models.skeleton import get_skeleton
from lamp_hf.motion.files import write_atomically

from . import evaluate
from .evaluation.reproduction_table import PUBLISHED, tables
from .recipe import RECIPES, load_recipe


@dataclass(frozen=True)
class Step:
    """A stage of training or a task of evaluation.

    Args:
        name (`str`): shown while it runs.
        done (`Path`): the file that exists once it is done.
        inputs (`list[Path]`): files that it depends on; `done` is out of date when one is newer.
        run (`Callable`): does the work.
    """

    name: str
    done: Path
    inputs: list[Path]
    run: Callable[[], None]

    def is_done(self) -> bool:
        """Tell whether the result is there and newer than what it depends on."""
        if not self.done.is_file():
            return False
        return all(path.stat().st_mtime <= self.done.stat().st_mtime for path in self.inputs if path.is_file())


# Skeleton, and the recipes that are used if none are named.
DATASETS = {"humanml3d": ("humanml3d", "as_released"), "kit-ml": ("kit", "as_released_kit")}


def check_folder(data: Path, dataset: str) -> list[str]:
    """Check a folder in HumanML3D's layout before anything is trained.

    Args:
        data (`Path`): the folder.
        dataset (`str`): `"humanml3d"` or `"kit-ml"`.

    Returns:
        `list[str]`: what differs from the published data set; figures then do not compare with published ones.

    Raises:
        ValueError: when a list, a folder, or the files of all clips of a list are missing, or features are of another
            size. Single clips may be missing, as in many copies; they are left out.
    """
    wanted = ["new_joint_vecs", "texts", *(f"{split}.txt" for split in PUBLISHED[dataset]["splits"])]
    missing = [name for name in wanted if not (data / name).exists()]
    if missing:
        raise ValueError(f"--data {data} is not {dataset} in HumanML3D's layout: it has no {', no '.join(missing)}")
    splits = {
        split: (data / f"{split}.txt").read_text(encoding="utf-8-sig").split()
        for split in PUBLISHED[dataset]["splits"]
    }
    notes = []
    for split, names in splits.items():
        usable = [name for name in names if all(path.is_file() for path in files_of(data, name))]
        if not usable:
            raise ValueError(f"--data {data}: no clip of {split}.txt has its motion and its captions")
        size = get_skeleton(DATASETS[dataset][0]).num_features
        motion = files_of(data, usable[0])[0]
        if (found := np.load(motion, mmap_mode="r").shape[-1]) != size:
            raise ValueError(f"--data {data}: {motion.name} has {found} features a frame, {dataset} has {size}")
        if len(usable) != (count := PUBLISHED[dataset]["splits"][split]):
            notes.append(f"{len(usable)} clips of {split}.txt have their files, of the published split {count}")
    originals = {split: {name.removeprefix("M") for name in names} for split, names in splits.items()}
    shared = originals["test"] & (originals["train"] | originals["val"])
    return notes + ([f"{len(shared)} clips of test.txt, or their mirror images, are also trained on"] * bool(shared))


def files_of(data: Path, name: str) -> tuple[Path, Path]:
    """Return where a clip's motion and captions are."""
    return data / "new_joint_vecs" / f"{name}.npy", data / "texts" / f"{name}.txt"


def plan(arguments: argparse.Namespace) -> list[Step]:
    """List the stages and tasks, in order."""
    output, skeleton = arguments.output, DATASETS[arguments.dataset][0]
    generator = load_recipe("text_to_motion", recipe_of(arguments.recipes, "text_to_motion"), [])
    lamp = "lamp" if generator["model"]["condition_mode"] in ("words", "encoder_words") else "lamp_qformer"
    stages = {
        "tokenizer": {},
        lamp: {"tokenizer": "tokenizer"},
        "text_to_motion": {"tokenizer": "tokenizer", "lamp": lamp},
    }
    if arguments.language_model:
        stages["captioner"] = {"lamp": lamp}
    steps = [training_step(arguments, stage, inputs) for stage, inputs in stages.items()]
    generated = ["--lamp", model(output, lamp), *(["--guo", arguments.guo] if arguments.guo else [])]
    generated += ["--repeats", arguments.repeats, "--multimodality-texts", arguments.multimodality_texts]
    generated += ["--cache", output / "results" / "repeats"]
    tasks: dict[str, tuple[str, list]] = {
        "tokenizer": ("tokenizer", []),
        "generation": ("text_to_motion", generated),
        "retrieval": (lamp, ["--sentence-encoder", arguments.sentence_encoder]),
    }
    if arguments.language_model:
        tasks["captioning"] = ("captioner", ["--lamp", model(output, lamp)])
    return steps + [evaluation_step(arguments, task, stage, [*options, "--skeleton", skeleton])
                    for task, (stage, options) in tasks.items()]  # fmt: skip


def model(output: Path, stage: str) -> Path:
    return output / stage / "model"


def _record(folder: Path) -> Path:
    """Return the file that a finished stage has, of a whole model or of an adapter."""
    adapter = folder / "adapter_config.json"
    return adapter if adapter.is_file() else folder / "config.json"


def training_step(arguments: argparse.Namespace, stage: str, inputs: dict[str, str]) -> Step:
    """Make the step that trains a stage in a process, or several, of its own."""
    folder = model(arguments.output, stage)
    models = {name: model(arguments.output, earlier) for name, earlier in inputs.items()}
    options = {"recipe": recipe_of(arguments.recipes, stage), "data": arguments.data, "output": folder.parent} | models
    if stage == "captioner":
        options["language-model"] = arguments.language_model
    command = [*shlex.split(arguments.launcher), f"{__package__}.train_{stage}"]
    command += [str(part) for name, value in options.items() for part in (f"--{name}", value)]

    def run() -> None:
        if code := subprocess.run(command).returncode:
            raise ValueError(f"stage {stage} ended with code {code}; the same command goes on where it stopped")

    return Step(f"train {stage}", _record(folder), [_record(path) for path in models.values()], run)


def recipe_of(recipes: str, stage: str) -> str:
    """Return the recipe of a stage: a file of the folder, or one that comes with the package."""
    path = Path(recipes) / f"{stage}.yaml"
    return str(path) if path.is_file() else f"{recipes}/{stage}"


def evaluation_step(arguments: argparse.Namespace, task: str, stage: str, options: list) -> Step:
    """Make the step that evaluates a stage on the test split; what the task prints goes to a file."""
    folder, result = model(arguments.output, stage), arguments.output / "results" / f"{task}.json"
    command = [task, "--data", arguments.data, "--model", folder, "--output", result, "--published-lengths", *options]

    def run() -> None:
        result.parent.mkdir(parents=True, exist_ok=True)
        with open(result.with_suffix(".log"), "w", encoding="utf-8") as log, contextlib.redirect_stdout(log):
            evaluate.main([str(part) for part in command])

    return Step(f"evaluate {task}", result, [_record(folder)], run)


def main(command_line: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="lamp-hf reproduce", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", choices=DATASETS)
    parser.add_argument("--data", required=True, type=Path, help="folder in HumanML3D's layout")
    parser.add_argument("--output", required=True, type=Path, help="folder of models, results and tables")
    note = "folder of recipes, or one that comes with the package: as_released (as_released_kit), base, kit"
    parser.add_argument("--recipes", help=f"{note}; by default the first, by data set")
    parser.add_argument("--guo", type=Path, help="folder of Guo et al.'s evaluator, without which few figures compare")
    note = "of the captioner; '' to train and judge none"
    parser.add_argument("--language-model", default="facebook/opt-2.7b", help=note)
    encoder = "sentence-transformers/all-MiniLM-L6-v2"
    parser.add_argument("--sentence-encoder", default=encoder, help="decides which captions are similar, in retrieval")
    parser.add_argument("--repeats", default=20, type=int, help="repeats of the protocol of generation")
    note = "texts of each repeat whose motions' multimodality is measured"
    parser.add_argument("--multimodality-texts", default=96, type=int, help=note)
    note = "how to run a module, such as 'accelerate launch --num_processes 8 -m'"
    parser.add_argument("--launcher", default=shlex.join([sys.executable, "-m"]), help=note)
    arguments = parser.parse_args(command_line)
    arguments.recipes = arguments.recipes or DATASETS[arguments.dataset][1]
    try:
        if not any(path.is_dir() for path in (Path(arguments.recipes), RECIPES / arguments.recipes)):
            raise ValueError(f"--recipes {arguments.recipes}: no such folder, and none that comes with the package")
        reproduce(arguments)
    except ValueError as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")


def reproduce(arguments: argparse.Namespace) -> None:
    """Check the folder, take the steps that are not done yet, and write the tables after each."""
    notes = check_folder(arguments.data, arguments.dataset)
    for note in notes:
        print(f"note: {note}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    steps = plan(arguments)
    for number, step in enumerate(steps, 1):
        state = "done before" if step.is_done() else "starts"
        print(f"{number} of {len(steps)}, {step.name}: {state}", flush=True)
        if state == "starts":
            step.run()
        write_tables(arguments, notes)
    print((arguments.output / "README.md").read_text(encoding="utf-8"))


def write_tables(arguments: argparse.Namespace, notes: list[str]) -> None:
    """Write what was measured so far beside the paper's figures."""
    page = tables(arguments.dataset, arguments.output / "results", notes)
    write_atomically(arguments.output / "README.md", lambda path: path.write_text(page, encoding="utf-8"))


if __name__ == "__main__":
    main()
