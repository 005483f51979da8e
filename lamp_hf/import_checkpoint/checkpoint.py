"""An official checkpoint whose every key is used or named as ignored, and the folder that it becomes."""

import hashlib
import json
import os
import pickle
import re
import shutil
import tempfile
import zipfile
from pathlib import Path

import torch
from transformers import PreTrainedModel


Names = dict[str, str]  # a key of the checkpoint: the weight of ours that it becomes


def with_bias(names: Names) -> Names:
    """Weight and bias of each module in `names`."""
    return {f"{old}.{kind}": f"{new}.{kind}" for old, new in names.items() for kind in ("weight", "bias")}


class Checkpoint:
    """A file of weights under their official names.

    Args:
        path (`str` or `Path`): what `torch.save` wrote: a dictionary with the weights under one of its keys.

    Raises:
        ValueError: when the file is no such thing, or would run code.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.values = _read(self.path)
        self.kind, self.format = "", ""
        self.weights, self.used, self.ignored = {}, {}, {}

    def open(self, keys: tuple[str, ...], bookkeeping: dict[str, str]) -> None:
        """Takes the weights from under the one of `keys` that is there; what lies beside must be in `bookkeeping`."""
        found = [key for key in keys if key in self.values]
        if not found or not isinstance(self.values[found[0]], dict):
            raise self.error(f"no weights under the key {' or '.join(keys)}")
        self.weights = dict(self.values[found[0]])
        self.format = f"written by torch.save, weights under {found[0]!r}"
        beside = [key for key in self.values if key != found[0]]
        self._refuse("unknown entry", [key for key in beside if key not in bookkeeping])
        self.ignored.update({key: bookkeeping[key] for key in beside})

    def numbers(self, pattern: str) -> list[int]:
        """What the pattern's group catches at the beginnings of names, each once, in order."""
        return sorted({int(found[1]) for name in self.weights if (found := re.match(pattern, name))})

    def has(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self.weights)

    def shape(self, name: str, dimensions: int) -> torch.Size:
        """Of a weight that a configuration is read from."""
        self._refuse("missing weight", [name] * (name not in self.weights))
        shape = getattr(self.weights[name], "shape", ())
        if len(shape) != dimensions:
            raise self.error(f"weight {name} has the shape {list(shape)}, not one of {dimensions} dimensions")
        return shape

    def take(self, names: Names, changes: dict | None = None) -> dict[str, torch.Tensor]:
        """Weights under our names, in single precision.

        Args:
            names (`Names`): all must be there.
            changes (`dict[str, Callable]`, *optional*): what is done to a weight of an official name.
        """
        self._refuse("missing weight", [name for name in names if name not in self.weights])
        taken = {}
        for old, new in names.items():
            tensor = self.weights[old]
            if not (torch.is_tensor(tensor) and tensor.is_floating_point() and tensor.isfinite().all()):
                raise self.error(f"weight {old} is no tensor of finite numbers")
            change = (changes or {}).get(old)
            taken[new] = (change(tensor.float()) if change else tensor.float()).clone()
        self.used.update(names)
        return taken

    def ignore(self, reasons: dict[str, str]) -> None:
        """Leaves out the weights of these patterns, each for its reason; they need not be there."""
        for pattern, reason in reasons.items():
            self.ignored.update({name: reason for name in self.weights if re.fullmatch(pattern, name)})

    def finish(self) -> None:
        """Refuses what is neither used nor ignored."""
        self._refuse("unexpected weight", [n for n in self.weights if n not in self.used and n not in self.ignored])

    def fill(self, model: PreTrainedModel, weights: dict[str, torch.Tensor]) -> PreTrainedModel:
        """Gives a model all its weights; a wrong shape is refused by its official name."""
        official = {new: old for old, new in self.used.items()}
        for name, ours in model.state_dict().items():
            if name in weights and weights[name].shape != ours.shape:
                shapes = f"makes {list(weights[name].shape)} where {list(ours.shape)} is needed"
                raise self.error(f"weight {official.get(name, name)} {shapes}")
        try:
            model.load_state_dict(weights, strict=True)
        except RuntimeError as error:
            raise self.error(" ".join(str(error).split())[:300]) from None
        return model.eval()

    def error(self, message: str) -> ValueError:
        return ValueError(f"{self.path}: {message}")

    def report(self) -> dict:
        """What was read, by which other files can be told from it, and what became of each key."""
        with open(self.path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        source = {"file": self.path.name, "bytes": self.path.stat().st_size, "sha256": digest, "format": self.format}
        return {"source": source, "used": dict(self.used), "ignored": dict(self.ignored)}

    def _refuse(self, problem: str, names: list[str]) -> None:
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise self.error(f"{problem} {names[0]}{more}")


def _read(path: Path) -> dict:
    try:
        # Mapped, because optimisers are twice the size of the weights and nobody reads them here.
        values = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"reading it would run {found[1]}" if found else "it is no PyTorch checkpoint, or a damaged one"
        raise ValueError(f"{path}: refused: {what}") from None
    except (RuntimeError, EOFError, KeyError, ValueError, TypeError, AttributeError, IndexError):
        raise ValueError(f"{path}: refused: it is no PyTorch checkpoint, or a damaged one") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: it holds a {type(values).__name__}, not a dictionary of weights")
    return values


def write_folder(output: Path, models: dict[str, PreTrainedModel], processor, report: dict, card: str) -> None:
    """Writes models, their processor, the report and the card, all or nothing.

    Args:
        output (`Path`): new folder.
        models (`dict[str, PreTrainedModel]`): by subfolder, `""` for the main one.
        processor ([`MotionFeatureExtractor`] or [`LampProcessor`]): goes with the main one, its motion side with all.
        report (`dict`): becomes `conversion.json`.
        card (`str`): becomes `README.md`.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}."))
    try:
        for place, model in models.items():
            model.save_pretrained(temporary / place)
            (processor if not place else getattr(processor, "feature_extractor", processor)).save_pretrained(
                temporary / place
            )
        (temporary / "conversion.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        (temporary / "README.md").write_text(card, encoding="utf-8")
        temporary.chmod(0o755)  # a temporary folder is its owner's alone
        os.replace(temporary, output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
