"""A folder of motion files as a gallery, indexed by one process or by many."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..claims import claim, name_portion
from ..distributed import take_device
from ..motion.clip import READABLE, Motion, motion_files
from ..motion.files import write_atomically
from ..motion.source_state import describe_options, describe_source, is_as_described
from ..motion.world import check_options
from .embedder import Embedder
from .index import MotionIndex
from .storage import read_manifest


PORTION = 256  # files that are claimed, and embedded, together
_MODEL = "bundled:text-to-motion"


@dataclass
class IndexReport:
    """Result of [`index_folder`] in one process.

    Args:
        motions (`int`): in the gallery now.
        added (`int`): new in the gallery, or embedded again; 0 if another process wrote it.
        removed (`int`): dropped from the gallery, or embedded again; likewise.
        broken (`dict[str, str]`): files that were left out, and why; likewise.
        seconds (`float`): time that it took.
        missing (`int`): files that other processes still have, so that the gallery is not written yet.
    """

    motions: int
    added: int = 0
    removed: int = 0
    broken: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    missing: int = 0


def index_folder(
    source: str | Path,
    output: str | Path,
    model: str | Path | None = None,
    update: bool = False,
    late_interaction: bool = False,
    milvus: str | None = None,
    **reading,
) -> IndexReport:
    """Index the motion files of a folder and its subfolders; their ids are their paths in the folder.

    Any number of processes that are given the same share the files, see [`~lamp_hf.claims.claim`]: each embeds
    portions that no other has, and keeps them in `.NAME-portions` beside the gallery NAME. The one that finds all of
    them done writes the gallery. After an interruption, the same again does what is missing.

    Args:
        source (`str` or `Path`): the folder.
        output (`str` or `Path`): folder of the gallery; unless `update` is set it must hold none, or the one that is
            wanted.
        model (`str` or `Path`, *optional*): folder or Hub id of the model; if not given, the bundled LaMP, or the
            model of the gallery that is updated.
        update (`bool`): keep the gallery that is there: add new files, drop those that are gone, and embed files
            again whose content or options of reading have changed, or of which the gallery does not know the content
            (it was written by version 0.1.0).
        late_interaction (`bool`): of a new gallery, see [`MotionIndex`].
        milvus (`str`, *optional*): where Milvus keeps the vectors of a new gallery, see [`MotionIndex`].
        reading (*optional*): `rig`, `unit`, `up` and `fps` of the files, see [`Motion.load`].

    Raises:
        FileNotFoundError: when the folder, or the gallery to update, is missing.
        ValueError: when there is another gallery already, the one to update was made with another model or of another
            folder, options of a new gallery are given for it, or no file can be read.
    """
    started = time.perf_counter()
    source, output = Path(source), Path(output)
    check_options(**reading)
    if update and (late_interaction or milvus):
        raise ValueError("a gallery stays as it was made: give --late-interaction and --milvus for a new one only")
    files = _motion_files(source)
    take_device()
    version = _version(output)
    if version is not None and not update:
        report = _report_there(source, output, model or _MODEL, late_interaction, milvus, files, reading)
        return replace(report, seconds=time.perf_counter() - started)
    old = MotionIndex.load(output, model) if update else None
    model = model or (old.model_name if old else _MODEL)
    late_interaction = late_interaction or (old is not None and old.late_interaction)
    in_milvus = MotionIndex(model, late_interaction=late_interaction, store="milvus", uri=milvus) if milvus else None
    unchanged = _unchanged(old, source, output, files, reading) if old else set()
    empty = MotionIndex(model, late_interaction=late_interaction)
    portions = _Portions(files.keys() - unchanged, files, reading, empty, output, version)
    portions.embed()
    for _ in portions.claim_gallery():
        report = _write_gallery(output, portions, old, unchanged, in_milvus)
        if not report.motions:
            raise ValueError(f"{source}: no motion file in it can be read ({', '.join(READABLE)})")
        return replace(report, seconds=time.perf_counter() - started)
    if missing := portions.count_missing():
        return IndexReport(len(old or []), missing=missing, seconds=time.perf_counter() - started)
    portions.remove()  # another process has written the gallery
    return IndexReport(len(MotionIndex.load(output)), seconds=time.perf_counter() - started)


def _write_gallery(
    output: Path, portions: _Portions, old: MotionIndex | None, unchanged: set[str], in_milvus: MotionIndex | None
) -> IndexReport:
    """Merge portions that are all done, with what is `unchanged` of the old gallery if there is one."""
    index, broken = portions.merge()
    added, removed = len(index), 0
    if old is not None:
        gone = [name for name, file in zip(old.ids, old.sources) if file and name not in unchanged]
        old.remove(gone)
        removed, index = len(gone), old.join(index)
    elif in_milvus is not None:
        index = in_milvus.join(index)
    if len(index):
        index.save(output)
    portions.remove()
    return IndexReport(len(index), added, removed, broken)


def _report_there(
    source: Path,
    output: Path,
    model: str | Path,
    late_interaction: bool,
    milvus: str | None,
    files: dict[str, Path],
    reading: dict[str, Any],
) -> IndexReport:
    """Report on the gallery that is wanted and is there already, by an earlier run or by other processes of this one.

    Raises:
        ValueError: when it is another one.
    """
    index = MotionIndex.load(output, model)
    unchanged = _unchanged(index, source, output, files, reading)
    wanted = (late_interaction, milvus is not None)
    complete = (index.late_interaction, read_manifest(output)["milvus"] is not None) == wanted
    complete &= all(name in unchanged for name, file in zip(index.ids, index.sources) if file)
    broken: dict[str, str] = {}
    for name in sorted(files.keys() - unchanged) if complete else []:
        try:
            _read(files[name], name, index.embedder, reading)
            complete = False
            break
        except (OSError, ValueError) as error:
            broken[name] = " ".join(str(error).split())
    if not complete:
        raise ValueError(f"{output} is a gallery already: bring it up to date with --update, or choose another folder")
    return IndexReport(len(index), broken=broken)


class _Portions:
    """Files to embed, in portions that any process may claim; what is done waits beside the gallery to be merged.

    Args:
        names (`Iterable[str]`): of the files.
        files (`dict[str, Path]`): all files by their names.
        reading (`dict`): options of [`Motion.load`].
        empty ([`MotionIndex`]): without motions, of the model that embeds them.
        output (`Path`): folder of the gallery.
        version (`str`, *optional*): of the gallery that was there at the beginning, see [`_version`].
    """

    def __init__(
        self,
        names: Iterable[str],
        files: dict[str, Path],
        reading: dict[str, Any],
        empty: MotionIndex,
        output: Path,
        version: str | None,
    ):
        self._files, self._reading, self._empty = files, reading, empty
        self._output, self._version = output, version
        self._folder = output.parent / f".{output.name}-portions"
        ordered = sorted(names)
        parts = [ordered[first : first + PORTION] for first in range(0, len(ordered), PORTION)]
        made_by = [empty.fingerprint, empty.late_interaction, describe_options(reading)]
        self._parts = {name_portion([made_by, [_stamp(name, files[name]) for name in part]]): part for part in parts}

    def embed(self) -> None:
        """Embed what no other process does."""
        count = sum(map(len, self._parts.values()))
        with tqdm(total=count, unit=" files", disable=None if count > PORTION else True) as progress:
            for (part,) in claim(self._parts, self._folder, self._unless_done):
                self._embed_part(self._parts[part], self._folder / part)
                progress.update(len(self._parts[part]))

    def claim_gallery(self) -> Iterator[list[str]]:
        """Yield once if all portions are done, and it is left to this process to write the gallery."""
        if not any(map(self._unless_done, self._parts)):
            yield from claim(["gallery"], self._folder, lambda name: [] if self._is_written() else [name])

    def merge(self) -> tuple[MotionIndex, dict[str, str]]:
        """Return the index of all files, and those that cannot be read with the reason."""
        merged = self._empty.new_like()
        broken: dict[str, str] = {}
        for part in self._parts:
            merged.join(MotionIndex.load(self._folder / part))
            broken |= json.loads((self._folder / part / "broken.json").read_text(encoding="utf-8"))
        return merged, broken

    def count_missing(self) -> int:
        """Count the files that are not done; all of them while another process still writes the gallery."""
        missing = [part for part in self._parts if self._unless_done(part)]
        return 0 if self._is_written() else sum(len(self._parts[part]) for part in missing or self._parts)

    def remove(self) -> None:
        """Delete the portions, once they are merged."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _unless_done(self, part: str) -> list[str]:
        return [] if (self._folder / part / "index.json").exists() or self._is_written() else [part]

    def _is_written(self) -> bool:
        return _version(self._output) != self._version

    def _embed_part(self, names: list[str], folder: Path) -> None:
        index = self._empty.new_like()
        broken: dict[str, str] = {}
        clips: dict[str, tuple[np.ndarray, dict]] = {}  # features of each file, and its state
        for name in names:
            try:
                clips[name] = _read(self._files[name], name, index.embedder, self._reading)
            except (OSError, ValueError) as error:  # one broken file does not stop the others
                broken[name] = " ".join(str(error).split())
        features, states = [clip for clip, _ in clips.values()], [state for _, state in clips.values()]
        index.add(features, list(clips), [str(self._files[name].resolve()) for name in clips], states)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "broken.json", lambda path: path.write_text(json.dumps(broken), encoding="utf-8"))
        index.save(folder)  # last of all, because a portion with an index is done


def _motion_files(source: Path) -> dict[str, Path]:
    """Find the motion files of a folder, by their paths in it."""
    return {str(path.relative_to(source)): path for path in motion_files(source)}


def _unchanged(
    old: MotionIndex, source: Path, output: Path, files: dict[str, Path], reading: dict[str, Any]
) -> set[str]:
    """Find the motions of a gallery whose files and options of reading are those that it was made with.

    Raises:
        ValueError: when the gallery was made of the files of another folder.
    """
    root = source.resolve()
    for name, file in zip(old.ids, old.sources):
        if file and Path(file) != root / name:
            raise ValueError(f"{output} was made of another folder, which held {file}: give that one, or another -o")
        if not file and name in files:
            raise ValueError(f"{output} holds another motion named {name!r}, which is of no file")
    states = dict(zip(old.ids, old.states))
    return {name for name in old.ids if name in files and is_as_described(files[name], reading, states[name])}


def _read(path: Path, name: str, embedder: Embedder, reading: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
    """Read the features of a motion file, and its state before that."""
    state = describe_source(path, reading)
    return embedder.read(Motion.load(path, **reading), name), state


def _stamp(name: str, path: Path) -> list:
    """Describe a file without reading it."""
    try:
        status = path.stat()
    except OSError:  # gone since it was found
        return [name, None]
    return [name, status.st_size, status.st_mtime_ns]


def _version(gallery: Path) -> str | None:
    """Return what every save of a gallery changes; None where there is none."""
    try:
        return read_manifest(gallery)["file"]
    except FileNotFoundError:
        return None
