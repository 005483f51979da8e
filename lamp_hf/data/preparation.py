"""Own motion files and captions into HumanML3D's layout: retargeted, canonical, checked, with statistics."""

import csv
import hashlib
import io
import json
import multiprocessing
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ..models.feature_extraction_motion import MotionFeatureExtractor
from ..models.motion_representation import canonicalise, joints_to_features, mirror
from ..models.skeleton import SKELETONS, get_skeleton
from ..motion.clip import READABLE, Motion
from ..motion.files import write_atomically
from .captions import clean_caption, mirror_caption
from .dataset import SPLITS, parse_captions


@dataclass
class Prepared:
    """What a preparation did.

    Args:
        clips (`int`): clips in the output, mirrored ones counted.
        kept (`int`): of these, clips that were there, as they should be, from an earlier run.
        broken (`dict[str, str]`): files that were left out, and why.
        seconds (`float`): time it took.
    """

    clips: int = 0
    kept: int = 0
    broken: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class _Job:
    """A file, the name of its clip, its captions if a caption file has them, and how it is to be read."""

    path: Path
    name: str
    captions: tuple | None
    output: Path
    mirrored: bool
    reading: dict


def prepare(
    source: str | Path,
    output: str | Path,
    captions: str | Path | None = None,
    mirrored: bool = False,
    parquet: bool = False,
    workers: int | None = None,
    **reading,
) -> Prepared:
    """Turns a folder of motion files (`.bvh`, `.npz`, `.npy`, also in folders below) into a data set.

    Writes `new_joints/`, `new_joint_vecs/`, `texts/`, `train.txt`, `val.txt`, `test.txt`, `Mean.npy`, `Std.npy`,
    `broken.csv` and a card, as HumanML3D has them. A folder in HumanML3D's layout keeps its splits; else clips are
    split 80 : 5 : 15 by their names, so that a clip stays where it is when others are added. Started again, it does
    only what is missing or older than its source.

    Args:
        source (`str` or `Path`): the folder. Captions are looked for in it: `captions.csv` (columns `name`,
            `caption`), `captions.json` (`{name: caption or list}`), or HumanML3D's `texts/name.txt`, or `name.txt`
            beside the motion.
        output (`str` or `Path`): the new folder.
        captions (`str` or `Path`, *optional*): another csv or json file.
        mirrored (`bool`): add each clip's mirror image, "M" before its name, sides swapped in its captions.
        parquet (`bool`): write `motions.parquet` as well, which [`load_motion_dataset`] reads; HumanML3D's skeleton
            only.
        workers (`int`, *optional*): processes; one a core if not given.
        reading (*optional*): `rig`, `unit` and `up` of BVH files, see [`Motion.load`].

    Raises:
        FileNotFoundError: when the source is missing or holds no motion file.
        ValueError: on a damaged caption file, two files of one name, or when not one clip is left.
    """
    started = time.perf_counter()
    source, output = Path(source), Path(output)
    files = _find_motions(source, output)
    texts = find_captions(source, Path(captions) if captions else None)
    names = _unique_names(files, source)
    if mirrored and any(name.startswith("M") and name[1:] in names for name in names):
        raise ValueError(f"{source}: it has mirror images already (clips whose names begin with M)")
    for folder in ("new_joints", "new_joint_vecs", "texts"):
        (output / folder).mkdir(parents=True, exist_ok=True)
    result = Prepared()
    jobs = [
        _Job(path, name, texts.get(name) or texts.get(safe_name(path.stem)), output, mirrored, reading)
        for name, path in names.items()
    ]
    clips = []
    for job, (kept, problem) in _run(jobs, workers):
        if problem:
            result.broken[str(job.path.relative_to(source))] = problem
        else:
            clips += [job.name, f"M{job.name}"] if mirrored else [job.name]
            result.kept += kept * (1 + mirrored)
    _finish(source, output, clips, result.broken, parquet)
    result.clips, result.seconds = len(clips), time.perf_counter() - started
    return result


def _find_motions(source: Path, output: Path) -> list[Path]:
    """Motion files of a folder, without the output's and hidden ones; of a HumanML3D folder one of its two kinds."""
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


def safe_name(name: str) -> str:
    """A clip's name from a path: letters, digits and dashes, which no file system takes amiss."""
    return re.sub(r"[^\w-]+", "_", re.sub(r"\.(bvh|npz|npy)$", "", name, flags=re.IGNORECASE))


def _unique_names(files: list[Path], source: Path) -> dict[str, Path]:
    """Names of clips by their paths below the source; HumanML3D's are those of its files."""
    layout = files[0].parent.name in ("new_joint_vecs", "new_joints")
    names: dict[str, Path] = {}
    for path in files:
        name = safe_name(path.name if layout else str(path.relative_to(source)))
        if name in names:
            raise ValueError(f"{source}: two files would both be the clip {name}: {names[name].name} and {path.name}")
        names[name] = path
    return names


def _run(jobs: list[_Job], workers: int | None) -> Iterator[tuple[_Job, tuple[bool, str | None]]]:
    """Does all jobs, in this process when they are few; yields each with whether it was done, and what was wrong."""
    workers = min(workers or os.cpu_count() or 1, len(jobs) // 32 + 1)
    progress = tqdm(total=len(jobs), unit=" clips", disable=None)
    if workers == 1:
        for job in jobs:
            yield job, _prepare_file(job)
            progress.update()
    else:
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,))
        try:
            for job, done in zip(jobs, pool.map(_prepare_file, jobs, chunksize=16)):
                yield job, done
                progress.update()
        finally:
            pool.shutdown(cancel_futures=True)
    progress.close()


def _prepare_file(job: _Job) -> tuple[bool, str | None]:
    """Writes one clip and its mirror image; returns whether both were there, and what was wrong, if anything."""
    try:
        captions = job.captions or _text_beside(job.path)
        if not captions:
            raise ValueError("it has no caption")
        clips = {job.name: captions}
        if job.mirrored:
            clips[f"M{job.name}"] = [(mirror_caption(text), start, end) for text, start, end in captions]
        if all(_is_done(job, name, lines) for name, lines in clips.items()):
            return True, None
        motion = Motion.load(job.path, **job.reading if job.path.suffix.lower() == ".bvh" else {})
        motion = motion.resample(get_skeleton(motion.skeleton).fps)
        for name, lines in clips.items():
            joints = motion.joints if name == job.name else mirror(motion.joints, motion.skeleton)
            _write_clip(job.output, name, motion, joints, lines)
    except Exception as error:  # whatever a file of unknown origin leads to, the others go on
        return False, " ".join(str(error).split()) or type(error).__name__
    return False, None


def _is_done(job: _Job, name: str, captions) -> bool:
    features, text = job.output / "new_joint_vecs" / f"{name}.npy", job.output / "texts" / f"{name}.txt"
    return (
        features.is_file()
        and features.stat().st_mtime >= job.path.stat().st_mtime
        and text.is_file()
        and text.read_text(encoding="utf-8") == _caption_lines(captions)
    )


def _caption_lines(captions) -> str:
    return "".join(f"{text}##{start:g}#{end:g}\n" for text, start, end in captions)


def _write_clip(output: Path, name: str, motion: Motion, joints: np.ndarray, captions) -> None:
    skeleton = get_skeleton(motion.skeleton)
    joints = torch.from_numpy(joints / skeleton.metres)
    features = joints_to_features(joints.numpy(), skeleton)
    _write_text(output / "texts" / f"{name}.txt", _caption_lines(captions))
    _save(output / "new_joints" / f"{name}.npy", canonicalise(joints, skeleton).numpy())
    _save(output / "new_joint_vecs" / f"{name}.npy", features)  # last: what is there is whole


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _save(path: Path, values: np.ndarray) -> None:
    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            np.save(file, values)

    write_atomically(path, write)


def find_captions(source: Path, path: Path | None) -> dict[str, list[tuple[str, float, float]]]:
    """Captions by clip, each with start and end in seconds, both 0 for the whole clip."""
    if path is None:
        path = next((source / name for name in ("captions.csv", "captions.json") if (source / name).is_file()), None)
    if path is None:
        return {}
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    found: dict[str, list[tuple[str, float, float]]] = {}
    try:
        if path.suffix.lower() == ".json":
            entries = json.loads(path.read_text(encoding="utf-8"))
            rows = [(name, text) for name, texts in entries.items() for text in ([texts], texts)[type(texts) is list]]
        else:
            with open(path, newline="", encoding="utf-8-sig") as file:
                rows = [(row["name"], row["caption"]) for row in csv.DictReader(file)]
        for name, text in rows:
            if clean_caption(text):
                found.setdefault(safe_name(name), []).append((clean_caption(text).replace("#", " "), 0.0, 0.0))
    except (ValueError, KeyError, AttributeError, TypeError, csv.Error) as error:
        raise ValueError(f"{path}: not a caption file (csv with name, caption; or json): {error!r}") from None
    return found


def _text_beside(path: Path) -> list[tuple[str, float, float]]:
    """Captions from a text file: HumanML3D's lines, or plain sentences."""
    for place in (path.with_suffix(".txt"), path.parent / "texts" / f"{path.stem}.txt",
                  path.parent.parent / "texts" / f"{path.stem}.txt"):  # fmt: skip
        if place.is_file():
            lines = [line for line in place.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
            lines = [line if line.count("#") == 3 else f"{line.replace('#', ' ')}##0#0" for line in lines]
            return parse_captions("\n".join(lines))
    return []


def _finish(source: Path, output: Path, clips: list[str], broken: dict[str, str], parquet: bool) -> None:
    """Splits, statistics, the list of broken files, the card."""
    if not clips:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(broken.items())[:3])
        raise ValueError(f"{source}: not one usable clip; {reasons}")
    splits = _split(source, clips)
    for split, names in splits.items():
        _write_text(output / f"{split}.txt", "".join(f"{name}\n" for name in names))
    chosen = splits["train"] or clips
    training = [np.load(output / "new_joint_vecs" / f"{name}.npy", mmap_mode="r") for name in chosen]
    if len({motion.shape[1] for motion in training}) > 1:
        raise ValueError(f"{source}: clips of several skeletons; prepare each kind by itself")
    skeleton = next(name for name in SKELETONS if get_skeleton(name).num_features == training[0].shape[1])
    if parquet and skeleton != "humanml3d":
        raise ValueError("a parquet file holds HumanML3D's skeleton only; the folder is complete without it")
    extractor = MotionFeatureExtractor.from_statistics(training, skeleton)
    _save(output / "Mean.npy", np.array(extractor.mean, np.float32))
    _save(output / "Std.npy", np.array(extractor.std, np.float32))
    rows = [("file", "reason"), *broken.items()]
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    _write_text(output / "broken.csv", text.getvalue())
    if not (output / "README.md").exists():  # its owner may have written on
        card = _CARD.format(skeleton=skeleton, fps=get_skeleton(skeleton).fps)
        _write_text(output / "README.md", card)
    (output / "motions.parquet").unlink(missing_ok=True)  # an older one would tell another story
    if parquet:
        write_atomically(output / "motions.parquet", lambda path: _write_parquet(path, output, splits))


def _split(source: Path, clips: list[str]) -> dict[str, list[str]]:
    """The source's own splits, or by the clips' names; a mirror image goes where its original is."""
    lists = {split: source / f"{split}.txt" for split in SPLITS}
    own = {}
    if all(path.is_file() for path in lists.values()):
        own = {name: split for split, path in lists.items() for name in path.read_text(encoding="utf-8").split()}
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for name in clips:
        original = name[1:] if name.startswith("M") and name[1:] in clips else name
        share = int.from_bytes(hashlib.sha256(original.encode()).digest()[:4]) / 2**32
        by_name = "train" if share < 0.8 else "val" if share < 0.85 else "test"
        splits[own.get(name, own.get(original, by_name))].append(name)
    return splits


def _write_parquet(path: Path, output: Path, splits: dict[str, list[str]]) -> None:
    from datasets import Dataset

    def rows() -> Iterator[dict]:
        for split, names in splits.items():
            for name in names:
                joints = np.load(output / "new_joints" / f"{name}.npy")
                captions = parse_captions((output / "texts" / f"{name}.txt").read_text(encoding="utf-8"))
                whole = [text for text, start, end in captions if end <= start]
                if whole:  # a parquet row has no place for captions of parts
                    millimetres = np.round(1000 * joints).astype(np.int32).reshape(-1)
                    yield {"name": name, "split": split, "joints_mm": millimetres, "captions": whole,
                           "action": "", "style": ""}  # fmt: skip

    Dataset.from_list(list(rows())).to_parquet(str(path))


_CARD = """---
tags: [motion, text-to-motion]
---
# Motions with captions

Made by `lamp-hf prepare`, in HumanML3D's layout: skeleton `{skeleton}`, {fps:g} frames a second, joints on the
reference body, on the floor, facing Z+ at first.

`new_joints`: float32 [frames, joints, 3]. `new_joint_vecs`: float32 [frames - 1, features], not normalised. `texts`:
`caption##start#end` a line, seconds, 0 and 0 for the whole clip. `Mean.npy`, `Std.npy`: of the training clips.
Files that were left out are named in `broken.csv`. Fill in where the motions come from and under which licence.
"""
