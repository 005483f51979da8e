"""Own motion files and captions into HumanML3D's layout: retargeted, canonical, checked, with statistics."""

import csv
import hashlib
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
from ..models.motion_representation import SKELETONS, canonicalise, get_skeleton, joints_to_features, mirror
from ..motion.clip import READABLE, Motion
from ..motion.files import write_atomically
from .captions import clean_caption, mirror_caption
from .dataset import SPLITS, parse_captions


@dataclass
class Prepared:
    """What a preparation did.

    Args:
        clips (`int`): clips in the output, mirrored ones counted.
        kept (`int`): of these, clips that were there from an earlier run.
        broken (`dict[str, str]`): files that were left out, and why.
        seconds (`float`): time it took.
    """

    clips: int = 0
    kept: int = 0
    broken: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def prepare(
    source: str | Path,
    output: str | Path,
    captions: str | Path | None = None,
    mirrored: bool = False,
    parquet: bool = False,
    workers: int | None = None,
) -> Prepared:
    """Turns a folder of motion files (`.bvh`, `.npz`, `.npy`, also in folders below) into a data set.

    Writes `new_joints/`, `new_joint_vecs/`, `texts/`, `train.txt`, `val.txt`, `test.txt`, `Mean.npy`, `Std.npy`,
    `broken.csv` and a card, as HumanML3D has them. Clips are split 80 : 5 : 15 by their names, so that a clip stays
    where it is when others are added. Started again after a stop it goes on with the clips that are missing.

    Args:
        source (`str` or `Path`): the folder. Captions are looked for in it: `captions.csv` (columns `name`,
            `caption`), `captions.json` (`{name: caption or list}`), or HumanML3D's `texts/name.txt`, or `name.txt`
            beside the motion.
        output (`str` or `Path`): the new folder.
        captions (`str` or `Path`, *optional*): another csv or json file.
        mirrored (`bool`): add each clip's mirror image, "M" before its name, sides swapped in its captions.
        parquet (`bool`): write `motions.parquet` as well, which [`load_motion_dataset`] reads.
        workers (`int`, *optional*): processes; one a core if not given.

    Raises:
        FileNotFoundError: when the source is missing or holds no motion file.
        ValueError: on a damaged caption file, or when not one clip is left.
    """
    started = time.perf_counter()
    source, output = Path(source), Path(output)
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in READABLE and path.is_file())
    if not files:
        raise FileNotFoundError(f"{source}: no motion file ({', '.join(READABLE)}) in this folder")
    texts = _find_captions(source, Path(captions) if captions else None)
    for folder in ("new_joints", "new_joint_vecs", "texts"):
        (output / folder).mkdir(parents=True, exist_ok=True)
    result, jobs = Prepared(), []
    for path, name in _unique_names(files, source).items():
        whole = ["", "M"] if mirrored else [""]
        if all((output / "new_joint_vecs" / f"{prefix}{name}.npy").is_file() for prefix in whole):
            result.kept += len(whole)
        else:
            jobs.append((path, name, texts.get(name) or texts.get(path.stem) or _text_beside(path), output, mirrored))
    for path, problem in _run(jobs, workers):
        if problem:
            result.broken[str(path.relative_to(source))] = problem
    result.clips = _finish(output, result.broken, parquet)
    result.seconds = time.perf_counter() - started
    return result


def _unique_names(files: list[Path], source: Path) -> dict[Path, str]:
    """A file name for each clip that is safe anywhere: its path below the source, with _ for all else than letters."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in files:
        name = plain = re.sub(r"[^\w-]+", "_", str(path.relative_to(source).with_suffix("")))
        count = 1
        while name in taken:
            count += 1
            name = f"{plain}_{count}"
        taken.add(name)
        names[path] = name
    return names


def _run(jobs: list[tuple], workers: int | None) -> Iterator[tuple[Path, str | None]]:
    """Does all jobs, in this process when they are few; yields each file with what was wrong with it."""
    workers = min(workers or os.cpu_count() or 1, len(jobs) // 32 + 1)
    with tqdm(total=len(jobs), unit=" clips", disable=None) as progress:
        if workers == 1:
            results: Iterator = map(_prepare_file, jobs)
        else:
            pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,))
            results = pool.map(_prepare_file, jobs, chunksize=16)
        for job, problem in zip(jobs, results):
            progress.update()
            yield job[0], problem
        if workers > 1:
            pool.shutdown()


def _prepare_file(job: tuple) -> str | None:
    """Writes one clip and its mirror image; returns what was wrong with it, if anything."""
    path, name, captions, output, mirrored = job
    try:
        if not captions:
            raise ValueError("it has no caption")
        motion = Motion.load(path)
        motion = motion.resample(get_skeleton(motion.skeleton).fps)
        _write_clip(output, name, motion, motion.joints, captions)
        if mirrored:
            lines = [(mirror_caption(text), start, end) for text, start, end in captions]
            _write_clip(output, f"M{name}", motion, mirror(motion.joints, motion.skeleton), lines)
    except (ValueError, OSError) as error:
        return str(error)
    return None


def _write_clip(output: Path, name: str, motion: Motion, joints: np.ndarray, captions) -> None:
    skeleton = get_skeleton(motion.skeleton)
    joints = torch.from_numpy(joints / skeleton.metres)
    features = joints_to_features(joints.numpy(), skeleton)
    lines = [f"{text}##{start:g}#{end:g}" for text, start, end in captions]
    write_atomically(output / "texts" / f"{name}.txt", lambda path: path.write_text("\n".join(lines) + "\n"))
    _save(output / "new_joints" / f"{name}.npy", canonicalise(joints, skeleton).numpy())
    _save(output / "new_joint_vecs" / f"{name}.npy", features)  # last: what is there is whole


def _save(path: Path, values: np.ndarray) -> None:
    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            np.save(file, values)

    write_atomically(path, write)


def _find_captions(source: Path, path: Path | None) -> dict[str, list[tuple[str, float, float]]]:
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
            name = re.sub(r"[^\w-]+", "_", re.sub(r"\.(bvh|npz|npy)$", "", name, flags=re.IGNORECASE))
            if clean_caption(text):
                found.setdefault(name, []).append((clean_caption(text).replace("#", " "), 0.0, 0.0))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{path}: not a caption file (csv with name, caption; or json): {error!r}") from None
    return found


def _text_beside(path: Path) -> list[tuple[str, float, float]]:
    for place in (path.with_suffix(".txt"), path.parent / "texts" / f"{path.stem}.txt",
                  path.parent.parent / "texts" / f"{path.stem}.txt"):  # fmt: skip
        if place.is_file():
            lines = place.read_text(encoding="utf-8").splitlines()
            return parse_captions("\n".join(line if "#" in line else f"{line}##0#0" for line in lines if line.strip()))
    return []


def _finish(output: Path, broken: dict[str, str], parquet: bool) -> int:
    """Splits, statistics, the list of broken files, the card; returns the number of clips."""
    features = sorted((output / "new_joint_vecs").glob("*.npy"))
    if not features:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(broken.items())[:3])
        raise ValueError(f"{output}: not one usable clip; {reasons}")
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for path in features:
        splits[_split_of(path.stem, output)].append(path.stem)
    for split, names in splits.items():
        write_atomically(output / f"{split}.txt", lambda path, names=names: path.write_text("\n".join(names) + "\n"))
    training = [np.load(output / "new_joint_vecs" / f"{name}.npy") for name in splits["train"] or splits["test"]]
    if len({motion.shape[1] for motion in training}) > 1:
        raise ValueError(f"{output}: clips of several skeletons; prepare each kind by itself")
    skeleton = next(name for name in SKELETONS if get_skeleton(name).num_features == training[0].shape[1])
    extractor = MotionFeatureExtractor.from_statistics(training, skeleton)
    _save(output / "Mean.npy", np.array(extractor.mean, np.float32))
    _save(output / "Std.npy", np.array(extractor.std, np.float32))
    rows = [("file", "reason"), *broken.items()]

    def write_broken(path: Path) -> None:
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)

    write_atomically(output / "broken.csv", write_broken)
    frames = sum(len(motion) for motion in training)
    card = _CARD.format(skeleton=skeleton, fps=get_skeleton(skeleton).fps, broken=len(broken), frames=frames,
                        **{split: len(names) for split, names in splits.items()})  # fmt: skip
    write_atomically(output / "README.md", lambda path: path.write_text(card))
    if parquet:
        write_atomically(output / "motions.parquet", lambda path: _write_parquet(path, output, splits))
    return len(features)


def _split_of(name: str, output: Path) -> str:
    """By the clip's name; a mirrored clip goes where its original is."""
    if name.startswith("M") and (output / "new_joint_vecs" / f"{name[1:]}.npy").is_file():
        name = name[1:]
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) / 2**32
    return "train" if share < 0.8 else "val" if share < 0.85 else "test"


def _write_parquet(path: Path, output: Path, splits: dict[str, list[str]]) -> None:
    from datasets import Dataset

    def rows() -> Iterator[dict]:
        for split, names in splits.items():
            for name in names:
                joints = np.load(output / "new_joints" / f"{name}.npy")
                captions = parse_captions((output / "texts" / f"{name}.txt").read_text(encoding="utf-8"))
                millimetres = np.round(1000 * joints).astype(np.int16)
                yield {
                    "name": name,
                    "split": split,
                    "joints_mm": millimetres.reshape(-1),
                    "captions": [text for text, start, end in captions if end <= start],
                    "action": "",
                    "style": "",
                }

    Dataset.from_list(list(rows())).to_parquet(str(path))


_CARD = """---
tags: [motion, text-to-motion]
---
# Motions with captions

Made by `lamp-hf prepare`, in HumanML3D's layout: skeleton `{skeleton}`, {fps:g} frames a second, joints on the
reference body, on the floor, facing Z+ at first.

| split | clips |
|---|---|
| train | {train} |
| val | {val} |
| test | {test} |

`new_joints`: float32 [frames, joints, 3]. `new_joint_vecs`: float32 [frames - 1, features], not normalised. `texts`:
`caption##start#end` a line, seconds, 0 and 0 for the whole clip. `Mean.npy`, `Std.npy`: of {frames} training frames.
{broken} files were left out, see `broken.csv`. Fill in where the motions come from and under which licence.
"""
