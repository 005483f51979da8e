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


CLASSES = "lamp_hf_classes"


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


def refer_to_package(folder: Path, classes: dict[str, str]) -> None:
    """Let `trust_remote_code=True` find the classes, by Auto class, in the package: the folder is a part of it."""
    names = sorted(classes.values())
    quoted = ", ".join(f'"{name}"' for name in names)
    code = '"""Classes of this model, for `trust_remote_code=True`."""\n\n'
    code += f"from lamp_hf import {', '.join(names)}\n\n\n__all__ = [{quoted}]\n"
    (folder / f"{CLASSES}.py").write_text(code, encoding="utf-8")
    for name, kinds in (("config.json", ("AutoConfig", "AutoModel")), ("processor_config.json", ("AutoProcessor",))):
        values = json.loads((folder / name).read_text(encoding="utf-8"))
        values["auto_map"] = {kind: f"{CLASSES}.{classes[kind]}" for kind in kinds}
        (folder / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


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
    processor = AutoProcessor.from_pretrained(arguments.model)
    processor.save_pretrained(arguments.output)
    for shard in arguments.output.glob("*.safetensors"):
        shard.chmod(0o644)
    for code in arguments.output.glob("*.py"):
        code.unlink()  # the package has the code
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        path = arguments.output / name
        path.write_text(json.dumps(strip(json.loads(path.read_text())), indent=2) + "\n")
    kinds = {"AutoConfig": model.config, "AutoModel": model, "AutoProcessor": processor}
    refer_to_package(arguments.output, {kind: type(part).__name__ for kind, part in kinds.items()})
    size = sum(file.stat().st_size for file in arguments.output.iterdir())
    print(f"{arguments.output}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
