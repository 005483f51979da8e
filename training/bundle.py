"""Write the folder that ships: half-precision shards under 16 MB and a configuration without local paths.

python -m training.bundle --model runs/text_to_motion/model --output lamp_hf/checkpoints/lamp_small
python -m training.bundle --model runs/captioner/model --output lamp_hf/checkpoints/lamp_small_captioning
python -m training.bundle --model runs/lavimo/model --output lamp_hf/checkpoints/lavimo_small

An adapter is merged into its base model, and the parts of LAVIMO that only training uses are left out.
"""

import argparse
import json
from pathlib import Path

from peft import PeftModel
from transformers import AutoConfig, AutoModel, AutoProcessor, PreTrainedModel

import lamp_hf  # noqa: F401  registers the Auto classes


def load(folder: Path) -> PreTrainedModel:
    """Load a trained model, with its adapter merged if it has one."""
    adapter = folder / "adapter_config.json"
    if not adapter.is_file():
        options = {"fusion": "none"} if AutoConfig.from_pretrained(folder).model_type == "lavimo" else {}
        return AutoModel.from_pretrained(folder, **options)
    AutoModel.from_pretrained(folder)  # refuses an adapter that lacks a weight; PEFT does not
    base = AutoModel.from_pretrained(json.loads(adapter.read_text())["base_model_name_or_path"])
    return PeftModel.from_pretrained(base, folder).merge_and_unload()


def strip(values):
    """Remove the sources of sub-models and code at any depth, and set the data type to single precision."""
    if isinstance(values, dict):
        values = {name: strip(value) for name, value in values.items() if name not in ("_name_or_path", "auto_map")}
        # Weights are stored in half precision; "auto" then loads them in single precision.
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
        code.unlink()  # the package has the code
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        path = arguments.output / name
        path.write_text(json.dumps(strip(json.loads(path.read_text())), indent=2) + "\n")
    size = sum(file.stat().st_size for file in arguments.output.iterdir())
    print(f"{arguments.output}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
