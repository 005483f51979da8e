"""lavimo-small, as it ships: a video finds its motion, whatever the camera, the body and the place."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoProcessor, pipeline

import lamp_hf


TEXTS = [
    "a person waves with the left hand",
    "a person waves with the right hand",
    "a person walks forward",
    "a person runs forward",
    "a person turns around to the left",
    "a person bows",
]


@pytest.fixture(scope="module")
def motions() -> list[lamp_hf.Motion]:
    made = pipeline("text-to-motion", model=lamp_hf.bundled())(TEXTS, duration=4.0, seed=0)
    return [lamp_hf.Motion(motion["joints"], text=text) for motion, text in zip(made, TEXTS)]


@pytest.fixture(scope="module")
def index(motions) -> lamp_hf.MotionIndex:
    index = lamp_hf.MotionIndex(lamp_hf.bundled("video"))
    index.add(motions, ids=TEXTS)
    return index


def test_it_fits_the_package():
    folder = Path(lamp_hf.bundled("video"))
    assert sum(file.stat().st_size for file in folder.glob("*.safetensors")) < 30e6
    assert type(AutoModel.from_pretrained(folder)) is lamp_hf.LavimoModel
    assert type(AutoProcessor.from_pretrained(folder)) is lamp_hf.LavimoProcessor


def test_words_find_motions(index):
    right = [index.search(text=text, k=1)[0].id == text for text in TEXTS]
    assert sum(right) >= 5


def test_videos_by_strangers_find_motions(index, motions, tmp_path):
    ranks = []
    for seed, motion in enumerate(motions):
        pictures = motion.render(160, camera=lamp_hf.random_view(motion.text, 5000 + seed))
        ids = [hit.id for hit in index.search(video=pictures)]
        ranks.append(ids.index(motion.text))
    assert np.mean(np.array(ranks) == 0) >= 0.5 and np.mean(ranks) < 1.5  # by chance 1 of 6, and 2.5


def test_a_file_and_its_pictures_are_the_same_video(index, motions, tmp_path):
    silent = lamp_hf.Motion(motions[2].joints)  # without a caption in the picture
    hits = index.search(video=silent.save(tmp_path / "video.mp4", size=160))
    assert hits[0].id == TEXTS[2] and hits[0].video_end == pytest.approx(4, abs=0.1)
    again = {hit.id: hit.score for hit in index.search(video=silent.render(160))}
    assert all(hit.score == pytest.approx(again[hit.id], abs=0.1) for hit in hits)


def test_windows_of_a_long_video_look_like_the_same_seconds_alone(index, motions):
    pictures = np.concatenate([motion.render(112) for motion in motions])  # 24 seconds
    vectors, spans = index.embedder.embed_video(pictures)
    short = spans[:, 1] - spans[:, 0] < 4.5
    for row in np.flatnonzero(short)[::5]:
        start, end = np.round(20 * spans[row]).astype(int)
        alone, _ = index.embedder.embed_video(pictures[start:end])
        assert abs(int((vectors[short] @ alone[0]).argmax()) - row) <= 1 and vectors[row] @ alone[0] > 0.8


def test_labels_for_motions_and_videos_and_where_they_fit(motions):
    classify = pipeline("zero-shot-motion-classification", model=lamp_hf.bundled("video"))
    labels = ["waves with the left hand", "walks forward", "runs forward", "bows"]
    wave, walk = (motion.render(160) for motion in (motions[0], motions[2]))
    of_motion, of_video = classify([motions[2], walk], candidate_labels=labels)
    for answer in (of_motion, of_video):
        assert answer[0]["label"] == "walks forward" and sum(row["score"] for row in answer) == pytest.approx(1)
        assert (answer[0]["start"], answer[0]["end"]) == (0, pytest.approx(4, abs=0.06))
    # Sixteen seconds are read in two parts.
    long = {row["label"]: row for row in classify(np.concatenate([wave, wave, walk, walk]), candidate_labels=labels)}
    for label, start in (("waves with the left hand", 0), ("walks forward", 8)):
        assert (long[label]["start"], long[label]["end"]) == pytest.approx((start, start + 8), abs=0.1)


def test_the_cards_five_lines_work(motions, tmp_path):
    card = (Path(lamp_hf.bundled("video")) / "README.md").read_text(encoding="utf-8")
    code = card.partition("```python\n")[2].partition("```")[0]
    for name, motion in (("walk.bvh", motions[2]), ("wave.bvh", motions[0]), ("phone.mp4", motions[0])):
        motion.save(tmp_path / name)
        code = code.replace(f'"{name}"', repr(str(tmp_path / name)))
    names: dict = {}
    exec(code + "\nfound = index.search(video=" + repr(str(tmp_path / "phone.mp4")) + ")", names)
    assert [hit.id for hit in names["found"]] == [str(tmp_path / "wave.bvh"), str(tmp_path / "walk.bvh")]


def test_each_modality_alone_from_the_processor(motions):
    model = lamp_hf.LavimoModel.from_pretrained(lamp_hf.bundled("video"))
    processor = lamp_hf.LavimoProcessor.from_pretrained(lamp_hf.bundled("video"))
    pictures = motions[0].render(64)
    inputs = processor(
        text=TEXTS[:2], motion=[motion.joints for motion in motions[:2]], video=[pictures, pictures[:3]]
    )
    assert inputs["pixel_values"].shape == (2, 16, 3, 112, 112) and inputs["video_mask"].sum(1).tolist() == [16, 3]
    with torch.no_grad():
        output = model(**inputs)
        alone = model.get_video_features(**processor(video=pictures[:3]))
    for videos in ([lamp_hf.Video(pictures), lamp_hf.Video(pictures[:3])], [lamp_hf.Video(pictures).sample(16, 112)]):
        again = processor(video=videos, return_tensors="np")["pixel_values"]
        assert isinstance(again, np.ndarray) and np.array_equal(again[0], inputs["pixel_values"][0])
    with pytest.raises(ValueError, match="boxes without a video"):
        processor(text="a person walks", boxes=(0, 0, 9, 9))
    assert output.text_embeds.shape == output.motion_embeds.shape == output.video_embeds.shape == (2, 256)
    torch.testing.assert_close(output.video_embeds[1:], alone, atol=1e-4, rtol=1e-4)
