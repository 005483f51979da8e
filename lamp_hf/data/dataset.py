"""Motion-text data sets in one form: `datasets.Dataset` rows with features and captions.

| column          | type                    | content                                                     |
|-----------------|-------------------------|-------------------------------------------------------------|
| `name`          | string                  | the clip's name; a leading "M" marks a mirror image         |
| `motion`        | float32 [num_frames, D] | features, not normalised (`lamp_hf.joints_to_features`)     |
| `captions`      | list of strings         | at least one sentence                                       |
| `action`        | string                  | action label                                                |
| `style`         | string                  | style label                                                 |
| `family`        | string                  | kind of action, coarser than `action`                       |
| `license_class` | string                  | licence of the recording                                    |
| `trial`         | string                  | the recording that the clip is a piece of                   |

Labels, from `action` on, are empty where the source has none.
"""

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from datasets import Array2D, Dataset, Features, List, Value
from datasets.exceptions import DatasetGenerationError

from ..models.motion_representation import check_motion, joints_to_features, mirror
from ..models.skeleton import HUMANML3D, get_skeleton
from .captions import clean_caption, mirror_caption, parse_caption_file


logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
LABELS = ("action", "style", "family", "license_class", "trial")
MIRRORED_LABELS = ("action", "family")  # that may name a side
PUBLISHED_LENGTHS = {"humanml3d": (40, 200), "kit": (24, 200)}  # frames: the least, and one more than the most
_PROBLEM = "problem"  # column of warnings, which are stored with the rows: what is cached is not read again
_READER = 4  # counted up when the same files are read differently, which makes what is cached stale


def load_motion_dataset(
    source: str | Path,
    split: str,
    skeleton: str = "humanml3d",
    mirrored: bool = False,
    lengths: tuple[int, int] | None = None,
) -> Dataset:
    """Read a split of a motion-text data set.

    Args:
        source (`str` or `Path`): a `.parquet` file of joints and captions, or a folder in HumanML3D's layout
            (`new_joint_vecs/`, `texts/`, `train.txt`, ...), which KIT-ML shares.
        split (`str`): `"train"`, `"val"` or `"test"`.
        skeleton (`str`): `"humanml3d"` or `"kit"`.
        mirrored (`bool`): add each clip's mirror image; ignored for folders, whose splits list their own.
        lengths (`tuple[int, int]`, *optional*): leave out clips, and parts of clips, with fewer frames than the first
            number or as many as the second. The literature's are in `PUBLISHED_LENGTHS`, by skeleton.

    Returns:
        `datasets.Dataset`: its columns are described above. Broken clips are left out, each with a warning
        whenever the data set is loaded.

    Raises:
        FileNotFoundError: when the source, or a file that it must have, is missing.
        ValueError: on an unknown split, or when no usable clip remains.
    """
    source = Path(source)
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    if source.suffix == ".parquet":
        if not source.is_file():
            raise FileNotFoundError(f"no such file: {source}")
        state, rows = str(source.stat().st_mtime_ns), _parquet_rows
    else:
        if not (source / f"{split}.txt").is_file():
            raise FileNotFoundError(f"{source} is not in HumanML3D's layout: it has no {split}.txt")
        state, rows = _folder_state(source, split), _folder_rows
        mirrored = False
    tree = get_skeleton(skeleton)
    columns = Features(
        {
            "name": Value("string"),
            "motion": Array2D((None, tree.num_features), "float32"),
            "captions": List(Value("string")),
            **dict.fromkeys(LABELS, Value("string")),
            _PROBLEM: Value("string"),
        }
    )
    arguments = {
        "source": str(source),
        "split": split,
        "skeleton": tree.name,
        "mirrored": mirrored,
        "lengths": lengths and tuple(lengths),
        "state": f"{_READER} {state}",  # a changed source gets another cache
    }
    try:
        dataset = Dataset.from_generator(rows, features=columns, gen_kwargs=arguments)
    except (ValueError, DatasetGenerationError) as error:
        if "no data" not in f"{error} {error.__cause__}":  # so `datasets` refuses a table without rows
            raise
        raise ValueError(f"{source}: the {split} split has no usable clip") from None
    problems = dataset[_PROBLEM]
    for problem in filter(None, problems):
        logger.warning("%s", problem)
    usable = [row for row, problem in enumerate(problems) if not problem]
    if not usable:
        raise ValueError(f"{source}: the {split} split has no usable clip")
    if len(usable) < len(dataset):
        dataset = dataset.select(usable)
    return dataset.remove_columns(_PROBLEM).with_format("numpy")


def _problem_row(name: str, problem: str, num_features: int) -> dict:
    """Make the row of a clip, or caption, that is left out."""
    nothing = {"name": name, "motion": np.zeros((1, num_features), np.float32), "captions": []}
    return nothing | dict.fromkeys(LABELS, "") | {_PROBLEM: problem}


def _folder_state(folder: Path, split: str) -> str:
    """Describe the files of a split, so that another state means another content."""
    digest = hashlib.sha256()
    for name in (folder / f"{split}.txt").read_text(encoding="utf-8-sig").split():
        for path in (folder / "new_joint_vecs" / f"{name}.npy", folder / "texts" / f"{name}.txt"):
            status = path.stat() if path.is_file() else None
            digest.update(f"{name} {status and (status.st_size, status.st_mtime_ns)}\n".encode())
    return digest.hexdigest()


def _fits(motion: np.ndarray, lengths: tuple[int, int] | None) -> bool:
    return lengths is None or lengths[0] <= len(motion) < lengths[1]


def _parquet_rows(
    source: str, split: str, skeleton: str, mirrored: bool, lengths: tuple[int, int] | None, state: str
) -> Iterator[dict]:
    """Yield the rows of a parquet file with `joints_mm` (int, millimetres), `captions`, `name` and labels."""
    for row in Dataset.from_parquet(source, filters=[("split", "==", split)]).with_format("numpy"):
        joints = np.asarray(row["joints_mm"], np.float32).reshape(-1, HUMANML3D.num_joints, 3) / 1000
        captions = [clean_caption(caption) for caption in row["captions"]]
        labels = {label: str(row.get(label) or "") for label in LABELS}
        if not _fits(joints[1:], lengths):  # features have a frame less
            continue
        yield from _row(row["name"], joints, captions, labels)
        if mirrored:
            yield from _row(
                "M" + row["name"],
                mirror(joints),
                [mirror_caption(caption) for caption in captions],
                labels | {label: mirror_caption(labels[label]) for label in MIRRORED_LABELS},
            )


def _row(name: str, joints: np.ndarray, captions: list[str], labels: dict[str, str]) -> Iterator[dict]:
    """Yield one row, or that of a problem if the joints are broken."""
    try:
        motion = joints_to_features(joints)
    except ValueError as error:
        yield _problem_row(name, f"{name} left out: {error}", HUMANML3D.num_features)
        return
    yield {"name": name, "motion": motion, "captions": captions, _PROBLEM: ""} | labels


def _folder_rows(
    source: str, split: str, skeleton: str, mirrored: bool, lengths: tuple[int, int] | None, state: str
) -> Iterator[dict]:
    """Yield the rows of a folder in HumanML3D's layout; a caption of a part of a clip gets a row of its own."""
    folder, tree = Path(source), get_skeleton(skeleton)
    unlabelled = dict.fromkeys((*LABELS, _PROBLEM), "")
    for name in (folder / f"{split}.txt").read_text(encoding="utf-8-sig").split():
        try:
            motion = np.load(folder / "new_joint_vecs" / f"{name}.npy", allow_pickle=False).astype(np.float32)
            check_motion(motion, (tree.num_features,))
            texts = folder / "texts" / f"{name}.txt"
            captions = [line.caption for line in parse_caption_file(texts)]
            if not captions:
                raise ValueError(f"{texts} holds no caption")
        except (OSError, ValueError) as error:
            yield _problem_row(name, f"{name} left out: {error}", tree.num_features)
            continue
        if not _fits(motion, lengths):
            continue  # with its parts, as in the published loaders
        whole = [caption.text for caption in captions if caption.is_whole]
        if whole:
            yield {"name": name, "motion": motion, "captions": whole} | unlabelled
        for caption in captions:
            if caption.is_whole:
                continue
            text, start, end = caption
            # The published loaders assume 20 frames per second for KIT-ML too, which has 12.5; we use its own rate.
            part = motion[int(start * tree.fps) : int(end * tree.fps)]
            if len(part) == 0:
                problem = f"{name}: the caption of {start:.1f}-{end:.1f} s left out: the clip ends before"
                yield _problem_row(name, problem, tree.num_features)
                continue
            if not _fits(part, lengths):
                continue
            part_name = f"{name}@{start:g}-{end:g}"
            yield {"name": part_name, "motion": part, "captions": [text]} | unlabelled
