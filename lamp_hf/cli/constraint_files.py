"""Constraints of a generated motion, read from the files that options of `lamp-hf generate` name."""

import json
import re
from pathlib import Path

import numpy as np

import lamp_hf


_COLUMNS = ("x", "z", "time", "facing")


def read_constraints(file: Path | None, path: Path | None, poses: list[str], speed: float | None) -> list:
    """Read all constraints of a command.

    Args:
        file (`Path`, *optional*): JSON, a list of what `Constraint.to_dict` returns; a pose may be the name of a file
            beside it.
        path (`Path`, *optional*): CSV with the columns x and z, and if it likes time and facing.
        poses (`list[str]`): `SECOND:FILE`, or `SECOND:FILE@SECOND` for a frame of a clip.
        speed (`float`, *optional*): metres per second along the path.

    Returns:
        `list[Constraint]`.

    Raises:
        OSError: when a file cannot be read.
        ValueError: when it holds no constraint.
    """
    constraints = [] if file is None else _read_json(file)
    if path is not None:
        constraints.append(_read_path(path, speed))
    elif speed is not None:
        raise ValueError("--speed is that of --path: give both")
    for text in poses:
        match = re.fullmatch(r"(\d+\.?\d*|\.\d+):(.+)", text)
        if match is None:
            raise ValueError(f"--pose {text}: give a second and a file, 2.0:pose.npz for instance")
        constraints.append(lamp_hf.Constraint.pose(float(match[1]), read_pose(match[2], Path())))
    return constraints


def read_pose(name: str, folder: Path) -> lamp_hf.Motion:
    """Read one frame of a motion file, see [`Motion.pose_at`]; `walk.bvh@1.5` is the one at second 1.5.

    Raises:
        OSError: when the file cannot be read.
        ValueError: when the file holds several frames and none is named, or it has no such second.
    """
    file, _, second = name.rpartition("@") if re.search(r"@(\d+\.?\d*|\.\d+)$", name) else (name, "", "")
    motion = lamp_hf.Motion.load(folder / file)
    if not second and motion.num_frames > 1:
        raise ValueError(f"{file} has {motion.num_frames} frames and a pose is one: name its second, {file}@1.5")
    try:
        return motion.pose_at(float(second or 0))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def _read_json(file: Path) -> list:
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file}: not JSON: {error}") from None
    if not isinstance(rows, list):
        raise ValueError(f"{file}: expected a list of constraints")
    constraints = []
    for number, row in enumerate(rows, 1):
        try:
            if isinstance(row, dict) and isinstance(row.get("pose"), str):
                pose = read_pose(row["pose"], file.parent)
                row = row | {"pose": pose.joints[0].tolist(), "skeleton": pose.skeleton}
            constraints.append(lamp_hf.Constraint.from_dict(row))
        except ValueError as error:
            raise ValueError(f"{file}, constraint {number}: {error}") from None
    return constraints


def _read_path(file: Path, speed: float | None) -> lamp_hf.Constraint:
    from lamp_hf.data.tables import read_csv

    rows = read_csv(file)
    columns = set(rows[0]) if rows else set()
    if not {"x", "z"} <= columns or not columns <= set(_COLUMNS):
        raise ValueError(f"{file}: a path needs the columns x and z; time and facing are optional, others are unknown")
    try:
        values = {name: np.array([float(row[name]) for row in rows]) for name in columns}
    except (TypeError, ValueError):
        raise ValueError(f"{file}: a cell is empty or no number") from None
    points = np.stack([values["x"], values["z"]], 1)
    try:
        return lamp_hf.Constraint.path(points, values.get("time"), values.get("facing"), speed)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
