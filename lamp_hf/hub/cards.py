"""Cards of models: templates in `hub_cards/`, filled with measured numbers; one that is missing is no card."""

import json
import math
from collections.abc import Iterable
from pathlib import Path

import lamp_hf


# Inside the package where it is installed, beside it in a checkout.
TEMPLATES = next(
    folder
    for folder in (Path(__file__).parents[1] / "hub_cards", Path(__file__).parents[2] / "hub_cards")
    if folder.is_dir()
)

# How a card calls its model: by name in the package, by repository on the Hub.
BUNDLED = {
    "lamp_small": "lamp_hf.bundled()",
    "lamp_small_captioning": 'lamp_hf.bundled("captioning")',
    "lavimo_small": '"bundled:video"',
}
TRUST = """
The code lies in this repository, which `trust_remote_code` lets run. Where the package `lamp_hf` is installed, `import
lamp_hf` does without it, and reads and writes files of motions; else they are arrays, joints [n, 22, 3] in metres.
"""

# The JSON files that a card is made of, beside evaluation.json, which names its task.
NEEDED = {
    "text-to-motion": (
        "tokenizer_evaluation", "composition", "seams", "generation", "retrieval", "retrieval_ablations",
        "pretraining_ablations", "moments", "ablations",
    ),
    "captioning": ("lamp_bertscore", "ablations"),
    "lavimo": ("ablations",),
}  # fmt: skip

ABLATIONS = """## Why it is built so

{table}

{steps} steps each, on unmirrored clips and captions as they are, seed 0, everything else alike; measured on the
validation split (`training/ablations.py`). So small a budget ranks variants at best."""
GENERATION = """### The literature's protocol

{repeats} repeats of the test split, one caption a clip, batches of 32, mean ± 95 % interval
(`training/evaluate.py generation`). Evaluators: LaMP itself, which conditions this generator, and one trained on real
motion only; none is the literature's, so these numbers compare with nothing published.

{table}
"""
COMPOSITION = """### Two things at once, or one after the other

40 prompts of our own (`training/evaluation/composed_prompts.yaml`), {seeds} seeds each, by geometry
(`training/evaluate.py composition`): both are shown in {space:.0f} % of prompts of things at once (5 s; the body
must go on while the hands are up) and in {time:.0f} % of those in a row (8 s; each in its own part and not in the
other). With `mode="sequence"`,
which splits a sentence where it says "then" and the like, {sequence:.0f} % of those in a row. Aim: 80 %. Of real test
clips put together the same two ways, this judge finds both in {real[space]:.0f} % and {real[time]:.0f} %.
"""
SEAMS = """Text after text (`mode="sequence"`), {sequences} random sequences of three captions of 3 s each
(`training/evaluate.py seams`): {seams} seams, of which {within_percent[acceleration_m_s2]:.1f} % have no larger
acceleration and {within_percent[turn_degrees_per_frame]:.1f} % no larger turn than the 99th percentile of spans of
real clips ({99th_percentile_of_real[acceleration_m_s2]:.0f} m/s² and
{99th_percentile_of_real[turn_degrees_per_frame]:.1f} degrees a frame; at seams
{99th_percentile[acceleration_m_s2]:.0f} and {99th_percentile[turn_degrees_per_frame]:.1f}). Of 100 test clips whose
middle third was made anew (`motion`, `keep`), {edits[within_percent][acceleration_m_s2]:.1f} % and
{edits[within_percent][turn_degrees_per_frame]:.1f} % of both seams.
"""
RETRIEVAL = """## Retrieval

{clips} test clips, first captions, seed 0 (`training/evaluate.py retrieval`); R@k in percent, 95 % intervals
in brackets from 1,000 bootstrap samples. By pair, only a clip's own caption counts; by caption, all clips of an equal
one. `threshold` counts captions of a cosine over 0.9 as right, `dissimilar` takes the 100 captions that are least
alike, small batches are TMR's of 32. "max" scores by the best query (LaMP's training), "mean" by the mean of queries
(one vector a motion, what `MotionIndex` holds), "euclidean" as the released code does; "re-ranked" adds the matching
head's log-odds for the best {k} of each text and motion.

{table}

Clips that share action and style counted as right, and what the first hit of a text has right:

{labels}

{moments}

{ablations}

{pretraining}"""
MOMENTS = """Moments (`training/evaluate.py moments`): {recordings} recordings of six test clips one after another,
{mean_seconds:.0f} s on average; of {captions} captions the best window has its middle in the clip for
{found[middle in the clip]:.1f} % (a random window: {chance[middle in the clip]:.1f}), an IoU of 0.3 for
{found[IoU of 0.3]:.1f} % ({chance[IoU of 0.3]:.1f}), of 0.5 for {found[IoU of 0.5]:.1f} %
({chance[IoU of 0.5]:.1f})."""
RETRIEVAL_ABLATIONS = """Variants, {steps} steps each, on unmirrored clips and captions as they are, seed 0, everything
else alike; test split, scored by the mean of queries (`training/ablations.py retrieval`). The last row has no LaMP in
it: a frozen sentence embedding, a summary of the tokenizer's latents, TMR's filtered contrastive loss, the same
budget.

{table}

{protocols}"""
PRETRAINING_ABLATIONS = """Pretraining with objectives left out, {steps} steps from the start, on unmirrored clips and
captions as they are, without the summary and the stage that trains the heads, seed 0; {split} split, by the mean of
queries (`training/ablations.py pretraining`). So small a budget ranks variants at best; here it tells none apart.

{table}

{protocols}"""
LAVIMO_ABLATIONS = """Variants, {steps} steps each, captions as they are, seed 0, everything else alike; {split} split
(`training/ablations.py lavimo`). Between texts and others equal captions are no
negatives in any row. The bundled model is the first row, with
paraphrases, trained to the end.

{table}"""
FOREIGN = """Another style: {films} test clips, filmed by a path tracer (Mitsuba; soft shadows, tiled floor, patterned
walls, another body, portrait of 126 by 224 pixels, 16 pictures a clip, `training/video/render_mitsuba.py`), film to
motion among all {motions} clips, and in batches of 32 of the filmed ones; then the same films compressed hard
(H.264, CRF 38), stored lying with a rotation tag, and with an eighth cut off above and below and more at the sides.

{table}"""


class Measured(dict):
    """Numbers of an evaluation that name themselves where one is missing."""

    def __init__(self, values: dict, path: str):
        super().__init__({key: wrapped(value, f"{path}[{key}]") for key, value in values.items()})
        self.path = path

    def __missing__(self, key):
        raise ValueError(f"the card needs {self.path}[{key}], which was not measured")


def read_numbers(folder: Path, name: str) -> Measured:
    if not (folder / f"{name}.json").is_file():
        raise ValueError(f"{folder} has no {name}.json: a card without measured numbers is not written")
    return wrapped(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")), name)


def wrapped(value, path: str):
    """A value of a JSON file; a null or NaN anywhere in it is refused."""
    if isinstance(value, dict):
        return Measured(value, path)
    if isinstance(value, list):
        return [wrapped(entry, f"{path}[{i}]") for i, entry in enumerate(value)]
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"the card needs {path}, which was not measured")
    return value


def render(folder: Path, repository: str | None = None) -> str:
    """The card of a bundled model: its template in `hub_cards/`, filled with the numbers of the JSON files beside it.

    Args:
        folder (`Path`): weights and what `training/evaluate.py` wrote.
        repository (`str`, *optional*): `user/name` on the Hub that the card is for; the package if not given.

    Raises:
        ValueError: when a number is missing, by its name.
    """
    path = TEMPLATES / f"{folder.name}.md"
    if path.stem not in known():
        raise ValueError(f"no card template named {path.name}; known: {', '.join(sorted(known()))}")
    task = read_numbers(folder, "evaluation")["task"]
    values = {name: read_numbers(folder, name) for name in ("evaluation", *NEEDED[task])}
    numbers = {
        "evaluation": values["evaluation"],
        "import": "" if repository else "import lamp_hf\n",
        "model": f'"{repository}"' if repository else BUNDLED[path.stem],
        "trusted": f'"{repository}", trust_remote_code=True' if repository else BUNDLED[path.stem],
        "trust": TRUST if repository else "",
        "size": sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e6,
    }
    fill = {"text-to-motion": text_to_motion, "captioning": captioning, "lavimo": lavimo}
    numbers |= fill[task](values)
    return path.read_text(encoding="utf-8").format(**numbers)


def table_of_numbers(folder: Path) -> str:
    """Every number of a folder's evaluation.json, for the card of a model that has no template.

    Raises:
        ValueError: when there is none, or one is null or NaN.
    """
    numbers = dict(_leaves(read_numbers(folder, "evaluation")))
    if not any(isinstance(value, (int, float)) for value in numbers.values()):
        raise ValueError(f"{folder / 'evaluation.json'} holds no number: measure by training.evaluate")
    rows = [["measured", ""], ["---", "---"]]
    rows += [[name, f"{value:.4g}" if isinstance(value, float) else str(value)] for name, value in numbers.items()]
    return f"## Measured\n\n{lines(rows)}\n"


def _leaves(values: dict, path: tuple[str, ...] = ()) -> Iterable[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, name))
        elif not isinstance(value, list):
            yield ", ".join((*path, name)).replace("_", " "), value


def known() -> list[str]:
    return [path.stem for path in TEMPLATES.glob("*.md") if path.stem != "dataset"]


def text_to_motion(values: dict) -> dict:
    evaluation, tokenizer = values["evaluation"], values["tokenizer_evaluation"]
    by_action = evaluation["captions"]["by_action"]
    return {
        "tokenizer": tokenizer,
        "codes": 100 * tokenizer["codes_used"],
        "skating": evaluation["physics"]["skating_ratio"],
        "by_action": ", ".join(f"{action} {share:.0f}" for action, share in by_action.items()),
        "wrong": "; ".join(f"“{text}”" for text in evaluation["paraphrases"]["wrong"]),
        "generation": generation(values["generation"]),
        "composition": COMPOSITION.format_map(values["composition"]),
        "seams": SEAMS.format_map(values["seams"]),
        "retrieval": retrieval(values),
        "ablations": ABLATIONS.format_map(values["ablations"]),
    }


def retrieval(values: dict) -> str:
    evaluation = values["retrieval"]
    ways = {"text_to_motion": "T2M", "motion_to_text": "M2T"}
    return RETRIEVAL.format(
        clips=evaluation["clips"],
        k=evaluation["rerank"],
        table=protocol_table("scoring", evaluation["scorings"], ways),
        labels=label_table("scoring", evaluation["scorings"], ways),
        moments=MOMENTS.format_map(values["moments"]),
        ablations=RETRIEVAL_ABLATIONS.format(**_variants(values["retrieval_ablations"], ways)),
        pretraining=PRETRAINING_ABLATIONS.format(**_variants(values["pretraining_ablations"], ways)),
    )


def _variants(ablations: dict, ways: dict[str, str]) -> dict:
    """A retrieval study with a table of all protocols, folded away."""
    table = protocol_table("variant", ablations["scorings"], ways)
    summary = "<summary>Every protocol, both ways</summary>"
    return ablations | {"protocols": f"<details>{summary}\n\n{table}\n\n</details>"}


def lavimo(values: dict) -> dict:
    evaluation = values["evaluation"]
    ways = {"forth": "→", "back": "←"}
    return {
        "table": protocol_table("pair", evaluation["pairs"], ways),
        "labels": label_table("pair", evaluation["pairs"], ways),
        "beside_lamp": beside_lamp(evaluation["pairs"]["text / motion"]),
        "foreign": foreign(evaluation["foreign_films"]),
        "ablations": LAVIMO_ABLATIONS.format_map(values["ablations"]),
    }


def beside_lamp(lavimo: dict) -> str:
    """Text to motion of both bundled models."""
    path = Path(lamp_hf.bundled()) / "retrieval.json"
    lamp = json.loads(path.read_text())["scorings"]["mean"]
    rows = [["text to motion", "R@1", "R@10", "R@1 in batches of 32", "first hit: action", "action and style"]]
    rows.append(["---"] * len(rows[0]))
    for name, metrics, way in (("lavimo-small", lavimo, "forth"), ("lamp-small", lamp, "text_to_motion")):
        everything, batches = metrics["all"][way], metrics["small_batches"][way]
        cells = [recall(everything, "R@1"), recall(everything, "R@10"), recall(batches, "R@1")]
        hits = [percent(metrics[key]) for key in ("first_hit_action", "first_hit_action_and_style")]
        rows.append([name, *cells, *hits])
    return lines(rows)


def foreign(films: dict) -> str:
    names = ["R@1", "R@3", "R@10", "MedR"]
    rows = [["films", *names, "R@1 in batches of 32"], ["---"] * (len(names) + 2)]
    for kind, numbers in films.items():
        if isinstance(numbers, dict):
            everything, batches = numbers["among_all"], numbers["small_batches"]
            rows.append([kind, *(recall(everything, name) for name in names), recall(batches, "R@1")])
    return FOREIGN.format(films=films["films"], motions=films["motions"], table=lines(rows))


def protocol_table(what: str, measured: dict[str, dict], ways: dict[str, str]) -> str:
    """Every protocol of each similarity matrix, both ways."""
    names = ["R@1", "R@2", "R@3", "R@5", "R@10", "MedR"]
    rows = [[what, "protocol", *(f"{short} {name}" for short in ways.values() for name in names)]]
    rows.append(["---"] * len(rows[0]))
    for kind, metrics in measured.items():
        for protocol, numbers in metrics.items():
            if isinstance(numbers, dict) and protocol != "by_action_and_style":
                cells = [recall(numbers[way], name) for way in ways for name in names]
                rows.append([kind, protocol.replace("_multi_positive", ", by caption").replace("_", " "), *cells])
    return lines(rows)


def label_table(what: str, measured: dict[str, dict], ways: dict[str, str]) -> str:
    """The same by action and style, and what first hits have."""
    rows = [[what, *(f"{short} {name}" for short in ways.values() for name in ("R@1", "R@10"))]]
    rows[0] += ["first hit: action", "action and style"]
    rows.append(["---"] * len(rows[0]))
    for kind, metrics in measured.items():
        numbers = metrics["by_action_and_style"]
        cells = [recall(numbers[way], name) for way in ways for name in ("R@1", "R@10")]
        hits = [percent(metrics[name]) for name in ("first_hit_action", "first_hit_action_and_style")]
        rows.append([kind, *cells, *hits])
    return lines(rows)


def recall(numbers: dict, name: str) -> str:
    """With its interval where it is one of those that are compared."""
    low, high = numbers["intervals"][name]
    return f"{numbers[name]:.1f}" + (f" [{low:.1f}, {high:.1f}]" if name in ("R@1", "R@10") else "")


def generation(values: dict) -> str:
    columns = {
        "r_precision_1": "R@1",
        "r_precision_3": "R@3",
        "mm_dist": "MM-Dist",
        "fid": "FID",
        "diversity": "diversity",
        "multimodality": "multimodality",
    }
    rows = [["", *columns.values()], ["---"] * (len(columns) + 1)]
    for evaluator, kinds in values.items():
        if isinstance(kinds, dict):
            for kind, metrics in kinds.items():
                cells = [
                    "{:.3f} ± {:.3f}".format(*(round(value, 3) + 0.0 for value in metrics[name]))
                    if (kind, name) != ("real", "multimodality")  # a text has one real motion
                    else ""
                    for name in columns
                ]
                rows.append([f"{evaluator}: {kind}", *cells])
    return GENERATION.format(repeats=values["repeats"], table=lines(rows))


def captioning(values: dict) -> dict:
    evaluation = values["evaluation"]
    columns = [evaluation[name] for name in ("captioner", "nearest_neighbour", "reference")]
    rows = [
        [f"{name.replace('_', '-').upper().replace('CIDER', 'CIDEr')}, {convention}",
         *(f"{column[convention][name]:.1f}" for column in columns)]
        for convention in ("raw", "lemmas")
        for name in ("bleu_1", "bleu_4", "rouge_l", "cider")
    ]  # fmt: skip
    rows.append(["BERTScore", *(f"{column['bertscore']:.1f}" for column in columns)])
    for name, label in (("r_precision_1", "R-precision 1"), ("r_precision_3", "R-precision 3")):
        rows.append([f"{label}, raw", *(f"{column['raw'][name]:.1f}" for column in columns)])
    rows.append(["MM-Dist, raw", *(f"{column['raw']['mm_dist']:.3f}" for column in columns)])
    stated = {"action": "action right, well-covered actions, %", "action_of_all": "action right, all, %",
              "side": "side right where there is one, %", "style_named": "names a style, %",
              "style": "style right where it names one, %"}  # fmt: skip
    rows += [[label, *(percent(column[name]) for column in columns)] for name, label in stated.items()]
    for fact in evaluation["captioner"]["facts"]:
        cells = [", ".join(percent(column["facts"][fact][name]) for name in ("stated", "right")) for column in columns]
        name = "two facts or more" if fact == "several" else fact
        rows.append([f"states {name}, %, of these right, %", *cells])
    scores = values["lamp_bertscore"]
    kinds = scores["one_reference"]
    return {
        "ablations": ABLATIONS.format_map(values["ablations"]),
        "rows": lines(rows),
        "bertscore_rows": lines(
            [
                kind.replace("_", " "),
                *(
                    "{mean:.1f} [{low:.1f}, {high:.1f}]".format(**scores[references][kind])
                    for references in ("one_reference", "all_references")
                ),
            ]
            for kind in kinds
        ),
    }


def percent(value: float) -> str:
    return f"{value:.1f}"


def lines(rows: Iterable[list[str]]) -> str:
    """Of a table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
