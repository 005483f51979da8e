"""Makes the folder that ships: half-precision shards under 16 MB, configuration without traces of this machine.

python -m training.bundle --model runs/text_to_motion/model --output lamp_hf/checkpoints/lamp_small
python -m training.bundle --model runs/captioner/model --output lamp_hf/checkpoints/lamp_small_captioning
python -m training.bundle --model runs/lavimo/model --output lamp_hf/checkpoints/lavimo_small

An adapter is merged into what it was trained on; what only LAVIMO's training uses stays behind.
"""

import argparse
import json
from pathlib import Path

from peft import PeftModel
from transformers import AutoConfig, AutoModel, AutoProcessor, PreTrainedModel

import lamp_hf  # noqa: F401  makes AutoModel know our classes


def load(folder: Path) -> PreTrainedModel:
    adapter = folder / "adapter_config.json"
    if not adapter.is_file():
        alone = {"fusion": "none"} if AutoConfig.from_pretrained(folder).model_type == "lavimo" else {}
        return AutoModel.from_pretrained(folder, **alone)
    AutoModel.from_pretrained(folder)  # refuses an adapter that lacks a weight, which PEFT takes
    base = AutoModel.from_pretrained(json.loads(adapter.read_text())["base_model_name_or_path"])
    return PeftModel.from_pretrained(base, folder).merge_and_unload()


def strip(values):
    """Removes where sub-models and code were loaded from, and says that single precision computes, at any depth."""
    if isinstance(values, dict):
        values = {name: strip(value) for name, value in values.items() if name not in ("_name_or_path", "auto_map")}
        # Stored in half precision, computed in single: what "auto" chooses when the model is loaded.
        return values | ({"dtype": "float32"} if "dtype" in values else {})
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args()
    model = load(arguments.model).half()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for old in arguments.output.glob("*.safetensors*"):
        old.unlink()
    model.save_pretrained(arguments.output, max_shard_size="15MB")
    AutoProcessor.from_pretrained(arguments.model).save_pretrained(arguments.output)
    for shard in arguments.output.glob("*.safetensors"):
        shard.chmod(0o644)
    for code in arguments.output.glob("*.py"):
        code.unlink()  # inside the package the code is at hand
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        path = arguments.output / name
        path.write_text(json.dumps(strip(json.loads(path.read_text())), indent=2) + "\n")
    size = sum(file.stat().st_size for file in arguments.output.iterdir())
    print(f"{arguments.output}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
