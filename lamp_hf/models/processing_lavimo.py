"""Processor of LAVIMO, from text, motion and video to model inputs."""

import math
from pathlib import Path

import numpy as np
import torch
from transformers import BatchFeature
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from .checkpoint_checks import check_number
from .processing_lamp import LampProcessor
from .video_frames import Frames, Video, is_video


class LavimoProcessor(LampProcessor):
    """Processor of a [`MotionFeatureExtractor`], a tokenizer and video frames.

    Args:
        feature_extractor ([`MotionFeatureExtractor`]): Reads, normalises and pads motions.
        tokenizer ([`PreTrainedTokenizerBase`]): Tokenizer; its `model_max_length` limits texts.
        num_video_frames (`int`): Frames that are sampled from a video.
        image_size (`int`): Side of a frame in pixels.
        image_mean, image_std (`list[float]`, *optional*): Mean and standard deviation of each colour, on a scale up to
            1; CLIP's by default.
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
        check_number(num_video_frames, "num_video_frames", 1, 1000, is_whole=True)
        check_number(image_size, "image_size", 1, 4096, is_whole=True)
        _check_colours(image_mean, "image_mean", -10)
        _check_colours(image_std, "image_std", 1e-3)
        self.num_video_frames, self.image_size = num_video_frames, image_size
        self.image_mean = list(image_mean or OPENAI_CLIP_MEAN)
        self.image_std = list(image_std or OPENAI_CLIP_STD)

    def __call__(
        self, text=None, motion=None, video=None, return_tensors: str = "pt", fps: float = 20.0, boxes=None
    ) -> BatchFeature:
        """Prepare texts, motions and videos, or any of them.

        Args:
            text (`str` or `list[str]`, *optional*): Sentences.
            motion (anything that [`MotionFeatureExtractor.read`] takes, or a list of it, *optional*): Motions.
            video ([`Frames`], [`Video`], anything that it takes, or a list of these, *optional*): Videos. Each is
                sampled as a whole.
            return_tensors (`str`): Type of the result.
            fps (`float`): Frames per second of videos that are arrays or pictures.
            boxes (`np.ndarray`, *optional*): Boxes of the person in a single video, see [`Video.sample`].

        Returns:
            [`BatchFeature`] as [`LampProcessor`] returns it for text and motion, and for video with `pixel_values`
            `(batch_size, num_video_frames, 3, image_size, image_size)` and `video_mask`
            `(batch_size, num_video_frames)`.

        Raises:
            ValueError: If nothing is given, or an input cannot be read.
        """
        if video is None:
            if boxes is not None:
                raise ValueError("boxes without a video: give the video too")
            return super().__call__(text, motion, return_tensors)
        batch = {} if text is None and motion is None else super().__call__(text, motion, return_tensors)
        sources = video if _is_batch(video) else [video]
        if boxes is not None and len(sources) > 1:
            raise ValueError(f"boxes are for one video, got {len(sources)} videos")
        videos = [
            source
            if isinstance(source, Frames) and boxes is None
            else _as_video(source, fps).sample(*self._sampling, boxes=boxes)
            for source in sources
        ]
        return BatchFeature({**batch, **self.frames_to_inputs(videos)}, tensor_type=return_tensors)

    @property
    def _sampling(self) -> tuple[int, int]:
        return self.num_video_frames, self.image_size

    is_video = staticmethod(is_video)

    def split_video(self, video, longest: float) -> list[tuple[Frames, float, float]]:
        """Cut a video into parts of similar length that the model can read.

        Args:
            video ([`Video`] or anything that it takes): Video of any length.
            longest (`float`): Seconds that the model reads.

        Returns:
            `list` of the frames of each part with its start and end in seconds.

        Raises:
            ValueError: If the video cannot be read.
        """
        video, (count, size) = _as_video(video), self._sampling
        while True:
            parts = math.ceil(video.duration / longest)
            frames = video.sample(parts * count, size)  # corrects the duration if the file ends early
            if parts == math.ceil(video.duration / longest):
                break
        if parts == 1:
            return [(frames, 0.0, video.duration)]
        spans = np.linspace(0, video.duration, parts + 1)
        ends = np.searchsorted(frames.times[frames.mask], spans[1:])
        result = []
        for first, last, start, end in zip([0, *ends], ends, spans, spans[1:]):
            rows = np.arange(first, first + count).clip(max=max(last, 1) - 1)
            mask = np.arange(count) < max(last - first, 1)  # some frame is shown at any time
            result.append((Frames(frames.pixels[rows], mask, frames.times[rows]), float(start), float(end)))
        return result

    def frames_to_inputs(self, videos: list[Frames]) -> dict[str, torch.Tensor]:
        """Return `pixel_values` and `video_mask` of sampled videos, see `__call__`."""
        pixels = torch.from_numpy(np.stack([frames.pixels for frames in videos]))
        mask = torch.from_numpy(np.stack([frames.mask for frames in videos]))
        return {"pixel_values": self.pixels_to_inputs(pixels), "video_mask": mask}

    def pixels_to_inputs(self, pixels) -> torch.Tensor:
        """Normalise uint8 pixels `(..., height, width, 3)` to float `(..., 3, height, width)`."""
        return normalise_pixels(torch.as_tensor(pixels), self.image_mean, self.image_std)


def normalise_pixels(pixels: torch.Tensor, mean=OPENAI_CLIP_MEAN, std=OPENAI_CLIP_STD) -> torch.Tensor:
    """Normalise uint8 pixels for a vision encoder.

    Args:
        pixels (`torch.ByteTensor` of shape `(..., height, width, 3)`): Pixels.
        mean, std (`list[float]`): Mean and standard deviation of each colour, on a scale up to 1.

    Returns:
        `torch.FloatTensor` of shape `(..., 3, height, width)`.
    """
    mean, std = (torch.tensor(values, dtype=torch.float32, device=pixels.device) for values in (mean, std))
    return ((pixels.float() / 255 - mean) / std).movedim(-1, -3)


def _check_colours(values, name: str, smallest: float) -> None:
    """Refuse what is not a number for each of three colours."""
    if values is None:
        return
    if not isinstance(values, (list, tuple)) or len(values) != 3:
        raise ValueError(f"{name} must be three numbers")
    for value in values:
        check_number(value, name, smallest, 10)


def _as_video(source, fps: float = 20.0) -> Video:
    """Make a [`Video`] of anything that it takes."""
    return source if isinstance(source, Video) else Video(source, fps)


def _is_batch(video) -> bool:
    """Tell a list of videos from a list of the pictures of one."""
    if not isinstance(video, (list, tuple)) or not video:
        return False
    first = video[0]
    if isinstance(first, (str, Path, bytes, bytearray, list, tuple, Video, Frames)) or hasattr(first, "read"):
        return True
    return getattr(first, "ndim", 0) == 4


__all__ = ["LavimoProcessor", "normalise_pixels"]
