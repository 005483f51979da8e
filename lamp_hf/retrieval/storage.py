"""What lies in the folder of a saved gallery: `index.json`, and the file of vectors that it names."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError


FORMAT, VERSION = "lamp_hf.MotionIndex", 2
VECTORS = f"{12 * '[0-9a-f]'}.safetensors"  # what files of vectors are called


def fetch(name: str | Path) -> Path:
    """A folder, or, where there is none of the name, what the Hub or the cache has of it."""
    folder = Path(name)
    if folder.exists() or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", str(name)):
        return folder
    try:
        return Path(snapshot_download(str(name), repo_type="dataset"))
    except (RepositoryNotFoundError, LocalEntryNotFoundError, HfHubHTTPError):
        raise FileNotFoundError(f"no motion index {name}, neither a folder nor on the Hub") from None


def read_about(folder: Path) -> dict:
    """What index.json says."""
    if not (folder / "index.json").is_file():
        raise FileNotFoundError(f"{folder} holds no motion index: it has no index.json")
    try:
        about = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise ValueError(about["format"])
        about = {name: about[name] for name in ("version", "origin", "model", "sha256")} | {
            "file": Path(about["file"]).name  # in this folder, whatever it says
        }
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder}/index.json describes no motion index: {error!r}") from None
    if about["version"] != VERSION:
        raise ValueError(f"{folder}: an index of version {about['version']}; this package reads {VERSION}")
    return about


def memory_map(file: BinaryIO, name: str) -> np.ndarray:
    """A float32 tensor of an open safetensors file, on disk; it stays readable when the file is replaced."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    about = json.loads(file.read(length))[name]
    if 0 in about["shape"]:
        return np.zeros(about["shape"], np.float32)
    return np.memmap(file, np.float32, "r", 8 + length + about["data_offsets"][0], tuple(about["shape"]))


@dataclass
class Rows:
    """Vectors, the motion that each belongs to, and the seconds of it that each stands for.

    Args:
        vectors (`np.ndarray` of shape `(num_rows, dimension)`): float32, unit length.
        items (`np.ndarray` of shape `(num_rows,)`): places in the list of ids.
        spans (`np.ndarray` of shape `(num_rows, 2)`): float32, start and end.
    """

    vectors: np.ndarray
    items: np.ndarray
    spans: np.ndarray

    @classmethod
    def empty(cls, dimension: int) -> "Rows":
        return cls(np.zeros((0, dimension), np.float32), np.zeros(0, int), np.zeros((0, 2), np.float32))

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, chosen) -> "Rows":
        return Rows(self.vectors[chosen], self.items[chosen], self.spans[chosen])

    def __add__(self, other: "Rows") -> "Rows":
        pairs = ((self.vectors, other.vectors), (self.items, other.items), (self.spans, other.spans))
        return Rows(*(np.concatenate(pair) for pair in pairs))
