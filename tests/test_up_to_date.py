"""Galleries and prepared data sets follow their files: changed content and changed options are noticed."""

import os
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import make_clip
from filelock import FileLock
from safetensors.numpy import load_file

import lamp_hf
from lamp_hf.data.preparation import prepare
from lamp_hf.motion.files import sweep_temporaries
from lamp_hf.motion.source_state import describe_source, is_as_described
from lamp_hf.retrieval import folder as retrieval_folder
from lamp_hf.retrieval.folder import index_folder


@pytest.fixture
def recordings(tmp_path):
    """Write three clips with captions."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for i in range(3):
        make_clip(seed=i).save(folder / f"clip {i}.bvh")
    (folder / "captions.csv").write_text("name,caption\n" + "".join(f"clip {i}.bvh,a man walks\n" for i in range(3)))
    return folder


def replace_with_older_file(path, seed: int) -> None:
    """Write another clip in place of a file, with an older time, as `cp -p` and `rsync -t` do."""
    make_clip(seed=seed).save(path)
    os.utime(path, (1e9, 1e9))


class TestState:
    def test_it_is_that_of_content_and_options(self, tmp_path):
        path = tmp_path / "a.bvh"
        path.write_text("one")
        state = describe_source(path, {"unit": 0.01, "up": None})
        assert is_as_described(path, {"unit": 0.01}, state)
        assert not is_as_described(path, {"unit": 0.1}, state) and not is_as_described(path, {}, state)
        os.utime(path, (1e9, 1e9))
        assert is_as_described(path, {"unit": 0.01}, state)  # touched only
        path.write_text("two")
        os.utime(path, (1e9, 1e9))
        assert not is_as_described(path, {"unit": 0.01}, state)
        assert not is_as_described(tmp_path / "none.bvh", {}, state) and not is_as_described(path, {}, None)
        for damaged in ({}, [], {"options": {}}, {"options": {}, "size": path.stat().st_size}):
            assert not is_as_described(path, {}, damaged)

    def test_a_bone_map_counts_by_its_content(self, tmp_path):
        path, rig = tmp_path / "a.bvh", tmp_path / "rig.yaml"
        path.write_text("one")
        rig.write_text("hips: pelvis")
        state = describe_source(path, {"rig": rig})
        assert is_as_described(path, {"rig": shutil.copy(rig, tmp_path / "same.yaml")}, state)
        rig.write_text("hips: root")
        assert not is_as_described(path, {"rig": rig}, state)


class TestGallery:
    @pytest.fixture
    def gallery(self, recordings, lamp_folder, tmp_path):
        index_folder(recordings, tmp_path / "gallery", lamp_folder)
        return tmp_path / "gallery"

    def nearest(self, gallery, seed: int) -> str:
        return lamp_hf.MotionIndex.load(gallery).search(motion=make_clip(seed=seed), k=1)[0].id

    def test_an_update_without_changes_embeds_nothing(self, recordings, gallery):
        for path in recordings.glob("*.bvh"):
            os.utime(path)
        done = index_folder(recordings, gallery, update=True)
        assert (done.motions, done.added, done.removed) == (3, 0, 0)

    def test_a_replacement_with_an_older_time_is_found(self, recordings, gallery):
        replace_with_older_file(recordings / "clip 1.bvh", seed=7)
        done = index_folder(recordings, gallery, update=True)
        assert (done.added, done.removed) == (1, 1) and self.nearest(gallery, 7) == "clip 1.bvh"

    def test_a_file_that_is_rewritten_while_it_is_indexed_is_found(self, recordings, gallery, monkeypatch):
        real = retrieval_folder.Motion.load

        def load(path, **options):
            motion = real(path, **options)
            make_clip(seed=8).save(path)
            return motion

        make_clip(seed=7).save(recordings / "clip 1.bvh")
        monkeypatch.setattr(retrieval_folder.Motion, "load", load)
        assert index_folder(recordings, gallery, update=True).added == 1
        monkeypatch.undo()
        assert index_folder(recordings, gallery, update=True).added == 1 and self.nearest(gallery, 8) == "clip 1.bvh"
        assert index_folder(recordings, gallery, update=True).added == 0

    def test_other_options_of_reading_embed_again(self, recordings, gallery):
        assert index_folder(recordings, gallery, update=True, unit=0.5).added == 3
        assert index_folder(recordings, gallery, update=True, unit=0.5).added == 0

    def test_a_gallery_that_knows_no_states_is_embedded_again(self, recordings, lamp_folder, tmp_path):
        old = lamp_hf.MotionIndex(lamp_folder)
        files = sorted(recordings.glob("*.bvh"))
        old.add(files, [path.name for path in files], [str(path.resolve()) for path in files])
        old.save(tmp_path / "old")
        assert "states" not in load_file(next((tmp_path / "old").glob("*.safetensors")))
        done = index_folder(recordings, tmp_path / "old", update=True)
        assert (done.motions, done.added, done.removed) == (3, 3, 3)

    def test_hidden_files_are_no_recordings(self, recordings, gallery):
        make_clip(seed=9).save(recordings / "._clip 9.npz")
        assert index_folder(recordings, gallery, update=True).added == 0

    def test_saving_sweeps_what_killed_runs_left(self, gallery):
        old = next(gallery.glob("*.safetensors"))
        for left in (f".{old.stem}-abcd_123.safetensors", ".index-abcd_123.json"):
            (gallery / left).write_bytes(b"half")
        (gallery / ".model-abcd_123.safetensors").write_bytes(b"another's")
        lamp_hf.MotionIndex.load(gallery).save(gallery)
        hidden = {path.name for path in gallery.glob(".*")}
        assert hidden == {".lock", ".model-abcd_123.safetensors"}

    @pytest.mark.slow
    def test_a_full_disk_ends_in_one_line_and_keeps_the_gallery(self, recordings, gallery):
        make_clip(seed=9).save(recordings / "clip 9.bvh")
        limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500)); "
        command = f"sys.argv[1:] = ['index', {str(recordings)!r}, '-o', {str(gallery)!r}, '--update']; "
        code = f"import sys; from lamp_hf.cli import main; {command}{limit}main()"
        done = subprocess.run(
            [sys.executable, "-B", "-c", code], capture_output=True, text=True, timeout=300,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
        assert f"cannot write the gallery {gallery.with_name('.gallery-portions')}" in done.stderr
        assert len(lamp_hf.MotionIndex.load(gallery)) == 3 and not list(gallery.glob(".*-*"))

    def test_states_stay_at_home(self, gallery, tmp_path):
        index = lamp_hf.MotionIndex.load(gallery)
        assert all(index.states)
        index._model = "user/model"  # on the Hub
        index.write_repository(tmp_path / "public", "user/gallery")
        assert "states" not in load_file(next((tmp_path / "public").glob("*.safetensors")))


class TestPreparation:
    def test_a_replacement_with_an_older_time_is_prepared(self, recordings, tmp_path):
        prepare(recordings, tmp_path / "data", workers=1)
        before = np.load(tmp_path / "data" / "new_joints" / "clip_1.npy")
        replace_with_older_file(recordings / "clip 1.bvh", seed=7)
        assert prepare(recordings, tmp_path / "data", workers=1).kept == 2
        after = np.load(tmp_path / "data" / "new_joints" / "clip_1.npy")
        prepare(recordings, tmp_path / "anew", workers=1)
        assert not np.array_equal(before, after)
        assert np.array_equal(after, np.load(tmp_path / "anew" / "new_joints" / "clip_1.npy"))

    def test_other_options_prepare_again(self, recordings, tmp_path):
        assert prepare(recordings, tmp_path / "data", workers=1, up=None).kept == 0
        assert prepare(recordings, tmp_path / "data", workers=1).kept == 3
        assert prepare(recordings, tmp_path / "data", workers=1, unit=0.5).kept == 0
        assert prepare(recordings, tmp_path / "data", workers=1, unit=0.5).kept == 3

    def test_clips_whose_source_is_gone_or_broken_are_deleted(self, recordings, tmp_path):
        data = tmp_path / "data"
        assert prepare(recordings, data, mirrored=True, workers=1).clips == 6
        (data / "texts" / "mine.txt").write_text("he bows\n")  # not ours to delete
        (recordings / "clip 0.bvh").unlink()
        (recordings / "clip 1.bvh").write_text("HIERARCHY")
        assert prepare(recordings, data, mirrored=True, workers=1).clips == 2
        names = {
            path.stem for folder in ("new_joints", "new_joint_vecs", "texts") for path in (data / folder).iterdir()
        }
        assert names == {"clip_2", "Mclip_2", "mine"}
        assert prepare(recordings, data, workers=1).clips == 1
        assert not (data / "new_joints" / "Mclip_2.npy").exists()

    def test_an_unfinished_clip_is_written_again(self, recordings, tmp_path):
        prepare(recordings, tmp_path / "data", workers=1)
        (tmp_path / "data" / "new_joint_vecs" / "clip_1.npy").unlink()
        assert prepare(recordings, tmp_path / "data", workers=1).kept == 2

    def test_a_clip_whose_record_is_damaged_is_written_again(self, recordings, tmp_path):
        prepare(recordings, tmp_path / "data", workers=1)
        for name, content in {"clip_0": b"{", "clip_1": b"[" * 100_000, "clip_2": b"{}"}.items():
            (tmp_path / "data" / "sources" / f"{name}.json").write_bytes(content)
        report = prepare(recordings, tmp_path / "data", workers=1)
        assert (report.clips, report.kept, report.broken) == (3, 0, {})

    def test_it_works_alone_and_sweeps_what_killed_runs_left(self, recordings, tmp_path):
        prepare(recordings, tmp_path / "data", workers=1)
        left = [tmp_path / "data" / "new_joints" / ".clip_1-abcd_123.npy", tmp_path / "data" / ".train-abcd_123.txt"]
        for path in left:
            path.write_bytes(b"half")
        with FileLock(tmp_path / "data" / ".lock"), pytest.raises(ValueError, match="another preparation is writing"):
            prepare(recordings, tmp_path / "data", workers=1)
        prepare(recordings, tmp_path / "data", workers=1)
        assert not any(path.exists() for path in left)

    def test_a_data_set_is_read_anew_when_a_caption_or_clip_changes(self, recordings, tmp_path):
        prepare(recordings, tmp_path / "data", workers=1)
        split = next(split for split in ("train", "val", "test") if (tmp_path / "data" / f"{split}.txt").read_text())
        name = lamp_hf.load_motion_dataset(tmp_path / "data", split)[0]["name"]
        (tmp_path / "data" / "texts" / f"{name}.txt").write_text("she bows\n")
        assert list(lamp_hf.load_motion_dataset(tmp_path / "data", split)[0]["captions"]) == ["she bows"]


@pytest.fixture
def full_disk():
    """Let no file grow beyond 9,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("suffix", [".bvh", ".glb", ".html", ".npy", ".npz"])
def test_a_full_disk_leaves_the_motion_that_was_there(suffix, tmp_path, full_disk):
    path = tmp_path / f"walk{suffix}"
    path.write_text("before")
    with pytest.raises(OSError, match=f"cannot write {path}") as caught:
        make_clip(9.0).save(path)
    assert "\n" not in str(caught.value)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_ends_a_preparation_and_breaks_no_file(recordings, tmp_path, full_disk):
    with pytest.raises(OSError, match=r"cannot write .*/new_joints/clip_0\.npy") as caught:
        prepare(recordings, tmp_path / "data", workers=1)
    assert "\n" not in str(caught.value)
    assert not [path for path in (tmp_path / "data").rglob("*.*") if path.stat().st_size == 0 and path.name != ".lock"]
    assert not list((tmp_path / "data").glob("*/.*")) and not (tmp_path / "data" / "broken.csv").exists()


def test_only_temporaries_of_the_named_files_are_swept(tmp_path):
    for name in (".a-12345678.npy", ".a-123.npy", ".b-12345678.npz", "a-12345678.npy"):
        (tmp_path / name).touch()
    sweep_temporaries(tmp_path, "*.npy")
    assert {path.name for path in tmp_path.iterdir()} == {".a-123.npy", ".b-12345678.npz", "a-12345678.npy"}
