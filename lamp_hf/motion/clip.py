"""`Motion`: one clip of a moving body, and its way in and out of files."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np

from ..models.motion_representation import (
    SKELETONS,
    Skeleton,
    check_motion,
    features_to_joints,
    get_skeleton,
    joints_to_features,
)
from .files import write_atomically


class Motion:
    """A clip of joint positions.

    Args:
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres, Y up.
        fps (`float`): frames per second.
        skeleton (`str`): `"humanml3d"` (22 joints) or `"kit"` (21 joints).
        text (`str`, *optional*): what the motion shows.

    Raises:
        ValueError: when the shape is wrong, a value is not finite, or `fps` is not a positive number.
    """

    def __init__(
        self,
        joints: np.ndarray,
        fps: float = 20.0,
        skeleton: str | Skeleton = "humanml3d",
        text: str | None = None,
    ):
        self._skeleton = get_skeleton(skeleton)
        joints = np.asarray(joints, dtype=np.float32)
        check_motion(joints, (self._skeleton.num_joints, 3))
        if joints.ndim != 3:
            raise ValueError(f"motion: expected one clip, got joints of shape {list(joints.shape)}")
        if not 0 < fps < np.inf:
            raise ValueError(f"motion: fps must be a positive number, got {fps}")
        self.joints, self.fps, self.text = joints, float(fps), text

    @property
    def skeleton(self) -> str:
        return self._skeleton.name

    @property
    def num_frames(self) -> int:
        return len(self.joints)

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.num_frames / self.fps

    @cached_property
    def features(self) -> np.ndarray:
        """float32 `(num_frames - 1, num_features)`, canonicalised; the last frame gives velocities only."""
        return joints_to_features(self.joints / self._skeleton.metres, self._skeleton)

    def __repr__(self) -> str:
        text = f", text={self.text!r}" if self.text else ""
        return f"Motion({self.num_frames} frames, {self.duration:.2f} s, fps={self.fps:g}, {self.skeleton}{text})"

    def render(self, size: int = 224) -> np.ndarray:
        """Pictures of the body, uint8 `(num_frames, size, size, 3)`."""
        from .render import render

        return render(self.joints, self._skeleton, size)

    def save(self, path: str | Path) -> Path:
        """Writes the motion; the suffix says how: `.npy` (joints), `.npz`, `.bvh` or `.mp4`.

        Raises:
            ValueError: on another suffix.
            OSError: when the folder is missing or cannot be written to. Nothing is left half-written.
        """
        path = check_output(path)
        write_atomically(path, lambda temporary: _WRITERS[path.suffix.lower()](self, temporary))
        return path

    @classmethod
    def load(cls, path: str | Path) -> "Motion":
        """Reads `.npy` (joints or features, told apart by their shape), `.npz` or `.bvh`.

        Raises:
            ValueError: when the file is damaged, or holds something else.
            FileNotFoundError: when there is no such file.
        """
        path = Path(path)
        if path.suffix.lower() not in _READERS:
            raise ValueError(f"cannot read {path}: known suffixes are {', '.join(_READERS)}")
        if not path.is_file():
            raise FileNotFoundError(f"no such file: {path}")
        return _READERS[path.suffix.lower()](path)


def check_output(path: str | Path) -> Path:
    """The path, if a motion can be written in its format; called before a motion is made at any cost."""
    path = Path(path)
    if path.suffix.lower() not in _WRITERS:
        raise ValueError(f"cannot write {path}: known suffixes are {', '.join(_WRITERS)}")
    return path


def _write_npy(motion: Motion, path: Path) -> None:
    with open(path, "wb") as file:
        np.save(file, motion.joints)


def _write_npz(motion: Motion, path: Path) -> None:
    """Keys: `joints` float32 [num_frames, num_joints, 3] in metres, `fps`, `skeleton`, `text`."""
    with open(path, "wb") as file:
        np.savez_compressed(
            file, joints=motion.joints, fps=motion.fps, skeleton=motion.skeleton, text=motion.text or ""
        )


def _write_bvh(motion: Motion, path: Path) -> None:
    from .bvh import write_bvh

    write_bvh(path, motion.joints, motion.fps, get_skeleton(motion.skeleton))


def _write_mp4(motion: Motion, path: Path) -> None:
    from .video import write_video

    write_video(path, motion.render(size=480), motion.fps)


def _read_npy(path: Path) -> Motion:
    values = _load_array(path)
    for skeleton in SKELETONS.values():
        if values.ndim == 3 and values.shape[1:] == (skeleton.num_joints, 3):
            check_motion(values, values.shape[1:], name=str(path))
            return Motion(values * skeleton.metres, skeleton.fps, skeleton)
        if values.ndim == 2 and values.shape[1] == skeleton.num_features:
            check_motion(values, values.shape[1:], name=str(path))
            return Motion(features_to_joints(values, skeleton) * skeleton.metres, skeleton.fps, skeleton)
    raise ValueError(f"{path}: neither joints [frames, 22 or 21, 3] nor features [frames, 263 or 251]: {values.shape}")


def _read_npz(path: Path) -> Motion:
    archive = _load_array(path)
    if "joints" not in archive:
        raise ValueError(f"{path}: it has no array named joints")
    values = {name: archive[name] for name in ("joints", "fps", "skeleton", "text") if name in archive}
    joints, skeleton = values["joints"], str(values.get("skeleton", "humanml3d"))
    check_motion(joints, (get_skeleton(skeleton).num_joints, 3), name=str(path))
    return Motion(
        joints, float(values.get("fps", get_skeleton(skeleton).fps)), skeleton, str(values.get("text", "")) or None
    )


def _read_bvh(path: Path) -> Motion:
    from .bvh import read_bvh

    return Motion(*read_bvh(path))


def _load_array(path: Path):
    try:
        return np.load(path, allow_pickle=False)
    except Exception as error:  # a damaged file raises whatever it happens to hit: EOFError, BadZipFile, ...
        raise ValueError(f"{path}: not a NumPy file that can be read safely: {error}") from None


_WRITERS: dict[str, Callable[[Motion, Path], None]] = {
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".bvh": _write_bvh,
    ".mp4": _write_mp4,
}
_READERS: dict[str, Callable[[Path], Motion]] = {".npy": _read_npy, ".npz": _read_npz, ".bvh": _read_bvh}
