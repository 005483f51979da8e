"""NumPy files of a motion: `.npy` with joints or features, `.npz` with our keys and AMASS's.

Readers return the motion as the file has it; [`lamp_hf.motion.world.interpret`] decides what its numbers mean.
"""

import math
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..models.motion_loops import Cycle
from ..models.motion_representation import check_motion, features_to_joints
from ..models.skeleton import HUMANML3D, SKELETONS, Skeleton, get_skeleton
from .limits import check_size
from .smpl import axis_angles, pelvis_at_rest, smpl_arrays, smpl_joints
from .world import Recording, body_size


_MAX_UNPACKED = 2e9  # bytes; an hour of AMASS at 120 frames per second has 0.54e9
_MAX_ENTRY = 1e6  # bytes of an entry that is a number or a text
_SMPL_KEYS = (  # root, body and path: AMASS; its parts, as in its SMPL-X files; SMPL's own names, of motion from video
    ((), "poses", "trans"),
    (("root_orient",), "pose_body", "trans"),
    (("global_orient",), "body_pose", "transl"),
)
_MOTIONS = ("joints", *dict.fromkeys(key for root, body, path in _SMPL_KEYS for key in (*root, body, path)))
_RATES = ("mocap_framerate", "mocap_frame_rate", "fps", "framerate")
_KEYS = (*_MOTIONS, *_RATES, "skeleton", "text", "up", "poses_up", "loop_travel", "loop_turn")


def write_npy(path: Path, joints: np.ndarray, skeleton: Skeleton) -> None:
    """Write joints as the data sets store them.

    Args:
        path (`Path`): the file.
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres, at the skeleton's own frame rate, because
            the file has no place for another; it holds them in the skeleton's unit.
        skeleton ([`Skeleton`]): the joint tree.
    """
    with open(path, "wb") as file:
        np.save(file, joints / np.float32(skeleton.metres))


def write_npz(
    path: Path,
    joints: np.ndarray,
    fps: float,
    skeleton: Skeleton,
    text: str | None,
    facts: dict[str, np.ndarray],
) -> None:
    """Write the keys `joints` (float32 `(num_frames, num_joints, 3)`, metres), `fps`, `skeleton`, `text` and `up`.

    With HumanML3D's skeleton, AMASS's keys follow: `poses`, `trans`, `betas`, `gender` and `mocap_framerate`, see
    [`lamp_hf.motion.smpl.smpl_arrays`]. `up` is the axis of the joints that points up, and `poses_up` that of the
    poses. `facts` are `contacts` (bool `(num_frames, 2)`, the left and the right toe stand) and, of a motion that
    loops, `loop` (its start and end, seconds), `loop_travel` (metres along x and z) and `loop_turn` (degrees).
    """
    arrays = {
        "joints": joints,
        "fps": np.array(fps),
        "skeleton": np.array(skeleton.name),
        "text": np.array(text or ""),
        "up": np.array("y"),
        **facts,
    }
    if skeleton.name == "humanml3d":
        arrays |= smpl_arrays(joints, fps) | {"poses_up": np.array("z")}
    with open(path, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_npy(path: Path) -> Recording:
    """Read joints or features, told apart by their shape, in the unit and frame rate of the skeleton that fits.

    Raises:
        ValueError: when the file is damaged, its shape fits no skeleton, or its features are normalised.
    """
    try:
        values = np.load(path, allow_pickle=False, mmap_mode="r")  # maps first: a header may promise too much
    except Exception as error:
        raise _unreadable(path, error) from None
    if values.dtype.kind not in "fiu":
        raise ValueError(f"{path}: an array of {values.dtype}, not of numbers")
    fitting = [tree for tree in SKELETONS.values() if values.shape[1:] in ((tree.num_joints, 3), (tree.num_features,))]
    if not fitting:
        raise ValueError(
            f"{path}: neither joints [frames, 22 or 21, 3] nor features [frames, 263 or 251]: {values.shape}"
        )
    skeleton = fitting[0]
    try:
        check_size(len(values), skeleton.num_joints)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    values = np.array(values, np.float32)
    check_motion(values, values.shape[1:], name=str(path))
    if values.ndim == 3:
        return Recording(values, skeleton, skeleton.fps, skeleton.name, unit=skeleton.metres, up="y")
    joints = features_to_joints(values, skeleton)
    _check_features(path, values, joints, skeleton)
    return Recording(joints, skeleton, skeleton.fps, skeleton.name, unit=skeleton.metres, up="y", stated=True)


def _check_features(path: Path, features: np.ndarray, joints: np.ndarray, skeleton: Skeleton) -> None:
    """Check that features are no z-scores: these have contacts below zero, and bones of any length.

    Raises:
        ValueError: when they are.
    """
    size = body_size(joints, skeleton) * skeleton.metres
    if features[:, skeleton.slices["contacts"]].min() < -0.5 or not 0.4 < size < 2.5:
        raise ValueError(
            f"{path}: features of a body of {1.7 * size:.2f} m; they are probably normalised: multiply them by the "
            "standard deviations (Std.npy) and add the means (Mean.npy)"
        )


def read_npz(path: Path) -> Recording:
    """Read an archive with our keys, or with poses of SMPL under the names of AMASS or of the body model.

    Raises:
        ValueError: when the file is damaged, too large (see [`lamp_hf.motion.limits`]), or lacks these keys.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_archive(archive)
        arrays = np.load(path, allow_pickle=False)
    except Exception as error:
        raise _unreadable(path, error) from None
    with arrays:
        try:
            values = {name: arrays[name] for name in _KEYS if name in arrays}
            return _joints_of(values) if "joints" in values else _poses_of(values)
        except (ValueError, TypeError, EOFError, OSError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path}: {error}") from None


def _check_archive(archive: zipfile.ZipFile) -> None:
    """Check the sizes that an archive states, before anything in it is unpacked.

    Raises:
        ValueError: when it is too large.
    """
    size = sum(entry.file_size for entry in archive.infolist())
    if size > _MAX_UNPACKED:
        raise ValueError(f"it unpacks to {size / 1e9:.1f} GB")
    for entry in archive.infolist():
        name = entry.filename.removesuffix(".npy")
        if name in _MOTIONS:
            with archive.open(entry) as file:
                form = np.lib.format
                version = form.read_magic(file)
                read = form.read_array_header_1_0 if version == (1, 0) else form.read_array_header_2_0
                num_frames, *rest = *read(file)[0], 1
                check_size(num_frames, math.prod(rest) // 3)
        elif name in _KEYS and entry.file_size > _MAX_ENTRY:
            raise ValueError(f"its {name} has {entry.file_size / 1e6:.0f} MB")


def _joints_of(values: dict[str, np.ndarray]) -> Recording:
    skeleton = get_skeleton(str(values.get("skeleton", "humanml3d")))
    joints = np.asarray(values["joints"], np.float32)
    check_motion(joints, (skeleton.num_joints, 3), name="joints")
    if joints.ndim != 3:
        raise ValueError(f"expected one clip, got joints of shape {list(joints.shape)}")
    rate, text = float(values.get("fps", skeleton.fps)), str(values.get("text", "")) or None
    stated = "up" in values or {"fps", "skeleton", "text"} <= values.keys()  # version 0.1 wrote no `up`
    up = str(values.get("up", "y"))
    recording = Recording(joints, skeleton, rate, skeleton.name, unit=1.0, up=up, stated=stated, text=text)
    if "loop_travel" not in values:
        return recording
    x, z = (float(value) for value in np.asarray(values["loop_travel"], float).reshape(-1))
    cycle = Cycle(0.0, len(joints) / rate, (x, z), float(values.get("loop_turn", 0.0)))
    return replace(recording, cycle=cycle)


def _poses_of(values: dict[str, np.ndarray]) -> Recording:
    layouts = [keys for keys in _SMPL_KEYS if {*keys[0], *keys[1:]} <= values.keys()]
    if not layouts:
        raise ValueError(
            "it has neither joints, nor poses and trans as AMASS has, nor global_orient, body_pose and transl"
        )
    root, body, path = layouts[0]
    poses = [values[key] for key in (*root, body)]
    trans = np.asarray(values[path], float)
    for block in poses:
        if block.ndim < 2 or trans.shape != (len(block), 3):
            raise ValueError(f"{body} {list(block.shape)} and {path} {list(trans.shape)} do not belong together")
    angles = axis_angles(np.concatenate([block.reshape(len(block), -1) for block in poses], 1))
    pelvis = pelvis_at_rest(values[body])
    joints = smpl_joints(angles, trans + pelvis)
    rate = next((float(values[name]) for name in _RATES if name in values), None)
    stated = "poses_up" in values
    up = str(values["poses_up"]) if stated else "z" if path == "trans" else None  # AMASS's worlds have Z up
    return Recording(joints, HUMANML3D, rate, "smpl poses", unit=1.0, up=up, stated=stated, pelvis=pelvis)


def _unreadable(path: Path, error: Exception) -> ValueError:
    """Return the error for a file that NumPy fails on: a damaged one raises EOFError, BadZipFile and many others."""
    return ValueError(f"{path}: not a NumPy file that can be read safely: {error}")
