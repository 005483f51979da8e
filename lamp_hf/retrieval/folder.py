"""A folder of motion files into a gallery, by one process or by many."""

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from accelerate.utils import gather_object
from tqdm import tqdm

from ..distributed import this_process
from ..motion.clip import READABLE, Motion
from .index import MotionIndex


@dataclass
class Indexed:
    """What indexing did.

    Args:
        motions, added, removed (`int`): in the gallery now, new in it, dropped from it.
        broken (`dict[str, str]`): files that were left out, and why.
        seconds (`float`): time it took.
    """

    motions: int
    added: int
    removed: int
    broken: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def index_folder(
    source: str | Path, output: str | Path, model: str | Path | None = None, update: bool = False, **reading
) -> Indexed | None:
    """Indexes the motion files of a folder and of those below it; ids are their paths in it.

    Under `accelerate launch` each process embeds its share of the files, and the first merges the shares.

    Args:
        source (`str` or `Path`): the folder.
        output (`str` or `Path`): of the gallery; new, unless it is to be brought up to date.
        model (`str` or `Path`, *optional*): folder or Hub id of the model; if not given LaMP's bundled one, or that of
            the gallery that is brought up to date.
        update (`bool`): keep what is in the gallery, add files that are new, drop those that are gone, and embed
            again those that were written since.
        reading (*optional*): `rig`, `unit` and `up` of BVH files, see [`Motion.load`].

    Returns:
        [`Indexed`]; None in other processes than the first.

    Raises:
        FileNotFoundError: when the source is missing, or a gallery to be brought up to date is.
        ValueError: when the output is there already, was made with another model or of another folder, or not one
            motion can be read.
    """
    started = time.perf_counter()
    state = this_process()
    source, output = Path(source), Path(output)
    if not source.is_dir():
        raise FileNotFoundError(f"no such folder: {source}")
    if not update and (output / "index.json").exists():
        raise ValueError(f"{output} is a gallery already: bring it up to date with --update, or choose another folder")
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in READABLE and path.is_file())
    names = {str(path.relative_to(source)): path for path in files}
    old = MotionIndex.load(output, model) if update else None
    model = model or (old.model_name if old else "bundled:text-to-motion")
    known = _known(old, source, output, names) if old else set()
    new = sorted(names.keys() - known)
    share = MotionIndex(model)
    with state.split_between_processes(new) as mine:
        broken = _add(share, {name: names[name] for name in mine}, state.is_main_process, reading)
    shares = output.parent / f".{output.name}-shares"
    if state.num_processes > 1:
        share.save(shares / str(state.process_index))
        state.wait_for_everyone()
        broken = {name: problem for some in gather_object([broken]) for name, problem in some.items()}
    if not state.is_main_process:
        return None
    if state.num_processes > 1:
        share = MotionIndex.merge([shares / str(rank) for rank in range(state.num_processes)], model)
        shutil.rmtree(shares)
    added, removed = len(share), 0
    if old:
        kept = known & names.keys()
        gone = [name for name, file in zip(old.ids, old.sources) if file and name not in kept]
        removed = len(gone)
        old.remove(gone)
        share = old.join(share)
    if not len(share):
        raise ValueError(f"{source}: no motion file in it can be read ({', '.join(READABLE)})")
    share.save(output)
    return Indexed(len(share), added, removed, broken, time.perf_counter() - started)


def _known(old: MotionIndex, source: Path, output: Path, names: dict[str, Path]) -> set[str]:
    """Motions of a gallery whose vectors still hold: files that were not written since.

    Raises:
        ValueError: when the gallery was made of the files of another folder.
    """
    root, saved = source.resolve(), (output / "index.json").stat().st_mtime
    for name, file in zip(old.ids, old.sources):
        if file and Path(file) != root / name:
            raise ValueError(f"{output} was made of another folder, which held {file}: give that one, or another -o")
        if not file and name in names:
            raise ValueError(f"{output} holds another motion named {name!r}, which is of no file")
    return {name for name in old.ids if name in names and names[name].stat().st_mtime <= saved}


def _add(
    index: MotionIndex, files: dict[str, Path], show: bool, reading: dict, batch_size: int = 256
) -> dict[str, str]:
    """Adds files to an index; returns those that cannot be read, and why."""
    broken: dict[str, str] = {}
    batch: dict[str, object] = {}

    def flush() -> None:
        index.add(list(batch.values()), list(batch), [str(files[name].resolve()) for name in batch])
        batch.clear()

    for name, path in tqdm(files.items(), unit=" files", disable=None if show and len(files) > batch_size else True):
        try:
            batch[name] = index.embedder.read(Motion.load(path, **reading), name)
        except (OSError, ValueError) as error:  # no such thing ends the work on all the others
            broken[name] = " ".join(str(error).split())
        if len(batch) == batch_size:
            flush()
    flush()
    return broken
