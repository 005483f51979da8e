"""Videos rendered from clips for LAVIMO."""

import sys
import zlib

import numpy as np
import pytest
from conftest import make_motion
from training_stages import run

import lamp_hf
from lamp_hf.models.video_frames import Video
from training.evaluation.lavimo import DEGRADATIONS
from training.video.render import main as render
from training.video.rendered_videos import FIXED, UNSEEN, render_clip, sampled_frames


@pytest.mark.parametrize("length", [5, 16, 40, 77, 96, 192, 196, 224])
def test_rendered_videos_have_the_frames_that_a_video_file_would_give(length):
    pictures = np.arange(length, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 8, 8, 3), np.uint8)
    frames = Video(pictures, fps=20).sample(16, 8)
    np.testing.assert_array_equal(frames.pixels[frames.mask][:, 0, 0, 0], sampled_frames(length, 16))


@pytest.mark.slow
def test_a_rendered_video_is_the_same_in_every_process(tmp_path):
    features = lamp_hf.joints_to_features(make_motion(30))
    for seed in (FIXED, 3, UNSEEN):
        first, second = (render_clip(features, "clip", seed, "humanml3d", 8, 32) for _ in range(2))
        assert first.shape == (8, 32, 32, 3) and first.tobytes() == second.tobytes()
    code = "import sys; sys.path.insert(0, 'tests'); from conftest import make_motion; import lamp_hf, zlib; "
    code += "from training.video.rendered_videos import render_clip; "
    code += "features = lamp_hf.joints_to_features(make_motion(30)); "
    code += "print(zlib.crc32(render_clip(features, 'clip', 3, 'humanml3d', 8, 32).tobytes()))"
    elsewhere = run(tmp_path, sys.executable, "-c", code)
    assert str(zlib.crc32(render_clip(features, "clip", 3, "humanml3d", 8, 32).tobytes())) in elsewhere


def test_a_split_is_rendered_to_files_once(humanml3d_folder, tmp_path, monkeypatch, capsys):
    options = ("--data", humanml3d_folder, "--split", "test", "--seeds", "fixed", "7", "--size", "32")
    monkeypatch.setattr("sys.argv", ["render", *map(str, options), "--output", str(tmp_path)])
    for found in ("4 videos written, 0 skipped", "0 videos written, 4 skipped"):
        render()
        assert found in capsys.readouterr().out
    clips = sorted(path.name for path in (tmp_path / "seed-7").iterdir())
    assert clips == sorted(path.name for path in (tmp_path / "seed-fixed").iterdir()) and len(clips) == 2
    assert Video(tmp_path / "seed-7" / clips[0]).sample(4, 16).mask.all()


def test_videos_are_degraded_as_by_phones_and_people(tmp_path):
    content = lamp_hf.Motion(make_motion(20)).save(tmp_path / "video.mp4", size=64).read_bytes()
    for kind, degrade in DEGRADATIONS.items():
        frames = Video(degrade(content)).sample(8, 32)
        assert frames.mask.all(), kind
        whole = Video(content).sample(8, 32)
        same = np.abs(frames.pixels.astype(int) - whole.pixels).mean() < 12
        assert same == (kind != "cropped"), kind
