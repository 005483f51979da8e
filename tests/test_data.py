import logging
import shutil

import numpy as np
import pytest
from conftest import make_motion
from datasets import Dataset

import lamp_hf
from lamp_hf.data.captions import are_new, mirror_caption
from lamp_hf.data.dataset import PUBLISHED_LENGTHS


def test_folder_in_humanml3d_layout_names_broken_clips_and_cuts_parts(humanml3d_folder, caplog):
    with caplog.at_level(logging.WARNING):
        dataset = lamp_hf.load_motion_dataset(humanml3d_folder, "train")
    names = list(dataset["name"])
    assert "000003" not in names and "000003" in caplog.text and "frame 7" in caplog.text
    part = dataset[names.index("000004@1-2")]
    assert part["motion"].shape == (20, 263) and list(part["captions"]) == ["walks at the end"]
    assert dataset[names.index("000005")]["motion"].shape == (8, 263)  # short clips stay


def test_what_is_left_out_is_named_whenever_a_data_set_is_loaded(humanml3d_folder, tmp_path, caplog):
    folder = shutil.copytree(humanml3d_folder, tmp_path / "data")
    (folder / "texts" / "000001.txt").write_text("\n")
    with open(folder / "texts" / "000002.txt", "a") as captions:
        captions.write("bows late#bows/VERB#90.0#91.0\n")
    texts = []
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            dataset = lamp_hf.load_motion_dataset(folder, "train")
        texts.append(caplog.messages[:])
        caplog.clear()
    assert not {"000001", "000003", "000002@90-91"} & set(dataset["name"]) and "problem" not in dataset.column_names
    assert texts[0] == texts[1] and len(texts[0]) == 3
    assert "holds no caption" in texts[0][0] and "90.0-91.0 s left out" in texts[0][1] and "frame 7" in texts[0][2]


def test_clips_and_parts_of_other_lengths_than_published_are_left_out(humanml3d_folder):
    assert PUBLISHED_LENGTHS == {"humanml3d": (40, 200), "kit": (24, 200)}
    everything = lamp_hf.load_motion_dataset(humanml3d_folder, "train")
    published = lamp_hf.load_motion_dataset(humanml3d_folder, "train", lengths=PUBLISHED_LENGTHS["humanml3d"])
    assert set(everything["name"]) - set(published["name"]) == {"000005", "000004@1-2"}  # 8 and 20 frames
    long_clips_left_out = lamp_hf.load_motion_dataset(humanml3d_folder, "train", lengths=(10, 56))
    assert "000004@1-2" not in long_clips_left_out["name"]  # a part goes with its clip, which has 56


def test_captions_are_new_whatever_their_case_and_punctuation():
    known = ["A person walks forward.", "she bows"]
    assert are_new(["a person walks forward", "she bows twice", "She bows!"], known).tolist() == [False, True, False]


def test_a_split_of_broken_clips_alone_has_no_usable_one(humanml3d_folder, tmp_path, caplog):
    folder = shutil.copytree(humanml3d_folder, tmp_path / "data")
    (folder / "val.txt").write_text("000003\n")
    for _ in range(2):
        with caplog.at_level(logging.WARNING), pytest.raises(ValueError, match="the val split has no usable clip"):
            lamp_hf.load_motion_dataset(folder, "val")
    assert caplog.text.count("000003 left out") == 2


def test_parquet_gives_the_same_shape_and_mirrors_motion_with_caption(tmp_path):
    joints = make_motion()
    row = {
        "name": "clip",
        "split": "train",
        "joints_mm": (joints * 1000).round().astype(np.int16).ravel(),
        "captions": ["raises the left hand"],
        "action": "raise-left-hand",
        "style": "calm",
    }
    Dataset.from_list([row]).to_parquet(tmp_path / "mocap.parquet")
    dataset = lamp_hf.load_motion_dataset(tmp_path / "mocap.parquet", "train", mirrored=True)
    assert list(dataset["name"]) == ["clip", "Mclip"]
    assert list(dataset[1]["captions"]) == ["raises the right hand"] and dataset[1]["action"] == "raise-right-hand"
    expected = lamp_hf.joints_to_features(lamp_hf.mirror(joints))
    assert np.abs(lamp_hf.features_to_joints(dataset[1]["motion"]) - lamp_hf.features_to_joints(expected)).max() < 0.01


@pytest.mark.parametrize(
    ("caption", "mirrored"),
    [
        ("Left foot, then the right foot", "Right foot, then the left foot"),
        ("turns counterclockwise", "turns clockwise"),
        ("turns anticlockwise", "turns clockwise"),
        ("nothing is left-handed about leftovers", "nothing is right-handed about leftovers"),
        ("Anticlockwise, LEFT arm first", "Clockwise, RIGHT arm first"),
        ("has no energy left and turns left", "has no energy left and turns right"),
        ("crawls with what is left of his strength", "crawls with what is left of his strength"),
        ("bends the left arm at a right angle", "bends the right arm at a right angle"),
        ("holds a right-angled ruler, all right", "holds a right-angled ruler, all right"),
        ("the foot on the left is left, the other is right", "the foot on the right is right, the other is left"),
    ],
)
def test_mirrored_captions(caption, mirrored):
    assert mirror_caption(caption) == mirrored


def test_labels_that_a_parquet_file_has_are_kept_and_mirrored(tmp_path):
    row = {
        "name": "a",
        "split": "train",
        "joints_mm": (1000 * make_motion()).astype(np.int16).ravel(),
        "captions": ["raises the left hand"],
        "family": "raise-left-hand",
        "license_class": "CC0",
        "trial": "t1",
    }
    Dataset.from_list([row]).to_parquet(tmp_path / "clips.parquet")
    clip, image = lamp_hf.load_motion_dataset(tmp_path / "clips.parquet", "train", mirrored=True)
    assert (clip["family"], image["family"]) == ("raise-left-hand", "raise-right-hand")
    for row in (clip, image):
        assert (row["license_class"], row["trial"], row["action"], row["style"]) == ("CC0", "t1", "", "")


def test_a_split_without_clips_is_an_error_that_names_it(tmp_path):
    for folder in ("new_joint_vecs", "texts"):
        (tmp_path / folder).mkdir()
    (tmp_path / "val.txt").write_text("")
    with pytest.raises(ValueError, match="the val split has no usable clip"):
        lamp_hf.load_motion_dataset(tmp_path, "val")
    row = {"name": "a", "split": "train", "joints_mm": [0] * 66, "captions": ["a"], "action": "", "style": ""}
    Dataset.from_list([row]).to_parquet(str(tmp_path / "motions.parquet"))
    with pytest.raises(ValueError, match="the val split has no usable clip"):
        lamp_hf.load_motion_dataset(tmp_path / "motions.parquet", "val")


def test_missing_data_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="HumanML3D's layout"):
        lamp_hf.load_motion_dataset(tmp_path, "train")
    with pytest.raises(ValueError, match="unknown split"):
        lamp_hf.load_motion_dataset(tmp_path, "training")
