"""One HTML file that plays motions, without any network."""

import base64
import html
import json
from pathlib import Path

import numpy as np

from ..models.motion_representation import Skeleton
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
    ground = joints - joints[:1, :1] * np.array([1, 0, 1])
    millimetres = np.clip(np.round(1000 * ground), -32767, 32767).astype("<i2")
    names = skeleton.joint_names
    return {
        "frames": len(joints),
        "fps": fps,
        "text": text,
        "parents": skeleton.parents,
        "radii": [BONE_RADII.get(name.rpartition("_")[2], 0.0) for name in names],
        "colours": [bone_colour(name) for name in names],
        "joints": base64.b64encode(millimetres.tobytes()).decode("ascii"),
    }
