"""Published checkpoints into this package's format.

Known are T2M-GPT's motion tokenizer, LaMP's tokenizer, Q-Former and generator, and MoMask's residual tokenizer. Left
out are MoMask's transformers and T2M-GPT's, which read CLIP's features and have no counterpart here, and LaMP's
captioner, whose published code imports modules that are not published, so that nobody can run it. The names are those
of the published code; weights of our own making with these names were converted and compared, the published files were
not at hand.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from transformers import BertTokenizer

from ..models.feature_extraction_motion import MotionFeatureExtractor
from ..models.processing_lamp import LampProcessor
from ..models.skeleton import get_skeleton
from .checkpoint import Checkpoint, write_folder
from .generator import convert_generator
from .qformer import convert_qformer
from .tokenizers import convert_residual_vqvae, convert_vqvae


class Kind(NamedTuple):
    """A family of published files.

    Args:
        keys (`tuple[str, ...]`): under which one its weights lie.
        prefix (`str`): how some of their names begin, in no other family under these keys.
        text_length (`int`): of texts, in word pieces; 0 for a model that reads none.
        title, origin (`str`): for the card.
    """

    keys: tuple[str, ...]
    prefix: str
    text_length: int
    title: str
    origin: str


_LAMP = "[LaMP](https://github.com/gentlefress/LaMP) (Li et al., ICLR 2025; its code is MIT)"
KINDS = {
    "vqvae": Kind(
        ("net", "vq_model"), "vqvae.", 0, "Motion tokenizer",
        f"[T2M-GPT](https://github.com/Mael-zys/T2M-GPT) (Zhang et al., CVPR 2023), or {_LAMP}, whose network is its",
    ),
    "residual_vqvae": Kind(
        ("vq_model", "net"), "quantizer.layers.", 0, "Residual motion tokenizer",
        "[MoMask](https://github.com/EricGuo5513/momask-codes) (Guo et al., CVPR 2024; its code is MIT)",
    ),
    "qformer": Kind(("motion_qformer",), "Qformer.", 32, "LaMP", _LAMP),
    "generator": Kind(("t2m_transformer",), "Qformer.", 49, "LaMP's text-to-motion generator", _LAMP),
}  # fmt: skip
_REFUSED = {
    "trans": "a captioner of LaMP or a transformer of T2M-GPT: the one's published code cannot be run, so that a "
    "conversion could not be checked, and the other has no counterpart here",
    "t2m_transformer": "a transformer that reads CLIP's features (MoMask), which has no counterpart here",
    "res_transformer": "MoMask's residual transformer, which reads CLIP's features and has no counterpart here",
    "estimator": "MoMask's predictor of lengths, which reads CLIP's features and has no counterpart here",
}
_BOOKKEEPING = {
    "opt_vq_model": "the optimiser's state", "opt_qformer": "the optimiser's state",
    "opt_t2m_transformer": "the optimiser's state", "scheduler": "the learning rate's state",
    "ep": "number of epochs trained", "total_it": "number of steps trained",
}  # fmt: skip
_CARD = """---
library_name: transformers
tags: [motion, human-motion, lamp]
license: other
---
# {title}

Converted without training; which key became which is in `conversion.json`. The weights are of {origin}:

{files}

The licence is that of their authors and of the data that they trained on (HumanML3D or KIT-ML, and the motion capture
behind them): look there before you share them or use them commercially.

Normalisation: {normalisation}.
"""


def convert_checkpoint(
    source: str | Path,
    output: str | Path,
    kind: str | None = None,
    mean: str | Path | np.ndarray | None = None,
    std: str | Path | np.ndarray | None = None,
    bert: str | Path | None = None,
    lamp: str | Path | None = None,
    tokenizer: str | Path | None = None,
    head_size: int = 64,
) -> dict:
    """Writes a published checkpoint as a model folder, with `conversion.json` and a card.

    Args:
        source (`str` or `Path`): the file as published.
        output (`str` or `Path`): new folder.
        kind (`str`, *optional*): a key of `KINDS`; told from the weights' names if not given.
        mean, std (`str`, `Path` or `np.ndarray` of shape `(feature_size,)`, *optional*): statistics by which the
            features were normalised for these weights (`Mean.npy`, `Std.npy`, or in a folder `meta`).
        bert (`str` or `Path`, *optional*): where BERT's uncased vocabulary is; without it, texts must come tokenised.
        lamp (`str` or `Path`, *optional*): for a generator: the published Q-Former that it reads texts with.
        tokenizer (`str` or `Path`, *optional*): for a generator: the published tokenizer, if it is not the Q-Former's.
        head_size (`int`): of attention, which shapes do not tell; 64 in everything published.

    Returns:
        `dict`: what `conversion.json` holds: `kind`, `source` (file, bytes, SHA-256, format), `used` (official name:
        ours), `ignored` (official name: reason), `normalisation`, and `parts`, the same of the files beside it.

    Raises:
        ValueError: when a file is not what it should be, by the first key, shape or statistic that is wrong.
    """
    output = Path(output)
    if output.exists():
        raise ValueError(f"{output} exists already: name a new folder")
    checkpoint = _open(source, kind)
    kind = checkpoint.kind
    parts = {}
    if kind == "generator":
        if mean is None:
            raise ValueError("a generator needs the statistics that its tokenizer was trained with: mean and std")
        models, parts = _generator(checkpoint, lamp, tokenizer, head_size)
    else:
        models = _convert(checkpoint, head_size)
    checkpoint.finish()
    processor, normalisation = _processor(models[""].config, KINDS[kind].text_length, mean, std, bert)
    report = {"kind": kind, **checkpoint.report(), "normalisation": normalisation, "parts": parts}
    sources = [report["source"], *(part["source"] for part in parts.values())]
    files = "\n".join(f"* `{source['file']}`, SHA-256 `{source['sha256']}`" for source in sources)
    card = _CARD.format(**KINDS[kind]._asdict(), files=files, normalisation=normalisation)
    write_folder(output, models, processor, report, card)
    return report


def _open(path: str | Path, kind: str | None = None) -> Checkpoint:
    checkpoint = Checkpoint(path)
    checkpoint.kind = kind or _detect(checkpoint)
    if checkpoint.kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}; known: {', '.join(KINDS)}")
    checkpoint.open(KINDS[checkpoint.kind].keys, _BOOKKEEPING)
    return checkpoint


def _detect(checkpoint: Checkpoint) -> str:
    for name, kind in KINDS.items():
        states = [value for key in kind.keys if isinstance(value := checkpoint.values.get(key), dict)]
        if any(str(weight).startswith(kind.prefix) for state in states for weight in state):
            return name
    for key, reason in _REFUSED.items():
        if key in checkpoint.values:
            raise checkpoint.error(f"not converted: it is {reason}")
    found = ", ".join(str(key) for key in list(checkpoint.values)[:5])
    raise checkpoint.error(f"not a checkpoint that is known here; it has {found or 'nothing'}")


def _convert(checkpoint: Checkpoint, head_size: int) -> dict:
    """Models by subfolder."""
    if checkpoint.kind == "vqvae":
        return {"": convert_vqvae(checkpoint)}
    if checkpoint.kind == "residual_vqvae":
        return {"": convert_residual_vqvae(checkpoint)}
    model, tokenizer = convert_qformer(checkpoint, head_size)
    return {"": model} | ({"tokenizer": tokenizer} if tokenizer is not None else {})


def _generator(checkpoint: Checkpoint, lamp, tokenizer, head_size: int) -> tuple[dict, dict]:
    """The generator, and reports on the files that complete it."""
    if lamp is None:
        raise checkpoint.error("a generator needs the Q-Former's file too (lamp): it has no motion side")
    sources = {"lamp": _open(lamp, "qformer")} | ({"tokenizer": _open(tokenizer, "vqvae")} if tokenizer else {})
    models = {"lamp": _convert(sources["lamp"], head_size)}
    if tokenizer:
        models["tokenizer"] = _convert(sources["tokenizer"], head_size)
    elif "tokenizer" not in models["lamp"]:
        raise checkpoint.error("a generator needs the tokenizer's file too (tokenizer): the Q-Former's has none")
    for part in sources.values():
        part.finish()
    motions = models["tokenizer"][""] if tokenizer else models["lamp"]["tokenizer"]
    model = convert_generator(checkpoint, models["lamp"][""], motions, head_size)
    return {"": model}, {name: part.report() for name, part in sources.items()}


def _processor(config, text_length: int, mean, std, bert):
    """The feature extractor, in a processor with BERT's vocabulary if that is given; and what to say of statistics."""
    motion = getattr(config, "motion_config", config)
    skeleton = get_skeleton(motion.skeleton)
    if (mean is None) != (std is None):
        raise ValueError("mean and std: give both, or neither")
    statistics, normalisation = {}, "no statistics were given, so features must come normalised"
    if mean is not None:
        values = {"mean": _statistic(mean, "mean", skeleton), "std": _statistic(std, "std", skeleton)}
        if values["std"].min() <= 0:
            raise ValueError("std: a deviation is not above zero")
        statistics = {name: value.tolist() for name, value in values.items()}
        normalisation = "by the statistics in the feature extractor, which were given with the file"
    extractor = MotionFeatureExtractor(skeleton.num_features, skeleton.fps, skeleton=skeleton.name, **statistics)
    if bert is None or not text_length:
        return extractor, normalisation
    words = BertTokenizer.from_pretrained(bert, bos_token="[DEC]", model_max_length=text_length)
    vocab_size = getattr(config, "lamp_config", config).vocab_size
    if len(words) != vocab_size:
        raise ValueError(f"{bert}: {len(words)} words with [DEC], the checkpoint has {vocab_size}")
    return LampProcessor(extractor, words), normalisation


def _statistic(value, name: str, skeleton) -> np.ndarray:
    value = np.load(value, allow_pickle=False) if isinstance(value, (str, Path)) else np.asarray(value)
    if value.shape != (skeleton.num_features,) or not np.isfinite(value).all():
        raise ValueError(f"{name}: {skeleton.num_features} finite numbers are needed, not {list(value.shape)}")
    return value.astype(np.float64)
