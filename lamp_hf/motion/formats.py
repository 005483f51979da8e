"""Formats of motion files: which can be read and written, and what to do with one that cannot."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..models.motion_loops import repeated
from .world import Recording


if TYPE_CHECKING:
    from .clip import Motion
    from .view import View


READABLE = (".npy", ".npz", ".bvh", ".amc")
ADVICE = {  # for files of motion in other formats
    **dict.fromkeys((".fbx", ".glb", ".gltf", ".vrma", ".dae"), "import it in Blender and export a .bvh"),
    **dict.fromkeys((".c3d", ".trc"), "it has markers, not joints; solve it for a skeleton and export a .bvh"),
    **dict.fromkeys((".pkl", ".pt", ".pth"), "opening it can run code; save its arrays as .npz, poses and trans"),
    ".asf": "it is a skeleton; give a motion beside it, an .amc",
}


def _write_npy(motion: "Motion", path: Path) -> None:
    from .numpy_files import write_npy

    write_npy(path, motion.resample(motion._skeleton.fps).joints, motion._skeleton)


def _write_npz(motion: "Motion", path: Path) -> None:
    from .engine_data import contacts
    from .numpy_files import write_npz

    loops = (
        {}
        if motion.cycle is None
        else {
            "loop": np.array([0.0, motion.duration]),
            "loop_travel": np.array(motion.cycle.travel),
            "loop_turn": np.array(motion.cycle.turn),
        }
    )
    facts = loops | {"contacts": contacts(motion)}
    write_npz(path, motion.joints, motion.fps, motion._skeleton, motion.text, facts)


def _write_bvh(motion: "Motion", path: Path, root_motion: bool) -> None:
    from .bvh import write_bvh

    write_bvh(path, motion.joints, motion.fps, motion._skeleton, root_motion)


def _write_glb(motion: "Motion", path: Path, root_motion: bool) -> None:
    from .engine_data import engine_data
    from .glb import write_glb

    # Engines repeat a clip from its last key, so that of a loop is the first pose again.
    joints = motion.joints if motion.cycle is None else repeated(motion.joints, motion.cycle, 1)
    write_glb(path, joints, motion.fps, motion._skeleton, motion.text, engine_data(motion), root_motion)


def _write_vrma(motion: "Motion", path: Path) -> None:
    from .engine_data import engine_data
    from .vrma import write_vrma

    facts = engine_data(motion)
    write_vrma(path, motion.joints, motion.fps, motion._skeleton, motion.text, motion.cycle, facts)


def _write_mp4(motion: "Motion", path: Path, size: int, camera: "str | View") -> None:
    from .video import write_video

    write_video(path, _draw(motion, size, camera), motion.fps)


def _write_gif(motion: "Motion", path: Path, size: int, camera: "str | View") -> None:
    from .video import write_gif

    write_gif(path, _draw(motion, size, camera), motion.fps)


def _draw(motion: "Motion", size: int, camera: "str | View") -> Iterator[np.ndarray]:
    from .render import draw_frames

    return draw_frames(motion.joints, motion._skeleton, size, camera, motion.text)


def _write_html(motion: "Motion", path: Path) -> None:
    from .html import player_page

    path.write_text(player_page([motion]), encoding="utf-8")


WRITERS: dict[str, Callable[..., None]] = {
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".bvh": _write_bvh,
    ".glb": _write_glb,
    ".vrma": _write_vrma,
    ".mp4": _write_mp4,
    ".gif": _write_gif,
    ".html": _write_html,
}


def _read_npy(path: Path, rig: str | Path | None, body: str | None) -> Recording:
    from .numpy_files import read_npy

    return read_npy(path)


def _read_npz(path: Path, rig: str | Path | None, body: str | None) -> Recording:
    from .numpy_files import read_npz

    return read_npz(path)


def _read_animation(path: Path, rig: str | Path | None, body: str | None) -> Recording:
    from .asf_amc import read_amc
    from .bvh import read_bvh
    from .retarget import retarget_animation
    from .rigs import load_rig

    animation = read_bvh(path) if path.suffix.lower() == ".bvh" else read_amc(path)
    bone_map = None if rig is None else load_rig(rig)
    try:
        return retarget_animation(animation, bone_map, body)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


READERS: dict[str, Callable[[Path, str | Path | None, str | None], Recording]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".bvh": _read_animation,
    ".amc": _read_animation,
}
