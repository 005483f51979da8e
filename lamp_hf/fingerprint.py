"""Fingerprints of models, so that what was made with one model is never mixed with what another made."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers import AutoConfig, PreTrainedConfig
from transformers.utils import cached_file


_DECISIVE_FILES = ("adapter_config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json")
# Keys that change when a model is only saved or uploaded again.
_VOLATILE_KEYS = {"auto_map", "custom_pipelines", "dtype", "torch_dtype", "transformers_version", "_name_or_path"}
_VOLATILE_KEYS |= {"_commit_hash", "name_or_path", "processor_class", "peft_version", "architectures"}


def identify(name: str | Path, config) -> str:
    """Name a model and its version: `folder@digest` for a folder, `user/name@commit` for a Hub id.

    Args:
        name (`str` or `Path`): folder or Hub id.
        config ([`PretrainedConfig`]): the configuration that was loaded from there, which knows the commit.
    """
    commit = getattr(config, "_commit_hash", None)
    return fingerprint(name) if Path(name).is_dir() else str(name) + (f"@{commit[:8]}" if commit else "")


def fingerprint(folder: str | Path) -> str:
    """Return a model folder's name and the first eight digits of its [`content_digest`], `name@1f2e3d4c`."""
    return f"{Path(folder).resolve().name}@{content_digest(folder)[:8]}"


def content_digest(name: str | Path) -> str:
    """Compute the SHA-256 of the weights and settings that decide a model's outputs.

    Saving or uploading the model again, sharding its weights, or storing the same numbers in another precision does
    not change the digest.

    Args:
        name (`str` or `Path`): folder, or Hub id of a model in the cache.
    """
    folder = Path(name)
    if not folder.is_dir():
        folder = Path(str(cached_file(str(name), "config.json"))).parent
    digest = hashlib.sha256()
    for key, path in sorted(_weight_files(folder).items()):
        with safe_open(path, "pt") as file:
            tensor = file.get_tensor(key).float()
        digest.update(f"{key} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    for file_name, settings in _settings(folder):
        digest.update(f"{file_name} {json.dumps(_without_volatile_keys(settings), sort_keys=True)}".encode())
    return digest.hexdigest()


def _weight_files(folder: Path) -> dict[str, Path]:
    """Map the name of each tensor to its file."""
    files: dict[str, Path] = {}
    for path in folder.glob("*model*.safetensors"):  # not the vectors of a gallery that may lie there too
        with safe_open(path, "pt") as file:
            files |= dict.fromkeys(file.keys(), path)
    return files


def _settings(folder: Path) -> Iterator[tuple[str, dict]]:
    """Read the configuration files that decide a model's outputs."""
    if (folder / "config.json").is_file():
        yield "config.json", _under_first_names(AutoConfig.from_pretrained(folder))
    for name in _DECISIVE_FILES:
        if (folder / name).is_file():
            yield name, json.loads((folder / name).read_text(encoding="utf-8"))


def _under_first_names(config) -> dict[str, Any]:
    """Return a configuration's settings under the names that they had when galleries began to record fingerprints.

    Settings are renamed, but the fingerprint of the same model must stay: a gallery belongs to the model that made it.
    """
    values = config.to_diff_dict()
    for name, part in [("", config), *vars(config).items()]:
        if isinstance(part, PreTrainedConfig) and hasattr(part, "released_quirks"):
            entries = values[name] if name else values
            entries.pop("released_quirks", None)
            entries |= asdict(part.released_quirks)
    if config.model_type == "lamp_motion_captioning" and not config.whole_motion:
        values.pop("whole_motion", None)
    if config.model_type == "lamp_text_to_motion":
        values["order_noise"] = values.pop("choice_temperature")
        interval = tuple(values.pop("guidance_interval"))
        values["guidance_schedule"] = {(0.0, 1.0): "constant", (0.2, 0.8): "interval"}.get(interval, interval)
    return values


def _without_volatile_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_volatile_keys(entry) for key, entry in value.items() if key not in _VOLATILE_KEYS}
    return [_without_volatile_keys(entry) for entry in value] if isinstance(value, list) else value
