r"""Tell a generator what it was trained on, so that it can warn of prompts unlike it: chooses and embeds sentences.

python -m training.familiarity --data mocap.parquet --model runs/generator/model --licenses-left-out "CC BY-SA 3.0" \
    --descriptions descriptions.yaml

Writes familiarity.json and familiarity.safetensors into the model's folder; do so before training.bundle. The
threshold is chosen on one half of the prompts of evaluation/family_prompts.yaml, so that it warns of 85 % of those
that are unlike the data; `training.evaluate familiarity` reports the other half.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from transformers import AutoModel, AutoProcessor

from lamp_hf.data.dataset import load_motion_dataset
from lamp_hf.models.familiarity import Familiarity

from .augmentation.descriptions import FamilyDescriptions, descriptions_file
from .command_line import check_data
from .data import shortened, without_licenses
from .evaluation.familiarity import choose_threshold, embed, outside_of, read_prompts
from .pretrained import check_model


def caption_families(dataset: Dataset) -> dict[str, str]:
    """Return the distinct captions, each in one line, and the family whose clips have it most often."""
    counts: dict[str, Counter] = {}
    for captions, family in zip(dataset["captions"], dataset["family"]):
        for text in (" ".join(str(caption).split()) for caption in captions):
            if text.isprintable():
                counts.setdefault(text, Counter())[str(family)] += 1
    return {text: counts[text].most_common(1)[0][0] for text in sorted(counts)}


def with_descriptions(families: dict[str, str], descriptions: FamilyDescriptions) -> dict[str, str]:
    """Return the family of each caption and of each sentence that describes clips of these families."""
    described = {text: name for name in sorted(set(families.values())) for text in descriptions.of_family(name)}
    return described | families


def shares(available: dict[str, int], total: int) -> dict[str, int]:
    """Share `total` sentences among families, at least one each, as equally as the sentences that they have allow."""
    result, left = {}, total
    for number, (family, count) in enumerate(sorted(available.items(), key=lambda entry: (entry[1], entry[0]))):
        result[family] = min(count, max(1, left // (len(available) - number)))
        left -= result[family]
    return result


def typical(vectors: torch.Tensor, count: int, rounds: int = 15) -> list[int]:
    """Choose the most central row of each of `count` clusters (k-means by cosine), that of the largest first.

    Args:
        vectors (`torch.FloatTensor` of shape `(num_sentences, size)`): unit vectors.
        count (`int`): clusters, at most as many as rows.
        rounds (`int`): of k-means.
    """
    centres = vectors[_far_apart(vectors, count)]
    for _ in range(rounds):
        cluster = (vectors @ centres.T).argmax(1)
        sums = torch.zeros_like(centres).index_add_(0, cluster, vectors)
        centres = torch.where(sums.norm(dim=1, keepdim=True) > 0, torch.nn.functional.normalize(sums, dim=1), centres)
    cluster = (vectors @ centres.T).argmax(1)
    members = [(cluster == number).nonzero()[:, 0] for number in range(count)]
    order = sorted((number for number in range(count) if len(members[number])), key=lambda i: -len(members[i]))
    return [int(members[i][(vectors[members[i]] @ centres[i]).argmax()]) for i in order]


def _far_apart(vectors: torch.Tensor, count: int) -> list[int]:
    """Choose the row nearest to the mean, then always the one farthest from those chosen."""
    chosen = [int((vectors @ vectors.mean(0)).argmax())]
    nearest = vectors @ vectors[chosen[0]]
    while len(chosen) < count:
        nearest[chosen] = torch.inf
        chosen.append(int(nearest.argmin()))
        nearest = torch.maximum(nearest, vectors @ vectors[chosen[-1]])
    return chosen


def choose_sentences(families: dict[str, str], vectors: torch.Tensor, total: int) -> list[int]:
    """Choose at most `total` sentences, some of every family, and return their rows, family by family."""
    rows: dict[str, list[int]] = {}
    for row, family in enumerate(families.values()):
        rows.setdefault(family, []).append(row)
    quotas = shares({family: len(some) for family, some in rows.items()}, total)
    return [rows[family][i] for family in sorted(rows) for i in typical(vectors[rows[family]], quotas[family])]


def make_familiarity(
    model, processor, families: dict[str, str], total: int, num_neighbours: int, threshold: float | None = None
) -> Familiarity:
    """Choose and embed sentences, and, unless it is given, the threshold that tells the validation prompts apart.

    Args:
        model ([`LampForTextToMotion`]): the generator.
        processor ([`LampProcessor`]): its processor.
        families (`dict[str, str]`): the family of each caption.
        total (`int`): sentences to keep at most.
        num_neighbours (`int`): sentences whose cosine counts.
        threshold (`float`, *optional*): familiarity below which a prompt is warned of.
    """
    texts = list(families)
    vectors = embed(model.lamp, processor, shortened(texts, processor.tokenizer))
    rows = choose_sentences(families, vectors, total)
    known = [families[texts[row]] for row in rows]
    result = Familiarity([texts[row] for row in rows], known, vectors[rows], threshold or 0.0, num_neighbours)
    if threshold is None:
        prompts = read_prompts("val")
        scores = {name: np.array(result(embed(model.lamp, processor, some))[0]) for name, some in prompts.items()}
        result.threshold = choose_threshold(outside_of(scores))
    return result


def main(command_line: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="parquet file or folder in HumanML3D's layout")
    parser.add_argument("--skeleton", default="humanml3d", choices=["humanml3d", "kit"])
    parser.add_argument("--model", required=True, type=Path, help="folder of the generator, which gets the files")
    note = "of families, as the generator's recipe has them"
    parser.add_argument("--descriptions", metavar="FILE", help=note)
    note = "values of license_class, as the generator's recipe has them"
    parser.add_argument("--licenses-left-out", nargs="*", default=[], metavar="CLASS", help=note)
    parser.add_argument("--sentences", default=1300, type=int, help="that are kept at most")
    parser.add_argument("--num-neighbours", default=5, type=int, help="sentences whose cosine counts")
    parser.add_argument("--threshold", type=float, help="chosen on the validation prompts if not given")
    arguments = parser.parse_args(command_line)
    try:
        check_model(arguments.model, "--model", ("lamp_text_to_motion",))
        check_data(arguments.data, "train")
    except ValueError as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    model = AutoModel.from_pretrained(arguments.model).eval()
    processor = AutoProcessor.from_pretrained(arguments.model)
    dataset = load_motion_dataset(arguments.data, "train", arguments.skeleton)
    families = caption_families(without_licenses(dataset, arguments.licenses_left_out, check=True))
    if arguments.descriptions:
        families = with_descriptions(families, FamilyDescriptions(descriptions_file(arguments.descriptions)))
    counts = arguments.sentences, arguments.num_neighbours
    result = make_familiarity(model, processor, families, *counts, arguments.threshold)
    result.save_pretrained(arguments.model)
    kinds = len(set(result.families))
    print(f"{len(result.sentences)} sentences of {kinds} families, threshold {result.threshold:.2f}")


if __name__ == "__main__":
    main()
