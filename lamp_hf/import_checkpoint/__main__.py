r"""Import a published checkpoint as a model folder of this package.

    lamp-hf import-checkpoint net_last.pth --output tokenizer --mean Mean.npy --std Std.npy
    lamp-hf import-checkpoint h3d-qformer.tar --output lamp --mean mean.npy --std std.npy --bert bert-base-uncased
    lamp-hf import-checkpoint t2m.tar --output generator --lamp h3d-qformer.tar --tokenizer net_last.pth \
        --mean mean.npy --std std.npy --bert bert-base-uncased

Known are T2M-GPT's and LaMP's motion tokenizers, MoMask's residual tokenizer, LaMP's Q-Former and LaMP's generator.
`python -m lamp_hf.import_checkpoint` is the same command.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from .official import KINDS, import_checkpoint


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command with the given arguments, or with those of the process."""
    parser = argparse.ArgumentParser(
        prog="lamp-hf import-checkpoint", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="the published file")
    parser.add_argument("--output", required=True, type=Path, help="new folder")
    parser.add_argument("--kind", choices=list(KINDS), help="defaults to what the names of the weights suggest")
    parser.add_argument("--mean", type=Path, help="Mean.npy: the statistics that the weights were trained with")
    parser.add_argument("--std", type=Path, help="Std.npy")
    parser.add_argument("--bert", help="folder or Hub id of BERT's uncased vocabulary")
    parser.add_argument("--lamp", type=Path, help="for a generator: the published Q-Former")
    parser.add_argument("--tokenizer", type=Path, help="for a generator: the published tokenizer")
    try:
        report = import_checkpoint(**vars(parser.parse_args(arguments)))
    except (OSError, ValueError) as error:
        parser.exit(1, f"lamp-hf: {error}\n")
    print(json.dumps({name: report[name] for name in ("kind", "source", "normalisation")}))


if __name__ == "__main__":
    main()
