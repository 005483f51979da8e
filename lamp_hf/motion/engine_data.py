"""Facts about a motion that game engines ask for: frame rate, loop and foot contacts."""

from typing import TYPE_CHECKING

import numpy as np

from ..models.motion_loops import repeated
from .clean import foot_contacts


if TYPE_CHECKING:
    from .clip import Motion


FEET = ("left_foot", "right_foot")


def contacts(motion: "Motion") -> np.ndarray:
    """Tell in which frames the left and the right toe stand, bool `(num_frames, 2)`, see [`foot_contacts`]."""
    if motion.cycle is None:
        return foot_contacts(motion.joints, motion.fps, motion._skeleton)
    joints, count = repeated(motion.joints, motion.cycle, 3), motion.num_frames
    return foot_contacts(joints, motion.fps, motion._skeleton)[count : 2 * count]


def engine_data(motion: "Motion") -> dict:
    """Return the facts for JSON.

    Returns:
        `dict`: `fps`; `contacts`, for `left_foot` and `right_foot` the `[start, end]` in seconds of each time that the
        toe stands; and, where the motion loops, `loop`: `start` and `end` in seconds, `travel` (metres along x and z)
        and `turn` (degrees, positive to the left) of one repetition.
    """
    data: dict = {"fps": motion.fps, "contacts": {}}
    for foot, stands in zip(FEET, contacts(motion).T):
        changes = np.diff(np.r_[False, stands, False].astype(int))
        times = zip(np.flatnonzero(changes == 1) / motion.fps, np.flatnonzero(changes == -1) / motion.fps)
        data["contacts"][foot] = [[round(float(start), 4), round(float(end), 4)] for start, end in times]
    if motion.cycle is not None:
        travel, turn = [round(value, 4) for value in motion.cycle.travel], round(motion.cycle.turn, 3)
        data["loop"] = {"start": 0.0, "end": round(motion.duration, 4), "travel": travel, "turn": turn}
    return data
