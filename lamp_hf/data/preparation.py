"""Preparing a data set: a folder of motion files and captions becomes a folder in HumanML3D's layout."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm

from ..models.motion_representation import mirror
from ..models.skeleton import get_skeleton
from ..motion.clip import READABLE, Motion
from ..motion.files import WriteError, printable
from ..motion.source_state import describe_source
from ..motion.world import check_options
from .captions import TimedCaption, clip_name, mirror_caption, read_caption_table, read_captions_beside
from .humanml3d_writer import is_written, locked, remove_other_clips, write_clip, write_summary


@dataclass
class PreparationReport:
    """Result of a preparation.

    Args:
        clips (`int`): clips in the output, including mirror images.
        kept (`int`): clips among them that an earlier run had written and that are up to date.
        broken (`dict[str, str]`): files that were left out, and why.
        seconds (`float`): duration of the preparation.
    """

    clips: int = 0
    kept: int = 0
    broken: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class _Job:
    """A motion file, its clip's name, its captions from the caption table, and the options of the preparation."""

    path: Path
    name: str
    captions: list[TimedCaption] | None
    output: Path
    mirrored: bool
    reading: dict


_Outcome = tuple[bool, str | None]  # was the clip there already; what is wrong with the file


def prepare(
    source: str | Path,
    output: str | Path,
    captions: str | Path | None = None,
    mirrored: bool = False,
    parquet: bool = False,
    workers: int | None = None,
    **reading,
) -> PreparationReport:
    """Turn a folder of motion files (`.bvh`, `.npz`, `.npy`, subfolders included) into a data set.

    Writes `new_joints/`, `new_joint_vecs/`, `texts/`, `train.txt`, `val.txt`, `test.txt`, `Mean.npy`, `Std.npy`, as in
    HumanML3D, and `broken.csv` and a card. A folder in HumanML3D's layout keeps its splits. Other clips are split
    80 : 5 : 15 by a hash of their names, so that a clip stays in its split when others are added; where a split would
    be empty, the clip whose hash is nearest goes there. A second run processes only files that are new, or whose
    content, captions or options have changed, and deletes clips whose files are gone or broken.

    Args:
        source (`str` or `Path`): the folder. Captions are looked for in it: `captions.csv` (columns `name`,
            `caption`), `captions.json` (`{name: caption or list}`), HumanML3D's `texts/name.txt`, or `name.txt`
            beside the motion.
        output (`str` or `Path`): the new folder.
        captions (`str` or `Path`, *optional*): another csv or json file.
        mirrored (`bool`): add each clip's mirror image, named with a leading "M", with sides swapped in its captions.
        parquet (`bool`): write `motions.parquet` as well, which [`load_motion_dataset`] reads; HumanML3D's skeleton
            only.
        workers (`int`, *optional*): number of processes; that of the cores by default.
        reading (*optional*): `rig`, `unit`, `up` and `fps`, see [`Motion.load`].

    Raises:
        FileNotFoundError: when the source is missing or holds no motion file.
        ValueError: on a damaged caption file, two files of one name, when no usable clip remains, or when another
            preparation is writing there.
    """
    started = time.perf_counter()
    source, output = Path(source), Path(output)
    check_options(**reading)
    files = _find_motions(source, output)
    table = read_caption_table(source, Path(captions) if captions else None)
    names = _unique_names(files, source)
    if mirrored and any(name.startswith("M") and name[1:] in names for name in names):
        raise ValueError(f"{source}: it has mirror images already (clips whose names begin with M)")
    jobs = [
        _Job(path, name, table.get(name) or table.get(clip_name(path.stem)), output, mirrored, reading)
        for name, path in names.items()
    ]
    with locked(output):
        clips, report = _write_clips(jobs, source, workers)
        write_summary(source, output, clips, report.broken, parquet)
        remove_other_clips(output, clips)
    report.clips, report.seconds = len(clips), time.perf_counter() - started
    return report


def _write_clips(jobs: list[_Job], source: Path, workers: int | None) -> tuple[list[str], PreparationReport]:
    """Run all jobs; return the names of the clips, and a report of which were kept and which files are broken."""
    clips, report = [], PreparationReport()
    for job, (kept, problem) in _run(jobs, workers):
        if problem:
            report.broken[printable(job.path.relative_to(source))] = printable(problem)
        else:
            clips += [job.name, f"M{job.name}"] if job.mirrored else [job.name]
            report.kept += kept * (1 + job.mirrored)
    return clips, report


def _find_motions(source: Path, output: Path) -> list[Path]:
    """List motion files except hidden ones and the output's; in HumanML3D's layout, features or else joints."""
    roots = [source / name for name in ("new_joint_vecs", "new_joints") if (source / name).is_dir()]
    files = [
        path
        for path in sorted((roots or [source])[0].rglob("*"))
        if path.suffix.lower() in READABLE and path.is_file() and not path.name.startswith(".")
        if output.resolve() not in path.resolve().parents
    ]
    if not files:
        raise FileNotFoundError(f"{source}: no motion file ({', '.join(READABLE)}) in this folder")
    return files


def _unique_names(files: list[Path], source: Path) -> dict[str, Path]:
    """Name clips by their paths below the source, or by the file alone if the source is in HumanML3D's layout."""
    layout = files[0].parent.name in ("new_joint_vecs", "new_joints")
    names: dict[str, Path] = {}
    for path in files:
        name = clip_name(path.name if layout else str(path.relative_to(source)))
        if name in names:
            raise ValueError(f"{source}: two files would both be the clip {name}: {names[name].name} and {path.name}")
        names[name] = path
    return names


def _run(jobs: list[_Job], workers: int | None) -> Iterator[tuple[_Job, _Outcome]]:
    """Run all jobs, in this process if they are few, and yield their outcomes in order."""
    workers = min(workers or os.cpu_count() or 1, len(jobs) // 32 + 1)
    progress = tqdm(total=len(jobs), unit=" clips", disable=None)
    if workers == 1:
        for job in jobs:
            yield job, _prepare_file(job)
            progress.update()
    else:
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,))
        try:
            for job, outcome in zip(jobs, pool.map(_prepare_file, jobs, chunksize=16)):
                yield job, outcome
                progress.update()
        finally:
            pool.shutdown(cancel_futures=True)
    progress.close()


def _prepare_file(job: _Job) -> _Outcome:
    """Write one clip and, if asked for, its mirror image."""
    try:
        captions = job.captions or read_captions_beside(job.path)
        if not captions:
            raise ValueError("it has no caption")
        clips = {job.name: captions}
        if job.mirrored:
            clips[f"M{job.name}"] = [caption._replace(text=mirror_caption(caption.text)) for caption in captions]
        if all(is_written(job.output, name, own, job.path, job.reading) for name, own in clips.items()):
            return True, None
        state = describe_source(job.path, job.reading)
        motion = Motion.load(job.path, **job.reading)
        motion = motion.resample(get_skeleton(motion.skeleton).fps)
        for name, own in clips.items():
            joints = motion.joints if name == job.name else mirror(motion.joints, motion.skeleton)
            write_clip(job.output, name, joints, motion.skeleton, own, state)
    except WriteError:  # nor will there be room for the other files
        raise
    except Exception as error:  # whatever a file of unknown origin raises, the other files continue
        return False, " ".join(str(error).split()) or type(error).__name__
    return False, None
