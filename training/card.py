r"""Fills the card of the bundled model with measured numbers.

python -m training.card --model lamp_hf/checkpoints/lamp_small
"""

import argparse
import json
from pathlib import Path


ABLATIONS = """## Why it is built so

{table}

Each trained for {steps} steps on unmirrored captions as they are, seed 0, with one LaMP and one tokenizer; measured on
the validation split, where the first row was chosen (`training/ablations.py`)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path)
    folder = parser.parse_args().model
    evaluation, tokenizer = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("evaluation", "tokenizer_evaluation")
    )
    by_action = evaluation["captions"]["by_action"]
    ablations = folder / "ablations.json"
    template = Path(__file__).parents[1] / "hub_cards" / f"{folder.name}.md"
    card = template.read_text(encoding="utf-8").format(
        evaluation=evaluation,
        tokenizer=tokenizer,
        codes=100 * tokenizer["codes_used"],
        skating=evaluation["physics"]["skating_ratio"],
        by_action=", ".join(f"{action} {share:.0f}" for action, share in by_action.items()),
        wrong="; ".join(f"“{text}”" for text in evaluation["paraphrases"]["wrong"]),
        ablations=ABLATIONS.format(**json.loads(ablations.read_text())) if ablations.is_file() else "",
        size=sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e6,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
