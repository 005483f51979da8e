"""Imports Guo et al.'s evaluator.

    python -m lamp_hf.import_checkpoint.guo --checkpoint text_mot_match/model/finest.tar --meta Comp_v6_KLD01/meta \
        --glove glove --output guo_evaluator

`--meta` is the folder of the evaluator's own `mean.npy` and `std.npy`, `--glove` that of the word vectors.
"""

import argparse
import json
import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..evaluators.guo import GuoEvaluatorConfig, GuoEvaluatorModel
from .checkpoint import new_folder, read_checkpoint


_NETWORKS = ("movement_encoder", "motion_encoder", "text_encoder")


class _PlainUnpickler(pickle.Unpickler):
    """An unpickler of lists, dictionaries, strings and numbers, which imports nothing."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"it holds {module}.{name}, not only words")


def convert_guo_evaluator(checkpoint: Path, meta: Path, glove: Path, output: Path) -> GuoEvaluatorModel:
    """Write the evaluator as safetensors and JSON.

    Args:
        checkpoint (`Path`): `finest.tar` of `text_mot_match`.
        meta (`Path`): folder with `mean.npy` and `std.npy`.
        glove (`Path`): folder with `our_vab_data.npy`, `our_vab_words.pkl` and `our_vab_idx.pkl`.
        output (`Path`): new folder.

    Returns:
        [`GuoEvaluatorModel`]: the evaluator.

    Raises:
        OSError: when a file of `meta` or `glove` is missing.
        ValueError: when a file is not what it should be, reading it would run code, or the folder exists already.
    """
    if output.exists():
        raise ValueError(f"{output} exists already: name a new folder")
    networks = read_checkpoint(checkpoint)
    if missing := [name for name in _NETWORKS if not isinstance(networks.get(name), dict)]:
        raise ValueError(f"{checkpoint}: not Guo et al.'s evaluator: it lacks {', '.join(missing)}")
    arrays = {name: _load_array(meta / f"{name}.npy", 1) for name in ("mean", "std")}
    words, arrays["word_vectors"] = _load_words(glove)
    model = GuoEvaluatorModel(GuoEvaluatorConfig(feature_size=len(arrays["mean"]), num_words=len(words)))
    state = {f"{name}.{key}": value for name in _NETWORKS for key, value in networks[name].items()}
    try:
        model.load_state_dict(state | {name: torch.from_numpy(values) for name, values in arrays.items()}, strict=True)
    except RuntimeError as error:
        raise ValueError(f"{checkpoint}: {' '.join(str(error).split())[:300]}") from None
    if wrong := [name for name, weight in model.state_dict().items() if not weight.isfinite().all()]:
        raise ValueError(f"{checkpoint}: weight {wrong[0]} holds NaN or infinity")
    with new_folder(output) as temporary:
        model.save_pretrained(temporary)
        (temporary / "words.json").write_text(json.dumps(words), encoding="utf-8")
    return model


def _load_words(glove: Path) -> tuple[list[str], np.ndarray]:
    """Load words and their vectors `(num_words, 300)`."""
    vectors = _load_array(glove / "our_vab_data.npy", 2)
    words, index = (_load_plain(glove / f"our_vab_{name}.pkl") for name in ("words", "idx"))
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{glove / 'our_vab_words.pkl'}: it holds no list of words")
    if lacking := {"sos", "eos", "unk"} - set(words):
        raise ValueError(f"{glove}: no word vectors for {', '.join(sorted(lacking))}")
    rows = [index.get(word) for word in words] if isinstance(index, dict) else [None]
    if not all(isinstance(row, int) and 0 <= row < len(vectors) for row in rows):
        raise ValueError(
            f"{glove / 'our_vab_idx.pkl'}: it does not tell each word's row of the {len(vectors)} vectors"
        )
    return words, vectors[rows]


def _load_array(path: Path, num_dimensions: int) -> np.ndarray:
    """Load an array of finite numbers, as float32."""
    try:
        values = np.load(path, allow_pickle=False)
    except (EOFError, ValueError, zipfile.BadZipFile):
        raise ValueError(f"{path}: it is not a NumPy array of numbers, or it is damaged") from None
    if not isinstance(values, np.ndarray) or values.ndim != num_dimensions or values.dtype.kind not in "iuf":
        raise ValueError(f"{path}: an array of numbers with {num_dimensions} dimensions is needed")
    if not np.isfinite(values).all():
        raise ValueError(f"{path}: it holds NaN or infinity")
    return values.astype(np.float32)


def _load_plain(path: Path):
    """Load a pickle of words or of their numbers."""
    try:
        with open(path, "rb") as file:
            return _PlainUnpickler(file).load()
    except OSError:
        raise
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: refused: {error}") from None
    except Exception:  # pickle raises errors of many classes for a damaged file
        raise ValueError(f"{path}: refused: it is no pickle, or it is damaged") from None


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command with the given arguments, or with those of the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("checkpoint", "meta", "glove", "output"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    try:
        convert_guo_evaluator(**vars(parser.parse_args(arguments)))
    except (OSError, ValueError) as error:
        parser.exit(1, f"lamp-hf: {error}\n")


if __name__ == "__main__":
    main()
