"""Base class of the pipelines."""

from pathlib import Path

import numpy as np
import torch
from transformers import AutoProcessor, Pipeline
from transformers.dynamic_module_utils import custom_object_save
from transformers.processing_utils import ProcessorMixin

from .motion_requests import check_count
from .skeleton import get_skeleton


class MotionPipeline(Pipeline):
    """Base class of pipelines whose processor reads texts and motions.

    Subclasses name the `model_types` that they run. A batch size and options of decoding and scoring that are given to
    `pipeline(...)` are the defaults of its calls.
    """

    model_types: tuple[str, ...]
    _load_processor = None  # of the model's folder, unless one is given; `__init__` says if there is none
    _load_tokenizer = False
    _load_feature_extractor = False
    _load_image_processor = False
    _load_video_processor = False

    def __init__(self, model, *args, processor=None, **kwargs):
        super().__init__(model, *args, processor=processor or _load_processor(model), **kwargs)
        config = self.model.config
        if config.model_type not in self.model_types:
            wanted = " or ".join(map(repr, self.model_types))
            raise ValueError(f"the model has the type {config.model_type!r}; this pipeline needs {wanted}")
        self.tokenizer = self.processor.tokenizer  # lets the base class pad batches
        extractor = self.processor.feature_extractor
        self.skeleton, self.fps = get_skeleton(extractor.skeleton), float(extractor.sampling_rate)
        lamp = getattr(config, "lamp_config", config)
        # A generator's own tokenizer may be coarser or finer than LaMP's.
        motion = config.motion_config if hasattr(config, "tokenizer_config") else getattr(lamp, "motion_config", None)
        self.frames_per_token = motion.downsampling_factor if motion else 1
        self.max_frames = lamp.max_frames  # of a motion that LaMP or LAVIMO reads as a whole

    def choose_batch_size(self, batch_size: int | None, default: int) -> int:
        """Return the batch size that a call gives, or that was given to `pipeline(...)`, or else the default.

        Raises:
            ValueError: when it is no whole number from 1.
        """
        batch_size = self._batch_size if batch_size is None else batch_size
        batch_size = default if batch_size is None else batch_size
        check_count(batch_size, "batch_size")
        return batch_size

    def get_iterator(self, *args, **kwargs):
        """Return the results of many inputs as they are ready, without a draw from torch's global generator."""
        iterator = super().get_iterator(*args, **kwargs)
        iterator.loader.loader.generator = torch.Generator()  # which a DataLoader would draw from, used or not
        return iterator

    def save_pretrained(self, save_directory: str | Path, **kwargs) -> None:
        """Save model, processor and the pipeline's code in a folder that works where the package is not installed.

        This holds too for a pipeline that was itself loaded with `trust_remote_code`.
        """
        super().save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory)
        if not hasattr(self, "_registered_impl"):  # transformers copies the code of registered pipelines only
            custom_object_save(self, save_directory)

    def read(self, motion, name: str = "motion") -> np.ndarray:
        """Read the features `(num_frames, num_features)` of a motion, see [`MotionFeatureExtractor.read`].

        Raises:
            ValueError: when the motion is broken, or shorter than a motion token; the message calls it `name`.
        """
        return self.processor.feature_extractor.read(motion, name, self.frames_per_token)

    def split(self, features: np.ndarray) -> list[np.ndarray]:
        """Split features into parts of similar length that the model can read."""
        return np.array_split(features, -(-len(features) // self.max_frames))


def _load_processor(model) -> ProcessorMixin:
    """Load the processor from where a model was loaded, in the same version.

    Raises:
        ValueError: when the model was not loaded, but made.
        OSError: when there is no processor beside it.
    """
    if not model.name_or_path:
        raise ValueError("the model was made, not loaded, and has no processor with it: give processor=...")
    revision = getattr(model.config, "_commit_hash", None)
    return AutoProcessor.from_pretrained(model.name_or_path, revision=revision)


__all__ = ["MotionPipeline"]
