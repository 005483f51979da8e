"""`Motion`: one clip of a moving body, with the file formats it can be saved to and loaded from."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..models.motion_loops import Cycle, find_loop, repeated
from ..models.motion_representation import check_motion, joints_to_features
from ..models.skeleton import Skeleton, get_skeleton
from .files import printable, write_atomically
from .formats import ADVICE, READABLE, READERS, WRITERS
from .world import Assumptions, check_options, interpret


if TYPE_CHECKING:
    from .check import Report
    from .view import View


_FURTHER_RESULTS = {"constraint_error", "features", "familiarity", "nearest", "seed"}  # of the text-to-motion pipeline


class Motion:
    """A clip of joint positions.

    Args:
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres, Y up.
        fps (`float`): frames per second.
        skeleton (`str` or [`Skeleton`]): `"humanml3d"` (22 joints) or `"kit"` (21 joints).
        text (`str`, *optional*): what the motion shows.
        cycle ([`Cycle`], *optional*): for a loop, the travel and turn from the last frame back to the first.
        others (*optional*): further results of the text-to-motion pipeline, `features` for instance, so that
            `Motion(**result)` works; they are not kept.

    Attributes:
        assumptions ([`lamp_hf.motion.world.Assumptions`], *optional*): unit, axes, rig and rate that were assumed of
            the file that the motion was loaded from.

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
        cycle: Cycle | None = None,
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
        self.joints, self.fps, self.text, self.cycle = joints, float(fps), text, cycle

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

        One that loops keeps a whole number of frames, so its tempo may change by as much as half a frame.

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

        if self.cycle is None:
            return Motion(resample(self.joints, self.fps, fps, self._skeleton), fps, self._skeleton, self.text)
        frames = max(1, round(self.duration * fps))
        rate, closed = self.num_frames * fps / frames, repeated(self.joints, self.cycle, 1)
        joints = resample(closed, rate, fps, self._skeleton)[:frames]
        return Motion(joints, fps, self._skeleton, self.text, self.cycle)

    def trim(self, start: float, end: float) -> "Motion":
        """Return the part from second `start` to second `end`, or to the end of the motion if that comes earlier.

        Raises:
            ValueError: when the motion has no frame there.
        """
        first, last = max(start, 0) * self.fps, min(end, self.duration) * self.fps
        if not (first < last and round(first) < round(last)):  # neither NaN nor infinity can be rounded
            raise ValueError(f"no frame between {start:g} and {end:g} s of a motion of {self.duration:g} s")
        return Motion(self.joints[round(first) : round(last)], self.fps, self._skeleton, self.text)

    def pose_at(self, second: float) -> "Motion":
        """Return the frame at a second, alone, as [`Constraint.pose`] takes it: the clip's lowest joint is the floor.

        The end of the motion is its last frame.

        Raises:
            ValueError: when the motion does not last so long.
        """
        if not 0 <= second <= self.duration + 0.5 / self.fps:  # whoever types the end of a clip rounds it
            raise ValueError(f"there is no pose at second {second:g} of a motion of {self.duration:g} s")
        row = min(round(second * self.fps), self.num_frames - 1)
        joints = self.joints[row : row + 1] - [0, self.joints[..., 1].min(), 0]
        return Motion(joints, self.fps, self._skeleton, self.text)

    def clean(self, feet: bool = True, smoothing: float = 0.0) -> "Motion":
        """Return the motion smoothed and with standing feet held in place, in this order.

        Args:
            feet (`bool`): hold the feet.
            smoothing (`float`): standard deviation of the Gaussian over time, in seconds; 0 for none.
        """
        from .clean import lock_feet, smooth

        joints, before = self.joints, 0
        if self.cycle is not None:  # neighbours of both ends are those that they have in the loop
            joints, before = repeated(joints, self.cycle, 3, first=-1), self.num_frames
        joints = smooth(joints, self.fps, smoothing, self._skeleton) if smoothing else joints
        joints = lock_feet(joints, self.fps, self._skeleton) if feet else joints
        joints = joints[before : before + self.num_frames]
        return Motion(joints, self.fps, self._skeleton, self.text, self.cycle)

    def loop(self, seconds: float | None = None) -> "Motion":
        """Return the best cycle of the motion: after its last frame comes its first, farther by `cycle.travel`.

        Args:
            seconds (`float`, *optional*): how long it is to last, about: a whole number of repetitions.

        Raises:
            ValueError: when the motion has no cycle, saying why.
        """
        if seconds is not None and not 0 < seconds < np.inf:
            raise ValueError(f"a loop lasts a positive number of seconds, got {seconds}")
        if self.num_frames < 2:
            raise ValueError("a motion of one frame has no cycle")
        joints, cycle = find_loop(self.joints, self.features, self.fps, self._skeleton, seconds)
        return Motion(joints, self.fps, self._skeleton, self.text, cycle)

    def check(self) -> "Report":
        """Look for faults, such as sliding feet and jumps, see [`lamp_hf.motion.check`]; `passed` if there is none."""
        from .check import check

        return check(self)

    def in_place(self) -> "Motion":
        """Return the motion without the root's travel over the ground: the pelvis stays above the origin."""
        joints = self.joints - self.joints[:, :1] * np.array([1, 0, 1], np.float32)
        cycle = None if self.cycle is None else replace(self.cycle, travel=(0.0, 0.0))
        return Motion(joints, self.fps, self._skeleton, self.text, cycle)

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

    def save(
        self, path: str | Path, size: int = 480, camera: "str | View" = "follow", root_motion: bool = False
    ) -> Path:
        """Write the motion in the format of the path's suffix.

        `.npy`: joints. `.npz`: joints and AMASS's arrays, see [`lamp_hf.motion.numpy_files.write_npz`]. `.bvh`,
        `.glb`, `.vrma`: rotations. `.mp4`, `.gif`: pictures, with the text over them. `.html`: a page that plays the
        motion. For your own character, see [`lamp_hf.retarget`].

        Args:
            path (`str` or `Path`): the file.
            size (`int`): side of a picture in pixels.
            camera (`str` or [`View`]): `"follow"`, `"fixed"` or `"orbit"`, or the whole view, for pictures.
            root_motion (`bool`): a node `root` above the pelvis travels over the ground, for `.bvh` and `.glb`.

        Raises:
            ValueError: on another suffix, or where the format has no place for root motion.
            OSError: when the folder is missing or cannot be written to. No half-written file is left behind.
        """
        path = check_output_path(path)
        suffix = path.suffix.lower()
        options: dict = {"size": size, "camera": camera} if suffix in (".mp4", ".gif") else {}
        if suffix in (".bvh", ".glb"):
            options = {"root_motion": root_motion}
        elif root_motion:
            raise ValueError(f"cannot write {path} with root motion: a .bvh or a .glb has a node for it")
        write_atomically(path, lambda temporary: WRITERS[suffix](self, temporary, **options))
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
            advice = ADVICE.get(suffix, f"known suffixes are {', '.join(READABLE)}")
            raise ValueError(f"cannot read {path}: {advice}")
        if not path.is_file():
            raise FileNotFoundError(f"no such file: {path}")
        check_options(rig, unit, up, fps)
        if body is not None and suffix in (".npy", ".npz"):
            raise ValueError(f"{path}: it holds one body; leave out body (--body)")
        recording = READERS[suffix](path, rig, body)
        try:
            joints, fps, assumptions = interpret(recording, unit, up, fps)
            motion = cls(joints, fps, recording.skeleton, recording.text)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        motion.assumptions = assumptions
        motion.cycle = recording.cycle if unit is None and up is None else None
        for option, finding in (("unit", assumptions.unit), ("up", assumptions.up)):
            if finding.certainty == "guessed":
                warnings.warn(f"{path}: {option} is {finding}; give --{option} ({option}=) to be sure", stacklevel=2)
        return motion


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
        ValueError: when the suffix is not that of a motion file.
        FileNotFoundError: when the folder is missing.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITERS:
        raise ValueError(f"cannot write {path}: known suffixes are {', '.join(WRITERS)}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")
    return path
