"""`training.report`: tables of every result, and the summary that goes with a bundled model."""

import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import damage_number

import lamp_hf
from training.report import RESULTS, TABLES, render_results, summarise


@pytest.mark.parametrize("model", TABLES)
def test_the_committed_tables_hold_the_committed_results(model):
    assert render_results(RESULTS / model) == (RESULTS / model / "README.md").read_text()


@pytest.mark.parametrize("model", TABLES)
def test_the_bundled_summary_holds_the_committed_results(model):
    bundled = Path(lamp_hf.bundled()).parent / model / "evaluation.json"
    summary = summarise(RESULTS / model)
    assert summary == json.loads(bundled.read_text())
    for group in summary.values():
        assert group["split"] == "test" and group["data"] and group["seed"] == 0
        assert group["command"].startswith("python -m training.evaluate ") and group["protocol"]


NUMBERS = [
    ("lamp_small", "text_to_motion", "physics", "skating_metres_per_second"),
    ("lamp_small", "text_to_motion", "captions", "well_covered"),
    ("lamp_small", "composition", "space"),
    ("lamp_small", "transitions", "within_percent", "acceleration_m_s2"),
    ("lamp_small", "temporal_localization", "recordings"),
    ("lamp_small", "retrieval", "scorings", "mean", "first_hit_action"),
    ("lamp_small", "retrieval", "scorings", "mean", "all", "text_to_motion", "R@1"),
    ("lamp_small", "ablations", "table"),
    ("lamp_small_captioning", "captioning", "captioner", "action"),
    ("lamp_small_captioning", "lamp_bertscore", "all_references"),
    ("lavimo_small", "retrieval", "foreign_films", "compressed", "among_all", "R@1"),
    ("lavimo_small", "retrieval", "pairs", "text / motion", "first_hit_action"),
]


@pytest.mark.parametrize("damage", ["missing", "null", "nan"])
@pytest.mark.parametrize(("model", "file", "names"), [(model, file, names) for model, file, *names in NUMBERS])
def test_tables_without_a_number_are_refused_by_the_numbers_name(tmp_path, model, file, names, damage):
    folder = tmp_path / model
    shutil.copytree(RESULTS / model, folder)
    numbers = json.loads((folder / f"{file}.json").read_text())
    damage_number(numbers, names, damage)
    (folder / f"{file}.json").write_text(json.dumps(numbers))
    with pytest.raises(ValueError, match=re.escape(file + "".join(f"[{name}]" for name in names))):
        render_results(folder)


@pytest.mark.parametrize("file", ["text_to_motion", "generation", "retrieval"])
def test_tables_without_a_result_file_are_refused_by_its_name(tmp_path, file):
    folder = tmp_path / "lamp_small"
    shutil.copytree(RESULTS / "lamp_small", folder)
    (folder / f"{file}.json").unlink()
    with pytest.raises(ValueError, match=f"needs {file}, which was not measured"):
        render_results(folder)


def test_sections_of_files_that_were_not_measured_are_left_out(tmp_path):
    folder = tmp_path / "lamp_small"
    shutil.copytree(RESULTS / "lamp_small", folder)
    assert "### Retrieval heads" in render_results(folder)
    (folder / "retrieval_ablations.json").unlink()
    tables = render_results(folder)
    assert "### Retrieval heads" not in tables and "<!--" not in tables
    assert "## Ablations" in tables and "### Objectives of pretraining" in tables


def test_what_is_measured_of_lamp_has_tables(tmp_path):
    folder = tmp_path / "lamp_small"
    shutil.copytree(RESULTS / "lamp_small", folder)
    retrieval = json.loads((folder / "retrieval.json").read_text())
    mean = retrieval["scorings"]["mean"] | {"first_hit_family": 84.25}
    retrieval["scorings"] = {"both": mean, "plain baseline": mean}
    gain = {"R@1": 1.1, "R@10": -2.0, "intervals": {"R@1": [-0.6, 2.8], "R@10": [-3, -1]}}
    retrieval["differences"] = {"both - plain baseline": {"text_to_motion": gain, "motion_to_text": gain}}
    accuracies = {"balanced_accuracy": 78.31, "balanced_accuracy_at_prior": 80.0}
    retrieval["matching"] = {"drawn": {"pairs": 1629, **accuracies, "loss": 0.4719, "auc": 0.8812}}
    statistics = {"cosine": 0.26, "rank": 8.51, "query": 0.11, "clip": 0.2, "interaction": 0.69}
    row = {"generated": 68.2, "real": 88.4, "ratio": 0.771, "smallest": 12.5, "frechet_ratio": 1.57}
    familiarity = {"auc": 0.989, "auc_human_actions": 0.972}
    familiarity |= {f"warned_{kind}": 2.0 for kind in ("inside", "outside", "paraphrases")}
    for name, numbers in {
        "retrieval": retrieval,
        "queries": {"clips": 543, "queries": 49, "motion": statistics, "text": statistics},
        "knock_outs": {"motions": 192, "knockouts": {"as it is": row, "words averaged": row | {"generated": 20.0}}},
        "familiarity": familiarity,
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(numbers))
    tables = render_results(folder)
    assert "| both - plain baseline | +1.1 [-0.6, 2.8] | -2.0 [-3.0, -1.0] |" in tables
    assert "| drawn | 1629 | 78.3 % | 80.0 % | 0.472 | 0.881 |" in tables
    assert "| a motion | 0.26 | 8.5 | 0.11 | 0.20 | 0.69 |" in tables
    assert "| words averaged | 20.0 | 0.77 | 12.5 | 1.57 |" in tables
    assert "| AUC, other human actions | 0.972 |" in tables
    assert "first hit: family" in tables and "| 84.2 |" in tables
    assert '"both" their sum' in tables and '"max" is the best query' not in tables


def test_a_summary_without_a_number_is_refused_by_the_numbers_name(tmp_path):
    shutil.copytree(RESULTS, tmp_path / "results")
    file = tmp_path / "results" / "lamp_small" / "retrieval.json"
    numbers = json.loads(file.read_text())
    del numbers["scorings"]["mean"]["first_hit_action"]
    file.write_text(json.dumps(numbers))
    path = "retrieval[scorings][mean][first_hit_action]"
    with pytest.raises(ValueError, match=re.escape(path)):
        summarise(tmp_path / "results" / "lavimo_small")  # it compares with lamp-small
