"""One HTML file that plays motions, without any network."""

import base64
import html
import json
from pathlib import Path

import numpy as np

from ..models.skeleton import Skeleton
from .body import BONE_RADII, bone_colour


def html_page(motions: list[tuple[np.ndarray, float, Skeleton, str]]) -> str:
    """A page that plays motions side by side; drag to orbit, wheel to zoom, space to play.

    Args:
        motions: of each its joints `(num_frames, num_joints, 3)` in metres, frames a second, skeleton, and a title.
    """
    template = Path(__file__).with_name("viewer.html").read_text(encoding="utf-8")
    content = [_embed(joints, fps, skeleton, text) for joints, fps, skeleton, text in motions]
    # "<" is escaped, lest a title ends the script.
    content = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")
    title = html.escape(", ".join(text for *_, text in motions if text)[:80] or "Motion")
    return template.replace("/*MOTIONS*/[]", content).replace("<title>Motion<", f"<title>{title}<")


def _embed(joints: np.ndarray, fps: float, skeleton: Skeleton, text: str) -> dict:
    start = joints[0, 0] * [1, 0, 1] + [0, min(0.0, joints[..., 1].min()), 0]  # the floor is at zero
    placed = joints - start
    unit = max(0.001, np.abs(placed).max() / 32767)
    names = skeleton.joint_names
    return {
        "frames": len(joints),
        "fps": fps,
        "text": text,
        "parents": skeleton.parents,
        "radii": [BONE_RADII.get(name.rpartition("_")[2], 0.0) for name in names],
        "colours": [bone_colour(name) for name in names],
        "unit": unit,
        "joints": base64.b64encode(np.round(placed / unit).astype("<i2").tobytes()).decode("ascii"),
    }
