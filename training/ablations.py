r"""Train a stage in variants with the same data, seed and small budget, and write one table; one subcommand a study.

python -m training.ablations text-to-motion --data mocap.parquet --tokenizer runs/tokenizer/model \
    --lamp runs/lamp/model --evaluator runs/evaluator/model --output runs/ablations --steps 300
python -m training.ablations captioning --data mocap.parquet --lamp runs/lamp/model \
    --language-model runs/language_model/model --output runs/captioning_ablations --steps 150
python -m training.ablations lavimo --data mocap.parquet --vision runs/vision/model --cache runs/videos \
    --output runs/lavimo_ablations --steps 400 --split test
python -m training.ablations pretraining --data mocap.parquet --tokenizer runs/tokenizer/model \
    --output runs/pretraining_ablations --steps 150 --split test
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .report import format_difference, format_recall
from .train_lamp import OBJECTIVES


@dataclass(frozen=True)
class Study:
    """Variants of a stage, and the numbers that are compared.

    Args:
        stage (`str`): name of the training script and of its recipe.
        inputs (`tuple[str]`): options of the training script that name folders.
        changes (`list[str]`): changes of the recipe for all variants.
        variants (`dict[str, list[str]]`): further changes of the recipe, by the name of each variant.
        columns (`dict[str, Callable]`): the columns of the table: functions from the numbers of an evaluation to a
            number or its text.
        judges (`tuple[str]`): options of the evaluation that name folders.
        task (`str`, *optional*): the task of `training.evaluate`, if its name is not that of the study.
    """

    stage: str
    inputs: tuple[str, ...]
    changes: list[str]
    variants: dict[str, list[str]]
    columns: dict[str, Callable[[dict], float | str]]
    judges: tuple[str, ...] = ()
    task: str | None = None


def retrieval_column(scoring: str, direction: str, name: str) -> Callable[[dict], str]:
    """Return a column of a recall of `training.evaluate retrieval`."""
    return lambda numbers: format_recall(numbers["scorings"][scoring]["all"][direction], name)


def difference_column(compared: str, name: str) -> Callable[[dict], str]:
    """Return a column of a difference, from text to motion, between two scorings of `training.evaluate retrieval`."""
    return lambda numbers: format_difference(numbers["differences"][compared]["text_to_motion"], name)


def without(*objectives: str) -> list[str]:
    """Return the changes of LaMP's recipe that give these objectives no weight."""
    return [f"model.{name}_weight=0" for name in objectives]


def lavimo_column(pair: str, protocol: str, direction: str, name: str) -> Callable[[dict], str]:
    """Return a column of a recall of `training.evaluate lavimo`; "none" for a model without the pair."""

    def read(numbers: dict) -> str:
        return format_recall(numbers["pairs"][pair][protocol][direction], name) if pair in numbers["pairs"] else "none"

    return read


RETRIEVAL = {
    "T2M R@1": retrieval_column("both", "text_to_motion", "R@1"),
    "R@10": retrieval_column("both", "text_to_motion", "R@10"),
    "M2T R@1": retrieval_column("both", "motion_to_text", "R@1"),
    "R@10 ": retrieval_column("both", "motion_to_text", "R@10"),
    "first hit: family": lambda numbers: numbers["scorings"]["both"]["first_hit_family"],
    "words alone: R@10": retrieval_column("words", "text_to_motion", "R@10"),
    "set - mean query: R@10": difference_column("words - words, mean query", "R@10"),
    "re-ranked - not: R@1": difference_column("re-ranked - both", "R@1"),
    "matching, balanced accuracy": lambda numbers: numbers["matching"]["drawn"]["balanced_accuracy"],
    "matching, loss": lambda numbers: numbers["matching"]["drawn"]["loss"],
}

STUDIES = {
    "text-to-motion": Study(
        "text_to_motion",
        ("tokenizer", "lamp"),
        ["data.composed=0", "data.lengthened=0", "data.mirrored=false", "data.synonyms=null"],
        {
            "words; bidirectional": ["model.attention_mask_mode=bidirectional"],
            "words; soft_tril": ["model.attention_mask_mode=soft_tril"],
            "words; causal": ["model.attention_mask_mode=causal"],
            "encoder_words; bidirectional": [
                "model.condition_mode=encoder_words",
                "model.attention_mask_mode=bidirectional",
            ],
        },
        {
            "captions right": lambda numbers: numbers["captions"]["well_covered"],
            "paraphrases right": lambda numbers: numbers["paraphrases"]["all"],
            "action": lambda numbers: numbers["evaluator"]["action"],
            "style": lambda numbers: numbers["evaluator"]["style"],
            "Fréchet ratio": lambda numbers: numbers["evaluator"]["frechet_ratio"],
            "skating ratio": lambda numbers: numbers["physics"]["skating_ratio"],
        },
        judges=("evaluator",),
    ),
    "captioning": Study(
        "captioner",
        ("lamp", "language-model"),
        ["data.mirrored=false"],
        {
            "language model and projection": [],
            "without the whole motion": ["model.whole_motion=false"],
            "LoRA and projection": [
                r"lora={r: 16, target_modules: 'language_model\..*\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)'}",
                "trained_modules=[language_projection]",
            ],
            "projection alone": ["trained_modules=[language_projection]"],
        },
        {
            "action": lambda numbers: numbers["captioner"]["action"],
            "style": lambda numbers: numbers["captioner"]["style"],
            "BLEU-4": lambda numbers: numbers["captioner"]["raw"]["bleu_4"],
            "CIDEr": lambda numbers: numbers["captioner"]["raw"]["cider"],
            "BERTScore": lambda numbers: numbers["captioner"]["bertscore"],
        },
    ),
    "lavimo": Study(
        "lavimo",
        ("vision", "cache"),
        ["data.paraphrases=0"],
        {
            "text, video and motion; tokens, identity": [],
            "text and motion alone": ["model.use_video=false"],
            "no fusion, no reconstruction": ["model.fusion=none"],
            "alike captions left out (filter)": ["model.target=filter"],
            "alike captions wanted (soft)": ["model.target=soft"],
            "alike captions wanted a little (soft, weight 0.3)": ["model.target=soft", "model.soft_weight=0.3"],
        },
        {
            "T2M R@1": lavimo_column("text / motion", "all", "forth", "R@1"),
            "R@10": lavimo_column("text / motion", "all", "forth", "R@10"),
            "R@1, batches": lavimo_column("text / motion", "small_batches", "forth", "R@1"),
            "V2M R@1, fixed view, batches": lavimo_column("fixed view / motion", "small_batches", "forth", "R@1"),
            "V2M R@1, unseen views, batches": lavimo_column("unseen views / motion", "small_batches", "forth", "R@1"),
            "M2V, the same": lavimo_column("unseen views / motion", "small_batches", "back", "R@1"),
            "action": lambda numbers: numbers["pairs"]["text / motion"]["first_hit_action"],
            "action and style": lambda numbers: numbers["pairs"]["text / motion"]["first_hit_action_and_style"],
        },
        judges=("cache",),
    ),
    "pretraining": Study(
        "lamp",
        ("tokenizer",),
        ["data.mirrored=false", "data.synonyms=null"],
        {
            "all objectives": [],
            "without matching": without("matching"),
            "without text generation": without("text_generation"),
            "without motion generation": without("motion_generation"),
            "without reconstruction and decorrelation": without("reconstruction", "decorrelation"),
            # TMR's losses without the Gaussian latents; what is reconstructed, from motion and from text, are codes.
            "contrastive and reconstruction": without("matching", "text_generation", "decorrelation"),
            "contrastive alone": without(*(name for name in OBJECTIVES if name != "contrastive")),
        },
        RETRIEVAL,
        task="retrieval",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    studies = parser.add_subparsers(dest="study", required=True, metavar="STUDY")
    for name, study in STUDIES.items():
        options = studies.add_parser(name, help=f"{len(study.variants)} variants of train_{study.stage}")
        for folder in dict.fromkeys(("data", "output", *study.inputs, *study.judges)):
            options.add_argument(f"--{folder}", required=True, type=Path)
        options.add_argument("--steps", default=400, type=int, help="training steps of each variant")
        options.add_argument("--split", default="val", choices=["val", "test"])
    arguments = parser.parse_args()
    study = STUDIES[arguments.study]
    rows = [["variant", *study.columns], ["---"] * (len(study.columns) + 1)]
    scorings = {}
    for variant in study.variants:
        numbers = train_and_evaluate(arguments, study, variant)
        if study.columns is RETRIEVAL:
            scorings[variant] = numbers["scorings"]["both"]
        values = [column(numbers) for column in study.columns.values()]
        rows.append([variant, *(value if isinstance(value, str) else f"{value:.3g}" for value in values)])
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    print(table)
    result = {"table": table, "steps": arguments.steps, "split": arguments.split}
    result |= {"scorings": scorings} if scorings else {}
    (arguments.output / "ablations.json").write_text(json.dumps(result, indent=2) + "\n")


def train_and_evaluate(arguments: argparse.Namespace, study: Study, variant: str) -> dict:
    """Train and evaluate a variant, unless its folder has the model or the numbers already; return the numbers."""
    folder = arguments.output / folder_name(variant, arguments.steps)
    if not (folder / "model").is_dir():
        recipe = Path(__file__).parent / "recipes" / "small" / f"{study.stage}.yaml"
        changes = [f"optimization.max_steps={arguments.steps}", *study.changes, *study.variants[variant]]
        run(f"train_{study.stage}", "--recipe", recipe, "--data", arguments.data, "--output", folder,
            *folders(arguments, study.inputs), "--set", *changes)  # fmt: skip
    result = folder / f"{arguments.split}.json"
    if not result.is_file():
        run("evaluate", study.task or arguments.study, "--data", arguments.data, "--split", arguments.split,
            "--model", folder / "model", "--output", result,
            *folders(arguments, study.judges))  # fmt: skip
    return json.loads(result.read_text())


def folder_name(variant: str, steps: int) -> str:
    """Return the name of a variant's folder."""
    return "".join(letter if letter.isalnum() else "_" for letter in variant) + f"_{steps}"


def folders(arguments: argparse.Namespace, names: tuple[str, ...]) -> list:
    """Return the options of these names with their values, for a command line."""
    return [part for name in names for part in (f"--{name}", getattr(arguments, name.replace("-", "_")))]


def run(module: str, *arguments) -> None:
    """Run a module of this package in a process of its own."""
    subprocess.run([sys.executable, "-m", f"{__package__}.{module}", *map(str, arguments)], check=True)


if __name__ == "__main__":
    main()
