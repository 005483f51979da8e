"""Where a model is from, so that what was made with one is not read with another."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from safetensors import safe_open
from transformers import AutoConfig, PreTrainedConfig
from transformers.utils import cached_file


def identify(name: str | Path, config) -> str:
    """A model's name with where it is from: a folder's fingerprint, or the commit of a Hub id."""
    commit = getattr(config, "_commit_hash", None)
    return fingerprint(name) if Path(name).is_dir() else str(name) + (f"@{commit[:8]}" if commit else "")


def fingerprint(folder: str | Path) -> str:
    """A model folder's name and the first digits of the SHA-256 of what decides its answers."""
    return f"{Path(folder).resolve().name}@{content_digest(folder)[:8]}"


def content_digest(name: str | Path) -> str:
    """SHA-256 of what decides a model's answers, of a folder or of what is in the cache of a Hub id."""
    folder = Path(name)
    if not folder.is_dir():
        folder = Path(cached_file(str(name), "config.json")).parent
    digest = hashlib.sha256()
    for name, path in sorted(_weights(folder).items()):
        with safe_open(path, "pt") as file:
            # In single precision, so that neither shards nor a precision that holds the same numbers matter.
            tensor = file.get_tensor(name).float()
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    for name, values in _configurations(folder):
        digest.update(f"{name} {json.dumps(_decisive(values), sort_keys=True)}".encode())
    return digest.hexdigest()


_DECIDING = ("adapter_config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json")
# Keys that change when a model is only saved or uploaded again.
_VOLATILE = {"auto_map", "custom_pipelines", "dtype", "torch_dtype", "transformers_version", "_name_or_path"}
_VOLATILE |= {"_commit_hash", "name_or_path", "processor_class", "peft_version", "architectures"}


def _weights(folder: Path) -> dict[str, Path]:
    """The file of each tensor."""
    found = {}
    for path in folder.glob("*model*.safetensors"):  # and no gallery of motions that may lie there too
        with safe_open(path, "pt") as file:
            found |= dict.fromkeys(file.keys(), path)
    return found


def _configurations(folder: Path) -> Iterator[tuple[str, dict]]:
    if (folder / "config.json").is_file():
        yield "config.json", _under_first_names(AutoConfig.from_pretrained(folder))
    for name in _DECIDING:
        if (folder / name).is_file():
            yield name, json.loads((folder / name).read_text(encoding="utf-8"))


def _under_first_names(config) -> dict:
    """Entries under the names that they had when galleries and results began to record fingerprints.

    Names change, but the fingerprint of the same model must not: a gallery belongs to the model that made it.
    """
    values = config.to_diff_dict()
    for name, part in vars(config).items():
        if isinstance(part, PreTrainedConfig) and hasattr(part, "released_quirks"):
            values[name] = _under_first_names(part) | {"model_type": part.model_type}
    if hasattr(config, "released_quirks"):
        values.pop("released_quirks", None)
        values |= asdict(config.released_quirks)
    if config.model_type == "lamp_text_to_motion":
        values["order_noise"] = values.pop("choice_temperature")
        interval = tuple(values.pop("guidance_interval"))
        values["guidance_schedule"] = {(0.0, 1.0): "constant", (0.2, 0.8): "interval"}.get(interval, interval)
    return values


def _decisive(value):
    """A configuration without what says nothing of a model's answers."""
    if isinstance(value, dict):
        return {key: _decisive(entry) for key, entry in value.items() if key not in _VOLATILE}
    return [_decisive(entry) for entry in value] if isinstance(value, list) else value
