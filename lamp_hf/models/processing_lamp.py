"""Processor of LaMP, from text and motion to model inputs."""

import math

import numpy as np
from transformers import BatchFeature
from transformers.processing_utils import ProcessorMixin

from .checkpoint_checks import CheckedFilesMixin, check_number
from .motion_requests import as_texts


class LampProcessor(CheckedFilesMixin, ProcessorMixin):
    """Processor of a [`MotionFeatureExtractor`] and a BERT tokenizer.

    Args:
        feature_extractor ([`MotionFeatureExtractor`]): Reads, normalises and pads motions.
        tokenizer ([`BertTokenizer`]): Tokenizer; its `model_max_length` limits texts.
    """

    _auto_class = "AutoProcessor"

    def __init__(self, feature_extractor=None, tokenizer=None, **kwargs):
        if tokenizer is not None:
            check_number(tokenizer.model_max_length, "model_max_length", 1, math.inf)
        super().__init__(feature_extractor, tokenizer, **kwargs)

    def __call__(
        self,
        text: str | list[str] | None = None,
        motion: np.ndarray | list[np.ndarray] | None = None,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """Prepare texts, motions or both.

        Args:
            text (`str` or `list[str]`, *optional*): Sentences.
            motion (anything that [`MotionFeatureExtractor.read`] takes, or a list of it, *optional*): Motions.
            return_tensors (`str`): Type of the result.

        Returns:
            [`BatchFeature`] with `input_ids` and `attention_mask` `(batch_size, text_length)` for text, and
            `motion_values` `(batch_size, num_frames, feature_size)` and `motion_attention_mask`
            `(batch_size, num_frames)` for motion.

        Raises:
            ValueError: If neither is given, a text is empty or too long, or a motion is broken.
        """
        if text is None and motion is None:
            raise ValueError("nothing to process: give text, motion or both")
        batch = {}
        if text is not None:
            batch.update(self._tokenise(as_texts(text), return_tensors))
        if motion is not None:
            batch.update(self.feature_extractor(motion, return_tensors=return_tensors))
        return BatchFeature(batch)

    def _tokenise(self, texts: list[str], return_tensors: str) -> dict:
        """Tokenise and pad texts that are neither empty nor too long."""
        limit = self.tokenizer.model_max_length
        if not all(text.strip() for text in texts):
            raise ValueError("the text is empty: describe a motion in a sentence")
        # A word has at least one token: counting words refuses a huge text before it is tokenised.
        longest = max(len(text.split()) for text in texts)
        if longest <= limit:
            tokens = self.tokenizer(texts, padding=True, return_token_type_ids=False, return_tensors=return_tensors)
            longest = max(len(row) for row in tokens["input_ids"])
        if longest > limit:
            raise ValueError(f"the text is too long: {longest} word pieces, the model reads at most {limit}")
        return dict(tokens)


__all__ = ["LampProcessor"]
