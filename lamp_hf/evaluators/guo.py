"""The evaluator of the literature (Guo et al., CVPR 2022), for users who have its weights.

Convolutions turn four frames into a movement; bidirectional GRUs read movements, and word vectors with their parts of
speech. Training brings captions and motions of HumanML3D, or KIT-ML, close in Euclidean distance.
"""

import json
from pathlib import Path

import numpy as np
import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from ..data.captions import clean_caption, read_caption_file
from ..models.modeling_common import StrictLoadingMixin


_MAX_WORDS, _MAX_FRAMES = 20, 196
# Parts of speech in the order of the input, and the words that form classes of their own.
_PARTS = (
    "VERB", "NOUN", "DET", "ADP", "NUM", "AUX", "PRON", "ADJ", "ADV",
    "Loc_VIP", "Body_VIP", "Obj_VIP", "Act_VIP", "Desc_VIP", "OTHER",
)  # fmt: skip
_VIP = {
    "Loc_VIP": "left right clockwise counterclockwise anticlockwise forward back backward up down straight curve",
    "Body_VIP": "arm chin foot feet face hand mouth leg waist eye knee shoulder thigh",
    "Obj_VIP": "stair dumbbell chair window floor car ball handrail baseball basketball",
    "Act_VIP": "walk run swing pick bring kick put squat throw hop dance jump turn stumble stop sit lift lower raise "
    "wash stand kneel stroll rub bend balance flap jog shuffle lean rotate spin spread climb",
    "Desc_VIP": "slowly carefully fast careful slow quickly happy angry sad happily angrily sadly",
}
_PART_OF_WORD = {word: part for part, words in _VIP.items() for word in words.split()}


@strict
class GuoEvaluatorConfig(PreTrainedConfig):
    """Configuration of [`GuoEvaluatorModel`].

    Args:
        feature_size (`int`): features per frame, 263 or 251; the four contacts are left out.
        num_words (`int`): number of word vectors.
    """

    model_type = "guo_evaluator"

    feature_size: int = 263
    num_words: int = 1


AutoConfig.register(GuoEvaluatorConfig.model_type, GuoEvaluatorConfig, exist_ok=True)  # for fingerprints


class _RecurrentEncoder(nn.Module):
    """A bidirectional GRU with a learned initial state; returns the projected last states of both directions."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int):
        super().__init__()
        self.input_emb = nn.Linear(input_size, hidden_size)
        self.gru = nn.GRU(hidden_size, hidden_size, batch_first=True, bidirectional=True)
        self.output_net = nn.Sequential(
            nn.Linear(2 * hidden_size, hidden_size),
            nn.LayerNorm(hidden_size),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden_size, output_size),
        )
        self.hidden = nn.Parameter(torch.zeros(2, 1, hidden_size))

    def forward(self, inputs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(self.input_emb(inputs), lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, last = self.gru(packed, self.hidden.repeat(1, len(inputs), 1))
        return self.output_net(torch.cat([last[0], last[1]], -1))


class _TextEncoder(_RecurrentEncoder):
    """The recurrent encoder of words `(batch_size, num_words, 300)`, each the sum of its vector and part of speech."""

    def __init__(self):
        super().__init__(300, 512, 512)
        self.pos_emb = nn.Linear(len(_PARTS), 300)


class _MovementEncoder(nn.Module):
    """Convolutions from frames `(batch_size, num_frames, size)` to movements `(batch_size, num_frames / 4, 512)`."""

    def __init__(self, input_size: int):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv1d(input_size, 512, 4, 2, 1),
            nn.Dropout(0.2),
            nn.LeakyReLU(0.2),
            nn.Conv1d(512, 512, 4, 2, 1),
            nn.Dropout(0.2),
            nn.LeakyReLU(0.2),
        )
        self.out_net = nn.Linear(512, 512)

    def forward(self, motion: torch.Tensor) -> torch.Tensor:
        return self.out_net(self.main(motion.transpose(1, 2)).transpose(1, 2))


class GuoEvaluatorModel(StrictLoadingMixin, PreTrainedModel):
    """The three networks under their published names, with the statistics of features and the word vectors."""

    config: GuoEvaluatorConfig
    base_model_prefix = "guo_evaluator"
    main_input_name = "motion_values"

    def __init__(self, config: GuoEvaluatorConfig):
        super().__init__(config)
        self.movement_encoder = _MovementEncoder(config.feature_size - 4)
        self.motion_encoder = _RecurrentEncoder(512, 1024, 512)
        self.text_encoder = _TextEncoder()
        self.register_buffer("mean", torch.zeros(config.feature_size))
        self.register_buffer("std", torch.ones(config.feature_size))
        self.register_buffer("word_vectors", torch.zeros(config.num_words, 300))
        self.post_init()


class GuoEvaluator:
    """Guo et al.'s networks as an [`Evaluator`].

    Args:
        folder (`str` or `Path`): the imported checkpoint, as `lamp_hf.import_checkpoint.guo` writes it.
        texts (`str` or `Path`): HumanML3D's or KIT-ML's `texts/`, which hold the tagged words of each caption.
    """

    def __init__(self, folder: str | Path, texts: str | Path):
        self.model = GuoEvaluatorModel.from_pretrained(folder).eval()
        words = json.loads((Path(folder) / "words.json").read_text(encoding="utf-8"))
        self.row = {word: i for i, word in enumerate(words)}
        self.tagged = _read_tagged(Path(texts))
        self.name = "guo"

    @torch.no_grad()
    def embed_texts(self, texts: list[str]) -> np.ndarray:
        """Embed captions of the data set, `(num_texts, 512)`.

        Raises:
            ValueError: for a caption that the data set does not have, because its words are not tagged.
        """
        for text in texts:
            if clean_caption(text) not in self.tagged:
                raise ValueError(
                    f"no tagged words for the caption {text!r}: only the data set's own captions have them"
                )
        rows = [self._inputs(self.tagged[clean_caption(text)]) for text in texts]
        words, parts = (pad_sequence(list(column), batch_first=True) for column in zip(*rows))
        lengths = torch.tensor([len(row[0]) for row in rows])
        encoder = self.model.text_encoder
        return encoder(words + encoder.pos_emb(parts), lengths).numpy()

    @torch.no_grad()
    def embed_motions(self, motions: list[np.ndarray]) -> np.ndarray:
        """Embed features `(num_frames, num_features)` each, `(num_motions, 512)`.

        Raises:
            ValueError: for a motion of fewer than four frames.
        """
        result = []
        for i, motion in enumerate(motions):
            length = min(len(motion), _MAX_FRAMES) // 4
            if not length:
                raise ValueError(f"motion {i} has {len(motion)} frames; this evaluator needs at least four")
            values = torch.from_numpy(np.asarray(motion[: 4 * length], np.float32))
            values = ((values - self.model.mean) / self.model.std)[:, :-4]
            # Padded as in the literature: the convolution lets the last movement see the zeros behind it.
            values = nn.functional.pad(values, (0, 0, 0, _MAX_FRAMES - len(values)))
            movements = self.model.movement_encoder(values[None])
            result.append(self.model.motion_encoder(movements, torch.tensor([length]))[0].numpy())
        return np.stack(result)

    def _inputs(self, tagged: list[tuple[str, str]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return word vectors `(num_words, 300)` and one-hot parts of speech `(num_words, 15)`, with start and end."""
        words = [("sos", "OTHER"), *tagged[:_MAX_WORDS], ("eos", "OTHER")]
        rows, parts = [], []
        for word, part in words:
            known = word in self.row
            rows.append(self.row[word if known else "unk"])
            part = _PART_OF_WORD.get(word, part) if known else "OTHER"
            parts.append(_PARTS.index(part if part in _PARTS else "OTHER"))
        return self.model.word_vectors[rows], nn.functional.one_hot(torch.tensor(parts), len(_PARTS)).float()


def _read_tagged(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Read the words and parts of speech of each caption in a folder of text files."""
    lines = [line for path in sorted(folder.glob("*.txt")) for line in read_caption_file(path)]
    tagged = {line.caption.text: line.words for line in lines if line.words}
    if not tagged:
        raise FileNotFoundError(f"{folder}: no text file with captions and tagged words")
    return tagged
