"""Preparation: a folder of motion files becomes a data set that the loaders read."""

import csv
import json

import numpy as np
import pytest
from conftest import make_motion

import lamp_hf
from lamp_hf import Motion
from lamp_hf.data import preparation
from lamp_hf.data.humanml3d_writer import _split_by_name
from lamp_hf.data.preparation import prepare
from lamp_hf.models.skeleton import KIT


@pytest.fixture
def recordings(tmp_path):
    """Write files of several formats and frame rates; two are broken and one has no caption."""
    folder = tmp_path / "recordings"
    (folder / "deep").mkdir(parents=True)
    captions = {}
    for i in range(12):
        path = folder / ("deep" if i % 3 == 0 else "") / f"clip {i}{('.bvh', '.npz', '.npy')[i % 3]}"
        motion = Motion(make_motion(40 + i, seed=i, facing=i), fps=20 if i % 3 == 2 else 30)
        motion.save(path)
        captions[str(path.relative_to(folder))] = [f"a man walks to the left {i} times", "someone walks"]
    np.save(folder / "nan.npy", np.full((30, 22, 3), np.nan))
    (folder / "cut.bvh").write_text("HIERARCHY\nROOT")
    captions |= {"nan.npy": "x", "cut.bvh": "x"}
    Motion(make_motion()).save(folder / "silent.npy")
    (folder / "captions.json").write_text(json.dumps(captions))
    return folder


def test_a_folder_becomes_a_data_set_and_names_what_is_broken(recordings, tmp_path):
    done = prepare(recordings, tmp_path / "data", mirrored=True, parquet=True, workers=1)
    assert done.clips == 24 and set(done.broken) == {"nan.npy", "cut.bvh", "silent.npy"}
    assert "frame 0 holds NaN" in done.broken["nan.npy"] and done.broken["silent.npy"] == "it has no caption"
    with open(tmp_path / "data" / "broken.csv", newline="") as file:
        assert {row["file"] for row in csv.DictReader(file)} == set(done.broken)
    names = {split: (tmp_path / "data" / f"{split}.txt").read_text().split() for split in ("train", "val", "test")}
    assert sum(map(len, names.values())) == 24
    for members in names.values():  # mirror images stay with their originals
        assert {name[1:] for name in members if name[0] == "M"} == {name for name in members if name[0] != "M"}
    dataset = lamp_hf.load_motion_dataset(tmp_path / "data", "train")
    row = dataset[0]
    mirrored = row["name"].startswith("M")
    assert row["captions"][0].startswith(f"a man walks to the {'right' if mirrored else 'left'}")
    again = lamp_hf.load_motion_dataset(tmp_path / "data" / "motions.parquet", "train")
    assert sorted(again["name"]) == sorted(dataset["name"])
    joints = np.load(tmp_path / "data" / "new_joints" / f"{row['name']}.npy")
    np.testing.assert_allclose(lamp_hf.joints_to_features(joints), row["motion"], atol=2e-3)
    assert np.load(tmp_path / "data" / "Mean.npy").shape == np.load(tmp_path / "data" / "Std.npy").shape == (263,)


def test_an_interrupted_preparation_resumes(recordings, tmp_path, monkeypatch):
    whole = prepare(recordings, tmp_path / "whole", workers=1)
    real, count = preparation._prepare_file, 0

    def interrupted(job):
        nonlocal count
        count += 1
        if count > 5:
            raise KeyboardInterrupt
        return real(job)

    monkeypatch.setattr(preparation, "_prepare_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(recordings, tmp_path / "data", workers=1)
    monkeypatch.setattr(preparation, "_prepare_file", real)
    done = prepare(recordings, tmp_path / "data", workers=1)
    assert 0 < done.kept < 12 and done.clips == whole.clips == 12
    for path in (tmp_path / "whole").rglob("*.npy"):
        assert path.read_bytes() == (tmp_path / "data" / path.relative_to(tmp_path / "whole")).read_bytes()


def test_changed_files_are_prepared_again_and_removed_files_are_left_out(recordings):
    output = recordings / "data"  # the output may lie in the source
    assert prepare(recordings, output, workers=1).kept == 0
    captions = json.loads((recordings / "captions.json").read_text())
    captions["clip 2.npy"] = "a woman jumps over the fence"
    (recordings / "captions.json").write_text(json.dumps(captions))
    (recordings / "clip 5.npy").unlink()
    (output / "README.md").write_text("my own words")
    done = prepare(recordings, output, workers=1)
    assert done.clips == 11 and done.kept == 10
    assert (output / "texts" / "clip_2.txt").read_text() == "a woman jumps over the fence##0#0\n"
    assert "clip_5" not in "".join((output / f"{split}.txt").read_text() for split in ("train", "val", "test"))
    assert (output / "README.md").read_text() == "my own words"
    (recordings / "clip 2.bvh").write_text("HIERARCHY")
    with pytest.raises(ValueError, match="two files would both be the clip clip_2"):
        prepare(recordings, output, workers=1)


def test_data_sets_in_humanml3d_layout_keep_their_motions_and_splits(humanml3d_folder, tmp_path):
    done = prepare(humanml3d_folder, tmp_path / "data", workers=1)
    assert done.clips == 11 and list(done.broken) == ["new_joint_vecs/000003.npy"]
    before = np.load(humanml3d_folder / "new_joint_vecs" / "000007.npy")
    after = np.load(tmp_path / "data" / "new_joint_vecs" / "000007.npy")
    np.testing.assert_allclose(after, before[:-1], atol=0.01)  # the end of a clip is smoothed without what followed
    for split in ("train", "val", "test"):  # without the broken clip
        before = (humanml3d_folder / f"{split}.txt").read_text().split()
        assert (tmp_path / "data" / f"{split}.txt").read_text().split() == [n for n in before if n != "000003"]
    kit = tmp_path / "kit"
    kit.mkdir()
    for i in range(3):
        np.save(kit / f"{i}.npy", make_motion(30, seed=i, skeleton=KIT))
        (kit / f"{i}.txt").write_text("a person walks\n")
    assert prepare(kit, tmp_path / "kit_data", workers=1).clips == 3
    assert lamp_hf.load_motion_dataset(tmp_path / "kit_data", "train", "kit")[0]["motion"].shape[1] == 251


@pytest.mark.parametrize(("clips", "empty"), [(1, ["val", "test"]), (2, ["test"]), (3, []), (12, [])])
def test_no_split_is_empty_where_there_are_clips_for_it(tmp_path, clips, empty):
    (tmp_path / "walks").mkdir()
    for i in range(clips):
        np.save(tmp_path / "walks" / f"take_{i}.npy", make_motion(30, seed=i))
        (tmp_path / "walks" / f"take_{i}.txt").write_text("a person walks\n")
    prepare(tmp_path / "walks", tmp_path / "data", mirrored=True, workers=1)
    names = {split: (tmp_path / "data" / f"{split}.txt").read_text().split() for split in ("train", "val", "test")}
    assert [split for split, members in names.items() if not members] == empty
    assert sum(map(len, names.values())) == 2 * clips
    for split, members in names.items():  # mirror images stay with their originals, also in a split that was filled
        assert {name.removeprefix("M") for name in members} == set(members) - {n for n in members if n[0] == "M"}
        if members:
            assert len(lamp_hf.load_motion_dataset(tmp_path / "data", split)) == len(members)


def test_a_clip_stays_in_its_split_when_others_are_added():
    few, many = (_split_by_name([f"clip_{i}" for i in range(count)]) for count in (100, 200))
    assert set(few.values()) == {"train", "val", "test"} and few.items() <= many.items()


def test_errors_name_the_problem(recordings, tmp_path):
    with pytest.raises(FileNotFoundError, match="no motion file"):
        prepare(tmp_path / "nowhere", tmp_path / "data")
    with pytest.raises(FileNotFoundError, match="no such file"):
        prepare(recordings, tmp_path / "data", captions=tmp_path / "none.csv")
    (tmp_path / "captions.csv").write_text("file,text\na,b\n")
    with pytest.raises(ValueError, match="name, caption"):
        prepare(recordings, tmp_path / "data", captions=tmp_path / "captions.csv")
    (tmp_path / "captions.csv").write_text("name,caption\n../../clip,walks\n")
    with pytest.raises(ValueError, match="not one usable clip"):
        prepare(recordings, tmp_path / "data", captions=tmp_path / "captions.csv", workers=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["captions.csv", "data", "recordings"]
