"""Reads a published checkpoint, accounting for every key, and writes the model folder that it becomes."""

import hashlib
import json
import os
import pickle
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import PreTrainedModel


Names = dict[str, str]  # official name of a weight -> its name in our model


def with_bias(names: Names) -> Names:
    """Return the names of weight and bias for each module in `names`."""
    return {f"{old}.{kind}": f"{new}.{kind}" for old, new in names.items() for kind in ("weight", "bias")}


class Checkpoint:
    """A file of weights under their official names.

    Every key must be used or ignored for a stated reason before `finish`.

    Args:
        path (`str` or `Path`): a dictionary that `torch.save` wrote, with the weights under one of its keys.

    Raises:
        ValueError: when the file is not such a dictionary, or reading it would run code.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.values = read_checkpoint(self.path)
        self.kind, self.format = "", ""
        self.weights, self.used, self.ignored = {}, {}, {}

    def open(self, keys: tuple[str, ...], bookkeeping: dict[str, str]) -> None:
        """Take the weights from the first of `keys` that the file has.

        Args:
            keys (`tuple[str, ...]`): entries that may hold the weights.
            bookkeeping (`dict[str, str]`): reasons to ignore the other entries; any entry without one is refused.
        """
        found = [key for key in keys if key in self.values]
        if not found or not isinstance(self.values[found[0]], dict):
            raise self.error(f"no weights under the key {' or '.join(keys)}")
        self.weights = dict(self.values[found[0]])
        self.format = f"written by torch.save, weights under {found[0]!r}"
        others = [key for key in self.values if key != found[0]]
        self._refuse("unknown entry", [key for key in others if key not in bookkeeping])
        self.ignored.update({key: bookkeeping[key] for key in others})

    def numbers(self, pattern: str) -> list[int]:
        """Return the sorted numbers that the pattern's group matches at the beginning of the names."""
        return sorted({int(found[1]) for name in self.weights if (found := re.match(pattern, name))})

    def has(self, prefix: str) -> bool:
        """Return `True` if the name of some weight begins with the prefix."""
        return any(name.startswith(prefix) for name in self.weights)

    def shape(self, name: str, dimensions: int) -> torch.Size:
        """Return the shape of a weight, which must have so many dimensions."""
        self._refuse("missing weight", [name] * (name not in self.weights))
        shape = getattr(self.weights[name], "shape", ())
        if len(shape) != dimensions:
            raise self.error(f"weight {name} has the shape {list(shape)}, not one of {dimensions} dimensions")
        return shape

    def take(self, names: Names, changes: dict | None = None) -> dict[str, torch.Tensor]:
        """Return weights under our names, in single precision.

        Args:
            names (`Names`): the weights to take; all must be in the file.
            changes (`dict[str, Callable]`, *optional*): by official name, a function to apply to the tensor.
        """
        self._refuse("missing weight", [name for name in names if name not in self.weights])
        taken = {}
        for old, new in names.items():
            tensor = self.weights[old]
            if not (torch.is_tensor(tensor) and tensor.is_floating_point() and tensor.isfinite().all()):
                raise self.error(f"weight {old} is not a tensor of finite numbers")
            change = (changes or {}).get(old)
            taken[new] = (change(tensor.float()) if change else tensor.float()).clone()
        self.used.update(names)
        return taken

    def ignore(self, reasons: dict[str, str]) -> None:
        """Ignore the weights whose names match a pattern, for the reason given with it."""
        for pattern, reason in reasons.items():
            self.ignored.update({name: reason for name in self.weights if re.fullmatch(pattern, name)})

    def finish(self) -> None:
        """Refuse the file if a weight is neither used nor ignored."""
        self._refuse("unexpected weight", [n for n in self.weights if n not in self.used and n not in self.ignored])

    def fill(self, model: PreTrainedModel, weights: dict[str, torch.Tensor]) -> PreTrainedModel:
        """Load all of a model's weights; an error names the weight as the file does."""
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
        """Return an error whose message begins with the path of the file."""
        return ValueError(f"{self.path}: {message}")

    def report(self) -> dict:
        """Return the file's identity (name, size, SHA-256, format) and what became of each key."""
        with open(self.path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        source = {"file": self.path.name, "bytes": self.path.stat().st_size, "sha256": digest, "format": self.format}
        return {"source": source, "used": dict(self.used), "ignored": dict(self.ignored)}

    def _refuse(self, problem: str, names: list[str]) -> None:
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise self.error(f"{problem} {names[0]}{more}")


def read_checkpoint(path: Path) -> dict:
    """Read a dictionary that `torch.save` wrote.

    Raises:
        ValueError: when the file is not such a dictionary, or reading it would run code.
    """
    try:
        # Memory-mapped: the state of the optimiser is twice the size of the weights and is not read.
        values = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"reading it would run {found[1]}" if found else "it is not a PyTorch checkpoint, or it is damaged"
        raise ValueError(f"{path}: refused: {what}") from None
    except (RuntimeError, EOFError, KeyError, ValueError, TypeError, AttributeError, IndexError):
        raise ValueError(f"{path}: refused: it is not a PyTorch checkpoint, or it is damaged") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: it holds a {type(values).__name__}, not a dictionary of weights")
    return values


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """Give a temporary folder to write into, which takes the name `output` once all is written.

    Args:
        output (`Path`): the folder; there is none of this name yet.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}."))
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp makes folders that only their owner can read
        os.replace(temporary, output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_folder(output: Path, models: dict[str, PreTrainedModel], processor, report: dict, card: str) -> None:
    """Write models, their processor, the report and the card, all or nothing.

    Args:
        output (`Path`): new folder.
        models (`dict[str, PreTrainedModel]`): models by subfolder, `""` for the main one.
        processor ([`MotionFeatureExtractor`] or [`LampProcessor`]): goes with the main model; its feature extractor
            goes with every model.
        report (`dict`): content of `conversion.json`.
        card (`str`): content of `README.md`.
    """
    with new_folder(output) as temporary:
        for subfolder, model in models.items():
            model.save_pretrained(temporary / subfolder)
            part = getattr(processor, "feature_extractor", processor) if subfolder else processor
            part.save_pretrained(temporary / subfolder)
        (temporary / "conversion.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        (temporary / "README.md").write_text(card, encoding="utf-8")
