"""Caption files: `prepare`, `load_motion_dataset` and Guo's evaluator read the same sentences."""

import logging

import numpy as np
import pytest
from conftest import make_motion

import lamp_hf
from lamp_hf.data.captions import read_caption_file, read_caption_table, read_captions, read_captions_beside
from lamp_hf.data.preparation import prepare
from lamp_hf.evaluators.guo import _read_tagged


@pytest.mark.parametrize(
    ("line", "sentence", "words", "times"),
    [
        ("walks#walks/VERB#0.0#0.0", "walks", [("walks", "VERB")], (0, 0)),
        ("bows#bows/VERB low/ADV#1.5#2.5", "bows", [("bows", "VERB"), ("low", "ADV")], (1.5, 2.5)),
        ("bows#bows/VERB#nan#inf", "bows", [("bows", "VERB")], (0, 0)),
        ("bows##-1#2", "bows", [], (0, 2)),
        ("a man  bows", "a man bows", [], (0, 0)),
        ("dials #5 twice", "dials 5 twice", [], (0, 0)),
        ("dials #5 twice#dials/VERB#0.0#0.0", "dials 5 twice", [("dials", "VERB")], (0, 0)),
        ("dials #5 twice##0#3", "dials 5 twice", [], (0, 3)),
        ("dials #1 #2 #3", "dials 1 2 3", [], (0, 0)),
        ("\ufeffa man bows#a/DET man/NOUN#0.0#0.0", "a man bows", [("a", "DET"), ("man", "NOUN")], (0, 0)),
    ],
)
def test_a_line_is_a_sentence_with_its_words_and_times(line, sentence, words, times, tmp_path):
    path = tmp_path / "clip.txt"
    path.write_text(line, encoding="utf-8")
    assert read_caption_file(path) == [((sentence, *times), words)]


def test_lines_without_a_sentence_are_left_out(tmp_path, caplog):
    path = tmp_path / "clip.txt"
    path.write_text("\n#walks/VERB#0.0#0.0\n  \n##0#0\nwalks##0#0\n", encoding="utf-8")
    assert read_captions(path) == [("walks", 0, 0)] and not caplog.text
    path.write_text("\n#walks/VERB#0.0#0.0\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert read_captions(path) == []
    assert f"{path} holds no caption" in caplog.text
    path.write_bytes("geht r\xfcckw\xe4rts".encode("latin-1"))
    with pytest.raises(ValueError, match=r"clip\.txt: captions must be UTF-8 text, .* at byte 6"):
        read_captions(path)


def test_every_reader_finds_the_same_captions(tmp_path):
    texts = {
        "hash": "dials #5 twice#dials/VERB 5/NUM twice/ADV#0.0#0.0\n",
        "mark": "\ufeffa man bows#a/DET man/NOUN bows/VERB#0.0#0.0\n\n#bows/VERB#0.0#0.0\n",
        "plain": "he walks\n",
        "none": "#walks/VERB#0.0#0.0\n",
    }
    source, output = tmp_path / "source", tmp_path / "data"
    for name in ("new_joint_vecs", "texts"):
        (source / name).mkdir(parents=True)
    for i, (name, text) in enumerate(texts.items()):
        np.save(source / "new_joint_vecs" / f"{name}.npy", lamp_hf.joints_to_features(make_motion(seed=i)))
        (source / "texts" / f"{name}.txt").write_text(text, encoding="utf-8")
    (source / "train.txt").write_text("\n".join(texts), encoding="utf-8-sig")
    for split in ("val", "test"):
        (source / f"{split}.txt").touch()
    expected = {"hash": ["dials 5 twice"], "mark": ["a man bows"], "plain": ["he walks"]}
    assert prepare(source, output, workers=1).broken == {"new_joint_vecs/none.npy": "it has no caption"}
    for folder in (source, output):
        rows = lamp_hf.load_motion_dataset(folder, "train")
        assert {row["name"]: list(row["captions"]) for row in rows} == expected
    assert list(_read_tagged(source / "texts")) == ["dials 5 twice", "a man bows"]


def test_a_clip_without_captions_is_named_in_a_warning(tmp_path, caplog):
    for name in ("new_joint_vecs", "texts"):
        (tmp_path / name).mkdir()
    for name, text in (("good", "he walks\n"), ("empty", "")):
        np.save(tmp_path / "new_joint_vecs" / f"{name}.npy", lamp_hf.joints_to_features(make_motion()))
        (tmp_path / "texts" / f"{name}.txt").write_text(text)
    (tmp_path / "train.txt").write_text("good\nempty\n")
    with caplog.at_level(logging.WARNING):
        assert list(lamp_hf.load_motion_dataset(tmp_path, "train")["name"]) == ["good"]
    assert "empty.txt holds no caption" in caplog.text


def test_the_first_file_beside_a_motion_that_has_captions_counts(tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "walk.txt").touch()
    (tmp_path / "texts" / "walk.txt").write_text("he walks\n")
    assert read_captions_beside(tmp_path / "walk.npy") == [("he walks", 0, 0)]
    assert read_captions_beside(tmp_path / "run.npy") == []


def test_a_table_leaves_a_bad_row_out_and_names_it(tmp_path, caplog):
    path = tmp_path / "captions.csv"
    path.write_text("name,caption\nwalk.bvh,walks\nrun.bvh,runs, then falls\nbow.bvh\n", encoding="utf-8-sig")
    with caplog.at_level(logging.WARNING):
        assert read_caption_table(tmp_path) == {"walk": [("walks", 0, 0)]}
    assert "row 2 left out: more fields than columns" in caplog.text
    (tmp_path / "captions.json").write_text('{"walk": ["walks", "strolls #2"]}', encoding="utf-8-sig")
    table = read_caption_table(tmp_path, tmp_path / "captions.json")
    assert table == {"walk": [("walks", 0, 0), ("strolls 2", 0, 0)]}
