"""The judge of folders itself, on systems whose order is known: real clips, a model, nearest clips, others, noise."""

import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lamp_hf.data.tables import write_csv
from lamp_hf.evaluators.sentence_embeddings import sentence_embeddings
from lamp_hf.fingerprint import fingerprint
from lamp_hf.metrics.folder_report import evaluate_folder
from lamp_hf.motion.files import write_atomically

from ..data import Clips, load_clips, shortened
from ..text_encoder import resolve_text_encoder
from ..train_evaluator import load_evaluator
from .options import add_decoding, add_evaluator, add_seed, add_sentence_encoder
from .text_to_motion import load_generator


MARKS = ("<!-- baselines -->", "<!-- /baselines -->")
LEAST = 32  # prompts: a batch of R-precision
COLUMNS = {  # of the table: section, number, heading, digits
    ("text", "r_precision_1"): ("R@1 of 32", 2),
    ("text", "R@1"): ("R@1 of all", 1),
    ("text", "matching_distance"): ("MM-Dist", 2),
    ("text", "sides_right"): ("right side", 0),
    ("distribution", "frechet_distance"): ("FID", 3),
    ("distribution", "diversity"): ("diversity", 2),
    ("physics", "foot_skating_m_s"): ("skating m/s", 2),
    ("physics", "jitter_m_s3"): ("jitter m/s³", 0),
}


def add_arguments(parser: ArgumentParser) -> None:
    add_evaluator(parser, required=True)
    add_sentence_encoder(parser)
    parser.add_argument("--prompts", default=200, type=int, help="clips whose first captions are the prompts")
    note = "page in Markdown, whose table between the marks <!-- baselines --> and <!-- /baselines --> is replaced"
    parser.add_argument("--page", type=Path, help=note)
    add_seed(parser)
    add_decoding(parser)


def evaluate(arguments: Namespace) -> dict:
    """Return the report of each system on the same prompts, without samples, and a table.

    Half of the drawn clips give prompts and lengths, the other half is the real motion that FID compares with.

    Raises:
        ValueError: when the split has too few clips.
    """
    clips, training = load_clips(arguments), load_clips(arguments, "train")
    count = min(arguments.prompts, len(clips) // 2)
    if count < LEAST:
        raise ValueError(f"{len(clips)} clips are too few: {LEAST} prompts and as many real motions are needed")
    order = np.random.default_rng(arguments.seed).permutation(len(clips))
    rows, others = order[:count], order[count : 2 * count]
    judge = load_evaluator(arguments.evaluator)
    reports = {}
    with tempfile.TemporaryDirectory() as folder:
        real, prompts = Path(folder) / "reference", Path(folder) / "prompts.csv"
        write_motions(real, [clips.motions[row] for row in others])
        texts = [clips.captions[row][0] for row in rows]
        write_csv(prompts, ["name", "text"], [{"name": f"{i:04d}", "text": text} for i, text in enumerate(texts)])
        for name, motions in systems(arguments, clips, training, rows, texts):
            made = Path(folder) / name.replace(" ", "-")
            write_motions(made, motions)
            report = evaluate_folder(made, prompts, real, seed=arguments.seed, evaluator=judge,
                                     training_captions=training.distinct_captions())  # fmt: skip
            reports[name] = {key: value for key, value in report.items() if key not in ("samples", "broken")}
    numbers = {"prompts": count, "evaluator": fingerprint(arguments.evaluator), "systems": reports}
    if arguments.page:
        where = f"{count} prompts of {arguments.data.name}, {arguments.split} split, seed {arguments.seed}"
        write_table(arguments.page, f"{table(reports)}\n\n{where}: `evaluate baselines`.")
    return numbers


def write_table(page: Path, content: str) -> None:
    """Replace what stands between a page's marks."""
    before, _, rest = page.read_text(encoding="utf-8").partition(MARKS[0])
    _, found, after = rest.partition(MARKS[1])
    if not found:
        raise ValueError(f"{page} has no marks {' and '.join(MARKS)}")
    text = f"{before}{MARKS[0]}\n\n{content}\n\n{MARKS[1]}{after}"
    write_atomically(page, lambda path: path.write_text(text, encoding="utf-8"))


def write_motions(folder: Path, motions: list[np.ndarray]) -> None:
    """Write features as the files that `lamp-hf evaluate` reads from any system."""
    folder.mkdir()
    for i, motion in enumerate(motions):
        np.save(folder / f"{i:04d}.npy", motion.astype(np.float32))


def systems(
    arguments: Namespace, clips: Clips, training: Clips, rows: np.ndarray, texts: list[str]
) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Yield the systems' names and their motions, features `(num_frames, num_features)`, from best to worst."""
    rng = np.random.default_rng((arguments.seed, 1))
    lengths = [int(clips.lengths[row]) for row in rows]
    yield "real clips", [clips.motions[row] for row in rows]
    pipe = load_generator(arguments)
    durations = [min(length / pipe.fps, pipe.max_duration) for length in lengths]
    seeds = [arguments.seed + i for i in range(len(rows))]
    read = shortened(texts, pipe.processor.tokenizer)
    yield (
        arguments.model.name,
        [output["features"] for output in pipe(read, duration=durations, seed=seeds, batch_size=32)],
    )
    encoder = resolve_text_encoder(arguments.sentence_encoder)
    ours, known = (sentence_embeddings(some, encoder) for some in (texts, [some[0] for some in training.captions]))
    nearest = (ours @ known.T).argmax(1).tolist()
    yield "nearest training clips", [training.motions[row] for row in nearest]
    yield "other training clips", [training.motions[row] for row in rng.permutation(len(training))[: len(rows)]]
    frames = np.concatenate(training.motions[:500])
    mean, std = frames.mean(0), frames.std(0)
    yield "noise", [mean + std * rng.standard_normal((length, len(mean))) for length in lengths]


def table(reports: dict[str, dict]) -> str:
    """Format the reports in Markdown, a row for each system."""
    heads = [head for head, _ in COLUMNS.values()]
    lines = [f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for name, report in reports.items():
        cells = [
            f"{report[section][number]:.{digits}f}" if number in report.get(section, {}) else ""
            for (section, number), (_, digits) in COLUMNS.items()
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
