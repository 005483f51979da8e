"""Feature extractor: reads motions, and is the one place that knows the normalisation statistics."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from transformers import BatchFeature
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor

from .checkpoint_checks import CheckedFilesMixin, check_number
from .motion_representation import check_motion, features_to_joints, joints_to_features
from .skeleton import Skeleton, get_skeleton


MAX_FEATURES = 10_000  # in a frame

_read_file: Callable | None = None


def register_motion_reader(reader: Callable) -> None:
    """Let feature extractors take paths of motion files.

    This folder ships with models and knows no file formats; the package registers its reader on import.

    Args:
        reader (`Callable`): turns a path into a clip with `joints`, `features`, `fps`, `skeleton` and `num_frames`, as
            `Motion.load` does.
    """
    global _read_file
    _read_file = reader


class MotionFeatureExtractor(CheckedFilesMixin, SequenceFeatureExtractor):
    """Turns features of clips into normalised, padded, masked batches, and back.

    Args:
        feature_size (`int`): features per frame, 263 or 251.
        sampling_rate (`float`): frames per second.
        skeleton (`str`): `"humanml3d"` or `"kit"`.
        mean, std (`list[float]`, *optional*): statistics of the training split; None leaves features as they are.

    Raises:
        ValueError: when the statistics are not as many finite numbers as there are features, a deviation is not
            positive, the frame rate is no number from 0.1 to 1000, or the skeleton is unknown.
    """

    _auto_class = "AutoFeatureExtractor"
    model_input_names = ["motion_values", "motion_attention_mask"]

    def __init__(
        self,
        feature_size: int = 263,
        sampling_rate: float = 20.0,
        padding_value: float = 0.0,
        skeleton: str = "humanml3d",
        mean: list[float] | None = None,
        std: list[float] | None = None,
        **kwargs,
    ):
        check_number(feature_size, "feature_size", 1, MAX_FEATURES, is_whole=True)
        check_number(sampling_rate, "sampling_rate", 0.1, 1000)
        check_number(padding_value, "padding_value", -1e6, 1e6)
        get_skeleton(skeleton)
        _check_statistics(mean, std, feature_size)
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)
        self.skeleton = skeleton
        self.mean = mean
        self.std = std

    @classmethod
    def from_statistics(
        cls, features: list[np.ndarray], skeleton: str = "humanml3d", root_and_contact_gain: float = 5.0
    ):
        """Measure mean and standard deviation over training clips.

        As in the published data sets, deviations are averaged over each group of columns. Those of root and contact
        columns, which are few and matter, are then divided by `root_and_contact_gain`, so that these columns weigh
        more.

        Args:
            features (`list[np.ndarray]` of shape `(num_frames, feature_size)`): clips, not normalised.
            skeleton (`str`): `"humanml3d"` or `"kit"`.
            root_and_contact_gain (`float`): see above.
        """
        tree = get_skeleton(skeleton)
        mean, std = _mean_and_deviation(features)
        for columns in tree.slices.values():
            std[columns] = std[columns].mean()
        for group in ("root_yaw", "root_velocity", "root_height", "contacts"):
            std[tree.slices[group]] /= root_and_contact_gain
        std = np.maximum(std, 1e-6)
        return cls(tree.num_features, tree.fps, skeleton=skeleton, mean=mean.tolist(), std=std.tolist())

    def normalise(self, features: torch.Tensor) -> torch.Tensor:
        """Scale features `(..., feature_size)` to zero mean and unit deviation."""
        if self.mean is None:
            return features
        return (features - features.new_tensor(self.mean)) / features.new_tensor(self.std)

    def denormalise(self, features: torch.Tensor) -> torch.Tensor:
        """Invert `normalise`."""
        if self.mean is None:
            return features
        return features * features.new_tensor(self.std) + features.new_tensor(self.mean)

    def read(self, motion, name: str = "motion", shortest: int = 1) -> np.ndarray:
        """Read the features of a motion, whatever it is given as.

        Args:
            motion (`Motion`, `str`, `Path`, `dict` or `np.ndarray`): a clip, a path that `Motion.load` reads, a result
                of the text-to-motion pipeline, joints `(num_frames, num_joints, 3)` in metres or features, the last
                three at the extractor's frame rate.
            name (`str`): name of the motion in errors.
            shortest (`int`): frames that it must have at least.

        Returns:
            `np.ndarray` of shape `(num_frames, feature_size)`: float32, not normalised.

        Raises:
            ValueError: when the motion is broken, too short, or of another skeleton.
        """
        motion, tree = self._load(motion, name), get_skeleton(self.skeleton)
        if hasattr(motion, "skeleton"):
            features = motion.features if motion.num_frames > 1 else np.zeros((0, tree.num_features), np.float32)
        else:
            features = _features_of_array(_as_array(motion, name), tree, name)
        if len(features) < shortest:
            seconds = (shortest + 1) / self.sampling_rate
            raise ValueError(f"{name} is too short: {len(features)} frames, it must last {seconds:g} seconds")
        return features

    def read_joints(self, motion, name: str = "motion") -> np.ndarray:
        """Read the joints of a motion, whatever it is given as.

        Args:
            motion, name: see `read`.

        Returns:
            `np.ndarray` of shape `(num_frames, num_joints, 3)`: float32, metres, with the given body and place.

        Raises:
            ValueError: when the motion is broken, empty, or has another skeleton or frame rate.
        """
        motion, tree = self._load(motion, name), get_skeleton(self.skeleton)
        if hasattr(motion, "skeleton"):
            if abs(motion.fps - self.sampling_rate) > 1e-3:
                raise ValueError(
                    f"{name} has {motion.fps:g} frames a second, the model makes {self.sampling_rate:g}: give "
                    f"motion.resample({self.sampling_rate:g})"
                )
            return motion.joints
        values = _as_array(motion, name)
        if values.ndim == 2:
            check_motion(values, (tree.num_features,), name=name)
            return features_to_joints(values, tree) * tree.metres
        check_motion(values, (tree.num_joints, 3), name=name)
        return values

    def _load(self, motion, name: str):
        """Load the file of a path and take the joints out of a pipeline's result; leave clips and arrays as they are.

        Raises:
            ValueError: when a file cannot be read, or a skeleton or frame rate is another.
        """
        if isinstance(motion, (str, Path)):
            if _read_file is None:
                raise ValueError(
                    f"{name} is a path, and motion files are read by the package lamp-hf: install it and import "
                    "lamp_hf first, or give an array"
                )
            motion = _read_file(motion)
        if isinstance(motion, dict):
            if "joints" not in motion or abs(motion.get("fps", self.sampling_rate) - self.sampling_rate) > 1e-3:
                raise ValueError(f"{name} holds no joints at {self.sampling_rate:g} frames a second")
            return motion["joints"]
        if getattr(motion, "skeleton", self.skeleton) != self.skeleton:
            raise ValueError(f"{name} has the skeleton {motion.skeleton!r}; the model uses {self.skeleton!r}")
        return motion

    def __call__(
        self,
        motion: np.ndarray | list[np.ndarray],
        padding: bool | str = True,
        max_length: int | None = None,
        truncation: bool = False,
        return_tensors: str | None = None,
        **kwargs,
    ) -> BatchFeature:
        """Read motions and join them into a batch.

        Args:
            motion (anything `read` takes, or a list of it): clips, paths, joints or features, not normalised.
            padding, max_length, truncation, return_tensors (*optional*): options of `pad`.

        Returns:
            [`BatchFeature`] with `motion_values` `(batch_size, num_frames, feature_size)` and `motion_attention_mask`
            `(batch_size, num_frames)`, 0 at padding.

        Raises:
            ValueError: when a motion is broken or of another skeleton.
        """
        if not isinstance(motion, (list, tuple)):
            motion = [motion]
        options = {"padding": padding, "max_length": max_length, "truncation": truncation}
        features = [self.read(clip, f"motion {i}") for i, clip in enumerate(motion)]
        return self.pad_features(features, return_tensors=return_tensors, **options)

    def pad_features(self, features: list[np.ndarray], return_tensors: str | None = "pt", **options) -> BatchFeature:
        """Normalise and pad features that `read` has returned.

        Args:
            features (`list[np.ndarray]` of shape `(num_frames, feature_size)`): features that are not normalised.
            return_tensors (`str`, *optional*): type of the result.
            options (*optional*): options of `pad`.

        Returns:
            [`BatchFeature`] as `__call__` returns it.
        """
        clips = [self.normalise(torch.as_tensor(np.asarray(clip, np.float32))).numpy() for clip in features]
        options = {"padding": True} | options
        batch = self.pad(
            BatchFeature({"motion_values": clips}),
            return_attention_mask=True,
            return_tensors=return_tensors,
            **options,
        )
        batch["motion_attention_mask"] = batch.pop("attention_mask")
        return batch


def _as_array(motion, name: str) -> np.ndarray:
    """Return the numbers of one motion as a float32 array.

    Raises:
        ValueError: when they are none, or of several motions.
    """
    try:
        values = np.asarray(motion, np.float32)
    except (TypeError, ValueError):
        values = np.zeros(())
    if not 0 < values.ndim < 4:
        wanted = "a Motion, the path of a file, joints (num_frames, num_joints, 3) or features"
        given = f"the shape {list(values.shape)}" if values.ndim else type(motion).__name__
        raise ValueError(f"{name} must be {wanted}, got {given}")
    return values


def _mean_and_deviation(clips: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of each column over the frames of clips, which are read one at a time."""
    count, total, squares, origin = 0, 0.0, 0.0, None
    for clip in clips:
        frames = np.asarray(clip, np.float64)
        if origin is None and len(frames):
            origin = frames.mean(0)  # sums of squares far from the mean would lose digits
        if len(frames):
            frames = frames - origin
            count, total, squares = count + len(frames), total + frames.sum(0), squares + (frames**2).sum(0)
    mean = total / count
    return origin + mean, np.sqrt(np.maximum(squares / count - mean**2, 0))


def _check_statistics(mean: list[float] | None, std: list[float] | None, feature_size: int) -> None:
    """Refuse statistics that would turn features into NaN or infinity."""
    if (mean is None) != (std is None):
        raise ValueError("mean and std belong together: give both or none")
    for name, values in (("mean", mean), ("std", std)):
        if values is None:
            continue
        try:
            with np.errstate(over="ignore"):  # infinity is refused below
                numbers = np.asarray(values, np.float64).astype(np.float32)
        except (OverflowError, TypeError, ValueError):
            raise ValueError(f"{name} must be {feature_size} numbers") from None
        if numbers.shape != (feature_size,) or not np.isfinite(numbers).all():
            raise ValueError(f"{name} must be {feature_size} finite numbers, got shape {list(numbers.shape)}")
        if name == "std" and numbers.min() <= 0:
            raise ValueError(f"std must be positive, but feature {int(numbers.argmin())} has {numbers.min():g}")


def _features_of_array(values: np.ndarray, tree: Skeleton, name: str) -> np.ndarray:
    """Compute the features of joints in metres; check features and leave them as they are."""
    if values.ndim != 3:
        if len(values):
            check_motion(values, (tree.num_features,), name=name)
        return values
    check_motion(values, (tree.num_joints, 3), name=name)
    if len(values) < 2:
        return np.zeros((0, tree.num_features), np.float32)
    return joints_to_features(values / tree.metres, tree)


__all__ = ["MotionFeatureExtractor", "register_motion_reader"]
