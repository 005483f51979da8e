"""`Motion`: one clip of a moving body, with the file formats it can be saved to and loaded from."""

import warnings
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..models.motion_representation import check_motion, joints_to_features
from ..models.skeleton import Skeleton, get_skeleton
from .fbx import check_blender
from .files import printable, write_atomically
from .world import Assumptions, Recording, check_options, interpret


if TYPE_CHECKING:
    from .view import View


_FURTHER_RESULTS = {"features", "familiarity", "nearest", "seed"}  # of the text-to-motion pipeline


class Motion:
    """A clip of joint positions.

    Args:
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres, Y up.
        fps (`float`): frames per second.
        skeleton (`str` or [`Skeleton`]): `"humanml3d"` (22 joints) or `"kit"` (21 joints).
        text (`str`, *optional*): what the motion shows.
        others (*optional*): further results of the text-to-motion pipeline, `features` for instance, so that
            `Motion(**result)` works; they are not kept.

    Attributes:
        assumptions ([`lamp_hf.motion.world.Assumptions`], *optional*): what was made of the file that the motion was
            loaded from.

    Raises:
        ValueError: when the shape is wrong, a value is not finite, or `fps` is not a positive number.
    """

    assumptions: Assumptions | None = None

    def __init__(
        self,
        joints: np.ndarray,
        fps: float = 20.0,
        skeleton: str | Skeleton = "humanml3d",
        text: str | None = None,
        **others,
    ):
        if unknown := sorted(others.keys() - _FURTHER_RESULTS):
            raise TypeError(f"Motion got an unexpected keyword argument {unknown[0]!r}")
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
        """Name of the skeleton."""
        return self._skeleton.name

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return len(self.joints)

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.num_frames / self.fps

    @property
    def features(self) -> np.ndarray:
        """Features, float32 `(num_frames - 1, num_features)`, canonicalised, at the skeleton's own frame rate.

        The last frame contributes its velocities alone.
        """
        motion = self.resample(self._skeleton.fps)
        return joints_to_features(motion.joints / self._skeleton.metres, self._skeleton)

    def resample(self, fps: float) -> "Motion":
        """Return the motion at another frame rate; joint rotations are interpolated, so bones keep their length.

        Args:
            fps (`float`): frames per second, at most 1000.

        Raises:
            ValueError: when `fps` is out of range, or the motion would be too large.
        """
        if not 0 < fps <= 1000:
            raise ValueError(f"fps must be a number up to 1000, got {fps}")
        if abs(fps - self.fps) < 1e-3:
            return self
        from .rotations import resample

        return Motion(resample(self.joints, self.fps, fps, self._skeleton), fps, self._skeleton, self.text)

    def trim(self, start: float, end: float) -> "Motion":
        """Return the part from second `start` to second `end`.

        Raises:
            ValueError: when the motion has no frame there.
        """
        first, last = round(max(start, 0) * self.fps), round(end * self.fps)
        if not first < min(last, self.num_frames):
            raise ValueError(f"no frame between {start:g} and {end:g} s of a motion of {self.duration:g} s")
        return Motion(self.joints[first:last], self.fps, self._skeleton, self.text)

    def clean(self, feet: bool = True, smoothing: float = 0.0) -> "Motion":
        """Return the motion smoothed and with standing feet held in place, in this order.

        Args:
            feet (`bool`): hold the feet.
            smoothing (`float`): standard deviation of the Gaussian over time, in seconds; 0 for none.
        """
        from .clean import lock_feet, smooth

        joints = smooth(self.joints, self.fps, smoothing, self._skeleton) if smoothing else self.joints
        joints = lock_feet(joints, self.fps, self._skeleton) if feet else joints
        return Motion(joints, self.fps, self._skeleton, self.text)

    def __repr__(self) -> str:
        text = f", text={self.text!r}" if self.text else ""
        return f"Motion({self.num_frames} frames, {self.duration:.2f} s, fps={self.fps:g}, {self.skeleton}{text})"

    def _repr_html_(self) -> str:
        """Show a player in notebooks."""
        from .html import player_page

        return f'<iframe srcdoc="{escape(player_page([self]))}" width="480" height="420" style="border:0"></iframe>'

    def render(self, size: int = 224, camera: "str | View" = "follow", caption: str | None = None) -> np.ndarray:
        """Draw the body in every frame.

        Args:
            size (`int`): side of a picture in pixels, even, 16 to 4096.
            camera (`str` or [`View`]): `"follow"`, `"fixed"` or `"orbit"`, or the whole view.
            caption (`str`, *optional*): a line of text at the top.

        Returns:
            `np.ndarray` of shape `(num_frames, size, size, 3)`, uint8.
        """
        from .render import render

        return render(self.joints, self._skeleton, size, camera, caption)

    def save(self, path: str | Path, size: int = 480, camera: "str | View" = "follow") -> Path:
        """Write the motion in the format of the path's suffix.

        `.npy`: joints. `.npz`: joints and AMASS's arrays, see [`lamp_hf.motion.numpy_files.write_npz`]. `.bvh`,
        `.glb`, `.vrma`, `.fbx` (by Blender's module `bpy`): rotations. `.mp4`, `.gif`: pictures, with the text over
        them. `.html`: a page that plays the motion. For your own character, see [`lamp_hf.retarget`].

        Args:
            path (`str` or `Path`): the file.
            size (`int`): side of a picture in pixels.
            camera (`str` or [`View`]): `"follow"`, `"fixed"` or `"orbit"`, or the whole view, for pictures.

        Raises:
            ValueError: on another suffix.
            OSError: when the folder is missing or cannot be written to. No half-written file is left behind.
        """
        path = check_output_path(path)
        drawing = {"size": size, "camera": camera} if path.suffix.lower() in (".mp4", ".gif") else {}
        write_atomically(path, lambda temporary: _WRITERS[path.suffix.lower()](self, temporary, **drawing))
        return path

    @classmethod
    def load(
        cls,
        path: str | Path,
        rig: str | Path | None = None,
        unit: float | None = None,
        up: str | None = None,
        fps: float | None = None,
        body: str | None = None,
    ) -> "Motion":
        """Read `.npy` (joints or features, told apart by their shape), `.npz` (ours, AMASS, SMPL), `.bvh` or `.amc`.

        Args:
            path (`str` or `Path`): the file.
            rig (`str` or `Path`, *optional*): bone map in YAML, see `rigs.yaml`, for a BVH whose bones are not known.
            unit (`float`, *optional*): metres in one unit of the file; found by the size of the body by default.
            up (`str`, *optional*): axis of the file that points up, `"x"`, `"-y"` etc.; by default what the file or
                its format says, or found by the rest pose and the floor.
            fps (`float`, *optional*): frames per second of the file, where it states none or wrong ones.
            body (`str`, *optional*): the body to read where a BVH has several, by the name of its first joint; the
                first by default, with a warning that names them.

        Returns:
            [`Motion`]: in metres, with Y up. Its `assumptions` say what was made of the file and how sure that is; a
            warning names a unit or axis that is a guess.

        Raises:
            ValueError: when the file is damaged, holds something else, or holds numbers that are no person's; then
                with the likely cause.
            FileNotFoundError: when there is no such file.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in READABLE:
            advice = _ADVICE.get(suffix, f"known suffixes are {', '.join(READABLE)}")
            raise ValueError(f"cannot read {path}: {advice}")
        if not path.is_file():
            raise FileNotFoundError(f"no such file: {path}")
        check_options(rig, unit, up, fps)
        if body is not None and suffix in (".npy", ".npz"):
            raise ValueError(f"{path}: it holds one body; leave out body (--body)")
        recording = _READERS[suffix](path, rig, body)
        try:
            joints, fps, assumptions = interpret(recording, unit, up, fps)
            motion = cls(joints, fps, recording.skeleton, recording.text)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        motion.assumptions = assumptions
        for option, finding in (("unit", assumptions.unit), ("up", assumptions.up)):
            if finding.certainty == "guessed":
                warnings.warn(f"{path}: {option} is {finding}; give --{option} ({option}=) to be sure", stacklevel=2)
        return motion


READABLE = (".npy", ".npz", ".bvh", ".amc")
_ADVICE = {  # for files of motion in other formats
    **dict.fromkeys((".fbx", ".glb", ".gltf", ".vrma", ".dae"), "import it in Blender and export a .bvh"),
    **dict.fromkeys((".c3d", ".trc"), "it has markers, not joints; solve it for a skeleton and export a .bvh"),
    **dict.fromkeys((".pkl", ".pt", ".pth"), "opening it can run code; save its arrays as .npz, poses and trans"),
    ".asf": "it is a skeleton; give a motion beside it, an .amc",
}


def motion_files(folder: Path) -> list[Path]:
    """List the motion files in a folder and its subfolders by name, without hidden ones.

    Raises:
        FileNotFoundError: when there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in READABLE and path.is_file())
    return sorted(path for path in paths if not path.name.startswith("."))


def read_folder(folder: Path, read: Callable[[Motion, str], Any], **options) -> tuple[dict[str, Any], dict[str, str]]:
    """Read every motion file in a folder and its subfolders.

    Args:
        folder (`Path`): the folder.
        read (`Callable`): takes a [`Motion`] and its name, returns what is wanted of it.
        options: options of [`Motion.load`].

    Returns:
        The results of `read`, and the problem of each file that cannot be read, both by path below the folder.

    Raises:
        FileNotFoundError: when there is no such folder.
        ValueError: when no file in it can be read.
    """
    check_options(**options)
    found, broken = {}, {}
    for path in motion_files(folder):
        name = printable(path.relative_to(folder))
        try:
            found[name] = read(Motion.load(path, **options), name)
        except ValueError as error:
            broken[name] = " ".join(str(error).split())
    if not found:
        raise ValueError(f"{folder}: no motion file in it can be read ({', '.join(READABLE)})")
    return found, broken


def check_output_path(path: str | Path) -> Path:
    """Return the path if a motion can be written there; call this before spending time on making the motion.

    Raises:
        ValueError: when the suffix is not that of a motion file, or an FBX is wanted without Blender's module.
        FileNotFoundError: when the folder is missing.
    """
    path = Path(path)
    if path.suffix.lower() not in _WRITERS:
        raise ValueError(f"cannot write {path}: known suffixes are {', '.join(_WRITERS)}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")
    if path.suffix.lower() == ".fbx":
        check_blender(path)
    return path


def _write_npy(motion: Motion, path: Path) -> None:
    from .numpy_files import write_npy

    write_npy(path, motion.resample(motion._skeleton.fps).joints, motion._skeleton)


def _write_npz(motion: Motion, path: Path) -> None:
    from .numpy_files import write_npz

    write_npz(path, motion.joints, motion.fps, motion._skeleton, motion.text)


def _write_bvh(motion: Motion, path: Path) -> None:
    from .bvh import write_bvh

    write_bvh(path, motion.joints, motion.fps, motion._skeleton)


def _write_glb(motion: Motion, path: Path) -> None:
    from .glb import write_glb

    write_glb(path, motion.joints, motion.fps, motion._skeleton, motion.text)


def _write_vrma(motion: Motion, path: Path) -> None:
    from .vrma import write_vrma

    write_vrma(path, motion.joints, motion.fps, motion._skeleton, motion.text)


def _write_fbx(motion: Motion, path: Path) -> None:
    from .fbx import write_fbx

    write_fbx(path, motion.fps, lambda glb: _write_glb(motion, glb))


def _write_mp4(motion: Motion, path: Path, size: int, camera: "str | View") -> None:
    from .video import write_video

    write_video(path, _draw(motion, size, camera), motion.fps)


def _write_gif(motion: Motion, path: Path, size: int, camera: "str | View") -> None:
    from .video import write_gif

    write_gif(path, _draw(motion, size, camera), motion.fps)


def _draw(motion: Motion, size: int, camera: "str | View") -> Iterator[np.ndarray]:
    from .render import draw_frames

    return draw_frames(motion.joints, motion._skeleton, size, camera, motion.text)


def _write_html(motion: Motion, path: Path) -> None:
    from .html import player_page

    path.write_text(player_page([motion]), encoding="utf-8")


_WRITERS: dict[str, Callable[..., None]] = {
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".bvh": _write_bvh,
    ".glb": _write_glb,
    ".vrma": _write_vrma,
    ".fbx": _write_fbx,
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


_READERS: dict[str, Callable[[Path, str | Path | None, str | None], Recording]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".bvh": _read_animation,
    ".amc": _read_animation,
}
