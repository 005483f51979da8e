"""Processor of LaMP, from text and motion to model inputs."""

import math
from pathlib import Path

import numpy as np
from transformers import BatchFeature
from transformers.processing_utils import ProcessorMixin

from .checkpoint_checks import CheckedFilesMixin, check_number
from .familiarity import SETTINGS, VECTORS, Familiarity
from .motion_requests import as_texts


class LampProcessor(CheckedFilesMixin, ProcessorMixin):
    """Processor of a [`MotionFeatureExtractor`] and a BERT tokenizer.

    Args:
        feature_extractor ([`MotionFeatureExtractor`]): Reads, normalises and pads motions.
        tokenizer ([`BertTokenizer`]): Tokenizer; its `model_max_length` limits texts.

    Attributes:
        familiarity ([`Familiarity`], *optional*): Sentences that the model was trained on; saved and loaded with the
            processor, None where the folder has none.
    """

    _auto_class = "AutoProcessor"

    def __init__(self, feature_extractor=None, tokenizer=None, **kwargs):
        if tokenizer is not None:
            check_number(tokenizer.model_max_length, "model_max_length", 1, math.inf)
        super().__init__(feature_extractor, tokenizer, **kwargs)
        self.familiarity: Familiarity | None = None

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs):
        """Load a processor as in transformers, and the familiarity beside it.

        Raises:
            ValueError: If the statistics are not those of motion features, or the familiarity is damaged.
        """
        processor = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        processor.familiarity = Familiarity.from_pretrained(pretrained_model_name_or_path, **kwargs)
        return processor

    def save_pretrained(self, save_directory: str | Path, push_to_hub: bool = False, **kwargs) -> list[str]:
        """Save the processor as in transformers, with its familiarity; without one, an older one there is deleted."""
        files = super().save_pretrained(save_directory)
        if self.familiarity is not None:
            self.familiarity.save_pretrained(save_directory)
        else:
            for name in (SETTINGS, VECTORS):
                (Path(save_directory) / name).unlink(missing_ok=True)
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)
        return files

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
