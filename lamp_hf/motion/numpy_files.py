"""NumPy files of a motion: `.npy` with joints or features, `.npz` with our keys and AMASS's.

Readers return the arguments of [`Motion`]: joints `(num_frames, num_joints, 3)` in metres, frames per second, the
skeleton and the text.
"""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from ..models.motion_representation import check_motion, features_to_joints
from ..models.skeleton import SKELETONS, Skeleton, get_skeleton
from .smpl import smpl_arrays, smpl_joints


MotionArrays = tuple[np.ndarray, float, Skeleton, str | None]

_MAX_UNPACKED = 2e9  # bytes; an hour of AMASS at 120 frames per second has 0.54e9
_KEYS = ("joints", "fps", "skeleton", "text", "poses", "trans", "mocap_framerate", "mocap_frame_rate")


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
    values = np.array(values, np.float32)
    for skeleton in SKELETONS.values():
        if values.ndim == 3 and values.shape[1:] == (skeleton.num_joints, 3):
            check_motion(values, values.shape[1:], name=str(path))
            return values * skeleton.metres, skeleton.fps, skeleton, None
        if values.ndim == 2 and values.shape[1] == skeleton.num_features:
            check_motion(values, values.shape[1:], name=str(path))
            return features_to_joints(values, skeleton) * skeleton.metres, skeleton.fps, skeleton, None
    raise ValueError(f"{path}: neither joints [frames, 22 or 21, 3] nor features [frames, 263 or 251]: {values.shape}")


def read_npz(path: Path) -> MotionArrays:
    """Read an archive with our keys, or with AMASS's `poses`, `trans` and `mocap_framerate`.

    Raises:
        ValueError: when the file is damaged, unpacks to more than 2 GB, or lacks these keys.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > _MAX_UNPACKED:
            raise ValueError(f"it unpacks to {size / 1e9:.1f} GB")
        arrays = np.load(path, allow_pickle=False)
    except Exception as error:
        raise _unreadable(path, error) from None
    with arrays:
        try:
            values = {name: arrays[name] for name in _KEYS if name in arrays}
            return _own_motion(values) if "joints" in values else _amass_motion(values)
        except (ValueError, TypeError, EOFError, OSError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path}: {error}") from None


def _own_motion(values: dict[str, np.ndarray]) -> MotionArrays:
    skeleton = get_skeleton(str(values.get("skeleton", "humanml3d")))
    joints = np.asarray(values["joints"], np.float32)
    return joints, float(values.get("fps", skeleton.fps)), skeleton, str(values.get("text", "")) or None


def _amass_motion(values: dict[str, np.ndarray]) -> MotionArrays:
    if "poses" not in values or "trans" not in values:
        raise ValueError("it has neither joints, nor poses and trans as AMASS has")
    poses, trans = np.asarray(values["poses"], float), np.asarray(values["trans"], float)
    if poses.ndim != 2 or poses.shape[1] < 66 or trans.shape != (len(poses), 3):
        raise ValueError(f"poses {list(poses.shape)} and trans {list(trans.shape)} do not belong together")
    check_motion(poses, poses.shape[1:], name="poses")
    rate = values.get("mocap_framerate", values.get("mocap_frame_rate"))
    if rate is None:
        raise ValueError("it lacks mocap_framerate")
    return smpl_joints(poses, trans), float(rate), get_skeleton("humanml3d"), None


def _unreadable(path: Path, error: Exception) -> ValueError:
    """Return the error for a file that NumPy fails on: a damaged one raises EOFError, BadZipFile and many others."""
    return ValueError(f"{path}: not a NumPy file that can be read safely: {error}")
