"""Tables and names of files: safe in a spreadsheet, and written whatever bytes a name has."""

import csv
import io
import json
import os

import pytest
from conftest import make_clip

from lamp_hf.cli import app
from lamp_hf.data.captions import read_caption_table
from lamp_hf.data.preparation import prepare
from lamp_hf.data.tables import read_csv, write_csv


@pytest.fixture
def recordings(tmp_path):
    """Write two clips; the name of one is not UTF-8."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    make_clip().save(folder / "walk.npz")
    try:
        os.rename(os.fsencode(folder / "walk.npz"), os.fsencode(folder) + b"/caf\xe9.npz")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    make_clip(seed=1).save(folder / "=bow.npz")
    return folder


def run(*arguments) -> None:
    app([*map(str, arguments)], standalone_mode=False)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-he walks", "@SUM(A1)", "\tx", "\rx"])
def test_a_text_is_no_formula_in_a_spreadsheet(tmp_path, text):
    path = tmp_path / "table.csv"
    write_csv(path, ["name", "start"], [{"name": text, "start": -1.5}])
    row = next(csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")))
    assert row == {"name": f"'{text}", "start": "-1.5"}  # numbers stay numbers
    assert read_csv(path)[0]["name"] == text


def test_other_texts_are_written_as_they_are(tmp_path):
    rows = [{"name": "'tis, so to say", "caption": 'a "man" = a person'}]
    write_csv(tmp_path / "table.csv", ["name", "caption"], rows)
    with open(tmp_path / "table.csv", newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == rows == read_csv(tmp_path / "table.csv")


@pytest.mark.parametrize("content", [b"name\n\xff", b'name\n"' + b"x" * 200_000 + b'"'])
def test_what_is_no_table_is_refused_by_name(tmp_path, content):
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"table\.csv: not a CSV file"):
        read_csv(tmp_path / "table.csv")


def test_a_folder_with_a_name_that_is_not_utf8_is_captioned_and_prepared(recordings, tmp_path, captioner_folder):
    table = tmp_path / "captions.csv"
    run("caption", recordings, "-o", table, "--model", captioner_folder)
    assert [row["name"] for row in read_csv(table)] == ["=bow.npz", r"caf\udce9.npz"]
    assert "\n'=bow.npz," in table.read_text().replace("\r", "")
    run("caption", recordings, "--model", captioner_folder)  # printed
    assert len(read_caption_table(tmp_path, table)) == 2
    lines = [{"name": row["name"], "caption": "a man walks"} for row in read_csv(table)]
    write_csv(table, ["name", "caption"], lines)
    (recordings / os.fsdecode(b"caf\xe8.npy")).write_bytes(b"broken")
    with open(table, "a") as file:
        file.write("caf\\udce8.npy,a man bows\n")
    done = prepare(recordings, tmp_path / "data", table, workers=1)
    assert done.clips == 2 and list(done.broken) == [r"caf\udce8.npy"]
    assert read_csv(tmp_path / "data" / "broken.csv")[0]["file"] == r"caf\udce8.npy"


def test_a_page_shows_a_motion_whose_name_is_not_utf8(recordings, lamp_folder, tmp_path, capsys):
    gallery, page = tmp_path / "gallery", tmp_path / "hits.html"
    run("index", recordings, "-o", gallery, "--model", lamp_folder)
    capsys.readouterr()
    run("search", gallery, "a person walks", "-o", page, "--json")
    found = {hit["id"] for hit in json.loads(capsys.readouterr().out)["hits"]}
    assert found == {"=bow.npz", os.fsdecode(b"caf\xe9.npz")}
    assert r"caf\\udce9.npz" in page.read_text(encoding="utf-8")
    run("view", *sorted(recordings.iterdir()), "-o", page)
    assert r"caf\\udce9.npz" in page.read_text(encoding="utf-8")
