r"""The measured numbers of a bundled model: all of them as tables, and the few that its card shows.

    python -m training.report lamp_small

writes `training/results/lamp_small/README.md` from the result files and the template in that folder, and
`lamp_hf/checkpoints/lamp_small/evaluation.json` from the result files as `evaluation.yaml` beside them lists. The card
then comes from `lamp-hf card lamp_hf/checkpoints/lamp_small`.

A section of the template between `<!-- if FILE > NAME -->` and `<!-- end -->` is there only if this was measured.
"""

import argparse
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

import lamp_hf
from lamp_hf.hub.cards import Measurements, format_rows, read_measurements


RESULTS = Path(__file__).with_name("results")
LAMP_WAYS = {"text_to_motion": "T2M", "motion_to_text": "M2T"}
LAVIMO_WAYS = {"forth": "→", "back": "←"}
_SECTION = re.compile(r"<!-- if (.+?) -->\n(.*?)<!-- end -->\n", re.DOTALL)


def summarise(folder: Path) -> dict:
    """Collect the numbers that evaluation.yaml of a folder of results lists.

    Args:
        folder (`Path`): result files and evaluation.yaml.

    Returns:
        `dict`: for each group its data, split, seed if there is one, command, protocol and numbers. A number that was
        measured with an interval is a dictionary of `value`, `low` and `high`.

    Raises:
        ValueError: when a number is missing, null or not finite, with its name.
    """
    groups = yaml.safe_load((folder / "evaluation.yaml").read_text(encoding="utf-8"))
    summary = {}
    for name, group in groups.items():
        measured = read_measurements(folder / group["file"])
        origin = {key: measured[key] for key in ("data", "split")}
        origin |= {"seed": measured["seed"]} if "seed" in measured else {}  # where something is drawn
        numbers = _collect(measured, group["numbers"])
        summary[name] = origin | {"command": group["command"], "protocol": group["protocol"]} | numbers
    return summary


def _collect(measured: Measurements, wanted: str | dict):
    if isinstance(wanted, dict):
        return {name: _collect(measured, path) for name, path in wanted.items()}
    *path, name = wanted.split(" > ")
    for key in path:
        measured = measured[key]
    if name not in measured.get("intervals", ()):
        return measured[name]
    low, high = measured["intervals"][name]
    return {"value": measured[name], "low": low, "high": high}


def render_results(folder: Path) -> str:
    """Fill the template of a folder of results with the tables of everything measured.

    Args:
        folder (`Path`): result files and template.md; its name is the model's.

    Returns:
        `str`: Markdown.

    Raises:
        ValueError: when a number is missing, null or not finite, with its name.
    """
    measured = {path.stem: read_measurements(path) for path in folder.glob("*.json")}
    values = Measurements(measured)
    template = (folder / "template.md").read_text(encoding="utf-8")
    template = _SECTION.sub(lambda found: found[2] if was_measured(values, found[1]) else "", template)
    wanted = {name: table for name, table in TABLES[folder.name].items() if f"{{{name}}}" in template}
    return template.format_map(Measurements(measured | {name: table(values) for name, table in wanted.items()}))


def was_measured(measured: Mapping, path: str) -> bool:
    """Tell whether there is a result file and, in it, what a path such as `retrieval > matching` names."""
    for key in path.split(" > "):
        if key not in measured:
            return False
        measured = measured[key]
    return True


def protocol_table(label: str, measured: Mapping[str, dict], ways: dict[str, str]) -> str:
    """Format every retrieval protocol of each similarity matrix, in both directions."""
    names = ["R@1", "R@2", "R@3", "R@5", "R@10", "MedR"]
    rows = [[label, "protocol", *(f"{short} {name}" for short in ways.values() for name in names)]]
    for kind, metrics in measured.items():
        for protocol, numbers in metrics.items():
            if isinstance(numbers, dict) and protocol != "by_action_and_style":
                cells = [format_recall(numbers[way], name) for way in ways for name in names]
                rows.append([kind, protocol.replace("_multi_positive", ", by caption").replace("_", " "), *cells])
    return format_rows(rows)


def label_table(label: str, measured: Mapping[str, dict], ways: dict[str, str]) -> str:
    """Format recall where all clips of the query's action and style count, and what the first hits show."""
    rows = [[label, *(f"{short} {name}" for short in ways.values() for name in ("R@1", "R@10"))]]
    shown = {
        "first_hit_family": "first hit: family",
        "first_hit_action": "first hit: action",
        "first_hit_action_and_style": "action and style",
    }
    if not all("first_hit_family" in metrics for metrics in measured.values()):
        del shown["first_hit_family"]
    rows[0] += shown.values()
    for kind, metrics in measured.items():
        numbers = metrics["by_action_and_style"]
        cells = [format_recall(numbers[way], name) for way in ways for name in ("R@1", "R@10")]
        hits = [f"{metrics[name]:.1f}" for name in shown]
        rows.append([kind, *cells, *hits])
    return format_rows(rows)


def format_recall(numbers: dict, name: str) -> str:
    """Format a recall, with its 95 % interval for R@1 and R@10, which are compared."""
    low, high = numbers["intervals"][name]
    return f"{numbers[name]:.1f}" + (f" [{low:.1f}, {high:.1f}]" if name in ("R@1", "R@10") else "")


def difference_table(measured: Measurements) -> str:
    """Format the paired differences between ways of scoring, with their intervals."""
    names = {"R@1": "R@1", "R@10": "R@10", "first_hit_family": "first hit: family"}
    differences = measured["retrieval"]["differences"]
    names = {
        name: label for name, label in names.items() if name in next(iter(differences.values()))["text_to_motion"]
    }
    rows = [["difference", *(f"{short} {label}" for short in LAMP_WAYS.values() for label in names.values())]]
    for compared, numbers in differences.items():
        rows.append([compared, *(format_difference(numbers[way], name) for way in LAMP_WAYS for name in names)])
    return format_rows(rows)


def format_difference(numbers: dict, name: str) -> str:
    """Format a difference with its sign and its 95 % interval."""
    low, high = numbers["intervals"][name]
    return f"{numbers[name]:+.1f} [{low:.1f}, {high:.1f}]"


def motion_index_table(measured: Measurements) -> str:
    """Format what a search in a `MotionIndex` finds, and how far it is from exact scores and from one stage."""
    numbers = measured["retrieval"]["motion_index"]
    names = {"R@1": "R@1", "R@10": "R@10", "first_hit_family": "first hit: family"}
    rows = [["", *names.values()], ["MotionIndex", *(f"{numbers[name]:.1f}" for name in names)]]
    for part, label in (("exact", "minus exact scores"), ("one_stage", "minus one stage")):
        rows.append([label, *(format_difference(numbers[f"{part}_difference"], name) for name in names)])
    return format_rows(rows)


def matching_table(measured: Measurements) -> str:
    """Format how well matching tells true pairs from hard wrong ones."""
    matching = measured["retrieval"]["matching"]
    rows = [["wrong pairs", "pairs", "balanced accuracy", "at the prior of training", "loss", "AUC"]]
    for kind, numbers in matching.items():
        accuracies = (f"{numbers[name]:.1f} %" for name in ("balanced_accuracy", "balanced_accuracy_at_prior"))
        others = (f"{numbers[name]:.3f}" for name in ("loss", "auc"))
        rows.append([kind, str(numbers["pairs"]), *accuracies, *others])
    return format_rows(rows)


def query_table(measured: Measurements) -> str:
    """Format how different the queries of a clip, and of a text, are."""
    shares = {"query": "the query", "clip": "the clip", "interaction": "both together"}
    head = ["queries after they read", "cosine", f"effective rank, of {measured['queries']['queries']}"]
    rows = [[*head, *(f"variance of {label}" for label in shares.values())]]
    for name, label in (("motion", "a motion"), ("text", "a text")):
        numbers = measured["queries"][name]
        cells = [f"{numbers['cosine']:.2f}", f"{numbers['rank']:.1f}", *(f"{numbers[share]:.2f}" for share in shares)]
        rows.append([label, *cells])
    return format_rows(rows)


def knockout_table(measured: Measurements) -> str:
    """Format what a generator makes without parts of its condition."""
    columns = {
        "generated": "families recognised, %",
        "ratio": "relative to real clips",
        "smallest": "worst family, %",
        "captions_right": "captions right by geometry, %",
        "frechet_ratio": "Fréchet ratio",
        "two_actions_space": "two actions at once, %",
        "two_actions_time": "two actions in turn, %",
    }
    knockouts = measured["knock_outs"]["knockouts"]
    columns = {name: label for name, label in columns.items() if name in next(iter(knockouts.values()))}
    digits = {"ratio": 2, "frechet_ratio": 2}
    rows = [["condition", *columns.values()]]
    for kind, numbers in knockouts.items():
        rows.append([kind, *(f"{numbers[name]:.{digits.get(name, 1)}f}" for name in columns)])
    return format_rows(rows)


def familiarity_table(measured: Measurements) -> str:
    """Format how well prompts like the training data are told from others."""
    numbers = measured["familiarity"]
    areas = {"auc": "all other prompts", "auc_human_actions": "other human actions"}
    rows = [["", ""], *([f"AUC, {label}", f"{numbers[name]:.3f}"] for name, label in areas.items())]
    warned = {
        "warned_inside": "prompts like the data",
        "warned_outside": "other prompts",
        "warned_paraphrases": "paraphrases of captions in new words",
    }
    rows += [[f"warned of: {label}", f"{numbers[name]:.1f} %"] for name, label in warned.items()]
    return format_rows(rows)


def action_table(measured: Measurements) -> str:
    """Format the share of captions and paraphrases that generated and real clips show, for each action."""
    columns = {"captions": "generated", "real": "real clips", "paraphrases": "paraphrases, generated"}
    shares = [measured["text_to_motion"][name]["by_action"] for name in columns]
    rows = [["action", *columns.values()]]
    rows += [
        [action, *(f"{column[action]:.0f}" if action in column else "" for column in shares)] for action in shares[0]
    ]
    return format_rows(rows)


def tokenizer_table(measured: Measurements) -> str:
    """Format the share of real clips that show their action, as they are and decoded from their codes."""
    shown = measured["tokenizer"]["shown"]
    rows = [["action", "real clips", "decoded from their codes"]]
    rows += [[action, f"{share:.0f}", f"{shown['decoded'][action]:.0f}"] for action, share in shown["real"].items()]
    return format_rows(rows)


def generation_table(measured: Measurements) -> str:
    """Format the literature's protocol of generation, mean ± 95 % interval."""
    columns = {
        "r_precision_1": "R@1",
        "r_precision_3": "R@3",
        "mm_dist": "MM-Dist",
        "fid": "FID",
        "diversity": "diversity",
        "multimodality": "multimodality",
    }
    rows = [["", *columns.values()]]
    for evaluator, kinds in measured["generation"].items():
        for kind, metrics in kinds.items() if isinstance(kinds, dict) else ():
            cells = [
                "{:.3f} ± {:.3f}".format(*(round(value, 3) + 0.0 for value in metrics[name]))
                if name in metrics  # a text has one real motion, hence no multimodality
                else ""
                for name in columns
            ]
            rows.append([f"{evaluator}: {kind}", *cells])
    return format_rows(rows)


def known_systems_table(measured: Measurements) -> str:
    """Format the report on each known system, with the 95 % intervals of the first hit and of the Fréchet distance."""
    columns = {
        ("text", "r_precision_1"): ("R@1 of 32", "{:.2f}"),
        ("text", "r_precision_3"): ("R@3 of 32", "{:.2f}"),
        ("text", "matching_distance"): ("MM-Dist", "{:.2f}"),
        ("text", "family_recognised"): ("family recognised", "{:.0f} %"),
        ("distribution", "frechet_distance"): ("FID", "{:.3f}"),
        ("distribution", "diversity"): ("diversity", "{:.2f}"),
        ("physics", "foot_skating_m_s"): ("skating, m/s", "{:.2f}"),
        ("physics", "jitter_m_s3"): ("jitter, m/s³", "{:.0f}"),
        ("physics", "bone_length_variation"): ("bones vary by", "{:.1%}"),
    }
    rows = [["", *(heading for heading, _ in columns.values())]]
    for system, report in measured["known_systems"]["systems"].items():
        cells = [form.format(report[section][name]) for (section, name), (_, form) in columns.items()]
        for column, (section, name) in enumerate(columns):
            if name in ("r_precision_1", "frechet_distance"):
                low, high = (columns[section, name][1].format(edge) for edge in report[section]["intervals"][name])
                cells[column] += f" [{low}, {high}]"
        rows.append([system, *cells])
    return format_rows(rows)


def length_table(measured: Measurements) -> str:
    """Format the share of motions that show their prompt, by length."""
    prompts = measured["geometry"]["lengths"]["by_prompt"]
    rows = [["prompt", *next(iter(prompts.values()))]]
    rows += [[prompt, *(f"{share:.0f}" for share in shares.values())] for prompt, shares in prompts.items()]
    return format_rows(rows)


def captioning_table(measured: Measurements) -> str:
    """Format the captioner's scores beside those of the nearest neighbour and of a reference caption."""
    evaluation = measured["captioning"]
    columns = [evaluation[name] for name in ("captioner", "nearest_neighbour", "reference")]
    rows = [["", "captioner", "nearest neighbour", "reference"]]
    rows += [
        [f"{name.replace('_', '-').upper().replace('CIDER', 'CIDEr')}, {convention}",
         *(f"{column[convention][name]:.1f}" for column in columns)]
        for convention in ("raw", "lemmas")
        for name in ("bleu_1", "bleu_4", "rouge_l", "cider")
    ]  # fmt: skip
    rows.append(["BERTScore", *(f"{column['bertscore']:.1f}" for column in columns)])
    for name, label in (("r_precision_1", "R-precision 1"), ("r_precision_3", "R-precision 3")):
        rows.append([f"{label}, raw", *(f"{column['raw'][name]:.1f}" for column in columns)])
    rows.append(["MM-Dist, raw", *(f"{column['raw']['mm_dist']:.3f}" for column in columns)])
    shares = {
        "action": "action right, well-covered actions, %",
        "action_of_all": "action right, all, %",
        "side": "side right where there is one, %",
        "style_named": "names a style, %",
        "style": "style right where it names one, %",
    }
    rows += [[label, *(f"{column[name]:.1f}" for column in columns)] for name, label in shares.items()]
    for fact in evaluation["captioner"]["facts"]:
        facts = [column["facts"][fact] for column in columns]
        label = "two facts or more" if fact == "several" else fact
        rows.append(
            [f"states {label}, %; of these right, %", *(f"{f['stated']:.1f}; {f['right']:.1f}" for f in facts)]
        )
    return format_rows(rows)


def lamp_bertscore_table(measured: Measurements) -> str:
    """Format LaMP-BertScore of generated motion, with its upper bound and its floors."""
    columns = [measured["lamp_bertscore"][name] for name in ("one_reference", "all_references")]
    rows = [["motion", "against that caption", "against all six"]]
    for kind in columns[0]:
        cells = ["{mean:.1f} [{low:.1f}, {high:.1f}]".format_map(column[kind]) for column in columns]
        rows.append([kind.replace("_", " "), *cells])
    return format_rows(rows)


def other_renderer_table(measured: Measurements) -> str:
    """Format video to motion for videos of another renderer."""
    names = ["R@1", "R@3", "R@10", "MedR"]
    rows = [["videos", *names, "R@1 in batches of 32"]]
    for kind, numbers in measured["retrieval"]["other_renderer"].items():
        if isinstance(numbers, dict):
            cells = [format_recall(numbers["among_all"], name) for name in names]
            rows.append([kind, *cells, format_recall(numbers["small_batches"], "R@1")])
    return format_rows(rows)


TABLES: dict[str, dict[str, Callable[[Measurements], str]]] = {
    "lamp_small": {
        "action_table": action_table,
        "tokenizer_table": tokenizer_table,
        "generation_table": generation_table,
        "known_systems_table": known_systems_table,
        "length_table": length_table,
        "protocol_table": lambda m: protocol_table("scoring", m["retrieval"]["scorings"], LAMP_WAYS),
        "label_table": lambda m: label_table("scoring", m["retrieval"]["scorings"], LAMP_WAYS),
        "difference_table": difference_table,
        "motion_index_table": motion_index_table,
        "matching_table": matching_table,
        "query_table": query_table,
        "knockout_table": knockout_table,
        "familiarity_table": familiarity_table,
        "pretraining_variants": lambda m: protocol_table("variant", m["pretraining_ablations"]["scorings"], LAMP_WAYS),
        "wrong_paraphrases": lambda m: "\n".join(f"* {t}" for t in m["text_to_motion"]["paraphrases"]["wrong"]),
        "wrong_prompts": lambda m: "\n".join(f"* {prompt}" for prompt in m["composition"]["wrong"]),
    },
    "lamp_small_captioning": {
        "captioning_table": captioning_table,
        "lamp_bertscore_table": lamp_bertscore_table,
        "examples": lambda m: format_rows([["clip", "caption"], *map(list, m["captioning"]["examples"].items())]),
    },
    "lavimo_small": {
        "protocol_table": lambda m: protocol_table("pair", m["retrieval"]["pairs"], LAVIMO_WAYS),
        "label_table": lambda m: label_table("pair", m["retrieval"]["pairs"], LAVIMO_WAYS),
        "other_renderer_table": other_renderer_table,
    },
}


def main() -> None:
    """Write the tables and the summary of one model's results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=TABLES, help="name of its folders of results and of weights")
    folder = RESULTS / parser.parse_args().model
    summary = json.dumps(summarise(folder), indent=2, ensure_ascii=False) + "\n"
    tables = render_results(folder)
    (Path(lamp_hf.bundled()).parent / folder.name / "evaluation.json").write_text(summary, encoding="utf-8")
    (folder / "README.md").write_text(tables, encoding="utf-8")


if __name__ == "__main__":
    main()
