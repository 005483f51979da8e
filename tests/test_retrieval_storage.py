"""Saved galleries: what damage, interruption and other processes do to them."""

import json
import multiprocessing
import shutil
import time

import numpy as np
import pytest
from conftest import CAPTIONS, make_clip, unit_vectors
from safetensors.numpy import load_file

import lamp_hf
from lamp_hf.retrieval import storage


def test_saved_and_loaded_it_finds_the_same(index, tmp_path):
    index.save(tmp_path)
    again = lamp_hf.MotionIndex.load(tmp_path)
    assert again.ids == index.ids and again.fingerprint == again.origin == index.fingerprint
    assert again.search(text=CAPTIONS[1]) == index.search(text=CAPTIONS[1])
    assert isinstance(again._rows.store.vectors, np.memmap)
    again.add([make_clip(seed=6)], ids=["f"])
    again.save(tmp_path)
    assert len(lamp_hf.MotionIndex.load(tmp_path)) == 6
    assert len(list(tmp_path.glob("*.safetensors"))) == 1


def test_another_model_is_refused(index, lamp_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    index.save(tmp_path / "gallery")
    other = shutil.copytree(lamp_folder, tmp_path / "other")
    again = lamp_hf.MotionIndex.load(tmp_path / "gallery", other)
    assert again.search(text="walks", k=1)  # the same model in another place
    again.save(other)  # a gallery beside the weights is none of them
    assert lamp_hf.MotionIndex.load(other, other).fingerprint == again.fingerprint
    with pytest.raises(ValueError, match=r"others do not have .*push the model"):
        again.push_to_hub("user/gallery")
    weights = load_file(other / "model.safetensors")
    weights["words_head.bias"] += 1
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="the index was made with"):
        lamp_hf.MotionIndex.load(tmp_path / "gallery", other)


def test_a_damaged_gallery_is_refused(index, tmp_path):
    with pytest.raises(FileNotFoundError, match="no motion index"):
        lamp_hf.MotionIndex.load(tmp_path)
    index.save(tmp_path)
    about = json.loads((tmp_path / "index.json").read_text())
    data = tmp_path / about["file"]
    whole = data.read_bytes()

    def damaged(message):
        with pytest.raises(ValueError, match=message):
            lamp_hf.MotionIndex.load(tmp_path)

    for content in (whole[: len(whole) // 2], whole[:-1] + b"x", b""):
        data.write_bytes(content)
        damaged("its content is not what was saved")
    data.unlink()
    damaged("is missing")
    data.write_bytes(whole)
    for changes, message in (
        ({"version": 1}, "version 1; this package reads 2"),
        ({"format": "other"}, "describes no motion index"),
        ({"file": "../../etc/passwd"}, "is missing"),
    ):
        (tmp_path / "index.json").write_text(json.dumps(about | changes))
        damaged(message)
    (tmp_path / "index.json").write_text("{")
    damaged("describes no motion index")


def test_an_interrupted_save_loses_nothing(index, tmp_path, monkeypatch):
    index.save(tmp_path)
    index.add([make_clip(seed=8)], ids=["f"])

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(storage.hashlib, "file_digest", interrupt)
    with pytest.raises(KeyboardInterrupt):
        index.save(tmp_path)
    monkeypatch.undo()
    assert len(lamp_hf.MotionIndex.load(tmp_path)) == 5
    index.save(tmp_path)
    assert len(lamp_hf.MotionIndex.load(tmp_path)) == 6 and len(list(tmp_path.glob("*.safetensors"))) == 1


@pytest.mark.slow
def test_readers_read_while_another_process_rebuilds(index, tmp_path):
    index.save(tmp_path)
    context = multiprocessing.get_context("spawn")
    writer = context.Process(target=rebuild, args=(tmp_path, 15))
    writer.start()
    loads = 0
    while writer.is_alive():
        gallery = lamp_hf.MotionIndex.load(tmp_path)
        assert len(gallery.search_vector(unit_vectors(1)[0], k=100)) == len(gallery) >= 5
        loads += 1
    writer.join()
    assert writer.exitcode == 0 and loads > 1 and len(lamp_hf.MotionIndex.load(tmp_path)) == 20


def test_merge(index, lamp_folder, tmp_path):
    other = lamp_hf.MotionIndex(lamp_folder)
    other.add([make_clip(seed=6)], ids=["f"])
    for name, gallery in (("one", index), ("two", other)):
        gallery.save(tmp_path / name)
    merged = lamp_hf.MotionIndex.merge([tmp_path / "one", tmp_path / "two"])
    assert merged.ids == list("abcdef") and merged.search(motion=make_clip(seed=6), k=1)[0].id == "f"
    with pytest.raises(ValueError, match="already"):
        lamp_hf.MotionIndex.merge([tmp_path / "one", tmp_path / "one"])


def test_other_files_in_the_folder_stay(index, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"somebody's weights")
    for _ in range(2):
        index.save(tmp_path)
    names = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert len(names) == 2 and names[1] == "model.safetensors"


def test_a_gallery_is_found_again_from_anywhere(lamp_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(lamp_folder.parent)
    index = lamp_hf.MotionIndex(lamp_folder.name)
    index.add([make_clip()], ids=["a"])
    index.save(tmp_path / "gallery")
    monkeypatch.chdir(tmp_path)
    assert lamp_hf.MotionIndex.load("gallery").search(text="walks")[0].id == "a"


def rebuild(folder, times: int) -> None:
    gallery = lamp_hf.MotionIndex.load(folder)
    for i in range(times):
        gallery.add_vectors(unit_vectors(1, seed=i), [f"new {i}"])
        gallery.save(folder)
        time.sleep(0.05)


def test_the_file_format_is_the_one_that_earlier_versions_wrote(index, tmp_path):
    index.save(tmp_path)
    manifest = json.loads((tmp_path / "index.json").read_text())
    assert list(manifest) == [
        "format", "version", "model", "origin", "motions", "vectors", "dimension", "file", "sha256"
    ]  # fmt: skip
    assert (manifest["format"], manifest["version"]) == ("lamp_hf.MotionIndex", 2)
    tensors = load_file(tmp_path / manifest["file"])
    kinds = {name: (str(values.dtype), list(values.shape)) for name, values in tensors.items()}
    assert kinds["vectors"] == ("float32", [5, 16]) and kinds["spans"] == ("float32", [5, 2])
    assert kinds["items"] == ("int32", [5]) and json.loads(tensors["ids"].tobytes()) == list("abcde")
    assert json.loads(tensors["sources"].tobytes()) == [""] * 5 and len(kinds) == 5
