r"""The generator under other conditions and attention masks: same data, seed and small budget, one table.

python -m training.ablations --data mocap.parquet --tokenizer runs/tokenizer/model --lamp runs/lamp/model \
    --evaluator runs/evaluator/model --output runs/ablations --steps 400
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path


PLAIN = "sentence-transformers/all-MiniLM-L6-v2"
VARIANTS = {
    "LaMP, mean query; bidirectional": [],
    "LaMP, all queries; bidirectional": ["model.condition_mode=queries"],
    "plain sentence embedding; bidirectional": [f"plain_text_encoder={PLAIN}", "model.condition_mode=text_mean"],
    "LaMP, mean query; soft_tril": ["model.attention_mask_mode=soft_tril"],
    "LaMP, mean query; causal": ["model.attention_mask_mode=causal"],
}
COLUMNS = {
    "captions right": lambda numbers: numbers["captions"]["well_covered"],
    "paraphrases right": lambda numbers: numbers["paraphrases"]["well_covered"],
    "action": lambda numbers: numbers["evaluator"]["action"],
    "style": lambda numbers: numbers["evaluator"]["style"],
    "Fréchet ratio": lambda numbers: numbers["evaluator"]["frechet_ratio"],
    "skating ratio": lambda numbers: numbers["physics"]["skating_ratio"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "tokenizer", "lamp", "evaluator", "output"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    parser.add_argument("--steps", default=400, type=int)
    parser.add_argument("--split", default="val", choices=["val", "test"])
    arguments = parser.parse_args()
    recipe = Path(__file__).parent / "recipes" / "small" / "text_to_motion.yaml"
    rows = []
    for variant, changes in VARIANTS.items():
        folder = arguments.output / "".join(letter if letter.isalnum() else "_" for letter in variant)
        if not (folder / "model").is_dir():
            run("train_text_to_motion", "--recipe", recipe, "--data", arguments.data, "--output", folder,
                "--tokenizer", arguments.tokenizer, "--lamp", arguments.lamp,
                "--set", f"optimization.max_steps={arguments.steps}", "data.mirrored=false",
                "data.synonyms=null", *changes)  # fmt: skip
        result = folder / f"{arguments.split}.json"
        if not result.is_file():
            run("evaluate", "text-to-motion", "--data", arguments.data, "--split", arguments.split,
                "--model", folder / "model", "--evaluator", arguments.evaluator, "--output", result)  # fmt: skip
        numbers = json.loads(result.read_text())
        rows.append([variant, *(f"{column(numbers):.3g}" for column in COLUMNS.values())])
    rows = [["generator", *COLUMNS], ["---"] * (len(COLUMNS) + 1), *rows]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    print(table)
    result = {"table": table, "steps": arguments.steps, "split": arguments.split}
    (arguments.output / "ablations.json").write_text(json.dumps(result, indent=2) + "\n")


def run(module: str, *arguments) -> None:
    subprocess.run([sys.executable, "-m", f"training.{module}", *map(str, arguments)], check=True)


if __name__ == "__main__":
    main()
