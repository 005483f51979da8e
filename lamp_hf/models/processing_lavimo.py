"""Processor of LAVIMO: text, motion and video to model inputs."""

import math
from pathlib import Path

import numpy as np
import torch
from transformers import BatchFeature
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from .processing_lamp import LampProcessor
from .video_frames import Frames, Video, is_video


class LavimoProcessor(LampProcessor):
    """Joins a [`MotionFeatureExtractor`], a tokenizer, and what makes frames of videos.

    Args:
        feature_extractor ([`MotionFeatureExtractor`]): normalises and pads motion features.
        tokenizer ([`PreTrainedTokenizerBase`]): its `model_max_length` bounds the text.
        num_video_frames (`int`): that a video is sampled to.
        image_size (`int`): side of a frame in pixels.
        image_mean, image_std (`list[float]`, *optional*): of each colour, up to 1; CLIP's if not given.
    """

    def __init__(
        self,
        feature_extractor=None,
        tokenizer=None,
        num_video_frames: int = 16,
        image_size: int = 224,
        image_mean: list[float] | None = None,
        image_std: list[float] | None = None,
        **kwargs,
    ):
        super().__init__(feature_extractor, tokenizer, **kwargs)
        self.num_video_frames, self.image_size = num_video_frames, image_size
        self.image_mean = list(image_mean or OPENAI_CLIP_MEAN)
        self.image_std = list(image_std or OPENAI_CLIP_STD)

    def __call__(
        self, text=None, motion=None, video=None, return_tensors: str = "pt", fps: float = 20.0, boxes=None
    ) -> BatchFeature:
        """
        Args:
            text (`str` or `list[str]`, *optional*): sentences.
            motion (what [`MotionFeatureExtractor`] takes, or a list of it, *optional*): motions.
            video ([`Frames`], [`Video`], what it takes, or a list of these, *optional*): each looked at as a whole.
            fps (`float`): of videos that are arrays or pictures, which do not say.
            boxes (`np.ndarray`, *optional*): of the person, see [`Video.sample`]; of a single video.

        Returns:
            [`BatchFeature`] with what [`LampProcessor`] gives for text and motion, and for video `pixel_values`
            `(batch_size, num_video_frames, 3, image_size, image_size)` and `video_mask`
            `(batch_size, num_video_frames)`.

        Raises:
            ValueError: when nothing is given, or something cannot be read.
        """
        if video is None:
            if boxes is not None:
                raise ValueError("boxes are of a video, and there is none")
            return super().__call__(text, motion, return_tensors)
        batch = {} if text is None and motion is None else super().__call__(text, motion, return_tensors)
        sources = video if _is_batch(video) else [video]
        if boxes is not None and len(sources) > 1:
            raise ValueError(f"boxes are of one video, got {len(sources)} videos")
        videos = [
            source
            if isinstance(source, Frames) and boxes is None
            else _opened(source, fps).sample(*self._sampling, boxes=boxes)
            for source in sources
        ]
        return BatchFeature({**batch, **self.frames_to_inputs(videos)}, tensor_type=return_tensors)

    @property
    def _sampling(self) -> tuple[int, int]:
        return self.num_video_frames, self.image_size

    is_video = staticmethod(is_video)

    def split_video(self, video, longest: float) -> list[tuple[Frames, float, float]]:
        """Parts of like length that a model can look at, with their start and end in seconds.

        Args:
            video ([`Video`] or what it takes): of any length.
            longest (`float`): seconds that the model looks at.
        """
        video, (count, size) = _opened(video), self._sampling
        frames = video.sample(count, size)  # tells how long it really is
        parts = math.ceil(video.duration / longest)
        if parts < 2:
            return [(frames, 0.0, video.duration)]
        frames = video.sample(parts * count, size)
        spans = np.linspace(0, video.duration, parts + 1)
        ends = np.searchsorted(frames.times[frames.mask], spans[1:])
        result = []
        for first, last, start, end in zip([0, *ends], ends, spans, spans[1:]):
            rows = np.arange(first, first + count).clip(max=max(last, 1) - 1)
            mask = np.arange(count) < max(last - first, 1)  # on the screen is always something
            result.append((Frames(frames.pixels[rows], mask, frames.times[rows]), float(start), float(end)))
        return result

    def frames_to_inputs(self, videos: list[Frames]) -> dict[str, torch.Tensor]:
        """`pixel_values` and `video_mask` of sampled videos."""
        pixels = torch.from_numpy(np.stack([frames.pixels for frames in videos]))
        mask = torch.from_numpy(np.stack([frames.mask for frames in videos]))
        return {"pixel_values": self.pixels_to_inputs(pixels), "video_mask": mask}

    def pixels_to_inputs(self, pixels) -> torch.Tensor:
        """uint8 `(..., height, width, 3)` to what the vision encoder reads, float `(..., 3, height, width)`."""
        return normalise_pixels(torch.as_tensor(pixels), self.image_mean, self.image_std)


def normalise_pixels(pixels: torch.Tensor, mean=OPENAI_CLIP_MEAN, std=OPENAI_CLIP_STD) -> torch.Tensor:
    """uint8 `(..., height, width, 3)` to what a vision encoder reads, float `(..., 3, height, width)`."""
    mean, std = (torch.tensor(values, device=pixels.device) for values in (mean, std))
    return ((pixels / 255 - mean) / std).movedim(-1, -3)


def _opened(source, fps: float = 20.0) -> Video:
    return source if isinstance(source, Video) else Video(source, fps)


def _is_batch(video) -> bool:
    """A list of videos, not of the pictures of one."""
    if not isinstance(video, (list, tuple)) or not video:
        return False
    first = video[0]
    if isinstance(first, (str, Path, bytes, bytearray, list, tuple, Video, Frames)) or hasattr(first, "read"):
        return True
    return getattr(first, "ndim", 0) == 4


__all__ = ["LavimoProcessor", "normalise_pixels"]
