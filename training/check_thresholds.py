"""Thresholds of `lamp-hf check` from real clips, and how well it tells real clips from ones with a planted fault.

python -m training.check_thresholds write --data mocap.parquet
python -m training.check_thresholds evaluate --data mocap.parquet --split test --output numbers.json

A threshold is the value that 99.3 % of the training clips do not exceed anywhere; the share was chosen on the
validation clips, of which 95 % should have no fault at all. Where a kind has a threshold for each part of the body,
these are one percentile of all parts, the one that lets 99.3 % of whole clips pass.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import yaml
from scipy.stats import rankdata

import lamp_hf
from lamp_hf.models.skeleton import HUMANML3D
from lamp_hf.motion.check import check, part_of
from lamp_hf.motion.fault_measures import MEASURES, UNITS

from .planted_faults import FAULTS, plant


THRESHOLDS = Path(lamp_hf.__file__).parent / "motion" / "check_thresholds.yaml"
SHARE = 0.993  # of the training clips that pass each kind
EACH = 10  # clips with each planted fault
BY_PART = ("joint_limit", "jump", "bone_length", "symmetry")
SHARES = {"floating": 0.99, "jump": 0.99}  # of real clips, more climb on things that are not there, or have jumps
LEAST = {"frozen": 0.5, "below_floor": 0.02, "bone_length": 0.01, "symmetry": 0.1}  # less is no fault to anyone
_PARTS = [part_of(name) for name in HUMANML3D.joint_names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["write", "evaluate"])
    parser.add_argument("--data", required=True, type=Path, help="parquet file with joints_mm, split and num_frames")
    parser.add_argument("--split", default="test", choices=["val", "test"], help="choose on val, report on test")
    parser.add_argument("--every", default=1, type=int, help="write: take every n-th training clip")
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--output", type=Path, help="JSON file to write the numbers to")
    arguments = parser.parse_args()
    if arguments.task == "write":
        clips = read_clips(arguments.data, "train")[:: arguments.every]
        content = {"data": arguments.data.name, "split": "train", "clips": len(clips), "share_that_passes": SHARE}
        THRESHOLDS.write_text(
            yaml.safe_dump(content | {"thresholds": find_thresholds(worst_values(clips))}, sort_keys=False)
        )
        return
    numbers = {"data": arguments.data.name, "split": arguments.split, "seed": arguments.seed}
    numbers |= evaluate(read_clips(arguments.data, arguments.split), arguments.seed)
    text = json.dumps(numbers, indent=2)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n")


def read_clips(path: Path, split: str) -> list[np.ndarray]:
    """Read the joints of a split, float32 `(num_frames, 22, 3)` in metres, as they were recorded."""
    table = parquet.read_table(path, columns=["joints_mm"], filters=[("split", "==", split)])
    rows = (row.values.to_numpy() for row in table["joints_mm"])
    return [row.astype(np.float32).reshape(-1, HUMANML3D.num_joints, 3) / 1000 for row in rows]


def worst_values(clips: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return the worst value of each kind in each clip, `(num_clips,)`, or of each joint, `(num_clips, 22)`."""
    return {
        kind: np.array([measure(joints.astype(np.float64), HUMANML3D.fps, HUMANML3D).max(0) for joints in clips])
        for kind, measure in MEASURES.items()
    }


def find_thresholds(worst: dict[str, np.ndarray]) -> dict[str, float | dict[str, float]]:
    """Return the threshold of each kind of fault, or one for each part of the body, from the worst values of clips."""
    found: dict[str, float | dict[str, float]] = {}
    for kind, values in worst.items():
        share, least = SHARES.get(kind, SHARE), LEAST.get(kind, 0.0)
        if kind not in BY_PART:
            whole = values.reshape(len(values), -1).max(1)
            found[kind] = max(round(float(np.quantile(whole, share)), 4), least)
            continue
        parts = {part: values[:, [name == part for name in _PARTS]].max(1) for part in dict.fromkeys(_PARTS)}
        parts = {part: rows for part, rows in parts.items() if rows.any()}
        ranks = [rankdata(rows, "max") / len(rows) for rows in parts.values()]
        level = float(np.quantile(np.max(ranks, 0), share))  # of every part, so that this share of whole clips passes
        found[kind] = {part: max(round(float(np.quantile(rows, level)), 4), least) for part, rows in parts.items()}
    return found


def evaluate(clips: list[np.ndarray], seed: int) -> dict:
    """Return the percentage of real clips that pass, and of planted faults that are found by their kind."""
    reports = [check(lamp_hf.Motion(joints)) for joints in clips]
    flagged = {kind: sum(any(f["kind"] == kind for f in r.findings) for r in reports) for kind in UNITS}
    passing = [row for row, report in enumerate(reports) if report.passed]
    rng, found, planted = np.random.default_rng(seed), {}, {}
    for kind in FAULTS:
        rights = []
        rows = rng.permutation(passing).tolist()
        while len(rights) < EACH and rows:
            joints = plant(kind, clips[rows.pop()], rng)
            if joints is None:
                continue  # the clip has no place for this fault
            rights.append(is_found(kind, joints))
        found[kind], planted[kind] = sum(rights), len(rights)
    return {
        "clips": len(clips),
        "real_that_pass": 100 * len(passing) / len(clips),
        "real_flagged_by_kind": flagged,
        "planted": planted,
        "planted_found": 100 * sum(found.values()) / sum(planted.values()),
        "planted_found_by_kind": found,
    }


def is_found(kind: str, joints: np.ndarray) -> bool:
    """Tell if a clip is reported with a fault of this kind; one that is not finite is refused as a motion."""
    try:
        report = check(lamp_hf.Motion(joints))
    except ValueError as error:
        return kind == "not_finite" and "NaN" in str(error)
    return any(finding["kind"] == kind for finding in report.findings)


if __name__ == "__main__":
    main()
