"""Repairs of faults that [`lamp_hf.motion.check`] finds, as far as they are safe: no pose is invented."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from ..models.motion_representation import set_bone_lengths
from .check import Report, check, limits_of
from .fault_measures import swapped_sides


if TYPE_CHECKING:
    from .clip import Motion


_SHORT = 0.15  # seconds; a jump there and back within this time is interpolated over
_BACK = 0.5  # share of the way there that may separate both sides of such a jump


def fix(motion: "Motion", report: Report | None = None) -> "Motion":
    """Repair what can be repaired safely.

    Sides that are swapped in the whole body are swapped back; bones get their median lengths; frames that jump away
    and back are interpolated; a clip that is too high or too low as a whole is put on the floor; feet that slide or
    flicker are held.

    Args:
        motion ([`Motion`]): the motion, which stays as it is.
        report ([`Report`], *optional*): its faults, where they are known.

    Returns:
        [`Motion`]: check it again to see what is left.
    """
    from .clip import Motion

    findings = (report or check(motion)).findings
    kinds = {finding["kind"] for finding in findings}
    joints, skeleton = np.asarray(motion.joints, np.float64), motion._skeleton
    if "swapped_sides" in kinds:
        swapped = joints[:, list(skeleton.mirrored_joints)]
        limit = limits_of("swapped_sides", skeleton)[0]
        if swapped_sides(swapped, motion.fps, skeleton).max() <= limit:  # not where arms or legs alone are swapped
            joints = swapped
    if "jump" in kinds:
        times = [(finding["start"], finding["end"]) for finding in findings if finding["kind"] == "jump"]
        joints = _interpolated(joints, motion.fps, times)
    if "bone_length" in kinds:
        bones = np.linalg.norm(skeleton.bones(joints), axis=-1)
        places, lengths = torch.from_numpy(joints), torch.from_numpy(np.median(bones, 0))
        joints = set_bone_lengths(places, places[:, :1], skeleton, lengths).numpy()
    if {"floating", "below_floor"} & kinds:
        lowest = joints[..., 1].min(1)
        if np.quantile(lowest, 0.02) > 0 or np.quantile(lowest, 0.5) < 0:  # all of the clip, not a part of it
            joints = joints - [0, np.quantile(lowest, 0.02), 0]
    repaired = Motion(joints, motion.fps, skeleton, motion.text, motion.cycle)
    return repaired.clean() if {"foot_sliding", "contact_flicker"} & kinds else repaired


def _interpolated(joints: np.ndarray, fps: float, times: list[tuple[float, float]]) -> np.ndarray:
    """Interpolate over frames in which joints are far from both sides, which are close together."""
    result = joints.copy()
    most = max(1, round(_SHORT * fps))
    for start, end in times:
        first, last = max(round(start * fps) - most - 1, 0), min(round(end * fps) + most, len(joints) - 1)
        steps = np.linalg.norm(np.diff(joints[first : last + 1], axis=0), axis=-1).max(-1)
        fast = np.flatnonzero(steps > 3 * np.median(steps) + 1e-6) + first
        if not len(fast):
            continue
        before, after = int(fast[0]), int(fast[-1]) + 1
        away = np.linalg.norm(joints[before + 1 : after] - joints[before], axis=-1).max(initial=0)
        apart = np.linalg.norm(joints[after] - joints[before], axis=-1).max()
        if not 1 < after - before <= most + 1 or apart > _BACK * away:
            continue
        share = (np.arange(1, after - before) / (after - before))[:, None, None]
        result[before + 1 : after] = (1 - share) * joints[before] + share * joints[after]
    return result
