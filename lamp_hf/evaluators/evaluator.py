"""The interface of an evaluator."""

from typing import Protocol

import numpy as np


class Evaluator(Protocol):
    """A network that embeds texts and motions into one space, as the text-to-motion protocol needs it.

    Evaluators are [`MotionTextEvaluator`], trained by this project, [`GuoEvaluator`], that of the literature, and the
    one of the paper, LaMP itself, [`lamp_hf.retrieval.embedder.Embedder`].
    """

    name: str

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        """Embed texts, `(num_texts, embedding_size)`."""
        ...

    def embed_motions(self, motions: list[np.ndarray]) -> np.ndarray:
        """Embed features `(num_frames, num_features)` each, `(num_motions, embedding_size)`."""
        ...
