"""Late interaction: the second stage of a search finds what LaMP's own score of all motions finds."""

import json

import numpy as np
import pytest
import torch
from conftest import CAPTIONS, make_clip, tiny_qformer_config, unit_vectors
from safetensors.numpy import load_file

import lamp_hf
from lamp_hf.retrieval import late_interaction, rows
from lamp_hf.retrieval.late_interaction import QueryVectors


@pytest.fixture
def late(lamp_folder, store) -> lamp_hf.MotionIndex:
    """A gallery of five motions, a to e, with the vectors of their queries."""
    index = lamp_hf.MotionIndex(lamp_folder, late_interaction=True, **store)
    index.add([make_clip(seed=seed) for seed in range(5)], ids=list("abcde"))
    return index


def own_scores(embedder, text: str) -> dict[str, float]:
    """LaMP's logits of a text and the five motions, divided by the sum of both temperatures."""
    model = embedder.model
    inputs = embedder.processor(text=[text], motion=[make_clip(seed=seed).features for seed in range(5)])
    with torch.no_grad():
        logits = model(**inputs).logits_per_text[0] / (model.temperature + model.word_temperature)
    return dict(zip("abcde", logits.tolist()))


def test_scores_are_lamps_own(late, embedder):
    for caption in CAPTIONS:
        hits = late.search(text=caption)
        assert {hit.id: hit.score for hit in hits} == pytest.approx(own_scores(embedder, caption), abs=1e-3)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_the_first_stage_chooses_the_candidates(late, monkeypatch):
    first = [hit.id for hit in late.search_vector(late.embedder.embed_texts([CAPTIONS[0]])[0], k=5)]
    monkeypatch.setattr(rows, "CANDIDATES", 0)
    assert {hit.id for hit in late.search(text=CAPTIONS[0], k=1)} <= set(first[:4])  # four times as many as wanted


def test_a_text_longer_than_the_model_reads_is_scored_by_all_its_parts(late, embedder):
    words = ("a person walks forward " * 10).split()
    parts = [" ".join(words[:14]), " ".join(words[14:28]), " ".join(words[28:])]  # the model reads 14 words
    model = embedder.model
    cosines = late._rows.store.vectors @ embedder.embed_texts([" ".join(words)])[0]
    by_words = [own_scores(embedder, part) for part in parts]
    whole = [late._rows.store.vectors @ embedder.embed_texts([part])[0] for part in parts]
    share = (model.temperature / (model.temperature + model.word_temperature)).item()
    expected = np.mean([list(scores.values()) for scores in by_words], 0) + share * (cosines - np.mean(whole, 0))
    hits = {hit.id: hit.score for hit in late.search(text=" ".join(words))}
    assert [hits[name] for name in "abcde"] == pytest.approx(expected.tolist(), abs=1e-3)


def test_other_searches_have_one_stage(late):
    clip = make_clip(seed=3)
    assert late.search(motion=clip, k=1)[0].score == pytest.approx(1, abs=1e-5)
    vector = np.mean([late.embedder.embed_texts(["she bows"])[0], late.embedder.embed_motions([clip.features])[0]], 0)
    assert late.search(text="she bows", motion=clip) == late.search_vector(vector)


def test_saved_loaded_changed_and_merged_it_finds_the_same(late, lamp_folder, tmp_path, embedder):
    late.save(tmp_path / "gallery")
    again = lamp_hf.MotionIndex.load(tmp_path / "gallery")
    assert again.late_interaction and again.search(text=CAPTIONS[1]) == late.search(text=CAPTIONS[1])
    assert isinstance(again._rows.queries._values(), np.memmap)
    again.remove(["b"])
    again.add([make_clip(seed=1)], ids=["b"])
    other = lamp_hf.MotionIndex(lamp_folder, late_interaction=True)
    other.add([make_clip(seed=9)], ids=["z"])
    again.join(other)
    found = {hit.id: hit.score for hit in again.search(text=CAPTIONS[1])}
    assert {name: found[name] for name in "abcde"} == pytest.approx(own_scores(embedder, CAPTIONS[1]), abs=1e-3)
    with pytest.raises(ValueError, match="only one of two indices has late interaction"):
        again.join(lamp_hf.MotionIndex(lamp_folder))


def test_a_gallery_that_others_download_holds_all_it_needs(late, tmp_path, monkeypatch):
    monkeypatch.setattr(lamp_hf.retrieval.storage, "model_reference", lambda model: "user/lamp")
    late.write_repository(tmp_path / "public", "user/gallery")
    manifest = json.loads((tmp_path / "public" / "index.json").read_text())
    tensors = load_file(tmp_path / "public" / manifest["file"])
    assert "milvus" not in manifest and tensors["vectors"].shape == (5, 16)
    assert tensors["query_vectors"].shape == (5, 49, 8)


def test_vectors_made_elsewhere_need_queries(late, lamp_folder):
    queries = unit_vectors(2 * 49, 8).reshape(2, 49, 8)
    late.add_vectors(unit_vectors(2), ["x", "y"], queries)
    np.testing.assert_allclose(late._rows.queries.read(np.array([6])), queries[1:], atol=1e-3)
    with pytest.raises(ValueError, match=r"queries \[1, 49, 8\] of these motions wanted, got none"):
        late.add_vectors(unit_vectors(1), ["z"])
    with pytest.raises(ValueError, match="no queries, without late interaction wanted"):
        lamp_hf.MotionIndex(lamp_folder).add_vectors(unit_vectors(1), ["z"], queries[:1])


def test_a_model_without_queries_of_words_is_refused(processor, tmp_path):
    lamp_hf.LampQFormerModel(tiny_qformer_config(processor)).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"late interaction needs LaMP.*the paper's Q-Former: leave it off"):
        lamp_hf.MotionIndex(tmp_path, late_interaction=True).add([make_clip()])


class TestProductQuantisation:
    vectors = unit_vectors(300 * 49, 8).reshape(300, 49, 8)

    @pytest.fixture(autouse=True)
    def quantised_early(self, monkeypatch):
        monkeypatch.setattr(late_interaction, "QUANTISED_FROM", 200)

    @pytest.fixture
    def stored(self) -> QueryVectors:
        stored = QueryVectors.empty(49, 8)
        for first in range(0, 300, 50):  # the codes are learned when the fourth part comes
            stored.add(self.vectors[first : first + 50])
        return stored

    def test_vectors_come_back_nearly_as_they_were(self, stored):
        assert len(stored) == 300 and stored.shape == (49, 8)
        read = stored.read(np.array([7, 299]))
        assert (read * self.vectors[[7, 299]]).sum(-1).mean() > 0.9  # random ones, which are the hardest

    def test_they_take_a_sixteenth_of_single_precision(self, stored):
        assert stored.to_tensors()["query_codes"].nbytes == self.vectors.nbytes / 16

    def test_rows_close_ranks_when_some_are_removed(self, stored):
        before = stored.read(np.array([3]))
        stored.keep(np.arange(300) % 2 == 1)
        np.testing.assert_array_equal(stored.read(np.array([1])), before)
        assert len(stored) == 150

    def test_restored_they_are_the_same(self, stored):
        again = QueryVectors.from_tensors(stored.to_tensors(), 300)
        np.testing.assert_array_equal(again.read(slice(None)), stored.read(slice(None)))

    def test_another_gallery_joins(self, stored):
        other = QueryVectors.empty(49, 8)
        other.add(self.vectors[:20])
        stored.join(other)
        np.testing.assert_allclose(stored.read(slice(300, 320)), stored.read(slice(20)), atol=1e-3)

    @pytest.mark.parametrize(
        "changes, message",
        [
            ({"query_codes": np.zeros((299, 49, 2), np.uint8)}, "queries of 299 rows, of 300"),
            ({"query_codes": np.zeros((300, 49, 3), np.uint8)}, "stand for nothing"),
            ({"query_centroids": np.full((2, 256, 4), np.nan, np.float32)}, "stand for nothing"),
            ({"query_centroids": None}, "queries of 0 rows"),
            ({"query_codes": None}, "queries of 0 rows"),
        ],
    )
    def test_damaged_tensors_are_refused(self, stored, changes, message):
        tensors = {k: v for k, v in (stored.to_tensors() | changes).items() if v is not None}
        with pytest.raises(ValueError, match=message):
            QueryVectors.from_tensors(tensors, 300)
