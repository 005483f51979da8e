"""Imports Guo et al.'s evaluator.

    python -m lamp_hf.import_checkpoint.guo --checkpoint text_mot_match/model/finest.tar --meta Comp_v6_KLD01/meta \
        --glove glove --output guo_evaluator

`--meta` is the folder of the evaluator's own `mean.npy` and `std.npy`, `--glove` that of the word vectors.
"""

import argparse
import json
import pickle
from pathlib import Path

import numpy as np
import torch

from ..evaluators.guo import GuoEvaluatorConfig, GuoEvaluatorModel


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
        ValueError: when a file is not what it should be, or reading it would run code.
    """
    networks = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if missing := [name for name in _NETWORKS if name not in networks]:
        raise ValueError(f"{checkpoint}: not Guo et al.'s evaluator: it lacks {', '.join(missing)}")
    mean, std = (np.load(meta / f"{name}.npy", allow_pickle=False) for name in ("mean", "std"))
    vectors = np.load(glove / "our_vab_data.npy", allow_pickle=False)
    words, index = (_load_plain(glove / f"our_vab_{name}.pkl") for name in ("words", "idx"))
    if lacking := {"sos", "eos", "unk"} - set(words):
        raise ValueError(f"{glove}: no word vectors for {', '.join(sorted(lacking))}")
    model = GuoEvaluatorModel(GuoEvaluatorConfig(feature_size=len(mean), num_words=len(words)))
    state = {f"{name}.{key}": value for name in _NETWORKS for key, value in networks[name].items()}
    rows = vectors[[index[word] for word in words]]
    arrays = {"mean": mean, "std": std, "word_vectors": rows}
    state |= {name: torch.tensor(np.asarray(values, np.float32)) for name, values in arrays.items()}
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ValueError(f"{checkpoint}: {' '.join(str(error).split())[:300]}") from None
    model.save_pretrained(output)
    (output / "words.json").write_text(json.dumps(list(words)), encoding="utf-8")
    return model


def _load_plain(path: Path):
    """Load a pickle of words or of their numbers."""
    try:
        with open(path, "rb") as file:
            return _PlainUnpickler(file).load()
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: refused: {error}") from None


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("checkpoint", "meta", "glove", "output"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    convert_guo_evaluator(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
