"""Faults of a motion: what an animator or a build of a game would send back, found by comparison with real clips."""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml

from ..models.skeleton import Skeleton
from .fault_measures import MEASURES, UNITS, runs


if TYPE_CHECKING:
    from .clip import Motion


_GAP = 0.1  # seconds; faults that are as close together are one
_WHOLE = ("symmetry", "swapped_sides")  # kinds whose value holds for the whole clip
ADVICE = {
    "joint_limit": "turn the joint back in an animation program, or generate with another seed",
    "knee_backwards": "turn the knee back in an animation program, or generate with another seed",
    "foot_sliding": "hold the feet: --fix, or lamp-hf convert --clean-feet",
    "below_floor": "put the motion on the floor: --fix, where all of it is too low",
    "floating": "put the motion on the floor: --fix, where all of it is too high",
    "jump": "interpolate over the frames: --fix, where the motion jumps there and back",
    "bone_length": "give every bone one length: --fix",
    "contact_flicker": "hold the feet: --fix, or lamp-hf convert --clean-feet",
    "symmetry": "correct the skeleton in the program that made the file",
    "swapped_sides": "swap left and right: --fix, where the whole body is swapped, or correct the bone map (--rig)",
    "frozen": "cut the frames out, or look for what was lost in recording or export",
    "not_finite": "write the file again: a number in it is NaN or infinite",
    "unreadable": "read what is wrong with the file, or leave it out",
}


@dataclass
class Report:
    """Faults of one motion.

    Args:
        findings (`list[dict]`): each with `kind` (see `docs/check.md`), `start` and `end` in seconds, `joint` (None
            where it is no single one), `value` where it is worst, `limit`, `unit` and `advice`.
    """

    findings: list[dict] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """True where there is no fault."""
        return not self.findings


def check(motion: "Motion") -> Report:
    """Look for faults, each beyond what 99.3 % of real clips show anywhere, or 99 % for jumps and floating.

    Args:
        motion ([`Motion`]): of any skeleton and frame rate; its floor is at height 0.

    Returns:
        [`Report`]: `passed`, and the `findings` in order of time.
    """
    findings = []
    for kind, measure in MEASURES.items():
        values = measure(np.asarray(motion.joints, np.float64), motion.fps, motion._skeleton)
        findings += _beyond(kind, values, limits_of(kind, motion._skeleton), motion)
    return Report(sorted(findings, key=lambda finding: (finding["start"], finding["kind"])))


def _beyond(kind: str, values: np.ndarray, limits: np.ndarray, motion: "Motion") -> list[dict]:
    """Return the runs of frames in which a value exceeds its limit."""
    has_joints = values.ndim == 2
    ratio = values / limits if has_joints else (values / limits[0])[:, None]
    findings = []
    for start, end in runs((ratio > 1).any(1), max(1, round(_GAP * motion.fps))):
        frame, joint = np.unravel_index(ratio[start:end].argmax(), ratio[start:end].shape)
        value = values[start + frame, joint] if has_joints else values[start + frame]
        findings.append(
            {
                "kind": kind,
                "start": 0.0 if kind in _WHOLE else start / motion.fps,
                "end": motion.duration if kind in _WHOLE else end / motion.fps,
                "joint": motion._skeleton.joint_names[joint] if has_joints else None,
                "value": float(value),
                "limit": float(limits[joint] if has_joints else limits[0]),
                "unit": UNITS[kind],
                "advice": ADVICE[kind],
            }
        )
    return findings


@functools.cache
def thresholds() -> dict[str, float | dict[str, float]]:
    """Return the threshold of each kind, or of each part of the body, as `training/check_thresholds.py` wrote it."""
    return yaml.safe_load(Path(__file__).with_name("check_thresholds.yaml").read_text(encoding="utf-8"))["thresholds"]


def limits_of(kind: str, skeleton: Skeleton) -> np.ndarray:
    """Return the threshold of a kind for each joint of a skeleton, `(num_joints,)`; infinite where it has none."""
    limit = thresholds()[kind]
    if not isinstance(limit, dict):
        return np.full(skeleton.num_joints, limit)
    return np.array([limit.get(part_of(name), np.inf) for name in skeleton.joint_names])


def part_of(joint: str) -> str:
    """Return the part of the body that a joint belongs to: its name without side and number; a heel is a foot."""
    part = joint.rpartition("_")[2].rstrip("0123456789")
    return "foot" if part == "heel" else part


def check_file(path: Path, **options) -> tuple[Report, "Motion | None"]:
    """Read a motion file and check it; a file that cannot be read is a fault, too.

    Args:
        path (`Path`): the file.
        options: of [`Motion.load`].

    Returns:
        [`Report`] and the motion, None if it cannot be read.

    Raises:
        FileNotFoundError: when there is no such file.
    """
    from .clip import Motion

    try:
        motion = Motion.load(path, **options)
    except ValueError as error:
        reason = " ".join(str(error).split())
        kind = "not_finite" if "NaN" in reason else "unreadable"
        nothing = dict.fromkeys(("start", "end", "joint", "value", "limit", "unit"))
        return Report([{"kind": kind, **nothing, "advice": ADVICE[kind], "reason": reason}]), None
    return check(motion), motion
