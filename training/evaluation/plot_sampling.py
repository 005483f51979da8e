r"""Plot the numbers of `training.evaluate sampling` and `training.ablations text-to-motion`.

python -m training.evaluation.plot_sampling --sampling sampling.json --ablations runs/ablations \
    --output docs/sampling.png
"""

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt


CURVES = {"captions": "captions right", "paraphrases": "paraphrases right", "action": "action", "style": "style"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sampling", required=True, type=Path, help="JSON that `training.evaluate sampling` wrote")
    parser.add_argument(
        "--ablations", required=True, type=Path, help="folder that `training.ablations text-to-motion` wrote"
    )
    parser.add_argument("--output", required=True, type=Path, help="PNG file to write")
    arguments = parser.parse_args()
    numbers = json.loads(arguments.sampling.read_text())
    figure, axes = plt.subplots(2, 3, figsize=(13, 7), constrained_layout=True)
    plot_steps(axes[0, 0], axes[1, 0], numbers["steps"])
    plot_guidance(axes[0, 1], axes[1, 1], numbers["guidance"])
    plot_attention(axes[0, 2], axes[1, 2], arguments.ablations)
    figure.savefig(arguments.output, dpi=80)


def plot_steps(quality, cost, rows: list[dict]) -> None:
    """Plot quality, and ratios and time, against the number of steps."""
    steps = [row["num_inference_steps"] for row in rows]
    for name, label in CURVES.items():
        quality.plot(steps, [row[name] for row in rows], marker=".", label=label)
    quality.set(xlabel="steps", ylabel="%", title="Quality against steps", ylim=(60, 100))
    quality.legend(loc="lower right")
    cost.plot(steps, [row["frechet_ratio"] for row in rows], marker=".", label="Fréchet ratio")
    cost.plot(steps, [row["skating_ratio"] for row in rows], marker=".", label="skating ratio")
    cost.plot(steps, [10 * row["seconds"] for row in rows], marker=".", label="tenths of a second for 6 s")
    cost.set(xlabel="steps", title="Similarity to real clips, and time", ylim=(0, 4))
    cost.legend()


def plot_guidance(quality, similarity, rows: list[dict]) -> None:
    """Plot paraphrases and Fréchet ratio against the guidance scale, one curve an interval."""
    unguided = [row for row in rows if row["guidance_scale"] == 1]
    for interval in sorted({tuple(row["guidance_interval"]) for row in rows}):
        guided = [row for row in rows if tuple(row["guidance_interval"]) == interval and row["guidance_scale"] != 1]
        chosen, steps = unguided + guided, "steps {:.0%} to {:.0%}".format(*interval)
        scales = [row["guidance_scale"] for row in chosen]
        quality.plot(scales, [row["paraphrases"] for row in chosen], marker=".", label=f"{steps}, paraphrases")
        similarity.plot(scales, [row["frechet_ratio"] for row in chosen], marker=".", label=steps)
    quality.set(xlabel="guidance", ylabel="%", title="Paraphrases right against guidance")
    quality.legend()
    similarity.set(xlabel="guidance", title="Fréchet ratio against guidance")
    similarity.legend()


def plot_attention(ranks, quality, folder: Path) -> None:
    """Plot effective rank by layer, and quality as bars, for each attention mode."""
    found = sorted(folder.glob("words__*/val.json"))  # these differ in the attention mode only
    if not found:
        raise ValueError(f"{folder} holds no variants of the attention mode")
    results = {path.parent.name.split("__")[1].rpartition("_")[0]: json.loads(path.read_text()) for path in found}
    for mode, numbers in results.items():
        values = numbers["attention_effective_rank"]
        ranks.plot(range(1, len(values) + 1), values, marker=".", label=mode)
    ranks.set(xlabel="layer", title="Effective rank of attention maps", ylim=(0, None))
    ranks.legend()
    names = {"captions": "well_covered", "paraphrases": "all"}
    width = 0.8 / max(len(results), 1)
    for i, (mode, numbers) in enumerate(results.items()):
        heights = [numbers[name][key] for name, key in names.items()] + [numbers["evaluator"]["action"]]
        quality.bar([x + i * width for x in range(3)], heights, width, label=mode)
    quality.set_xticks([x + width for x in range(3)], ["captions", "paraphrases", "action"])
    quality.set(ylabel="%", title="Quality by attention", ylim=(0, 100))
    quality.legend()


if __name__ == "__main__":
    main()
