"""Texts and motions, of any length, to vectors of one space."""

import warnings
from pathlib import Path

import numpy as np
import torch

from .models.modeling_lamp import LampModel
from .models.processing_lamp import LampProcessor
from .origin import content_digest


class LampEmbedder:
    """LaMP as a maker of unit vectors; a motion's is the mean of its queries.

    Args:
        name (`str` or `Path`): folder or Hub id of a model that has LaMP in it.
    """

    name = "lamp"

    def __init__(self, name: str | Path):
        device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
        self.model = LampModel.from_pretrained(name).eval().to(device)
        self.processor = LampProcessor.from_pretrained(name)
        self.origin = content_digest(name)
        config = self.model.config
        self.dimension, self.fps = config.projection_dim, float(self.processor.feature_extractor.sampling_rate)
        self.shortest = config.motion_config.downsampling_factor  # frames
        self.longest = config.num_query_tokens * self.shortest

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
