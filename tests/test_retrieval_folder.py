"""A folder of motion files as a gallery: the commands `lamp-hf index` and `lamp-hf search`."""

import json
import os
import subprocess
import sys
import time

import pytest
from conftest import free_port, make_clip

import lamp_hf
from lamp_hf.retrieval.folder import index_folder


@pytest.fixture
def recordings(tmp_path):
    folder = tmp_path / "recordings"
    (folder / "below").mkdir(parents=True)
    for i in range(3):
        make_clip(seed=i).save(folder / f"clip {i}.npz")
    make_clip(seed=3).save(folder / "below" / "clip.bvh")
    (folder / "broken.npy").write_bytes(b"no array")
    return folder


def run(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "lamp_hf", *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_index_and_search(recordings, lamp_folder, tmp_path):
    gallery, model = tmp_path / "gallery", ("--model", lamp_folder, "--json")
    done = run("index", recordings, "-o", gallery, *model)
    assert (done["motions"], done["added"]) == (4, 4) and "not a NumPy file" in done["broken"]["broken.npy"]
    found = run("search", gallery, "--motion", recordings / "clip 1.npz", "-k", "2", "--json")["hits"]
    assert found[0]["id"] == "clip 1.npz" and found[0]["source"] == str(recordings / "clip 1.npz")
    page = tmp_path / "hits.html"
    run("search", gallery, "a person walks", "-o", page, "--json")
    assert "clip 1.npz" in page.read_text() and "4. " in page.read_text()
    (recordings / "clip 0.npz").unlink()
    make_clip(seed=9).save(recordings / "late.npz")
    done = run("index", recordings, "-o", gallery, "--update", "--json")  # by the gallery's own model
    assert (done["motions"], done["added"], done["removed"]) == (4, 1, 1)
    with pytest.raises(ValueError, match="the index was made with"):
        index_folder(recordings, gallery, "bundled:video", update=True)
    with pytest.raises(ValueError, match="was made of another folder"):
        index_folder(recordings.parent, gallery, update=True)


def test_a_file_that_changed_is_embedded_again(recordings, lamp_folder, tmp_path):
    gallery = tmp_path / "gallery"
    index_folder(recordings, gallery, lamp_folder)
    before = lamp_hf.MotionIndex.load(gallery)
    before.add([make_clip(seed=8)], ids=["by hand"])
    before.save(gallery)
    make_clip(seed=5).save(recordings / "clip 1.npz")
    later = time.time() + 10
    os.utime(recordings / "clip 1.npz", (later, later))
    done = index_folder(recordings, gallery, update=True)
    assert (done.motions, done.added, done.removed) == (5, 1, 1)
    hit = lamp_hf.MotionIndex.load(gallery).search(motion=make_clip(seed=5), k=1)[0]
    assert hit.id == "clip 1.npz" and hit.score == pytest.approx(1, abs=1e-4)


def test_a_gallery_with_late_interaction_and_in_milvus_stays_so(recordings, lamp_folder, tmp_path, store):
    gallery = tmp_path / "gallery"
    options = {"late_interaction": True, "milvus": store.get("uri")}
    index_folder(recordings, gallery, lamp_folder, **options)
    make_clip(seed=9).save(recordings / "late.npz")
    assert index_folder(recordings, gallery, update=True).added == 1
    index = lamp_hf.MotionIndex.load(gallery)
    assert index.late_interaction and len(index.search(text="she bows")) == 5
    assert index.search(motion=make_clip(seed=9), k=1)[0].id == "late.npz"
    with pytest.raises(ValueError, match="a gallery stays as it was made"):
        index_folder(recordings, gallery, update=True, late_interaction=True)


def test_the_same_command_again_keeps_the_gallery_and_another_is_refused(recordings, lamp_folder, tmp_path):
    gallery = tmp_path / "gallery"
    index_folder(recordings, gallery, lamp_folder)
    before = (gallery / "index.json").read_bytes()
    again = index_folder(recordings, gallery, lamp_folder)
    assert (again.motions, again.added, list(again.broken)) == (4, 0, ["broken.npy"])
    assert (gallery / "index.json").read_bytes() == before
    with pytest.raises(ValueError, match="is a gallery already"):
        index_folder(recordings, gallery, lamp_folder, late_interaction=True)
    make_clip(seed=9).save(recordings / "late.npz")
    with pytest.raises(ValueError, match="is a gallery already"):
        index_folder(recordings, gallery, lamp_folder)


@pytest.mark.slow
def test_processes_share_the_files(recordings, lamp_folder, tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_addr", "127.0.0.1"]
    launch += ["--master_port", str(free_port()), "-m", "lamp_hf", "index", str(recordings)]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, "-o", str(tmp_path / "two"), "--model", str(lamp_folder), "--json"],
        capture_output=True, text=True, timeout=300, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert max(json.loads(line)["motions"] for line in done.stdout.splitlines()) == 4
    assert "not a NumPy file" in done.stderr
    alone = lamp_hf.MotionIndex(lamp_folder)
    alone.add(sorted(recordings.rglob("*.npz")))
    shared = lamp_hf.MotionIndex.load(tmp_path / "two")
    scores = {hit.source: hit.score for hit in shared.search(text="she bows")}
    for hit in alone.search(text="she bows"):
        assert scores[hit.source] == pytest.approx(hit.score, abs=1e-5)
