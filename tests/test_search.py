"""Galleries: what is found, when it cannot be, and what damaged or half-written files do."""

import itertools
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import CAPTIONS, free_port, make_motion, tiny_lamp_config

import lamp_hf
from lamp_hf.retrieval import index as search
from lamp_hf.retrieval.embedder import Embedder, windows_of
from lamp_hf.retrieval.folder import index_folder


def motion(seconds: float = 3.0, seed: int = 0) -> lamp_hf.Motion:
    return lamp_hf.Motion(make_motion(round(20 * seconds) + 1, seed=seed))


@pytest.fixture(scope="module")
def model_folder(processor, tmp_path_factory):
    """LaMP with first weights so wide that motions differ."""
    folder = tmp_path_factory.mktemp("lamp")
    torch.manual_seed(0)
    lamp_hf.LampModel(tiny_lamp_config(processor, initializer_range=0.5, summary_size=8)).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def embedder(model_folder):
    return Embedder(model_folder)


@pytest.fixture
def index(model_folder):
    index = lamp_hf.MotionIndex(model_folder)
    index.add([motion(seed=seed) for seed in range(5)], ids=list("abcde"))
    return index


def unit_vectors(count: int, size: int = 16, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class TestEmbedder:
    def test_vectors_are_the_models_whatever_the_batch(self, embedder, processor):
        clips = [motion(seconds, seed).features for seed, seconds in enumerate((1.0, 3.0, 2.0))]
        together = embedder.embed_motions(clips)
        for clip, vector in zip(clips, together):
            alone = embedder.model.get_motion_features(**processor(motion=clip))[0].detach()
            np.testing.assert_allclose(vector, alone, atol=1e-5)
        texts = embedder.embed_texts(CAPTIONS)
        np.testing.assert_allclose(texts[2:3], embedder.embed_texts(CAPTIONS[2:3]), atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm([*texts, *together], axis=1), 1, atol=1e-5)

    def test_what_is_longer_than_the_model_reads_is_the_mean_of_its_parts(self, embedder):
        long = motion(18.0).features
        parts = embedder.embed_motions(np.array_split(long, 2)).mean(0)
        np.testing.assert_allclose(embedder.embed_motions([long])[0], parts / np.linalg.norm(parts), atol=1e-5)
        words = ("a person walks forward " * 10).split()  # the model reads 14 of them at once
        parts = embedder.embed_texts([" ".join(words[:14]), " ".join(words[14:28]), " ".join(words[28:])]).mean(0)
        vector = embedder.embed_texts([" ".join(words)])[0]
        np.testing.assert_allclose(vector, parts / np.linalg.norm(parts), atol=1e-5)

    def test_a_text_of_unknown_words_is_told(self, embedder):
        with pytest.warns(UserWarning, match="knows no word of 'xyzzy plugh'"):
            assert np.isfinite(embedder.embed_texts(["xyzzy plugh"])).all()
        with pytest.raises(ValueError, match="empty"):
            embedder.embed_texts([" "])


class TestSearch:
    def test_a_motion_finds_itself_first(self, index):
        hits = index.search(motion=motion(seed=3), k=3)
        assert hits[0].id == "d" and len(hits) == 3
        assert hits[0].score == pytest.approx(1, abs=1e-5) and hits[0].score >= hits[1].score >= hits[2].score
        assert (hits[0].start, hits[0].end, hits[0].source) == (0, pytest.approx(3.0), None)

    def test_scores_are_the_models_cosines(self, index, embedder):
        text, motions = embedder.embed_texts([CAPTIONS[0]]), [motion(seed=seed).features for seed in range(5)]
        expected = (embedder.embed_motions(motions) @ text[0]).tolist()
        hits = index.search(text=CAPTIONS[0], k=10)
        assert {hit.id: hit.score for hit in hits} == pytest.approx(dict(zip("abcde", expected)), abs=1e-5)
        both = index.search(text=CAPTIONS[0], motion=motion(seed=1), k=5)
        query = text[0] + embedder.embed_motions([motion(seed=1).features])[0]
        scores = embedder.embed_motions(motions) @ (query / np.linalg.norm(query))
        assert {hit.id: hit.score for hit in both} == pytest.approx(dict(zip("abcde", scores.tolist())), abs=1e-5)

    def test_moments_of_a_long_motion(self, model_folder):
        waiting = np.repeat(make_motion(1, seed=9), 300, axis=0)
        acting = make_motion(81, seed=2)
        joints = np.concatenate([waiting, acting + waiting[-1, :1] * [1, 0, 1] - acting[:1, :1] * [1, 0, 1], waiting])
        index = lamp_hf.MotionIndex(model_folder)
        index.add([lamp_hf.Motion(joints), motion(seed=5)], ids=["long", "short"])
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

    @pytest.mark.parametrize("frames", [4, 196, 197, 400, 1001])
    def test_windows_cover_a_clip_to_its_last_frame(self, embedder, frames):
        parts = windows_of(frames, embedder.longest, embedder.fps)
        assert set().union(*(range(*part) for part in parts)) == set(range(frames))
        assert len(set(parts)) == len(parts) and (frames > 196 or parts == [(0, frames)])

    def test_add_takes_paths_and_tells_them(self, model_folder, tmp_path):
        path = motion(seed=1).save(tmp_path / "clip.npz")
        index = lamp_hf.MotionIndex(model_folder)
        index.add([path, motion(seed=2)])
        hit = index.search(motion=path, k=1)[0]
        assert index.ids == [str(path), "0"] and (hit.id, hit.source) == (str(path), str(path))

    def test_remove_and_add_again(self, index):
        index.remove(["b", "d"])
        assert index.ids == ["a", "c", "e"] and len(index.search(text="walks", k=10)) == 3
        assert index.search(motion=motion(seed=4), k=1)[0].id == "e"
        index.add([motion(seed=3)], ids=["d"])
        assert index.search(motion=motion(seed=3), k=1)[0].id == "d"
        with pytest.raises(ValueError, match="no motion 'b'"):
            index.remove(["a", "b"])
        assert "a" in index.ids

    def test_running_numbers_are_free_ones(self, model_folder):
        index = lamp_hf.MotionIndex(model_folder)
        index.add([motion(seed=i) for i in range(3)])
        index.remove(["0"])
        index.add([motion(seed=3)])
        assert index.ids == ["1", "2", "3"]
        index.add_vectors(unit_vectors(2), range(7, 9))
        index.remove([7])
        assert index.ids[-1] == "8"

    def test_nothing_is_added_when_one_motion_is_broken(self, index):
        with pytest.raises(ValueError, match=r"z.*too short"):
            index.add([motion(seed=7), np.zeros((3, 22, 3))], ids=["y", "z"])
        assert len(index) == 5

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda index: index.search(), "nothing to search for"),
            (lambda index: index.search(text=""), "empty"),
            (lambda index: index.search(text="walks", k=0), "k must be at least 1"),
            (lambda index: index.search(text=["walks"]), "one text"),
            (lambda index: index.search_vector(np.zeros(3)), "finite vector"),
            (lambda index: index.add([motion()], ids=["a"]), "has a motion 'a' already"),
            (lambda index: index.add([motion(), motion()], ids=["x", "x"]), "given twice"),
            (lambda index: index.add([motion()], ids=["x", "y"]), "1 motions, 2 ids"),
            (lambda index: index.add([lamp_hf.Motion(np.zeros((9, 21, 3)), skeleton="kit")], ids=["k"]), "skeleton"),
            (lambda index: index.add_vectors(np.zeros((1, 3)), ["v"]), "numbers wanted"),
        ],
    )
    def test_bad_requests_are_refused(self, index, call, message):
        with pytest.raises(ValueError, match=message):
            call(index)
        assert len(index) == 5

    def test_an_empty_gallery_finds_nothing(self, model_folder, tmp_path):
        index = lamp_hf.MotionIndex(model_folder)
        assert index.search(text="walks") == [] and len(index) == 0
        index.save(tmp_path)
        assert lamp_hf.MotionIndex.load(tmp_path).search(text="walks") == []

    def test_a_large_gallery_finds_what_an_exact_search_finds(self, model_folder, monkeypatch):
        vectors = unit_vectors(20_000)
        exact, large = lamp_hf.MotionIndex(model_folder), lamp_hf.MotionIndex(model_folder)
        ids = [str(i) for i in range(len(vectors))]
        exact.add_vectors(vectors, ids)
        monkeypatch.setattr(search, "QUANTISED_FROM", 10_000)
        monkeypatch.setattr(search, "CANDIDATES", 1000)  # a twentieth
        large.add_vectors(vectors[:15_000], ids[:15_000])
        assert large.search_vector(vectors[7], k=1)[0].id == "7" and large._quantised is not None
        large.add_vectors(vectors[15_000:], ids[15_000:])  # behind what is quantised already
        found = [
            len({hit.id for hit in exact.search_vector(query)} & {hit.id for hit in large.search_vector(query)})
            for query in unit_vectors(20, seed=1)
        ]
        assert np.mean(found) > 9.9


class TestFiles:
    def test_saved_and_loaded_it_finds_the_same(self, index, tmp_path):
        index.save(tmp_path)
        again = lamp_hf.MotionIndex.load(tmp_path)
        assert again.ids == index.ids and again.origin == index.origin
        assert again.search(text=CAPTIONS[1]) == index.search(text=CAPTIONS[1])
        assert isinstance(again._rows.vectors, np.memmap)
        again.add([motion(seed=6)], ids=["f"])
        again.save(tmp_path)
        assert len(lamp_hf.MotionIndex.load(tmp_path)) == 6
        assert len(list(tmp_path.glob("*.safetensors"))) == 1

    def test_a_large_gallery_is_saved_with_its_codes(self, model_folder, tmp_path, monkeypatch):
        monkeypatch.setattr(search, "QUANTISED_FROM", 1000)
        index = lamp_hf.MotionIndex(model_folder)
        vectors = unit_vectors(5000)
        index.add_vectors(vectors, [f"{i}\n\0é" for i in range(5000)])
        index.save(tmp_path)
        monkeypatch.setattr(search, "_quantise", None)  # it is not made again
        assert lamp_hf.MotionIndex.load(tmp_path).search_vector(vectors[3], k=1)[0].id == "3\n\0é"

    def test_another_model_is_refused(self, index, model_folder, tmp_path):
        from safetensors.torch import load_file, save_file

        index.save(tmp_path / "gallery")
        other = shutil.copytree(model_folder, tmp_path / "other")
        again = lamp_hf.MotionIndex.load(tmp_path / "gallery", other)
        assert again.search(text="walks", k=1)  # the same model in another place
        again.save(other)  # a gallery beside the weights is none of them
        assert lamp_hf.MotionIndex.load(other, other).origin == again.origin
        with pytest.raises(ValueError, match=r"others do not have .*push the model"):
            again.push_to_hub("user/gallery")
        weights = load_file(other / "model.safetensors")
        weights["text_head.bias"] += 1
        save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ValueError, match="the index was made with"):
            lamp_hf.MotionIndex.load(tmp_path / "gallery", other)

    def test_damage_is_told(self, index, tmp_path):
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

    def test_an_interrupted_save_loses_nothing(self, index, tmp_path, monkeypatch):
        index.save(tmp_path)
        index.add([motion(seed=8)], ids=["f"])

        def interrupt(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(search.hashlib, "file_digest", interrupt)
        with pytest.raises(KeyboardInterrupt):
            index.save(tmp_path)
        monkeypatch.undo()
        assert len(lamp_hf.MotionIndex.load(tmp_path)) == 5
        index.save(tmp_path)
        assert len(lamp_hf.MotionIndex.load(tmp_path)) == 6 and len(list(tmp_path.glob("*.safetensors"))) == 1

    def test_readers_read_while_another_process_rebuilds(self, index, tmp_path):
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

    def test_merge(self, index, model_folder, tmp_path):
        other = lamp_hf.MotionIndex(model_folder)
        other.add([motion(seed=6)], ids=["f"])
        for name, gallery in (("one", index), ("two", other)):
            gallery.save(tmp_path / name)
        merged = lamp_hf.MotionIndex.merge([tmp_path / "one", tmp_path / "two"])
        assert merged.ids == list("abcdef") and merged.search(motion=motion(seed=6), k=1)[0].id == "f"
        with pytest.raises(ValueError, match="already"):
            lamp_hf.MotionIndex.merge([tmp_path / "one", tmp_path / "one"])

    def test_what_others_put_into_the_folder_stays(self, index, tmp_path):
        (tmp_path / "model.safetensors").write_bytes(b"somebody's weights")
        for _ in range(2):
            index.save(tmp_path)
        names = sorted(path.name for path in tmp_path.glob("*.safetensors"))
        assert len(names) == 2 and names[1] == "model.safetensors"

    def test_a_gallery_is_found_again_from_anywhere(self, model_folder, tmp_path, monkeypatch):
        monkeypatch.chdir(model_folder.parent)
        index = lamp_hf.MotionIndex(model_folder.name)
        index.add([motion()], ids=["a"])
        index.save(tmp_path / "gallery")
        monkeypatch.chdir(tmp_path)
        assert lamp_hf.MotionIndex.load("gallery").search(text="walks")[0].id == "a"


def rebuild(folder, times: int) -> None:
    gallery = lamp_hf.MotionIndex.load(folder)
    for i in range(times):
        gallery.add_vectors(unit_vectors(1, seed=i), [f"new {i}"])
        gallery.save(folder)
        time.sleep(0.05)


class TestCommands:
    @pytest.fixture
    def recordings(self, tmp_path):
        folder = tmp_path / "recordings"
        (folder / "below").mkdir(parents=True)
        for i in range(3):
            motion(seed=i).save(folder / f"clip {i}.npz")
        motion(seed=3).save(folder / "below" / "clip.bvh")
        (folder / "broken.npy").write_bytes(b"no array")
        return folder

    def run(self, *arguments):
        done = subprocess.run(
            [sys.executable, "-m", "lamp_hf", *map(str, arguments)], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def test_index_and_search(self, recordings, model_folder, tmp_path):
        gallery, model = tmp_path / "gallery", ("--model", model_folder, "--json")
        done = self.run("index", recordings, "-o", gallery, *model)
        assert (done["motions"], done["added"]) == (4, 4) and "not a NumPy file" in done["broken"]["broken.npy"]
        found = self.run("search", gallery, "--motion", recordings / "clip 1.npz", "-k", "2", "--json")["hits"]
        assert found[0]["id"] == "clip 1.npz" and found[0]["source"] == str(recordings / "clip 1.npz")
        page = tmp_path / "hits.html"
        self.run("search", gallery, "a person walks", "-o", page, "--json")
        assert "clip 1.npz" in page.read_text() and "4. " in page.read_text()
        (recordings / "clip 0.npz").unlink()
        motion(seed=9).save(recordings / "late.npz")
        done = self.run("index", recordings, "-o", gallery, "--update", "--json")  # by the gallery's own model
        assert (done["motions"], done["added"], done["removed"]) == (4, 1, 1)
        with pytest.raises(ValueError, match="the index was made with"):
            index_folder(recordings, gallery, "bundled:video", update=True)
        with pytest.raises(ValueError, match="was made of another folder"):
            index_folder(recordings.parent, gallery, update=True)

    def test_a_file_that_was_written_anew_is_embedded_anew(self, recordings, model_folder, tmp_path):
        gallery = tmp_path / "gallery"
        index_folder(recordings, gallery, model_folder)
        before = lamp_hf.MotionIndex.load(gallery)
        before.add([motion(seed=8)], ids=["by hand"])
        before.save(gallery)
        motion(seed=5).save(recordings / "clip 1.npz")
        later = time.time() + 10
        os.utime(recordings / "clip 1.npz", (later, later))
        done = index_folder(recordings, gallery, update=True)
        assert (done.motions, done.added, done.removed) == (5, 1, 1)
        hit = lamp_hf.MotionIndex.load(gallery).search(motion=motion(seed=5), k=1)[0]
        assert hit.id == "clip 1.npz" and hit.score == pytest.approx(1, abs=1e-4)

    def test_processes_share_the_files(self, recordings, model_folder, tmp_path):
        launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_addr", "127.0.0.1"]
        launch += ["--master_port", str(free_port()), "-m", "lamp_hf", "index", str(recordings)]
        environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*launch, "-o", str(tmp_path / "two"), "--model", str(model_folder), "--json"],
            capture_output=True, text=True, timeout=300, env=environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["motions"] == 4 and "not a NumPy file" in done.stderr
        alone = lamp_hf.MotionIndex(model_folder)
        alone.add(sorted(recordings.rglob("*.npz")))
        shared = lamp_hf.MotionIndex.load(tmp_path / "two")
        scores = {hit.source: hit.score for hit in shared.search(text="she bows")}
        for hit in alone.search(text="she bows"):
            assert scores[hit.source] == pytest.approx(hit.score, abs=1e-5)
