"""Feature extractor: the one place that knows the normalisation statistics."""

import numpy as np
import torch
from transformers import BatchFeature
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor

from .motion_representation import check_motion, get_skeleton


class MotionFeatureExtractor(SequenceFeatureExtractor):
    """Features of clips to normalised, padded, masked batches, and back.

    Args:
        feature_size (`int`): numbers a frame, 263 or 251.
        sampling_rate (`float`): frames per second.
        skeleton (`str`): `"humanml3d"` or `"kit"`.
        mean, std (`list[float]`, *optional*): statistics of the training split; none leaves features as they are.
    """

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
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)
        self.skeleton = skeleton
        self.mean = mean
        self.std = std

    @classmethod
    def from_statistics(
        cls, features: list[np.ndarray], skeleton: str = "humanml3d", root_and_contact_gain: float = 5.0
    ):
        """Measures mean and standard deviation over training clips.

        As in the data sets, a deviation is averaged over its group of columns; root and contact columns, which are few
        and matter, are then made `root_and_contact_gain` times as large.
        """
        tree = get_skeleton(skeleton)
        frames = np.concatenate([np.asarray(clip, np.float64) for clip in features])
        mean, std = frames.mean(0), frames.std(0)
        for columns in tree.slices.values():
            std[columns] = std[columns].mean()
        for group in ("root_yaw", "root_velocity", "root_height", "contacts"):
            std[tree.slices[group]] /= root_and_contact_gain
        std = np.maximum(std, 1e-6)
        return cls(tree.num_features, tree.fps, skeleton=skeleton, mean=mean.tolist(), std=std.tolist())

    def normalise(self, features: torch.Tensor) -> torch.Tensor:
        """`(..., feature_size)` features to zero mean and unit deviation."""
        if self.mean is None:
            return features
        return (features - features.new_tensor(self.mean)) / features.new_tensor(self.std)

    def denormalise(self, features: torch.Tensor) -> torch.Tensor:
        """The inverse of `normalise`."""
        if self.mean is None:
            return features
        return features * features.new_tensor(self.std) + features.new_tensor(self.mean)

    def __call__(
        self,
        motion: np.ndarray | list[np.ndarray],
        padding: bool | str = True,
        max_length: int | None = None,
        truncation: bool = False,
        return_tensors: str | None = None,
        **kwargs,
    ) -> BatchFeature:
        """
        Args:
            motion (`np.ndarray` of shape `(num_frames, feature_size)`, or a list of them): features, not normalised.

        Returns:
            [`BatchFeature`] with `motion_values` `(batch_size, num_frames, feature_size)` and `motion_attention_mask`
            `(batch_size, num_frames)`, 0 at padding.

        Raises:
            ValueError: when a clip has the wrong shape or a value that is not finite.
        """
        if not isinstance(motion, (list, tuple)):
            motion = [motion]
        clips = []
        for i, clip in enumerate(motion):
            clip = torch.as_tensor(np.asarray(clip, dtype=np.float32))
            check_motion(clip, (self.feature_size,), name=f"motion {i}")
            clips.append(self.normalise(clip).numpy())
        batch = self.pad(
            BatchFeature({"motion_values": clips}),
            padding=padding,
            max_length=max_length,
            truncation=truncation,
            return_attention_mask=True,
            return_tensors=return_tensors,
        )
        batch["motion_attention_mask"] = batch.pop("attention_mask")
        return batch


__all__ = ["MotionFeatureExtractor"]
