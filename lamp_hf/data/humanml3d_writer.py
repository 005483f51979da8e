"""Writing a data set in HumanML3D's layout: clips, captions, splits, statistics, and optionally one parquet file."""

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from ..models.feature_extraction_motion import MotionFeatureExtractor
from ..models.motion_representation import canonicalise, joints_to_features
from ..models.skeleton import SKELETONS, get_skeleton
from ..motion.files import sweep_temporaries, write_atomically
from ..motion.source_state import is_as_described
from .captions import TimedCaption, format_captions, read_captions
from .dataset import SPLITS
from .tables import write_csv


FOLDERS = {"new_joints": ".npy", "texts": ".txt", "sources": ".json", "new_joint_vecs": ".npy"}  # and their files

_SUMMARIES = ("Mean.npy", "Std.npy", "broken.csv", "README.md", "motions.parquet")

_CARD = """---
tags: [motion, text-to-motion]
---
# Motions with captions

Made by `lamp-hf prepare`, in HumanML3D's layout: skeleton `{skeleton}`, {fps:g} frames per second, joints on the
reference body, which stands on the floor and faces Z+ in the first frame.

* `new_joints`: float32 [frames, joints, 3].
* `new_joint_vecs`: float32 [frames - 1, features], not normalised.
* `texts`: lines of `caption##start#end`, in seconds; 0 and 0 for the whole clip.
* `sources`: the state of the file that each clip was made of, for `lamp-hf prepare`.
* `Mean.npy`, `Std.npy`: statistics of the training clips.
* `broken.csv`: the files that were left out, and why.

Please add where the motions come from and their licence.
"""


def write_clip(
    output: Path,
    name: str,
    joints: np.ndarray,
    skeleton_name: str,
    captions: list[TimedCaption],
    state: dict[str, Any],
) -> None:
    """Write the joints, features and captions of one clip.

    Args:
        output (`Path`): the data set's folder, with [`FOLDERS`] in it.
        name (`str`): the clip's name.
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres, at the skeleton's frame rate.
        skeleton_name (`str`): `"humanml3d"` or `"kit"`.
        captions (`list[TimedCaption]`): the captions.
        state (`dict`): of the source file, see [`~lamp_hf.motion.source_state.describe_source`].
    """
    skeleton = get_skeleton(skeleton_name)
    joints = joints / skeleton.metres
    features = joints_to_features(joints, skeleton)
    (output / "new_joint_vecs" / f"{name}.npy").unlink(missing_ok=True)  # until all is written, the clip is none
    _write_text(output / "texts" / f"{name}.txt", format_captions(captions))
    _write_text(output / "sources" / f"{name}.json", json.dumps(state))
    _save(output / "new_joints" / f"{name}.npy", canonicalise(torch.from_numpy(joints), skeleton).numpy())
    _save(output / "new_joint_vecs" / f"{name}.npy", features)  # last: a clip with this file is complete


def is_written(output: Path, name: str, captions: list[TimedCaption], source: Path, options: dict[str, Any]) -> bool:
    """Tell if a clip is complete, has these captions, and was made of this file, as it is now, with these options."""
    files = {folder: output / folder / f"{name}{suffix}" for folder, suffix in FOLDERS.items()}
    if not all(file.is_file() for file in files.values()):
        return False
    try:
        state = json.loads(files["sources"].read_text(encoding="utf-8"))
        same_captions = files["texts"].read_text(encoding="utf-8") == format_captions(captions)
    except (ValueError, RecursionError):  # damaged, and written anew
        return False
    return same_captions and is_as_described(source, options, state)


def remove_other_clips(output: Path, clips: list[str]) -> None:
    """Delete all clips that an earlier preparation wrote but these, because their sources are gone or broken now."""
    for name in {path.stem for path in (output / "sources").glob("*.json")} - set(clips):
        for folder, suffix in reversed(FOLDERS.items()):
            (output / folder / f"{name}{suffix}").unlink(missing_ok=True)


@contextlib.contextmanager
def locked(output: Path) -> Iterator[None]:
    """Make the folders of a data set, keep other preparations out, and delete temporaries of those that were killed.

    Raises:
        ValueError: when another preparation is at work.
    """
    for folder in FOLDERS:
        (output / folder).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(output / ".lock", timeout=0):
            for folder, suffix in FOLDERS.items():
                sweep_temporaries(output / folder, f"*{suffix}")
            sweep_temporaries(output, *(f"{split}.txt" for split in SPLITS), *_SUMMARIES)
            yield
    except Timeout:
        raise ValueError(f"{output}: another preparation is writing there; wait until it is done") from None


def write_summary(source: Path, output: Path, clips: list[str], broken: dict[str, str], parquet: bool) -> None:
    """Write splits, statistics, the list of broken files, a card, and `motions.parquet` if `parquet` is set.

    Args:
        source (`Path`): the folder that was prepared; its own splits are kept.
        output (`Path`): the data set's folder.
        clips (`list[str]`): names of the clips in it.
        broken (`dict[str, str]`): files that were left out, and why.
        parquet (`bool`): write a parquet file as well.

    Raises:
        ValueError: when there is no clip, when the clips have several skeletons, or when a parquet file is asked for
            and the skeleton is not HumanML3D's.
    """
    if not clips:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(broken.items())[:3])
        raise ValueError(f"{source}: not one usable clip; {reasons}")
    splits = _split(source, clips)
    for split, names in splits.items():
        _write_text(output / f"{split}.txt", "".join(f"{name}\n" for name in names))
    skeleton = _write_statistics(source, output, splits["train"] or clips)
    if parquet and skeleton != "humanml3d":
        raise ValueError("a parquet file holds HumanML3D's skeleton only; the folder is complete without it")
    rows = [{"file": name, "reason": reason} for name, reason in broken.items()]
    write_csv(output / "broken.csv", ["file", "reason"], rows)
    if not (output / "README.md").exists():  # its owner may have extended it
        _write_text(output / "README.md", _CARD.format(skeleton=skeleton, fps=get_skeleton(skeleton).fps))
    (output / "motions.parquet").unlink(missing_ok=True)  # an older one would contradict the folder
    if parquet:
        write_atomically(output / "motions.parquet", lambda path: _write_parquet(path, output, splits))


def _split(source: Path, clips: list[str]) -> dict[str, list[str]]:
    """Assign clips to splits: the source's own, or by their names; a mirror image goes where its original is."""
    lists = {split: source / f"{split}.txt" for split in SPLITS}
    own = {}
    if all(path.is_file() for path in lists.values()):
        own = {name: split for split, path in lists.items() for name in path.read_text(encoding="utf-8-sig").split()}
    known = set(clips)
    originals = {name: name[1:] if name.startswith("M") and name[1:] in known else name for name in clips}
    by_name = _split_by_name(sorted({original for original in originals.values() if original not in own}))
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for name, original in originals.items():
        splits[own.get(name) or own.get(original) or by_name[original]].append(name)
    return splits


def _split_by_name(names: list[str]) -> dict[str, str]:
    """Assign names to splits, 80 : 5 : 15, by a hash of each.

    A split that would be empty gets the name whose hash comes nearest to it: from a split that can spare one, or else
    from a later one, so that two clips suffice for training and validation and three for all splits.
    """
    places = {name: int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) / 2**32 for name in names}
    result = {name: "train" if place < 0.8 else "val" if place < 0.85 else "test" for name, place in places.items()}
    for i, (split, centre) in enumerate({"train": 0.4, "val": 0.825, "test": 0.925}.items()):
        counts = Counter(result.values())
        spare = [name for name in names if counts[result[name]] > 1]
        spare = spare or [name for name in names if SPLITS.index(result[name]) > i]
        if not counts[split] and spare:
            result[min(spare, key=lambda name: abs(places[name] - centre))] = split
    return result


def _write_statistics(source: Path, output: Path, names: list[str]) -> str:
    """Write mean and standard deviation of the features; return the name of the skeleton."""
    motions = [np.load(output / "new_joint_vecs" / f"{name}.npy", mmap_mode="r") for name in names]
    if len({motion.shape[1] for motion in motions}) > 1:
        raise ValueError(f"{source}: clips of several skeletons; prepare the clips of each skeleton separately")
    skeleton = next(name for name in SKELETONS if get_skeleton(name).num_features == motions[0].shape[1])
    extractor = MotionFeatureExtractor.from_statistics(motions, skeleton)
    _save(output / "Mean.npy", np.array(extractor.mean, np.float32))
    _save(output / "Std.npy", np.array(extractor.std, np.float32))
    return skeleton


def _write_parquet(path: Path, output: Path, splits: dict[str, list[str]]) -> None:
    from datasets import Dataset

    def rows() -> Iterator[dict]:
        for split, names in splits.items():
            for name in names:
                joints = np.load(output / "new_joints" / f"{name}.npy")
                captions = read_captions(output / "texts" / f"{name}.txt")
                whole = [caption.text for caption in captions if caption.is_whole]
                if whole:  # a parquet row has no place for captions of parts
                    millimetres = np.round(1000 * joints).astype(np.int32).reshape(-1)
                    yield {"name": name, "split": split, "joints_mm": millimetres, "captions": whole,
                           "action": "", "style": ""}  # fmt: skip

    Dataset.from_list(list(rows())).to_parquet(str(path))


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _save(path: Path, values: np.ndarray) -> None:
    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            np.save(file, values)

    write_atomically(path, write)
