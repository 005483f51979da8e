"""BERTScore (Zhang et al., ICLR 2020) with any text encoder; by default, the one that comes with the package."""

import functools
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..fingerprint import fingerprint, identify
from .captions import check_references


# The layer that correlates best with human judgement, and the mean precision, recall and F1 of unrelated English
# sentences in it, both as published with bert-score 0.3.13.
_LAYERS = {"roberta-large": 17, "bert-base-uncased": 9, "roberta-base": 10, "distilbert-base-uncased": 5}
_BASELINES = {("roberta-large", 17): (0.83150584, 0.8314941, 0.83122575)}


@dataclass
class BertScores:
    """Scores of [`BertScorer`].

    Args:
        precision, recall, f1 (`np.ndarray` of shape `(num_predictions,)`): each the maximum over the references.
        hashcode (`str`): names everything that the scores depend on.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    hashcode: str


class BertScorer:
    """Compare sentences by the hidden states of a text encoder.

    Args:
        encoder (`str`, *optional*): Hub id or folder of any text encoder; by default the frozen sentence encoder
            inside the bundled LaMP, which works offline and is the same everywhere.
        layer (`int`, *optional*): hidden states to compare, 0 for the embeddings; by default the literature's choice
            for a known encoder, the last layer of any other.
        idf (`bool`): weight word pieces by their rarity in the references.
        rescale (`bool` or `tuple[float, float, float]`): rescale by the precision, recall and F1 of unrelated
            sentences: those given, or with `True` the published ones, which are known for `roberta-large`.
        batch_size (`int`): sentences per batch; it does not change the result.

    Raises:
        ValueError: when there is no such layer, or no baseline is known.
    """

    def __init__(
        self,
        encoder: str | None = None,
        layer: int | None = None,
        idf: bool = False,
        rescale: bool | tuple[float, float, float] = False,
        batch_size: int = 64,
    ):
        self._encode, self.tokenizer, num_layers, identity = _load_encoder(encoder)
        name = (encoder or "").rpartition("/")[2]
        self.layer = _LAYERS.get(name, num_layers) if layer is None else layer
        if not 0 <= self.layer <= num_layers or (encoder is None and self.layer != num_layers):
            raise ValueError(
                f"layer {layer} is not available: this encoder has {num_layers}; the bundled one gives its last alone"
            )
        self.idf, self.batch_size = idf, batch_size
        self.baseline = _BASELINES.get((name, self.layer)) if rescale is True else rescale or None
        if rescale and self.baseline is None:
            raise ValueError(f"no baseline is known for layer {self.layer} of {encoder or 'the bundled encoder'}")
        weights = "idf" if idf else "no-idf"
        scaled = "rescaled" + ",".join(f"{value:g}" for value in self.baseline) if self.baseline else "raw"
        self.hashcode = f"{identity}_L{self.layer}_{weights}_{scaled}"

    def __call__(self, predictions: list[str], references: list[str] | list[list[str]]) -> BertScores:
        """Score sentences.

        Args:
            predictions (`list[str]`): sentences; an empty one scores 0.
            references (`list[str]` or `list[list[str]]`): one or several per prediction.

        Raises:
            ValueError: when counts differ, or a reference is empty.
        """
        references = check_references(predictions, references)
        sentences = sorted({*predictions, *(text for texts in references for text in texts)}, key=len)
        ids = {text: self._pieces(text) for text in sentences}
        weights = self._weights([ids[text] for texts in references for text in texts])
        states = self._states(sentences, ids)
        scores = np.zeros((len(predictions), 3))
        for i, (prediction, texts) in enumerate(zip(predictions, references)):
            pairs = [_match(states, ids, weights, prediction, text) for text in texts]
            scores[i] = np.max(pairs, 0)
        if self.baseline is not None:
            baseline = np.array(self.baseline)
            scores = (scores - baseline) / (1 - baseline)
        precision, recall, f1 = scores.T
        return BertScores(precision, recall, f1, self.hashcode)

    def _pieces(self, text: str) -> list[int]:
        """Tokenise a sentence; for RoBERTa a blank is put before the first word too."""
        blank = " " if getattr(self.tokenizer, "add_prefix_space", None) is False and text.strip() else ""
        return self.tokenizer(blank + text.strip(), truncation=True)["input_ids"]

    def _weights(self, documents: list[list[int]]) -> Callable[[int], float]:
        """Return the weight of a word piece; special tokens, which every sentence has, weigh nothing."""
        special = set(self.tokenizer.all_special_ids) - {self.tokenizer.unk_token_id}
        if not self.idf:
            return lambda piece: float(piece not in special)
        frequency = Counter(piece for pieces in documents for piece in set(pieces))
        return lambda piece: math.log((len(documents) + 1) / (frequency[piece] + 1))

    @torch.no_grad()
    def _states(self, sentences: list[str], ids: dict[str, list[int]]) -> dict[str, torch.Tensor]:
        """Return unit-norm hidden states `(num_pieces, hidden_size)` of each sentence, given by length."""
        states: dict[str, torch.Tensor] = {}
        for first in range(0, len(sentences), self.batch_size):
            texts = sentences[first : first + self.batch_size]
            rows = {"input_ids": [ids[text] for text in texts]}
            batch = self.tokenizer.pad(rows, padding_side="right", return_tensors="pt")
            hidden = self._encode(batch["input_ids"], batch["attention_mask"], self.layer).float()
            hidden = torch.nn.functional.normalize(hidden, dim=-1)
            states |= {text: row[: len(ids[text])] for text, row in zip(texts, hidden)}
        return states


def _match(states, ids, weights, prediction: str, reference: str) -> tuple[float, float, float]:
    """Return precision, recall and F1, matching each word piece with the most similar one of the other sentence."""
    similarity = (states[prediction] @ states[reference].T).double()
    sides = []
    for text, best in ((prediction, similarity.amax(1)), (reference, similarity.amax(0))):
        weight = torch.tensor([weights(piece) for piece in ids[text]], dtype=torch.float64)
        if not text.strip():
            return 0.0, 0.0, 0.0
        weight = weight if weight.sum() else torch.ones_like(weight)  # every piece is in every reference
        sides.append(float((best * weight).sum() / weight.sum()))
    precision, recall = sides
    return precision, recall, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@functools.lru_cache(maxsize=2)
def _load_encoder(name: str | None):
    """Return a function from ids, mask and layer to hidden states, the tokenizer, the number of layers, and a name."""
    import lamp_hf

    if name is None:
        folder = lamp_hf.bundled()
        model = lamp_hf.LampModel.from_pretrained(folder).eval()
        tokenizer = lamp_hf.LampProcessor.from_pretrained(folder).tokenizer
        layers = model.config.text_config.num_hidden_layers
        return lambda ids, mask, layer: model.encode_text(ids, mask), tokenizer, layers, fingerprint(folder)
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(name).eval(), AutoTokenizer.from_pretrained(name)

    def encode(ids: torch.Tensor, mask: torch.Tensor, layer: int) -> torch.Tensor:
        return model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[layer]

    return encode, tokenizer, model.config.num_hidden_layers, identify(name, model.config)
