"""Milvus: what is particular to vectors that another program keeps. What holds of every store is tested with each."""

import json
import shutil

import numpy as np
import pytest
from conftest import make_clip, unit_vectors

import lamp_hf
from lamp_hf.retrieval.milvus_store import MilvusStore, check_uri


for name in ("pymilvus", "milvus_lite"):
    pytest.importorskip(name, reason="needs pip install 'lamp-hf[milvus]'")


@pytest.fixture
def uri(tmp_path) -> str:
    return str(tmp_path / "vectors.db")


@pytest.fixture
def gallery(lamp_folder, uri, tmp_path):
    """A saved gallery of three motions, whose vectors are in a file."""
    index = lamp_hf.MotionIndex(lamp_folder, store="milvus", uri=uri)
    index.add([make_clip(seed=seed) for seed in range(3)], ids=list("abc"))
    index.save(tmp_path / "gallery")
    return tmp_path / "gallery"


def test_it_finds_what_an_exact_search_finds(uri):
    vectors = unit_vectors(3000)
    store = MilvusStore(uri, 16)
    store.add(vectors[:2000])
    store.add(vectors[2000:])
    for query in unit_vectors(5, seed=1):
        rows, scores = store.search(query, 10)
        np.testing.assert_array_equal(rows, np.argsort(-vectors @ query)[:10])
        np.testing.assert_allclose(scores, (vectors @ query)[rows], atol=1e-5)
    store.keep(np.arange(3000) % 2 == 1)
    assert store.search(vectors[7], 1)[0] == [3]
    np.testing.assert_allclose(store.vectors, vectors[1::2], atol=1e-6)


def test_the_same_calls_reach_a_server_by_its_address(lamp_folder, tmp_path):
    from milvus_lite.server_manager import server_manager_instance

    address = server_manager_instance.start_and_get_uri(str(tmp_path / "server.db"))
    index = lamp_hf.MotionIndex(lamp_folder, store="milvus", uri=address)
    index.add([make_clip(seed=seed) for seed in range(3)], ids=list("abc"))
    index.save(tmp_path / "gallery")
    assert json.loads((tmp_path / "gallery" / "index.json").read_text())["milvus"]["uri"] == address
    again = lamp_hf.MotionIndex.load(tmp_path / "gallery")
    assert again.search(motion=make_clip(seed=1), k=1)[0].id == "b"


def test_vectors_that_were_never_saved_are_not_found(gallery):
    unsaved = lamp_hf.MotionIndex.load(gallery)
    unsaved.add([make_clip(seed=1), make_clip(seed=1)], ids=["d", "e"])
    again = lamp_hf.MotionIndex.load(gallery)
    assert [hit.id for hit in again.search(motion=make_clip(seed=1), k=1)] == ["b"]
    assert {hit.id for hit in again.search(motion=make_clip(seed=1))} == set("abc")


def test_a_gallery_moves_together_with_its_file(gallery, uri, tmp_path):
    from milvus_lite.server_manager import server_manager_instance

    server_manager_instance.release_server(uri)
    moved = shutil.copytree(tmp_path, tmp_path.with_name("moved"))
    again = lamp_hf.MotionIndex.load(moved / "gallery")
    assert again.search(motion=make_clip(seed=2), k=1)[0].id == "c"
    shutil.rmtree(uri)
    with pytest.raises(FileNotFoundError, match=r"its vectors are in .*, which is missing"):
        lamp_hf.MotionIndex.load(gallery)


def test_a_collection_that_is_gone_is_named(gallery):
    about = json.loads((gallery / "index.json").read_text())
    about["milvus"]["collection"] = "motions_gone"
    (gallery / "index.json").write_text(json.dumps(about))
    with pytest.raises(FileNotFoundError, match="has no collection motions_gone: index the motions again"):
        lamp_hf.MotionIndex.load(gallery)


@pytest.mark.parametrize("where", [{"uri": "a.db"}, {"uri": 1, "collection": "a", "dimension": 1}, [], "a.db"])
def test_a_manifest_of_another_form_is_refused(gallery, where):
    about = json.loads((gallery / "index.json").read_text())
    (gallery / "index.json").write_text(json.dumps(about | {"milvus": where}))
    with pytest.raises(ValueError, match="describes no motion index"):
        lamp_hf.MotionIndex.load(gallery)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"store": "milvus"}, "Milvus needs a file such as gallery.db"),
        ({"store": "milvus", "uri": "gallery"}, "Milvus needs a file such as gallery.db"),
        ({"store": "milvus", "uri": "http://root:Milvus@host:19530"}, "set MILVUS_TOKEN"),
        ({"store": "faiss", "uri": "gallery.db"}, "store must be 'faiss', or 'milvus' with its uri"),
        ({"store": "chroma", "uri": "gallery.db"}, "store must be 'faiss', or 'milvus' with its uri"),
    ],
)
def test_bad_choices_are_refused_at_once(lamp_folder, options, message):
    with pytest.raises(ValueError, match=message):
        lamp_hf.MotionIndex(lamp_folder, **options)


def test_a_file_that_is_none_of_milvus_is_named(uri, tmp_path):
    (tmp_path / "vectors.db").write_text("no database")
    with pytest.raises(OSError, match="cannot be reached: is it one of milvus-lite"):
        MilvusStore(uri, 16)


def test_the_folder_of_a_new_file_is_made(tmp_path):
    store = MilvusStore(check_uri(str(tmp_path / "new" / "vectors.db")), 16)
    store.add(unit_vectors(2))
    assert len(store) == 2
