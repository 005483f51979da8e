"""Nearest neighbours: a quantised scan of a large gallery finds what an exact search finds."""

import numpy as np
import pytest
from conftest import unit_vectors

import lamp_hf
from lamp_hf.retrieval import vector_search
from lamp_hf.retrieval.vector_search import VectorStore


@pytest.fixture
def quantised_early(monkeypatch):
    monkeypatch.setattr(vector_search, "QUANTISED_FROM", 10_000)
    monkeypatch.setattr(vector_search, "MIN_CANDIDATES", 1000)


def test_a_small_store_is_searched_exactly():
    vectors, query = unit_vectors(50), unit_vectors(1, seed=1)[0]
    rows, scores = VectorStore(vectors).search(query, 5)
    np.testing.assert_array_equal(rows, np.argsort(-vectors @ query)[:5])
    np.testing.assert_allclose(scores, (vectors @ query)[rows], atol=1e-6)
    assert len(VectorStore(vectors[:0]).search(query, 5)[0]) == 0


def test_a_large_store_finds_what_an_exact_search_finds(quantised_early):
    vectors = unit_vectors(20_000)
    store = VectorStore(vectors[:15_000])
    assert store.search(vectors[7], 1)[0] == [7]
    store.add(vectors[15_000:])  # after the first part was quantised
    shared = [
        len({*store.search(query, 10)[0]} & {*np.argsort(-vectors @ query)[:10]}) for query in unit_vectors(20, seed=1)
    ]
    assert np.mean(shared) > 9.9


def test_rows_close_ranks_when_some_are_removed(quantised_early):
    vectors = unit_vectors(20_000)
    store = VectorStore(vectors)
    store.search(vectors[0], 1)
    store.keep(np.arange(len(vectors)) % 2 == 1)
    assert store.search(vectors[7], 1)[0] == [3] and len(store) == 10_000


def test_a_large_gallery_is_saved_with_its_codes(lamp_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(vector_search, "QUANTISED_FROM", 1000)
    index = lamp_hf.MotionIndex(lamp_folder)
    vectors = unit_vectors(5000)
    index.add_vectors(vectors, [f"{i}\n\0é" for i in range(5000)])
    index.save(tmp_path)
    monkeypatch.setattr(vector_search, "product_quantise", None)  # the codes are read, not made again
    assert lamp_hf.MotionIndex.load(tmp_path).search_vector(vectors[3], k=1)[0].id == "3\n\0é"
