"""Late interaction: the second stage of a search, in which the words of a text meet the queries of each candidate.

LaMP scores a text and a motion by one vector of each, and by the query that is nearest to each word (MaxSim, Khattab
and Zaharia, 2020). The first stage finds candidates by the one vector; the second adds the other score. Product
quantisation (Jégou et al., 2011) stores a query's vector in a sixteenth of its size.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import torch

from ..models.modeling_lamp import LampModel, LampMotionFeatures, LampTextFeatures


CANDIDATES = 256  # that the first stage leaves to the second, at least
GROUP = 4  # numbers of a vector that one byte stands for
QUANTISED_FROM = 1000  # rows; their queries are enough to learn the codes from
_BATCH = 512  # candidates that are decoded together


class QueryVectors:
    """For each row of a gallery, the unit vectors of its motion's queries.

    They are held in memory, or mapped from disk: in half precision below [`QUANTISED_FROM`] rows, product-quantised
    from then on, by codes that are learned once.

    Args:
        values (`np.ndarray` of shape `(num_rows, num_queries, size)`): float16, or, where there are `centroids`, codes
            as uint8 of shape `(num_rows, num_queries, size / 4)`.
        centroids (`np.ndarray` of shape `(size / 4, 256, 4)`, *optional*): float32, what each code stands for.
    """

    def __init__(self, values: np.ndarray, centroids: np.ndarray | None = None):
        self._parts = [values]  # joined when they are read: growing one array by each part would copy it each time
        self._quantiser = None if centroids is None else _quantiser_of(centroids)

    @classmethod
    def empty(cls, num_queries: int, size: int) -> QueryVectors:
        """Make a store for motions of so many queries, whose vectors have so many numbers."""
        return cls(np.zeros((0, num_queries, size), np.float16))

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @property
    def shape(self) -> tuple[int, int]:
        """Number of queries of a motion, and length of the vector of each."""
        num_queries, size = self._parts[0].shape[1:]
        return num_queries, size * (GROUP if self._quantiser else 1)

    def add(self, vectors: np.ndarray) -> None:
        """Append the queries `(num_new, num_queries, size)` of new rows."""
        self._parts.append(vectors.astype(np.float16) if self._quantiser is None else self._encode(vectors))
        if self._quantiser is None and len(self) >= QUANTISED_FROM:
            whole = self._values().astype(np.float32)
            self._quantiser = _learn_quantiser(whole.reshape(-1, whole.shape[-1]))
            self._parts = [self._encode(whole)]

    def join(self, other: QueryVectors) -> None:
        """Append the rows of another store; their vectors are encoded again if either is product-quantised."""
        for first in range(0, len(other), _BATCH):
            self.add(other.read(slice(first, first + _BATCH)))

    def keep(self, kept: np.ndarray) -> None:
        """Remove the rows for which `kept`, bool `(num_rows,)`, is false."""
        self._parts = [self._values()[kept]]

    def read(self, rows: np.ndarray | slice) -> np.ndarray:
        """Return the queries of rows, float32 `(num_rows, num_queries, size)`."""
        values = self._values()[rows]
        if self._quantiser is None:
            return values.astype(np.float32)
        codes = np.ascontiguousarray(values).reshape(-1, values.shape[-1])
        quantiser: Any = self._quantiser  # faiss declares its methods before it replaces them
        return quantiser.decode(codes).reshape(len(values), *self.shape)

    def to_tensors(self) -> dict[str, np.ndarray]:
        """Return the arrays to save: `query_vectors`, or `query_codes` and `query_centroids`."""
        if self._quantiser is None:
            return {"query_vectors": self._values()}
        centroids = faiss.vector_to_array(self._quantiser.centroids).reshape(self._quantiser.M, 256, GROUP)
        return {"query_codes": self._values(), "query_centroids": centroids}

    @classmethod
    def from_tensors(cls, tensors: dict[str, np.ndarray], num_rows: int) -> QueryVectors | None:
        """Restore what [`~QueryVectors.to_tensors`] returned; None when there is nothing of it.

        Raises:
            ValueError: when it does not belong to so many rows, or a number is not finite.
        """
        centroids = tensors.get("query_centroids")
        values = tensors.get("query_vectors" if centroids is None else "query_codes")
        if values is None and centroids is None and "query_codes" not in tensors:
            return None
        if values is None or len(values) != num_rows:
            raise ValueError(f"queries of {0 if values is None else len(values)} rows, of {num_rows}")
        if centroids is None:
            if not np.isfinite(values).all():
                raise ValueError("a query's vector holds NaN or infinity")
        elif centroids.shape != (values.shape[2], 256, GROUP) or not np.isfinite(centroids).all():
            raise ValueError("the codes of queries stand for nothing")
        return cls(values, centroids)

    def _values(self) -> np.ndarray:
        if len(self._parts) > 1:
            self._parts = [np.concatenate(self._parts)]
        return self._parts[0]

    def _encode(self, vectors: np.ndarray) -> np.ndarray:
        flat = np.ascontiguousarray(vectors, np.float32).reshape(-1, vectors.shape[-1])
        quantiser: Any = self._quantiser
        return quantiser.compute_codes(flat).reshape(*vectors.shape[:2], -1)


class WordScores:
    """The second stage of a search for one text.

    Args:
        model ([`LampModel`]): what encoded the text.
        text ([`LampTextFeatures`]): the text, or the parts of a text that is longer than the model reads.
    """

    def __init__(self, model: LampModel, text: LampTextFeatures):
        self.model, self.text = model, text

    @torch.no_grad()
    def __call__(self, cosines: np.ndarray, rows: np.ndarray, queries: QueryVectors) -> np.ndarray:
        """Score candidates as [`LampModel.score`] does.

        Args:
            cosines (`np.ndarray` of shape `(num_candidates,)`): of the whole text and each whole motion.
            rows (`np.ndarray` of shape `(num_candidates,)`): the candidates.
            queries ([`QueryVectors`]): those of the gallery.

        Returns:
            `np.ndarray` of shape `(num_candidates,)`: LaMP's logits divided by the sum of both temperatures, which
            makes them the weighted mean of two cosines.
        """
        text: Any = self.text.embeds
        whole, by_words = self.model.temperature, self.model.word_temperature
        logits = [float(whole) * cosines]
        for first in range(0, len(rows), _BATCH):
            some: Any = torch.from_numpy(queries.read(rows[first : first + _BATCH])).to(text.device)
            unused = text.new_zeros(len(some), text.shape[1])
            motion = LampMotionFeatures(embeds=unused, query_embeds=some)
            logits.append(self.model.score(self.text, motion)[1].mean(0).cpu().numpy())
        return (logits[0] + np.concatenate(logits[1:])) / float(whole + by_words) if len(rows) else cosines


def _learn_quantiser(vectors: np.ndarray) -> faiss.ProductQuantizer:
    """Learn 256 centroids for every four numbers of vectors `(num_vectors, size)`.

    Raises:
        ValueError: when the size is no multiple of four.
    """
    if vectors.shape[1] % GROUP:
        raise ValueError(f"vectors of {vectors.shape[1]} numbers: only those of a multiple of {GROUP} are quantised")
    quantiser = faiss.ProductQuantizer(vectors.shape[1], vectors.shape[1] // GROUP, 8)
    quantiser.train(vectors)
    return quantiser


def _quantiser_of(centroids: np.ndarray) -> faiss.ProductQuantizer:
    quantiser = faiss.ProductQuantizer(len(centroids) * GROUP, len(centroids), 8)
    faiss.copy_array_to_vector(np.ascontiguousarray(centroids, np.float32).ravel(), quantiser.centroids)
    return quantiser
