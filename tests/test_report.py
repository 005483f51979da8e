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
        assert group["split"] == "test" and group["data"] and group.get("seed", 0) == 0
        assert group["command"].startswith("python -m training.evaluate ") and group["protocol"]


NUMBERS = [
    ("lamp_small", "text_to_motion", "physics", "skating_metres_per_second"),
    ("lamp_small", "text_to_motion", "captions", "well_covered"),
    ("lamp_small", "composition", "space"),
    ("lamp_small", "temporal_localization", "recordings"),
    ("lamp_small", "retrieval", "scorings", "both", "all", "text_to_motion", "R@1"),
    ("lamp_small", "retrieval", "matching", "drawn", "loss"),
    ("lamp_small", "queries", "motion", "rank"),
    ("lamp_small", "knock_outs", "motions"),
    ("lamp_small_captioning", "captioning", "captioner", "action"),
    ("lamp_small_captioning", "lamp_bertscore", "all_references"),
    ("lavimo_small", "retrieval", "other_renderer", "compressed", "among_all", "R@1"),
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


@pytest.mark.parametrize("file", ["text_to_motion", "families", "retrieval"])
def test_tables_without_a_result_file_are_refused_by_its_name(tmp_path, file):
    folder = tmp_path / "lamp_small"
    shutil.copytree(RESULTS / "lamp_small", folder)
    (folder / f"{file}.json").unlink()
    with pytest.raises(ValueError, match=f"needs {file}, which was not measured"):
        render_results(folder)


def test_sections_of_files_that_were_not_measured_are_left_out(tmp_path):
    folder = tmp_path / "lamp_small"
    shutil.copytree(RESULTS / "lamp_small", folder)
    assert "### Queries" in render_results(folder)
    (folder / "queries.json").unlink()
    tables = render_results(folder)
    assert "### Queries" not in tables and "<!--" not in tables
    assert "### Matching" in tables and "### Tokenizer" in tables


def test_what_is_measured_of_lamp_has_tables():
    folder = RESULTS / "lamp_small"
    tables = render_results(folder)
    matching, queries, knockouts = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("retrieval", "queries", "knock_outs")
    )
    gain = matching["differences"]["both - plain baseline"]["text_to_motion"]
    assert f"| both - plain baseline | {gain['R@1']:+.1f} [" in tables
    assert f"| drawn | {matching['matching']['drawn']['pairs']} |" in tables
    assert f"| a motion | {queries['motion']['cosine']:.2f} | {queries['motion']['rank']:.1f} |" in tables
    for name, row in knockouts["knockouts"].items():
        assert f"| {name} | {row['generated']:.1f} |" in tables


def test_a_summary_without_a_number_is_refused_by_the_numbers_name(tmp_path):
    shutil.copytree(RESULTS, tmp_path / "results")
    file = tmp_path / "results" / "lamp_small" / "retrieval.json"
    numbers = json.loads(file.read_text())
    del numbers["scorings"]["whole"]["all"]
    file.write_text(json.dumps(numbers))
    with pytest.raises(ValueError, match=re.escape("retrieval[scorings][whole][all]")):
        summarise(tmp_path / "results" / "lamp_small")
