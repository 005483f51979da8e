"""Files of a motion that clients can fetch."""

import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..models.skeleton import get_skeleton
from .errors import ApiError
from .tasks import MotionResult


def encode(result: MotionResult, name: str) -> tuple[bytes, str]:
    """Return the content of a file of `FILES`, and its media type.

    Raises:
        ApiError: when there is no such file.
    """
    if name not in FILES:
        raise ApiError("not_found", f"there is no file {name[:40]!r} of a motion: known are {', '.join(FILES)}")
    write, media_type = FILES[name]
    return write(result), media_type


def _saved(suffix: str) -> Callable[[MotionResult], bytes]:
    def write(result: MotionResult) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            return result.motion.save(Path(folder) / f"motion{suffix}").read_bytes()

    return write


def _json(result: MotionResult) -> bytes:
    motion = result.motion
    values = {"fps": motion.fps, "skeleton": motion.skeleton, "text": motion.text, "unit": "m", "up": "y"}
    names = {"joint_names": get_skeleton(motion.skeleton).joint_names}
    joints = motion.joints.astype(float).round(5).tolist()  # a hundredth of a millimetre
    return json.dumps(values | result.told | names | {"joints": joints}).encode()


def _features(result: MotionResult) -> bytes:
    file = io.BytesIO()
    np.save(file, result.motion.features if result.features is None else result.features)
    return file.getvalue()


FILES: dict[str, tuple[Callable[[MotionResult], bytes], str]] = {
    "motion.npz": (_saved(".npz"), "application/octet-stream"),
    "motion.bvh": (_saved(".bvh"), "text/plain"),
    "motion.glb": (_saved(".glb"), "model/gltf-binary"),
    "motion.json": (_json, "application/json"),
    "features.npy": (_features, "application/octet-stream"),
}
