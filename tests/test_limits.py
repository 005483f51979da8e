"""Limits: files that promise more than can be worked on are refused at once, and leave the others of a run alone."""

import time
import zipfile

import numpy as np
import pytest
from conftest import make_motion

import lamp_hf
from lamp_hf.motion.clip import read_folder
from lamp_hf.motion.limits import MAX_POSITIONS, check_rate, check_size
from lamp_hf.motion.numpy_files import read_npz


@pytest.fixture(autouse=True)
def within_seconds():
    started = time.process_time()
    yield
    assert time.process_time() - started < 5


def write_bvh(path, joints: str, num_frames: int):
    path.write_text(
        f"HIERARCHY\nROOT hips\n{{\nOFFSET 0 0 0\nCHANNELS 1 Xposition\n{joints}}}\n"
        f"MOTION\nFrames: {num_frames}\nFrame Time: 0.01\n" + "0\n" * num_frames
    )
    return path


def test_the_limits_themselves():
    check_size(MAX_POSITIONS // 22, 22)
    check_rate(100, 1000.0)
    with pytest.raises(ValueError, match="joint positions"):
        check_size(MAX_POSITIONS // 22 + 1, 22)
    for num_frames, fps in ((100, 1e-6), (100, 20_000), (1, 0), (1, -1), (1, float("nan")), (1, float("inf"))):
        with pytest.raises(ValueError, match="fps"):
            check_rate(num_frames, fps)


@pytest.mark.parametrize("line", ["JOINT" + " " * 200_000, "JOINT a" + " " * 200_000 + "b", " " * 200_000 + "x"])
def test_a_bvh_of_blanks_is_parsed_in_linear_time(tmp_path, line):
    with pytest.raises(ValueError, match="damaged BVH"):
        lamp_hf.Motion.load(write_bvh(tmp_path / "blanks.bvh", line + "\n", 2))


def test_joints_without_channels_count(tmp_path):
    joint = "JOINT j\n{\nOFFSET 0 1 0\n}\n"
    with pytest.raises(ValueError, match="30,000 frames of 1,001 joints are too large"):
        lamp_hf.Motion.load(write_bvh(tmp_path / "large.bvh", joint * 1000, 30_000))


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"joints": make_motion(100), "fps": 1e-6}, "frame rate is wrong"),
        ({"joints": make_motion(100), "fps": 20_000.0}, "fps must be a number up to 1000"),
        ({"joints": np.zeros((1_200_000, 22, 3), np.float16), "fps": 100.0}, "too large"),
        ({"poses": np.zeros((600_000, 156), np.float16), "trans": np.zeros((1, 3))}, "too large"),
        ({"joints": make_motion(100), "text": np.array(" " * 500_000)}, "its text has 2 MB"),
    ],
)
def test_an_npz_is_refused_by_what_it_states(tmp_path, arrays, message):
    np.savez(tmp_path / "large.npz", **arrays)
    with pytest.raises(ValueError, match=f"large.npz.*{message}"):
        lamp_hf.Motion.load(tmp_path / "large.npz")


def test_an_npz_that_lies_about_its_size_is_damaged(tmp_path):
    header = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (9000, 22, 3), }".ljust(
        117
    )
    with zipfile.ZipFile(tmp_path / "short.npz", "w") as archive:
        archive.writestr("joints.npy", header + b"\n" + bytes(12))
    with pytest.raises(ValueError, match=r"short\.npz"):
        read_npz(tmp_path / "short.npz")


def test_an_npy_is_refused_by_its_shape(tmp_path):
    np.lib.format.open_memmap(tmp_path / "large.npy", "w+", np.float32, (1_200_000, 22, 3)).flush()  # a sparse file
    with pytest.raises(ValueError, match=r"large\.npy.*too large"):
        lamp_hf.Motion.load(tmp_path / "large.npy")


def test_a_resampled_motion_has_limits_too():
    slow = lamp_hf.Motion(make_motion(100), fps=1e-6)
    for refused in (lambda: slow.resample(20.0), lambda: slow.features):
        with pytest.raises(ValueError, match="too large"):
            refused()


def test_a_folder_leaves_the_one_file_out_by_name(tmp_path):
    lamp_hf.Motion(make_motion(40)).save(tmp_path / "good.npz")
    np.savez(tmp_path / "slow.npz", joints=make_motion(100), fps=1e-6)
    found, broken = read_folder(tmp_path, lambda motion, name: motion.resample(20.0))
    assert list(found) == ["good.npz"] and "frame rate is wrong" in broken["slow.npz"]
