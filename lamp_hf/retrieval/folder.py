"""A folder of motion files as a gallery, indexed by one process or by many."""

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from tqdm import tqdm

from ..distributed import this_process
from ..motion.clip import READABLE, Motion, motion_files
from ..motion.source_state import describe_source, is_as_described
from ..motion.world import check_options
from .index import MotionIndex


BATCH_SIZE = 256  # files that are embedded together


@dataclass
class IndexReport:
    """Result of [`index_folder`].

    Args:
        motions (`int`): in the gallery now.
        added (`int`): new in the gallery, or embedded again.
        removed (`int`): dropped from the gallery, or embedded again.
        broken (`dict[str, str]`): files that were left out, and why.
        seconds (`float`): time that it took.
    """

    motions: int
    added: int
    removed: int
    broken: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def index_folder(
    source: str | Path,
    output: str | Path,
    model: str | Path | None = None,
    update: bool = False,
    late_interaction: bool = False,
    milvus: str | None = None,
    **reading,
) -> IndexReport | None:
    """Index the motion files of a folder and its subfolders; their ids are their paths in the folder.

    Under `accelerate launch` each process embeds its share of the files, and the main process merges the shares.

    Args:
        source (`str` or `Path`): the folder.
        output (`str` or `Path`): folder of the gallery; must hold none unless `update` is set.
        model (`str` or `Path`, *optional*): folder or Hub id of the model; if not given, the bundled LaMP, or the
            model of the gallery that is updated.
        update (`bool`): keep the gallery that is there: add new files, drop those that are gone, and embed files
            again whose content or options of reading have changed, or of which the gallery does not know the content
            (it was written by version 0.1.0).
        late_interaction (`bool`): of a new gallery, see [`MotionIndex`].
        milvus (`str`, *optional*): where Milvus keeps the vectors of a new gallery, see [`MotionIndex`].
        reading (*optional*): `rig`, `unit`, `up` and `fps` of the files, see [`Motion.load`].

    Returns:
        [`IndexReport`], or None in other processes than the main one.

    Raises:
        FileNotFoundError: when the folder, or the gallery to update, is missing.
        ValueError: when there is a gallery already, the one to update was made with another model or of another
            folder, options of a new gallery are given for it, or no file can be read.
    """
    started = time.perf_counter()
    source, output = Path(source), Path(output)
    check_options(**reading)
    if update and (late_interaction or milvus):
        raise ValueError("a gallery stays as it was made: give --late-interaction and --milvus for a new one only")
    files = _motion_files(source)
    if not update and (output / "index.json").exists():
        raise ValueError(f"{output} is a gallery already: bring it up to date with --update, or choose another folder")
    old = MotionIndex.load(output, model) if update else None
    model = model or (old.model_name if old else "bundled:text-to-motion")
    late_interaction = late_interaction or (old is not None and old.late_interaction)
    in_milvus = MotionIndex(model, late_interaction=late_interaction, store="milvus", uri=milvus) if milvus else None
    unchanged = _unchanged(old, source, output, files, reading) if old else set()
    share = MotionIndex(model, late_interaction=late_interaction)
    new, broken = _index_shared(sorted(files.keys() - unchanged), files, output, share, reading)
    if new is None:
        return None
    added, removed = len(new), 0
    index = new
    if old is not None:
        gone = [name for name, file in zip(old.ids, old.sources) if file and name not in unchanged]
        old.remove(gone)
        removed, index = len(gone), old.join(new)
    elif in_milvus is not None:
        index = in_milvus.join(new)
    if not len(index):
        raise ValueError(f"{source}: no motion file in it can be read ({', '.join(READABLE)})")
    index.save(output)
    return IndexReport(len(index), added, removed, broken, time.perf_counter() - started)


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


def _index_shared(
    names: list[str], files: dict[str, Path], output: Path, share: MotionIndex, reading: dict[str, Any]
) -> tuple[MotionIndex | None, dict[str, str]]:
    """Index files with all processes, each of which adds some to its empty `share`.

    Returns:
        `tuple[MotionIndex | None, dict[str, str]]`: the index, None in other processes than the main one, and the
        files that cannot be read with the reason.
    """
    state = this_process()
    folder = output.parent / f".{output.name}-shares"
    if state.is_main_process:  # those of a run that was killed
        shutil.rmtree(folder, ignore_errors=True)
    state.wait_for_everyone()
    with state.split_between_processes(names) as own:
        broken = _add_files(share, {name: files[name] for name in own}, state.is_main_process, reading)
    if state.num_processes == 1:
        return share, broken
    share.save(folder / str(state.process_index))
    state.wait_for_everyone()
    broken = {name: problem for some in gather_object([broken]) for name, problem in some.items()}
    if not state.is_main_process:
        return None, broken
    merged = MotionIndex.merge([folder / str(rank) for rank in range(state.num_processes)], share.model_name)
    shutil.rmtree(folder)
    return merged, broken


def _add_files(index: MotionIndex, files: dict[str, Path], show_progress: bool, reading: dict) -> dict[str, str]:
    """Add files to an index, and return those that cannot be read with the reason."""
    broken: dict[str, str] = {}
    batch: dict[str, tuple[Any, dict]] = {}  # what is read of each file, and the file's state

    def flush() -> None:
        clips, states = ([entry[part] for entry in batch.values()] for part in (0, 1))
        index.add(clips, list(batch), [str(files[name].resolve()) for name in batch], states)
        batch.clear()

    progress: Iterable[tuple[str, Path]] = tqdm(
        files.items(), unit=" files", disable=None if show_progress and len(files) > BATCH_SIZE else True
    )
    for name, path in progress:
        try:
            state = describe_source(path, reading)
            batch[name] = index.embedder.read(Motion.load(path, **reading), name), state
        except (OSError, ValueError) as error:  # one broken file does not stop the others
            broken[name] = " ".join(str(error).split())
        if len(batch) == BATCH_SIZE:
            flush()
    flush()
    return broken
