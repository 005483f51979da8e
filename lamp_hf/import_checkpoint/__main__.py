r"""Published checkpoints into this package's format.

    python -m lamp_hf.import_checkpoint net_last.pth --output tokenizer --mean Mean.npy --std Std.npy
    python -m lamp_hf.import_checkpoint h3d-qformer.tar --output lamp --mean mean.npy --std std.npy \
        --bert bert-base-uncased
    python -m lamp_hf.import_checkpoint t2m.tar --output generator --lamp h3d-qformer.tar --tokenizer net_last.pth

Which files are known, and which are not and why, is said in `lamp_hf.import_checkpoint.official`.
"""

import argparse
import json
from pathlib import Path

from .official import KINDS, convert_checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lamp_hf.import_checkpoint",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path, help="the file as published")
    parser.add_argument("--output", required=True, type=Path, help="new folder")
    parser.add_argument("--kind", choices=list(KINDS), help="told from the weights' names if not given")
    parser.add_argument("--mean", type=Path, help="the statistics that the weights were trained with: Mean.npy")
    parser.add_argument("--std", type=Path, help="Std.npy")
    parser.add_argument("--bert", help="folder or Hub id of BERT's uncased vocabulary")
    parser.add_argument("--lamp", type=Path, help="for a generator: the published Q-Former")
    parser.add_argument("--tokenizer", type=Path, help="for a generator: the published tokenizer")
    try:
        report = convert_checkpoint(**vars(parser.parse_args()))
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    print(json.dumps({name: report[name] for name in ("kind", "source", "normalisation")}))


if __name__ == "__main__":
    main()
