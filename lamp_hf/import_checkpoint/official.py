"""Imports published checkpoints of LaMP, T2M-GPT and MoMask.

Known are T2M-GPT's motion tokenizer, LaMP's tokenizer, Q-Former and generator, and MoMask's residual tokenizer. The
transformers of MoMask and T2M-GPT are not imported: they read CLIP features and have no counterpart here. LaMP's
captioner is not imported either: its published code needs modules that are not published, so a conversion could not be
checked. The names of weights are those of the published code. The conversions were checked on weights of random
numbers with these names; the published files were not available.
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
        keys (`tuple[str, ...]`): entries of the file that may hold the weights.
        prefix (`str`): beginning of some weights' names that no other family under these keys has.
        text_length (`int`): length of texts in word pieces; 0 for a model that reads no text.
        title (`str`): heading of the card.
        origin (`str`): the authors, for the card.
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
        f"[T2M-GPT](https://github.com/Mael-zys/T2M-GPT) (Zhang et al., CVPR 2023), or {_LAMP}, with the same network",
    ),
    "residual_vqvae": Kind(
        ("vq_model", "net"), "quantizer.layers.", 0, "Residual motion tokenizer",
        "[MoMask](https://github.com/EricGuo5513/momask-codes) (Guo et al., CVPR 2024; its code is MIT)",
    ),
    "qformer": Kind(("motion_qformer",), "Qformer.", 32, "LaMP", _LAMP),
    "generator": Kind(("t2m_transformer",), "Qformer.", 49, "LaMP's text-to-motion generator", _LAMP),
}  # fmt: skip
_REFUSED = {
    "trans": "a captioner of LaMP or a transformer of T2M-GPT: the published code of the former cannot be run, so a "
    "conversion could not be checked; the latter has no counterpart here",
    "t2m_transformer": "a transformer that reads CLIP features (MoMask), which has no counterpart here",
    "res_transformer": "MoMask's residual transformer, which reads CLIP features and has no counterpart here",
    "estimator": "MoMask's length predictor, which reads CLIP features and has no counterpart here",
}
_BOOKKEEPING = {
    "opt_vq_model": "state of the optimiser", "opt_qformer": "state of the optimiser",
    "opt_t2m_transformer": "state of the optimiser", "scheduler": "state of the learning rate schedule",
    "ep": "number of epochs trained", "total_it": "number of steps trained",
}  # fmt: skip
_CARD = """---
library_name: transformers
tags: [motion, human-motion, lamp]
license: other
---
# {title}

Imported by `lamp-hf import-checkpoint`, without training. `conversion.json` lists what became of each weight. The
weights are by {origin}:

{files}

Their licence is that of their authors and of their training data (HumanML3D or KIT-ML, and the motion capture behind
them). Check both before you share these weights or use them commercially.

Normalisation: {normalisation}.
"""


def import_checkpoint(
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
    """Write a published checkpoint as a model folder, with `conversion.json` and a card.

    Args:
        source (`str` or `Path`): the published file.
        output (`str` or `Path`): new folder.
        kind (`str`, *optional*): a key of `KINDS`. Defaults to what the names of the weights suggest.
        mean (`str`, `Path` or `np.ndarray` of shape `(feature_size,)`, *optional*): mean of the features that these
            weights were trained with (`Mean.npy`, or `mean.npy` in a folder `meta`).
        std (`str`, `Path` or `np.ndarray` of shape `(feature_size,)`, *optional*): their standard deviation.
        bert (`str` or `Path`, *optional*): folder or Hub id of BERT's uncased vocabulary. Without it, the model takes
            texts as token ids only.
        lamp (`str` or `Path`, *optional*): for a generator: the published Q-Former that reads texts for it.
        tokenizer (`str` or `Path`, *optional*): for a generator: the published tokenizer. Defaults to the one in the
            Q-Former's file.
        head_size (`int`, defaults to 64): size of an attention head, which shapes do not reveal.

    Returns:
        `dict`: what `conversion.json` holds: `kind`, `source` (file, bytes, SHA-256, format), `used` (official name:
        ours), `ignored` (official name: reason), `normalisation`, and `parts`, the same for the other files.

    Raises:
        ValueError: when a file is not what it should be; the message names the first wrong key, shape or statistic.
    """
    output = Path(output)
    if output.exists():
        raise ValueError(f"{output} exists already: name a new folder")
    checkpoint = _open_checkpoint(source, kind)
    kind = checkpoint.kind
    parts = {}
    if kind == "generator":
        if mean is None:
            raise ValueError("a generator needs the statistics that its tokenizer was trained with: mean and std")
        models, parts = _convert_generator_files(checkpoint, lamp, tokenizer, head_size)
    else:
        models = _convert_networks(checkpoint, head_size)
    checkpoint.finish()
    processor, normalisation = _build_processor(models[""].config, KINDS[kind].text_length, mean, std, bert)
    report = {"kind": kind, **checkpoint.report(), "normalisation": normalisation, "parts": parts}
    sources = [report["source"], *(part["source"] for part in parts.values())]
    files = "\n".join(f"* `{source['file']}`, SHA-256 `{source['sha256']}`" for source in sources)
    card = _CARD.format(**KINDS[kind]._asdict(), files=files, normalisation=normalisation)
    write_folder(output, models, processor, report, card)
    return report


def _open_checkpoint(path: str | Path, kind: str | None = None) -> Checkpoint:
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
            raise checkpoint.error(f"cannot be imported: it is {reason}")
    found = ", ".join(str(key) for key in list(checkpoint.values)[:5])
    raise checkpoint.error(f"not a known checkpoint; it has {found or 'nothing'}")


def _convert_networks(checkpoint: Checkpoint, head_size: int) -> dict:
    """Convert the networks in one file; returns models by subfolder, `""` for the main one."""
    if checkpoint.kind == "vqvae":
        return {"": convert_vqvae(checkpoint)}
    if checkpoint.kind == "residual_vqvae":
        return {"": convert_residual_vqvae(checkpoint)}
    model, tokenizer = convert_qformer(checkpoint, head_size)
    return {"": model} | ({"tokenizer": tokenizer} if tokenizer is not None else {})


def _convert_generator_files(checkpoint: Checkpoint, lamp, tokenizer, head_size: int) -> tuple[dict, dict]:
    """Convert a generator; returns models by subfolder, and reports on the other files that it needs."""
    if lamp is None:
        raise checkpoint.error("a generator needs the Q-Former's file too (lamp): it has no motion side")
    sources = {"lamp": _open_checkpoint(lamp, "qformer")} | (
        {"tokenizer": _open_checkpoint(tokenizer, "vqvae")} if tokenizer else {}
    )
    models = {"lamp": _convert_networks(sources["lamp"], head_size)}
    if tokenizer:
        models["tokenizer"] = _convert_networks(sources["tokenizer"], head_size)
    elif "tokenizer" not in models["lamp"]:
        raise checkpoint.error("a generator needs the tokenizer's file too (tokenizer): the Q-Former's has none")
    for part in sources.values():
        part.finish()
    motions = models["tokenizer"][""] if tokenizer else models["lamp"]["tokenizer"]
    model = convert_generator(checkpoint, models["lamp"][""], motions, head_size)
    return {"": model}, {name: part.report() for name, part in sources.items()}


def _build_processor(config, text_length: int, mean, std, bert):
    """Build the feature extractor, inside a processor if BERT's vocabulary is given, and the card's normalisation."""
    motion = getattr(config, "motion_config", config)
    skeleton = get_skeleton(motion.skeleton)
    if (mean is None) != (std is None):
        raise ValueError("mean and std: give both, or neither")
    statistics, normalisation = {}, "no statistics were given, so features must be normalised by the caller"
    if mean is not None:
        values = {"mean": _load_statistic(mean, "mean", skeleton), "std": _load_statistic(std, "std", skeleton)}
        if values["std"].min() <= 0:
            raise ValueError("std: every value must be above zero")
        statistics = {name: value.tolist() for name, value in values.items()}
        normalisation = "by the statistics in the feature extractor, which were given together with the file"
    extractor = MotionFeatureExtractor(skeleton.num_features, skeleton.fps, skeleton=skeleton.name, **statistics)
    if bert is None or not text_length:
        return extractor, normalisation
    words = BertTokenizer.from_pretrained(bert, bos_token="[DEC]", model_max_length=text_length)
    vocab_size = getattr(config, "lamp_config", config).vocab_size
    if len(words) != vocab_size:
        raise ValueError(f"{bert}: {len(words)} words with [DEC], the checkpoint has {vocab_size}")
    return LampProcessor(extractor, words), normalisation


def _load_statistic(value, name: str, skeleton) -> np.ndarray:
    value = np.load(value, allow_pickle=False) if isinstance(value, (str, Path)) else np.asarray(value)
    if value.shape != (skeleton.num_features,) or not np.isfinite(value).all():
        raise ValueError(f"{name}: {skeleton.num_features} finite numbers are needed, not {list(value.shape)}")
    return value.astype(np.float64)
