"""One HTML file that plays motions, without any network."""

import base64
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..models.skeleton import get_skeleton
from .body import BONE_RADII, bone_colour


if TYPE_CHECKING:
    from .clip import Motion


def player_page(motions: "Sequence[Motion]") -> str:
    """Return an HTML page that plays motions side by side; drag to orbit, wheel to zoom, space to play.

    Args:
        motions (`Sequence[Motion]`): the motions, each titled with its text.
    """
    template = Path(__file__).with_name("viewer.html").read_text(encoding="utf-8")
    content = json.dumps([_describe(motion) for motion in motions], separators=(",", ":"))
    content = content.replace("<", "\\u003c")  # a title must not end the script
    title = html.escape(", ".join(motion.text for motion in motions if motion.text)[:80] or "Motion")
    return template.replace("/*MOTIONS*/[]", content).replace("<title>Motion<", f"<title>{title}<")


def _describe(motion: "Motion") -> dict:
    """Return the viewer's description of a motion, with its joints as 16-bit integers."""
    start = motion.joints[0, 0] * [1, 0, 1] + [0, min(0.0, motion.joints[..., 1].min()), 0]  # the floor is at zero
    joints = motion.joints - start
    unit = max(0.001, np.abs(joints).max() / 32767)
    skeleton = get_skeleton(motion.skeleton)
    names = skeleton.joint_names
    return {
        "frames": len(joints),
        "fps": motion.fps,
        "text": motion.text or "",
        "parents": skeleton.parents,
        "radii": [BONE_RADII.get(name.rpartition("_")[2], 0.0) for name in names],
        "colours": [bone_colour(name) for name in names],
        "unit": unit,
        "joints": base64.b64encode(np.round(joints / unit).astype("<i2").tobytes()).decode("ascii"),
    }
