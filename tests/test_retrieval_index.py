"""`MotionIndex`: what a search finds, and which requests it refuses."""

import itertools

import numpy as np
import pytest
from conftest import CAPTIONS, make_clip, make_motion, unit_vectors

import lamp_hf


@pytest.fixture
def index(lamp_folder, store) -> lamp_hf.MotionIndex:
    """A gallery of five motions, a to e, in each store."""
    index = lamp_hf.MotionIndex(lamp_folder, **store)
    index.add([make_clip(seed=seed) for seed in range(5)], ids=list("abcde"))
    return index


def test_a_motion_finds_itself_first(index):
    hits = index.search(motion=make_clip(seed=3), k=3)
    assert hits[0].id == "d" and len(hits) == 3
    assert hits[0].score == pytest.approx(1, abs=1e-5) and hits[0].score >= hits[1].score >= hits[2].score
    assert (hits[0].start, hits[0].end, hits[0].source) == (0, pytest.approx(3.0), None)


def test_scores_are_the_models_cosines(index, embedder):
    text, motions = embedder.embed_texts([CAPTIONS[0]]), [make_clip(seed=seed).features for seed in range(5)]
    expected = (embedder.embed_motions(motions) @ text[0]).tolist()
    hits = index.search(text=CAPTIONS[0], k=10)
    assert {hit.id: hit.score for hit in hits} == pytest.approx(dict(zip("abcde", expected)), abs=1e-5)
    both = index.search(text=CAPTIONS[0], motion=make_clip(seed=1), k=5)
    query = text[0] + embedder.embed_motions([make_clip(seed=1).features])[0]
    scores = embedder.embed_motions(motions) @ (query / np.linalg.norm(query))
    assert {hit.id: hit.score for hit in both} == pytest.approx(dict(zip("abcde", scores.tolist())), abs=1e-5)


def test_a_query_is_localised_in_a_long_motion(lamp_folder, store):
    waiting = np.repeat(make_motion(1, seed=9), 300, axis=0)
    acting = make_motion(81, seed=2)
    joints = np.concatenate([waiting, acting + waiting[-1, :1] * [1, 0, 1] - acting[:1, :1] * [1, 0, 1], waiting])
    index = lamp_hf.MotionIndex(lamp_folder, **store)
    index.add([lamp_hf.Motion(joints), make_clip(seed=5)], ids=["long", "short"])
    best = index.search(motion=lamp_hf.Motion(acting), k=1)[0]
    assert best.id == "long" and best.start < 19.5 and best.end > 15  # it acts from 15 to 19 s
    assert best.end - best.start == pytest.approx(4)
    hits = index.search(motion=lamp_hf.Motion(acting), k=10)
    assert [hit.id for hit in hits] == ["long", "short"]
    spans = sorted(
        (hit.start, hit.end)
        for hit in index.search(motion=lamp_hf.Motion(acting), k=10, moments=True)
        if hit.id == "long"
    )
    assert len(spans) > 2 and all(left[1] <= right[0] for left, right in itertools.pairwise(spans))


def test_added_paths_are_returned_with_hits(lamp_folder, tmp_path):
    path = make_clip(seed=1).save(tmp_path / "clip.npz")
    index = lamp_hf.MotionIndex(lamp_folder)
    index.add([path, make_clip(seed=2)])
    hit = index.search(motion=path, k=1)[0]
    assert index.ids == [str(path), "0"] and (hit.id, hit.source) == (str(path), str(path))


def test_remove_and_add_again(index):
    index.remove(["b", "d"])
    assert index.ids == ["a", "c", "e"] and len(index.search(text="walks", k=10)) == 3
    assert index.search(motion=make_clip(seed=4), k=1)[0].id == "e"
    index.add([make_clip(seed=3)], ids=["d"])
    assert index.search(motion=make_clip(seed=3), k=1)[0].id == "d"
    with pytest.raises(ValueError, match="no motion 'b'"):
        index.remove(["a", "b"])
    assert "a" in index.ids


def test_running_numbers_are_free_ones(lamp_folder):
    index = lamp_hf.MotionIndex(lamp_folder)
    index.add([make_clip(seed=i) for i in range(3)])
    index.remove(["0"])
    index.add([make_clip(seed=3)])
    assert index.ids == ["1", "2", "3"]
    index.add_vectors(unit_vectors(2), range(7, 9))
    index.remove([7])
    assert index.ids[-1] == "8"


def test_nothing_is_added_when_one_motion_is_broken(index):
    with pytest.raises(ValueError, match=r"z.*too short"):
        index.add([make_clip(seed=7), np.zeros((3, 22, 3))], ids=["y", "z"])
    assert len(index) == 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda index: index.search(), "nothing to search for"),
        (lambda index: index.search(text=""), "empty"),
        (lambda index: index.search(text="walks", k=0), "k must be a whole number from 1"),
        (lambda index: index.search(text=["walks"]), "one text"),
        (lambda index: index.search_vector(np.zeros(3)), "finite vector"),
        (lambda index: index.add([make_clip()], ids=["a"]), "has a motion 'a' already"),
        (lambda index: index.add([make_clip(), make_clip()], ids=["x", "x"]), "given twice"),
        (lambda index: index.add([make_clip()], ids=["x", "y"]), "1 motions, 2 ids"),
        (lambda index: index.add([lamp_hf.Motion(np.zeros((9, 21, 3)), skeleton="kit")], ids=["k"]), "skeleton"),
        (lambda index: index.add_vectors(np.zeros((1, 3)), ["v"]), "numbers wanted"),
    ],
)
def test_bad_requests_are_refused(index, call, message):
    with pytest.raises(ValueError, match=message):
        call(index)
    assert len(index) == 5


def test_an_empty_gallery_finds_nothing(lamp_folder, tmp_path, store):
    index = lamp_hf.MotionIndex(lamp_folder, **store)
    assert index.search(text="walks") == [] and len(index) == 0
    index.save(tmp_path)
    assert lamp_hf.MotionIndex.load(tmp_path).search(text="walks") == []
