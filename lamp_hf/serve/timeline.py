"""The timeline of the demo page: what its fields say, as sentences, seconds and constraints."""

from collections.abc import Sequence
from pathlib import Path

from ..models.constraints import Constraint
from .uploads import read_motion, read_sentences


MAX_POSES, MAX_POINTS = 3, 200
VARIANTS = 6  # motions to choose from


def read_rows(rows: Sequence[tuple[str | None, float | None]]) -> tuple[list[str], list[float]]:
    """Read sentences that follow one another, each with its seconds; rows without a sentence are left out.

    Raises:
        ValueError: when there is no sentence, one has no seconds, or there are too many.
    """
    given = [(" ".join(text.split()), length) for text, length in rows if text and text.strip()]
    texts = read_sentences("\n".join(text for text, _ in given))
    seconds = [length for _, length in given if length]
    if len(seconds) < len(texts):
        raise ValueError("each sentence takes its seconds, 3 for instance")
    return texts, seconds


def read_path(text: str | None) -> list[Constraint]:
    """Read a path such as `"0, 0; 1, 2"`: x and z of its points in metres. No text is no path.

    Raises:
        ValueError: when a point is none, or they are too few or too many.
    """
    points = [point for point in (text or "").replace("\n", ";").split(";") if point.strip()]
    if len(points) > MAX_POINTS:
        raise ValueError(f"the path has {len(points)} points; at most {MAX_POINTS} are read")
    try:
        rows = [[float(number) for number in point.split(",")] for point in points]
        return [Constraint.path(rows)] if rows else []
    except ValueError:
        raise ValueError("a path takes two points or more, in metres: 0, 0; 1, 2 for instance") from None


def read_poses(rows: Sequence[tuple[str | None, float | None, float | None]]) -> list[Constraint]:
    """Read key poses: the file, the second at which the body takes the pose, and the second of the file it is from.

    Rows without a file are left out.

    Raises:
        ValueError: when a file cannot be read, or has no such second.
    """
    poses = []
    for path, time, second in rows:
        if not path:
            continue
        motion = read_motion(path, fps=None)
        try:
            pose = motion.pose_at(second or 0.0)
        except ValueError as error:
            raise ValueError(f"{Path(path).name}: {error}") from None
        poses.append(Constraint.pose(time or 0.0, pose))
    return poses
