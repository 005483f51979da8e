"""Makes the folder that ships: half-precision shards under 16 MB, configuration without traces of this machine.

python -m training.bundle --model runs/text_to_motion/model --output lamp_hf/checkpoints/lamp_small
"""

import argparse
import json
from pathlib import Path

import lamp_hf


def strip(values):
    """Removes where sub-models and code were loaded from, at any depth."""
    if isinstance(values, dict):
        return {name: strip(value) for name, value in values.items() if name not in ("_name_or_path", "auto_map")}
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for old in arguments.output.glob("*.safetensors*"):
        old.unlink()
    model = lamp_hf.LampForTextToMotion.from_pretrained(arguments.model)
    model.half().save_pretrained(arguments.output, max_shard_size="15MB")
    lamp_hf.LampProcessor.from_pretrained(arguments.model).save_pretrained(arguments.output)
    for shard in arguments.output.glob("*.safetensors"):
        shard.chmod(0o644)
    for code in arguments.output.glob("*.py"):
        code.unlink()  # inside the package the code is at hand
    for name in ("processor_config.json", "tokenizer_config.json"):
        path = arguments.output / name
        path.write_text(json.dumps(strip(json.loads(path.read_text())), indent=2) + "\n")
    config = arguments.output / "config.json"
    # Stored in half precision, computed in single: what "auto" chooses when the model is loaded.
    values = strip(json.loads(config.read_text())) | {"dtype": "float32"}
    config.write_text(json.dumps(values, indent=2) + "\n")
    size = sum(file.stat().st_size for file in arguments.output.iterdir())
    print(f"{arguments.output}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
