"""Embeddings of texts, motions and videos of any length, in one space."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, BatchFeature

from ..fingerprint import content_digest
from ..models.lamp_outputs import LampTextFeatures
from ..models.modeling_auto_lamp import load_lamp
from ..models.modeling_lamp import LampModel
from ..models.modeling_lavimo import LavimoModel
from ..models.motion_requests import as_texts
from ..models.processing_lamp import LampProcessor
from ..models.processing_lavimo import LavimoProcessor
from ..models.video_frames import Frames, Video
from .windows import windows_of


BATCH_SIZE = 64
LONG_VIDEO_FPS = 8  # rate at which frames of a video are read that is longer than the model reads


class Embedder:
    """Encode text, motion or video into unit-norm embeddings.

    The model is LAVIMO, LaMP, or the paper's Q-Former, whose embedding of a motion is the mean of its queries'. A text
    or motion that is longer than the model reads is cut into parts, and its embedding is the mean of theirs.

    Args:
        name (`str` or `Path`): folder or Hub id of a LAVIMO model, or of a model that contains LaMP.
    """

    def __init__(self, name: str | Path):
        try:
            self.name = "lavimo" if AutoConfig.from_pretrained(name).model_type == "lavimo" else "lamp"
        except OSError as error:  # transformers names the Hub there, not the model
            raise OSError(f"the model {name} cannot be read: {' '.join(str(error).split())}") from None
        loaders: dict[str, tuple[Any, Any]] = {
            "lavimo": (LavimoModel.from_pretrained, LavimoProcessor),
            "lamp": (load_lamp, LampProcessor),
        }
        load_model, processor_class = loaders[self.name]
        device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
        self.model = load_model(name).eval().to(device)
        self.processor = processor_class.from_pretrained(name)
        self.fingerprint = content_digest(name)
        config = self.model.config
        self.dimension, self.fps = config.projection_dim, float(self.processor.feature_extractor.sampling_rate)
        self.min_frames = 1 if self.name == "lavimo" else config.motion_config.downsampling_factor
        self.max_frames = config.max_frames

    @property
    def query_shape(self) -> tuple[int, int]:
        """Number of LaMP's queries, and length of the vector of each.

        Raises:
            ValueError: when the model is not LaMP, and compares no words with queries.
        """
        if not isinstance(self.model, LampModel):
            kind = "LAVIMO" if self.name == "lavimo" else "the paper's Q-Former"
            raise ValueError(
                f"late interaction needs LaMP, whose words meet queries; this model is {kind}: leave it off"
            )
        return self.model.config.num_query_tokens, self.model.config.token_projection_dim

    def read(self, motion, name: str = "motion") -> np.ndarray:
        """Read the features of a motion, a path or an array, see [`MotionFeatureExtractor.read`]."""
        return self.processor.feature_extractor.read(motion, name, self.min_frames)

    @torch.no_grad()
    def embed_texts(self, texts: list[str]) -> np.ndarray:
        """Embed texts of any length.

        Returns:
            `np.ndarray` of shape `(num_texts, dimension)`: float32.

        Raises:
            ValueError: when a text is empty, or is none.
        """
        parts = [self._split_text(text) for text in as_texts(texts)]
        flat = [part for some in parts for part in some]
        batches = [flat[first : first + BATCH_SIZE] for first in range(0, len(flat), BATCH_SIZE)]
        vectors = [self.model.get_text_features(**self._inputs(text=batch)).cpu().numpy() for batch in batches]
        return _unit_means(np.concatenate(vectors), [len(some) for some in parts])

    @torch.no_grad()
    def embed_motions(self, motions: list[np.ndarray]) -> np.ndarray:
        """Embed motions of any length.

        Args:
            motions (`list[np.ndarray]`): features `(num_frames, num_features)` of each, see [`~Embedder.read`].

        Returns:
            `np.ndarray` of shape `(num_motions, dimension)`: float32.
        """
        parts = [np.array_split(motion, -(-len(motion) // self.max_frames)) for motion in motions]
        flat = [part for some in parts for part in some]
        vectors = np.zeros((len(flat), self.dimension), np.float32)
        for rows, inputs in self._batches(flat):
            vectors[rows] = self.model.get_motion_features(**inputs).cpu().numpy()
        return _unit_means(vectors, [len(some) for some in parts])

    @torch.no_grad()
    def embed_motions_and_queries(self, motions: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Embed motions that the model can read whole, and each of LaMP's queries of them.

        Args:
            motions (`list[np.ndarray]`): features `(num_frames, num_features)` of each, at most `max_frames`.

        Returns:
            `tuple[np.ndarray, np.ndarray]`: float32 `(num_motions, dimension)`, as [`~Embedder.embed_motions`], and
            float16 `(num_motions, num_queries, size)`, see [`~Embedder.query_shape`].
        """
        vectors = np.zeros((len(motions), self.dimension), np.float32)
        queries = np.zeros((len(motions), *self.query_shape), np.float16)
        for rows, inputs in self._batches(motions):
            motion = self.model.encode_motion_parts(*self.model.encode_latents(**inputs))
            vectors[rows], queries[rows] = motion.embeds.cpu().numpy(), motion.query_embeds.cpu().numpy()
        return vectors, queries

    @torch.no_grad()
    def encode_words(self, text: str) -> tuple[np.ndarray, LampTextFeatures]:
        """Embed a text, and each of its words, by LaMP.

        Returns:
            `tuple[np.ndarray, LampTextFeatures]`: float32 `(dimension,)`, as [`~Embedder.embed_texts`], and the
            features of the parts that the text was cut into.

        Raises:
            ValueError: when the text is empty.
        """
        inputs = self._inputs(text=self._split_text(*as_texts([text])))
        mask = inputs["attention_mask"].bool()
        features = self.model.encode_text_parts(self.model.encode_text(inputs["input_ids"], mask), mask)
        return _unit_means(features.embeds.cpu().numpy(), [len(mask)])[0], features

    def _batches(self, motions: list[np.ndarray]) -> Iterator[tuple[np.ndarray, BatchFeature]]:
        """Yield rows of motions, and the model's inputs of these; batches of similar length need less padding."""
        order = np.argsort([len(motion) for motion in motions], kind="stable")
        for first in range(0, len(order), BATCH_SIZE):
            rows = order[first : first + BATCH_SIZE]
            features = [motions[row] for row in rows]
            yield rows, self.processor.feature_extractor.pad_features(features).to(self.model.device)

    @torch.no_grad()
    def embed_video(self, video, boxes: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Embed a video as a whole, or window by window when it is longer than the model reads.

        Args:
            video ([`Video`], or what it takes): the video.
            boxes (`np.ndarray`, *optional*): where the person is in it, see [`Video.sample`].

        Returns:
            `tuple[np.ndarray, np.ndarray]`: float32 `(num_windows, dimension)`, and the start and end of each window
            in seconds, `(num_windows, 2)`, see [`windows_of`].

        Raises:
            ValueError: when the video cannot be read, or the model has no video tower.
        """
        if not getattr(self.model.config, "use_video", False):
            raise ValueError(
                "the model reads no video: index the motions with LAVIMO, --model bundled:video for instance"
            )
        video = video if isinstance(video, Video) else Video(video)
        frames = self._sample_frames(video, boxes)
        if self._is_short(video):
            inputs = BatchFeature(self.processor.frames_to_inputs([frames])).to(self.model.device)
            return self.model.get_video_features(**inputs).cpu().numpy(), np.array([[0, video.duration]], np.float32)
        windows = windows_of(round(video.duration * self.fps), self.max_frames, self.fps)
        spans = np.array(windows, np.float32) / self.fps
        features, mask = self._gather_windows(self._encode_frames(frames), frames.times[frames.mask], spans)
        return self.model.get_video_features(frame_features=features, video_mask=mask).cpu().numpy(), spans

    def _is_short(self, video: Video) -> bool:
        return video.duration * self.fps <= self.max_frames + 0.5

    def _sample_frames(self, video: Video, boxes: np.ndarray | None) -> Frames:
        """Decode as many frames as the model reads of a short video, and [`LONG_VIDEO_FPS`] a second of a long one."""
        while True:
            expected = video.duration  # sampling corrects it when the file ends before its header says so
            short = self._is_short(video)
            count = self.processor.num_video_frames if short else round(LONG_VIDEO_FPS * expected)
            frames = video.sample(count, self.processor.image_size, boxes=boxes)
            if video.duration == expected:
                return frames

    def _encode_frames(self, frames: Frames) -> torch.Tensor:
        """Encode each frame by itself, `(num_frames, vision_size)`."""
        pixels, features = frames.pixels[frames.mask], []
        for first in range(0, len(pixels), BATCH_SIZE):
            inputs = self.processor.pixels_to_inputs(pixels[first : first + BATCH_SIZE]).to(self.model.device)
            features.append(self.model.encode_frames(inputs[None])[0])
        return torch.cat(features)

    def _gather_windows(
        self, frame_features: torch.Tensor, times: np.ndarray, spans: np.ndarray
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Gather the frames that are on the screen at evenly spaced times of each window.

        Returns:
            `tuple[torch.Tensor, torch.Tensor]`: features `(num_windows, num_video_frames, vision_size)` and mask.
        """
        count = self.processor.num_video_frames
        features = frame_features.new_zeros(len(spans), count, frame_features.shape[1])
        mask = torch.zeros(len(spans), count, dtype=torch.bool, device=features.device)
        for row, (start, end) in enumerate(spans):
            wanted = start + (np.arange(count) + 0.5) * (end - start) / count
            shown = np.unique(np.searchsorted(times, wanted, side="right").clip(min=1) - 1)
            features[row, : len(shown)], mask[row, : len(shown)] = frame_features[shown], True
        return features, mask

    def _inputs(self, **inputs) -> BatchFeature:
        return self.processor(**inputs).to(self.model.device)

    def _split_text(self, text: str) -> list[str]:
        """Split a text between words into parts that the model can read.

        An empty text stays one part, which the processor refuses.
        """
        tokenizer = self.processor.tokenizer
        words = text.split()
        word_ids = tokenizer(words, add_special_tokens=False)["input_ids"] if words else []
        if words and all(token == tokenizer.unk_token_id for ids in word_ids for token in ids):
            warnings.warn(f"the model knows no word of {text[:60]!r}", stacklevel=3)
        limit = tokenizer.model_max_length - tokenizer.num_special_tokens_to_add()
        parts: list[list[str]] = [[]]
        free = limit
        for word, ids in zip(words, word_ids):
            if len(ids) > free and parts[-1]:
                parts.append([])
                free = limit
            parts[-1].append(word)
            free -= len(ids)
        return [" ".join(part) for part in parts]


def _unit_means(vectors: np.ndarray, counts: list[int]) -> np.ndarray:
    """Average consecutive groups of rows, and normalise the means."""
    starts = np.cumsum([0, *counts[:-1]])
    sums = np.add.reduceat(vectors, starts) if len(counts) else vectors
    return sums / np.maximum(np.linalg.norm(sums, axis=-1, keepdims=True), 1e-12)
