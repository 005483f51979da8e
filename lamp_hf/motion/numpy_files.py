"""NumPy files of a motion: `.npy` with joints or features, `.npz` with our keys and AMASS's.

Readers return the arguments of [`Motion`]: joints `(num_frames, num_joints, 3)` in metres, frames per second, the
skeleton and the text.
"""

import math
import zipfile
import zlib
from pathlib import Path

import numpy as np

from ..models.motion_representation import check_motion, features_to_joints
from ..models.skeleton import SKELETONS, Skeleton, get_skeleton
from .limits import check_rate, check_size
from .smpl import smpl_arrays, smpl_joints


MotionArrays = tuple[np.ndarray, float, Skeleton, str | None]

_MAX_UNPACKED = 2e9  # bytes; an hour of AMASS at 120 frames per second has 0.54e9
_MAX_ENTRY = 1e6  # bytes of an entry that is a number or a text
_MOTIONS = ("joints", "poses", "trans")
_KEYS = (*_MOTIONS, "fps", "skeleton", "text", "mocap_framerate", "mocap_frame_rate")


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


def write_npz(path: Path, joints: np.ndarray, fps: float, skeleton: Skeleton, text: str | None) -> None:
    """Write the keys `joints` (float32 `(num_frames, num_joints, 3)`, metres, Y up), `fps`, `skeleton` and `text`.

    With HumanML3D's skeleton, AMASS's keys follow: `poses`, `trans`, `betas`, `gender` and `mocap_framerate`, see
    [`lamp_hf.motion.smpl.smpl_arrays`].
    """
    arrays = {
        "joints": joints,
        "fps": np.array(fps),
        "skeleton": np.array(skeleton.name),
        "text": np.array(text or ""),
    }
    if skeleton.name == "humanml3d":
        arrays |= smpl_arrays(joints, fps)
    with open(path, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_npy(path: Path) -> MotionArrays:
    """Read joints or features, told apart by their shape, in the unit and frame rate of the skeleton that fits.

    Raises:
        ValueError: when the file is damaged, or its shape fits no skeleton.
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
    joints = features_to_joints(values, skeleton) if values.ndim == 2 else values
    return joints * skeleton.metres, skeleton.fps, skeleton, None


def read_npz(path: Path) -> MotionArrays:
    """Read an archive with our keys, or with AMASS's `poses`, `trans` and `mocap_framerate`.

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
            motion = _own_motion(values) if "joints" in values else _amass_motion(values)
            check_rate(len(motion[0]), motion[1])
            return motion
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


def _own_motion(values: dict[str, np.ndarray]) -> MotionArrays:
    skeleton = get_skeleton(str(values.get("skeleton", "humanml3d")))
    joints = np.asarray(values["joints"], np.float32)
    return joints, float(values.get("fps", skeleton.fps)), skeleton, str(values.get("text", "")) or None


def _amass_motion(values: dict[str, np.ndarray]) -> MotionArrays:
    if "poses" not in values or "trans" not in values:
        raise ValueError("it has neither joints, nor poses and trans as AMASS has")
    poses, trans = values["poses"], np.asarray(values["trans"], float)
    if poses.ndim != 2 or poses.shape[1] < 66 or trans.shape != (len(poses), 3):
        raise ValueError(f"poses {list(poses.shape)} and trans {list(trans.shape)} do not belong together")
    poses = np.asarray(poses[:, :66], float)  # of SMPL's body; hands and face follow
    check_motion(poses, poses.shape[1:], name="poses")
    rate = values.get("mocap_framerate", values.get("mocap_frame_rate"))
    if rate is None:
        raise ValueError("it lacks mocap_framerate")
    return smpl_joints(poses, trans), float(rate), get_skeleton("humanml3d"), None


def _unreadable(path: Path, error: Exception) -> ValueError:
    """Return the error for a file that NumPy fails on: a damaged one raises EOFError, BadZipFile and many others."""
    return ValueError(f"{path}: not a NumPy file that can be read safely: {error}")
