"""Galleries that are searched by a video, with a LAVIMO model that was trained for four steps."""

from itertools import pairwise

import numpy as np
import pytest
from conftest import make_motion, tiny_lamp_config

import lamp_hf


@pytest.fixture(scope="module")
def gallery(stage_folder):
    index = lamp_hf.MotionIndex(stage_folder("lavimo") / "model")
    index.add([lamp_hf.Motion(make_motion(81 + 20 * i, seed=i)) for i in range(4)], ids=list("abcd"))
    return index


def test_a_video_finds_motions_alone_and_with_a_sentence(gallery, tmp_path):
    path = lamp_hf.Motion(make_motion(60, seed=1)).save(tmp_path / "video.mp4", size=64)
    hits = gallery.search(video=path, k=2)
    assert len(hits) == 2 and hits[0].score >= hits[1].score
    assert (hits[0].video_start, hits[0].video_end) == (0, pytest.approx(3, abs=0.06))
    both = gallery.search(text="someone waves", video=path.read_bytes(), k=4)
    assert len(both) == 4 and both[0].score != gallery.search(video=path, k=4)[0].score


def test_a_box_cuts_the_person_out_of_a_video(gallery):
    pictures = lamp_hf.Motion(make_motion(60, seed=1)).render(64)
    crowded = np.random.default_rng(0).integers(0, 255, (60, 96, 128, 3)).astype(np.uint8)
    crowded[:, 20:84, 50:114] = pictures
    alone, boxed, whole = (
        {hit.id: hit.score for hit in gallery.search(video=video, boxes=box, k=4)}
        for video, box in ((pictures, None), (crowded, (50, 20, 114, 84)), (crowded, None))
    )
    with pytest.raises(ValueError, match="there is none"):
        gallery.search(text="someone waves", boxes=(50, 20, 114, 84))
    assert boxed == pytest.approx(alone, abs=1e-5) and boxed != pytest.approx(whole, abs=1e-3)


def test_moments_of_a_long_video_do_not_overlap(gallery, tmp_path):
    index = lamp_hf.MotionIndex(gallery._model)
    index.add([lamp_hf.Motion(make_motion(20 * 30, seed=3))], ids=["long"])
    path = lamp_hf.Motion(make_motion(20 * 25, seed=2)).save(tmp_path / "video.mp4", size=64)
    spans = sorted((hit.start, hit.end) for hit in index.search(video=path, k=10, moments=True))
    assert len(spans) > 2 and all(left[1] <= right[0] for left, right in pairwise(spans))


def test_a_long_video_is_searched_by_its_parts(gallery, tmp_path):
    path = lamp_hf.Motion(make_motion(20 * 25, seed=2)).save(tmp_path / "video.mp4", size=64)
    hits = gallery.search(video=path, k=4)
    assert [hit.id for hit in hits] == list(dict.fromkeys(hit.id for hit in hits))
    assert all(0 <= hit.video_start < hit.video_end <= 25.1 for hit in hits)
    assert all(hit.video_end - hit.video_start == pytest.approx(4, abs=0.1)
               or hit.video_end - hit.video_start == pytest.approx(9.8, abs=0.1) for hit in hits)  # fmt: skip


def test_a_gallery_of_a_model_without_a_video_tower_says_so(processor, tmp_path):
    lamp_hf.LampModel(tiny_lamp_config(processor)).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="reads no video"):
        lamp_hf.MotionIndex(tmp_path).search(video=np.zeros((4, 8, 8, 3), np.uint8))
