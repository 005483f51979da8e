"""Texts, motions and videos, of any length, to vectors of one space."""

import warnings
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig

from ..fingerprint import content_digest
from ..models.modeling_lamp import LampModel
from ..models.modeling_lavimo import LavimoModel
from ..models.processing_lamp import LampProcessor
from ..models.processing_lavimo import LavimoProcessor
from ..models.video_frames import Frames, Video


WINDOW = 4.0  # seconds
_GLANCES = 8  # frames a second that are looked at in a long video


class Embedder:
    """A model as a maker of unit vectors: LAVIMO, or LaMP, where a motion's vector is the mean of its queries.

    Args:
        name (`str` or `Path`): folder or Hub id of a model that is LAVIMO's or has LaMP in it.
    """

    def __init__(self, name: str | Path):
        device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
        self.name = "lavimo" if AutoConfig.from_pretrained(name).model_type == "lavimo" else "lamp"
        kinds = {"lavimo": (LavimoModel, LavimoProcessor), "lamp": (LampModel, LampProcessor)}
        model, processor = kinds[self.name]
        self.model = model.from_pretrained(name).eval().to(device)
        self.processor = processor.from_pretrained(name)
        self.origin = content_digest(name)
        config = self.model.config
        self.dimension, self.fps = config.projection_dim, float(self.processor.feature_extractor.sampling_rate)
        self.shortest = 1 if self.name == "lavimo" else config.motion_config.downsampling_factor  # frames
        self.longest = config.max_frames

    def read(self, motion, name: str = "motion") -> np.ndarray:
        """Features of a motion, a path or an array, see [`MotionFeatureExtractor.read`]."""
        return self.processor.feature_extractor.read(motion, name, self.shortest)

    @torch.no_grad()
    def embed_texts(self, texts: list[str]) -> np.ndarray:
        """float32 `(num_texts, dimension)`; of a text that is longer than the model reads, the mean of its parts'.

        Raises:
            ValueError: when a text is empty.
        """
        parts = [self._split_text(text) for text in texts]
        flat = [part for some in parts for part in some]
        batches = [flat[first : first + 64] for first in range(0, len(flat), 64)]
        vectors = [self.model.get_text_features(**self._inputs(text=batch)).cpu().numpy() for batch in batches]
        return _means(np.concatenate(vectors), [len(some) for some in parts])

    @torch.no_grad()
    def embed_motions(self, motions: list[np.ndarray]) -> np.ndarray:
        """float32 `(num_motions, dimension)` of features; of one that is longer than the model reads, as of texts."""
        parts = [np.array_split(motion, -(-len(motion) // self.longest)) for motion in motions]
        flat = [part for some in parts for part in some]
        order = np.argsort([len(part) for part in flat], kind="stable")  # motions of like length go together
        vectors = np.zeros((len(flat), self.dimension), np.float32)
        for first in range(0, len(order), 64):
            rows = order[first : first + 64]
            inputs = self._inputs(motion=[flat[row] for row in rows])
            vectors[rows] = self.model.get_motion_features(**inputs).cpu().numpy()
        return _means(vectors, [len(some) for some in parts])

    @torch.no_grad()
    def embed_video(self, video, boxes: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of a video, of the whole if the model can look at it at once, else of windows, see [`windows_of`].

        Args:
            video ([`Video`], or what it takes): the video.
            boxes (`np.ndarray`, *optional*): of the person in it, see [`Video.sample`].

        Returns:
            float32 `(num_windows, dimension)`, and their start and end in seconds, `(num_windows, 2)`.

        Raises:
            ValueError: when it cannot be read, or the model has no eyes.
        """
        if not getattr(self.model.config, "use_video", False):
            raise ValueError(
                "the model reads no video: index the motions with LAVIMO, --model bundled:video for instance"
            )
        video, processor = video if isinstance(video, Video) else Video(video), self.processor
        frames = video.sample(processor.num_video_frames, processor.image_size, boxes=boxes)
        # Now the video knows how long it really is.
        if video.duration * self.fps <= self.longest + 0.5:
            inputs = {
                name: values.to(self.model.device) for name, values in processor.frames_to_inputs([frames]).items()
            }
            return self.model.get_video_features(**inputs).cpu().numpy(), np.array([[0, video.duration]], np.float32)
        frames = video.sample(round(_GLANCES * video.duration), processor.image_size, boxes=boxes)
        windows = windows_of(round(video.duration * self.fps), self.longest, self.fps)
        spans = np.array(windows, np.float32) / self.fps
        features, mask = self._windows(self._look(frames), frames.times[frames.mask], spans)
        return self.model.get_video_features(frame_features=features, video_mask=mask).cpu().numpy(), spans

    def _look(self, frames: Frames) -> torch.Tensor:
        """What the model sees in each frame, `(num_frames, vision_size)`."""
        pixels, seen = frames.pixels[frames.mask], []
        for first in range(0, len(pixels), 64):
            inputs = self.processor.pixels_to_inputs(pixels[first : first + 64]).to(self.model.device)
            seen.append(self.model.encode_frames(inputs[None])[0])
        return torch.cat(seen)

    def _windows(self, seen: torch.Tensor, times: np.ndarray, spans: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames on the screen at even times of each window, `(num_windows, F, vision_size)`, and their mask."""
        count = self.processor.num_video_frames
        features = seen.new_zeros(len(spans), count, seen.shape[1])
        mask = torch.zeros(len(spans), count, dtype=torch.bool, device=seen.device)
        for row, (start, end) in enumerate(spans):
            wanted = start + (np.arange(count) + 0.5) * (end - start) / count
            shown = np.unique(np.searchsorted(times, wanted, side="right").clip(min=1) - 1)
            features[row, : len(shown)], mask[row, : len(shown)] = seen[shown], True
        return features, mask

    def _inputs(self, **inputs):
        return self.processor(**inputs).to(self.model.device)

    def _split_text(self, text: str) -> list[str]:
        """Parts of whole words that the model can read; one of an empty text, which the processor refuses."""
        tokenizer = self.processor.tokenizer
        words = text.split()
        pieces = tokenizer(words, add_special_tokens=False)["input_ids"] if words else []
        if words and all(piece == tokenizer.unk_token_id for word in pieces for piece in word):
            warnings.warn(f"the model knows no word of {text[:60]!r}", stacklevel=3)
        limit = tokenizer.model_max_length - tokenizer.num_special_tokens_to_add()
        parts, room = [[]], limit
        for word, ids in zip(words, pieces):
            if len(ids) > room and parts[-1]:
                parts, room = [*parts, []], limit
            parts[-1].append(word)
            room -= len(ids)
        return [" ".join(part) for part in parts]


def _means(vectors: np.ndarray, counts: list[int]) -> np.ndarray:
    """Unit means of so many rows each."""
    starts = np.cumsum([0, *counts[:-1]])
    sums = np.add.reduceat(vectors, starts) if len(counts) else vectors
    return sums / np.maximum(np.linalg.norm(sums, axis=-1, keepdims=True), 1e-12)


def windows_of(num_frames: int, longest: int, fps: float) -> list[tuple[int, int]]:
    """Parts of a motion or a video that get a vector of their own, as first frame and frame behind the last.

    What the model reads at once, `longest` frames, is one part. Of what is longer, windows of 4 seconds, and of all
    that the model reads, each a quarter and a half of its length behind the last.
    """
    if num_frames <= longest:
        return [(0, num_frames)]
    parts = []
    for size, step in ((round(WINDOW * fps), 4), (longest, 2)):
        starts = [*range(0, num_frames - size, size // step), num_frames - size]
        parts += [(start, start + size) for start in starts]
    return parts
