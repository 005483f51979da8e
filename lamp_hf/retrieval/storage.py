"""The files of a saved gallery: `index.json`, and the safetensors file of vectors that it names.

Saving writes a new file of vectors and then replaces `index.json` in one step, so that a reader in another process
finds either the old gallery or the new one, and an interruption leaves the old one whole.
"""

import hashlib
import json
import re
import uuid
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .. import BUNDLED, bundled
from ..motion.files import WriteError, sweep_temporaries, write_atomically
from .milvus_store import check_uri


FORMAT, VERSION = "lamp_hf.MotionIndex", 2
VECTORS = f"{12 * '[0-9a-f]'}.safetensors"  # pattern of the names of vector files
LOCK = ".lock"
_RETRIES = 100
# Type and number of dimensions of each tensor; others are optional.
_TENSORS = {"items": ("I32", 1), "spans": ("F32", 2), "ids": ("U8", 1), "sources": ("U8", 1)}
_OPTIONAL = {
    "vectors": ("F32", 2),
    "keys": ("I64", 1),  # of the vectors in Milvus, in place of these
    "states": ("U8", 1),
    "quantised": ("U8", 1),
    "query_vectors": ("F16", 3),
    "query_codes": ("U8", 3),
    "query_centroids": ("F32", 3),
}
_MAPPED = {"vectors": np.float32, "query_vectors": np.float16, "query_codes": np.uint8}  # these stay on disk


def fetch(name: str | Path) -> Path:
    """Return a gallery's folder, downloaded from the Hub when there is no folder of that name.

    Raises:
        FileNotFoundError: when the Hub does not have it either.
    """
    folder = Path(name)
    if folder.exists() or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", str(name)):
        return folder
    try:
        return Path(snapshot_download(str(name), repo_type="dataset"))
    except (RepositoryNotFoundError, LocalEntryNotFoundError, HfHubHTTPError):
        raise FileNotFoundError(f"no motion index {name}, neither a folder nor on the Hub") from None


def save_gallery(folder: str | Path, tensors: dict[str, np.ndarray], about: dict[str, Any]) -> None:
    """Write a gallery in place of the one in the folder, if any.

    Args:
        folder (`str` or `Path`): made if it is missing.
        tensors (`dict[str, np.ndarray]`): the gallery's rows.
        about (`dict`): entries of `index.json`: `model`, see [`model_reference`], `origin`, its fingerprint, the
            numbers of `motions` and `vectors`, their `dimension` and, where they are there, `milvus`, see
            [`MilvusStore.describe`].

    Raises:
        OSError: when the folder cannot be written to, because the disk is full for instance; the gallery that was
            there stays.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK):
        sweep_temporaries(folder, VECTORS, "index.json")
        name = f"{uuid.uuid4().hex[:12]}.safetensors"
        write_atomically(folder / name, lambda path: _write_tensors(path, tensors))
        manifest = {"format": FORMAT, "version": VERSION, **about, "file": name, "sha256": _sha256(folder / name)}
        text = json.dumps(manifest, indent=2) + "\n"
        write_atomically(folder / "index.json", lambda path: path.write_text(text, encoding="utf-8"))
        for old in folder.glob(VECTORS):  # leaves other files alone, a model's weights for instance
            if old.name != name:
                old.unlink()


def load_gallery(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a gallery, while other processes may save it.

    Returns:
        `tuple[dict, dict[str, np.ndarray]]`: see [`read_manifest`]; the tensors, of which vectors stay on disk.

    Raises:
        FileNotFoundError: when there is no gallery.
        ValueError: when it is damaged, or of another version.
    """
    for _ in range(_RETRIES):
        manifest = read_manifest(folder)
        try:
            return manifest, _read_tensors(folder / manifest["file"], manifest["sha256"])
        except FileNotFoundError:  # damaged, unless it was saved again in the meantime
            if manifest == read_manifest(folder):
                raise ValueError(
                    f"{folder}: damaged: {manifest['file']} is missing; index the motions again"
                ) from None
    raise ValueError(f"{folder} is being saved all the time: wait until it is done")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read `version`, `origin` (the model's fingerprint), `model`, `milvus`, `sha256` and `file` of `index.json`.

    Raises:
        FileNotFoundError: when there is no `index.json`.
        ValueError: when it describes no gallery, or one of another version.
    """
    path = folder / "index.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no motion index: it has no index.json")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(content["format"])
        manifest = {name: content[name] for name in ("version", "origin", "model", "sha256")}
        if not all(isinstance(manifest[name], str) for name in ("origin", "model", "sha256")):
            raise TypeError("origin, model and sha256 must be texts")
        manifest["milvus"] = content.get("milvus")
        if manifest["milvus"] is not None:
            where = {name: manifest["milvus"][name] for name in ("uri", "collection", "dimension")}
            if list(map(type, where.values())) != [str, str, int]:
                raise TypeError("uri and collection must be texts, and dimension a number")
            manifest["milvus"] = where
        manifest["file"] = Path(content["file"]).name  # never a file outside of this folder
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} describes no motion index: {error!r:.200}") from None
    if manifest["version"] != VERSION:
        raise ValueError(f"{folder}: an index of version {manifest['version']}; this package reads {VERSION}")
    return manifest


def find_milvus(where: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return where the Milvus of a saved gallery is, whose file, if it is one, is named relative to the folder.

    Raises:
        FileNotFoundError: when the file is missing.
        ValueError: when pymilvus is missing, or the address is none.
    """
    uri = check_uri(where["uri"] if "://" in where["uri"] else str(folder.resolve() / where["uri"]))
    if "://" not in uri and not Path(uri).exists():
        raise FileNotFoundError(f"{folder}: its vectors are in {uri}, which is missing")
    return where | {"uri": uri}


def model_reference(model: str) -> str:
    """Name a model so that it is found from any working directory, and a bundled one wherever the package is."""
    name = next((f"bundled:{task}" for task in BUNDLED if model == bundled(task)), model)
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def resolve_model(reference: str) -> str:
    """Return the folder or Hub id of what [`model_reference`] named."""
    return bundled(reference.removeprefix("bundled:")) if reference.startswith("bundled:") else reference


def _write_tensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    try:
        save_file(tensors, path)
    except SafetensorError as error:  # a full disk is no OSError to safetensors
        raise WriteError(f"cannot write the gallery {path.parent}: {error}") from None


def _read_tensors(path: Path, sha256: str) -> dict[str, np.ndarray]:
    with open(path, "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise ValueError(f"{path}: damaged: its content is not what was saved; index the motions again")
        try:
            return _open_tensors(path, file)
        except (SafetensorError, ValueError, RecursionError) as error:
            raise ValueError(f"{path}: damaged: {error!s:.200}; index the motions again") from None


def _open_tensors(path: Path, file: BinaryIO) -> dict[str, np.ndarray]:
    """Read what a gallery holds; vectors stay on disk.

    Raises:
        ValueError: when tensors are missing, of another type, or of shapes that do not belong together.
    """
    with safe_open(path, framework="numpy") as stored:  # checks the header against the size of the file
        entries = {name: stored.get_slice(name) for name in stored.keys()}  # noqa: SIM118 - not a dictionary
        kinds = {name: (entry.get_dtype(), entry.get_shape()) for name, entry in entries.items()}
        for name, (dtype, num_dimensions) in (_TENSORS | _OPTIONAL).items():
            found_dtype, shape = kinds.get(name, ("missing", []))
            if (found_dtype, len(shape)) != (dtype, num_dimensions) and (name in kinds or name in _TENSORS):
                raise ValueError(f"{name} is {found_dtype} {shape}, not {dtype} of {num_dimensions} dimensions")
        if not kinds.keys() & {"vectors", "keys"}:
            raise ValueError("vectors is missing")
        rows = kinds["vectors" if "vectors" in kinds else "keys"][1][0]
        if kinds["items"][1] != [rows] or kinds["spans"][1] != [rows, 2]:
            raise ValueError(f"{rows} vectors, items {kinds['items'][1]}, spans {kinds['spans'][1]}")
        names = (_TENSORS | _OPTIONAL).keys() & kinds.keys()
        tensors = {name: stored.get_tensor(name) for name in names - _MAPPED.keys()}
        return tensors | {name: _memory_map(file, name) for name in names & _MAPPED.keys()}


def _memory_map(file: BinaryIO, name: str) -> np.ndarray:
    """Map a tensor of an open safetensors file; it stays readable when the file is deleted."""
    file.seek(0)
    header_size = int.from_bytes(file.read(8), "little")
    entry = json.loads(file.read(header_size))[name]
    if 0 in entry["shape"]:
        return np.zeros(entry["shape"], _MAPPED[name])
    return np.memmap(file, _MAPPED[name], "r", 8 + header_size + entry["data_offsets"][0], tuple(entry["shape"]))


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
