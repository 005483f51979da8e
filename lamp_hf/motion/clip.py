"""`Motion`: one clip of a moving body, and its way in and out of files."""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..models.motion_representation import check_motion, features_to_joints, joints_to_features
from ..models.skeleton import SKELETONS, Skeleton, get_skeleton
from .files import write_atomically


if TYPE_CHECKING:
    from .view import View


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

    @property
    def features(self) -> np.ndarray:
        """float32 `(num_frames - 1, num_features)`, canonicalised, at the skeleton's own frame rate.

        The last frame gives velocities only.
        """
        motion = self.resample(self._skeleton.fps)
        return joints_to_features(motion.joints / self._skeleton.metres, self._skeleton)

    def resample(self, fps: float) -> "Motion":
        """The motion at another frame rate; rotations are interpolated, so bones keep their length."""
        if not 0 < fps <= 1000:
            raise ValueError(f"fps must be a number up to 1000, got {fps}")
        if abs(fps - self.fps) < 1e-3:
            return self
        from .rotations import resample

        return Motion(resample(self.joints, self.fps, fps, self._skeleton), fps, self._skeleton, self.text)

    def trim(self, start: float, end: float) -> "Motion":
        """The part from second `start` to second `end`.

        Raises:
            ValueError: when the motion has no frame there.
        """
        first, last = round(max(start, 0) * self.fps), round(end * self.fps)
        if not first < min(last, self.num_frames):
            raise ValueError(f"no frame between {start:g} and {end:g} s of a motion of {self.duration:g} s")
        return Motion(self.joints[first:last], self.fps, self._skeleton, self.text)

    def clean(self, feet: bool = True, smoothing: float = 0.0) -> "Motion":
        """The motion with standing feet held in place, and smoothed over `smoothing` seconds before that."""
        from .clean import lock_feet, smooth

        joints = smooth(self.joints, self.fps, smoothing, self._skeleton) if smoothing else self.joints
        joints = lock_feet(joints, self.fps, self._skeleton) if feet else joints
        return Motion(joints, self.fps, self._skeleton, self.text)

    def __repr__(self) -> str:
        text = f", text={self.text!r}" if self.text else ""
        return f"Motion({self.num_frames} frames, {self.duration:.2f} s, fps={self.fps:g}, {self.skeleton}{text})"

    def _repr_html_(self) -> str:
        """A player, for notebooks."""
        from html import escape

        return f'<iframe srcdoc="{escape(page([self]))}" width="480" height="420" style="border:0"></iframe>'

    def render(self, size: int = 224, camera: "str | View" = "follow", caption: str | None = None) -> np.ndarray:
        """Pictures of the body, uint8 `(num_frames, size, size, 3)`; see [`lamp_hf.motion.render.render`]."""
        from .render import render

        return render(self.joints, self._skeleton, size, camera, caption)

    def save(self, path: str | Path, size: int = 480, camera: "str | View" = "follow") -> Path:
        """Writes the motion; the suffix says how.

        `.npy`: joints. `.npz`: joints, and what AMASS has, see `_write_npz`. `.bvh`, `.glb`: rotations. `.mp4`,
        `.gif`: pictures, with the text over them. `.html`: a page that plays the motion.

        Args:
            path (`str` or `Path`): where to.
            size (`int`): side of a picture in pixels.
            camera (`str` or [`View`]): of pictures: `"follow"`, `"fixed"` or `"orbit"`, or all of how it is filmed.

        Raises:
            ValueError: on another suffix.
            OSError: when the folder is missing or cannot be written to. Nothing is left half-written.
        """
        path = check_output(path)
        pictures = {"size": size, "camera": camera} if path.suffix.lower() in (".mp4", ".gif") else {}
        write_atomically(path, lambda temporary: _WRITERS[path.suffix.lower()](self, temporary, **pictures))
        return path

    @classmethod
    def load(
        cls, path: str | Path, rig: str | Path | None = None, unit: float | None = None, up: str | None = None
    ) -> "Motion":
        """Reads `.npy` (joints or features, told apart by their shape), `.npz` (ours, AMASS, SMPL) or `.bvh`.

        Args:
            path (`str` or `Path`): the file.
            rig, unit, up (*optional*): of a BVH whose bones, units or up axis are not found rightly: a bone map in
                YAML (see `rigs.yaml`), metres in one unit, and `"x"`, `"y"` or `"z"`.

        Raises:
            ValueError: when the file is damaged, or holds something else.
            FileNotFoundError: when there is no such file.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in READABLE:
            raise ValueError(f"cannot read {path}: known suffixes are {', '.join(READABLE)}")
        if not path.is_file():
            raise FileNotFoundError(f"no such file: {path}")
        if suffix == ".bvh":
            return _read_bvh(path, rig, unit, up)
        return _read_npy(path) if suffix == ".npy" else _read_npz(path)


READABLE = (".npy", ".npz", ".bvh")


def read_folder(folder: Path, read: Callable[[Motion, str], Any], **reading) -> tuple[dict[str, Any], dict[str, str]]:
    """What `read` makes of each motion file in a folder and below, by name; of those that are broken what is wrong.

    Args:
        read (`Callable`): takes a [`Motion`] and its name.
        reading: options of [`Motion.load`].

    Raises:
        FileNotFoundError: when there is no such folder.
        ValueError: when nothing in it can be read.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    found, broken = {}, {}
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in READABLE and path.is_file()):
        name = str(path.relative_to(folder))
        try:
            found[name] = read(Motion.load(path, **reading), name)
        except ValueError as error:
            broken[name] = " ".join(str(error).split())
    if not found:
        raise ValueError(f"{folder}: no motion file in it can be read ({', '.join(READABLE)})")
    return found, broken


def page(motions: list[Motion]) -> str:
    """One HTML page that plays motions side by side, without any network."""
    from .html import html_page

    return html_page([(motion.joints, motion.fps, motion._skeleton, motion.text or "") for motion in motions])


def check_output(path: str | Path) -> Path:
    """The path, if a motion can be written there in its format; called before a motion is made at any cost."""
    path = Path(path)
    if path.suffix.lower() not in _WRITERS:
        raise ValueError(f"cannot write {path}: known suffixes are {', '.join(_WRITERS)}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")
    return path


def _write_npy(motion: Motion, path: Path) -> None:
    """As the data sets have them: in the skeleton's own unit and frame rate, since the file tells neither."""
    with open(path, "wb") as file:
        np.save(file, motion.resample(motion._skeleton.fps).joints / np.float32(motion._skeleton.metres))


def _write_npz(motion: Motion, path: Path) -> None:
    """Keys: `joints` float32 [num_frames, num_joints, 3] in metres, Y up; `fps`; `skeleton`; `text`.

    For HumanML3D's skeleton also AMASS's: `poses`, `trans`, `betas`, `gender` and `mocap_framerate`, see
    [`lamp_hf.motion.smpl.smpl_arrays`].
    """
    from .smpl import smpl_arrays

    amass = smpl_arrays(motion.joints, motion.fps) if motion.skeleton == "humanml3d" else {}
    with open(path, "wb") as file:
        np.savez_compressed(
            file, joints=motion.joints, fps=motion.fps, skeleton=motion.skeleton, text=motion.text or "", **amass
        )


def _write_bvh(motion: Motion, path: Path) -> None:
    from .bvh import write_bvh

    write_bvh(path, motion.joints, motion.fps, motion._skeleton)


def _write_glb(motion: Motion, path: Path) -> None:
    from .glb import write_glb

    write_glb(path, motion.joints, motion.fps, motion._skeleton, motion.text)


def _write_mp4(motion: Motion, path: Path, size: int, camera: "str | View") -> None:
    from .video import write_video

    write_video(path, _pictures(motion, size, camera), motion.fps)


def _write_gif(motion: Motion, path: Path, size: int, camera: "str | View") -> None:
    from .video import write_gif

    write_gif(path, _pictures(motion, size, camera), motion.fps)


def _pictures(motion: Motion, size: int, camera: "str | View") -> Iterator[np.ndarray]:
    from .render import draw_frames

    return draw_frames(motion.joints, motion._skeleton, size, camera, motion.text)


def _write_html(motion: Motion, path: Path) -> None:
    path.write_text(page([motion]), encoding="utf-8")


def _read_npy(path: Path) -> Motion:
    values = _load_array(path)
    if values.dtype.kind not in "fiu":
        raise ValueError(f"{path}: an array of {values.dtype}, not of numbers")
    values = np.array(values, np.float32)
    for skeleton in SKELETONS.values():
        if values.ndim == 3 and values.shape[1:] == (skeleton.num_joints, 3):
            check_motion(values, values.shape[1:], name=str(path))
            return Motion(values * skeleton.metres, skeleton.fps, skeleton)
        if values.ndim == 2 and values.shape[1] == skeleton.num_features:
            check_motion(values, values.shape[1:], name=str(path))
            return Motion(features_to_joints(values, skeleton) * skeleton.metres, skeleton.fps, skeleton)
    raise ValueError(f"{path}: neither joints [frames, 22 or 21, 3] nor features [frames, 263 or 251]: {values.shape}")


def _read_npz(path: Path) -> Motion:
    with _load_array(path) as archive:
        try:
            return _from_arrays({name: archive[name] for name in _NPZ_KEYS if name in archive})
        except (ValueError, TypeError, EOFError, OSError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path}: {error}") from None


_NPZ_KEYS = ("joints", "fps", "skeleton", "text", "poses", "trans", "mocap_framerate", "mocap_frame_rate")


def _from_arrays(values: dict[str, np.ndarray]) -> Motion:
    """A motion from the arrays of an archive: our own keys, or those of AMASS."""
    if "joints" in values:
        skeleton = get_skeleton(str(values.get("skeleton", "humanml3d")))
        fps = float(values.get("fps", skeleton.fps))
        return Motion(values["joints"], fps, skeleton, str(values.get("text", "")) or None)
    if "poses" not in values or "trans" not in values:
        raise ValueError("it has neither joints, nor poses and trans as AMASS has")
    from .smpl import smpl_joints

    poses, trans = np.asarray(values["poses"], float), np.asarray(values["trans"], float)
    if poses.ndim != 2 or poses.shape[1] < 66 or trans.shape != (len(poses), 3):
        raise ValueError(f"poses {list(poses.shape)} and trans {list(trans.shape)} do not belong together")
    check_motion(poses, poses.shape[1:], name="poses")
    rate = values.get("mocap_framerate", values.get("mocap_frame_rate"))
    if rate is None:
        raise ValueError("it does not say its mocap_framerate")
    return Motion(smpl_joints(poses, trans), float(rate))


def _read_bvh(path: Path, rig: str | Path | None, unit: float | None, up: str | None) -> Motion:
    from .bvh import read_bvh
    from .retarget import load_rig, retarget_animation

    animation = read_bvh(path)
    rig = None if rig is None else load_rig(rig)
    try:
        joints, skeleton = retarget_animation(animation, rig, unit, up)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return Motion(joints, animation.fps, skeleton)


def _load_array(path: Path):
    try:
        if path.suffix.lower() == ".npy":
            return np.load(path, allow_pickle=False, mmap_mode="r")  # a header that promises too much is found out
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > _LARGEST:
            raise ValueError(f"it unpacks to {size / 1e9:.1f} GB")
        return np.load(path, allow_pickle=False)
    except Exception as error:  # a damaged file raises whatever it happens to hit: EOFError, BadZipFile, ...
        raise ValueError(f"{path}: not a NumPy file that can be read safely: {error}") from None


_LARGEST = 2e9  # bytes; an hour of AMASS at 120 frames a second has 0.54e9


_WRITERS: dict[str, Callable[..., None]] = {
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".bvh": _write_bvh,
    ".glb": _write_glb,
    ".mp4": _write_mp4,
    ".gif": _write_gif,
    ".html": _write_html,
}
