"""LAVIMO from rendered pictures to a gallery that is searched by a film."""

import json
import sys
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import make_motion
from safetensors.torch import load_file
from training_stages import command, run

import lamp_hf
from lamp_hf.models.video_frames import Video
from training.evaluation.lavimo import DEGRADATIONS
from training.train_lavimo import image_statistics
from training.video.rendered_videos import FIXED, UNSEEN, render_clip, sampled_frames


ROOT = Path(__file__).parents[1]
TINY = {
    "vision": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
    "lavimo": {"hidden_size": 16, "intermediate_size": 32, "projection_dim": 8, "summary_size": 8},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, humanml3d_folder, bert_folder):
    """Folders of a vision encoder and of LAVIMO after some steps."""
    folder = tmp_path_factory.mktemp("lavimo")
    quick = {"max_steps": 4, "batch_size": 4, "warmup_steps": 1, "mixed_precision": "no", "ema_decay": 0.5}
    for stage, sizes in TINY.items():
        recipe = yaml.safe_load((ROOT / f"training/recipes/small/{stage}.yaml").read_text())
        recipe["vision" if stage == "vision" else "model"] |= sizes
        recipe["data"] |= {"mirrored": False, "image_size": 32}
        if stage == "lavimo":
            recipe["data"] |= {"text_encoder": str(bert_folder), "text_encoder_layers": 1, "vocabulary_size": None}
            recipe["data"] |= {"sentence_encoder": str(bert_folder), "rarity_exponent": 0.0, "views": 1}
        recipe["optimization"] |= quick | {"num_workers": 0}
        recipe |= {"checkpoint_steps": 4, "evaluation_steps": 4}
        path = folder / f"{stage}.yaml"
        path.write_text(yaml.safe_dump(recipe))
        paths = ["--data", humanml3d_folder, "--output", folder / stage]
        if stage == "lavimo":
            paths += ["--vision", folder / "vision" / "model", "--cache", folder / "cache"]
        run(folder, *command(stage, "--recipe", path, *paths))
    return folder


@pytest.fixture(scope="module")
def lavimo(trained):
    return trained / "lavimo" / "model"


def test_both_stages_learn_and_the_eyes_stay_as_they_were(trained, lavimo):
    for stage in TINY:
        numbers = json.loads((trained / stage / "evaluations.jsonl").read_text().splitlines()[-1])
        assert numbers["step"] == 4 and all(value == value for value in numbers.values())
    scales = load_file(trained / "vision" / "model" / "model.safetensors")["embedder.embedder.normalization.weight"]
    assert (scales != 1).any()
    eyes, model = (load_file(path / "model.safetensors") for path in (trained / "vision" / "model", lavimo))
    assert all(torch.equal(values, model[f"vision_encoder.{name}"]) for name, values in eyes.items())
    assert model["logit_scale"] != pytest.approx(np.log(1 / 0.07), abs=1e-6)
    assert len(list((trained / "cache").glob("videos-*"))) == 2  # of training and of validation


def test_pictures_are_shown_to_the_eyes_as_they_learned_to_see_them(tmp_path):
    assert image_statistics(str(tmp_path)) == (None, None)
    values = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.2, 0.2, 0.2]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    assert image_statistics(str(tmp_path)) == tuple(values.values())


def test_the_text_encoder_may_learn_too(trained, lavimo, humanml3d_folder, tmp_path):
    inputs = ["--recipe", trained / "lavimo.yaml", "--data", humanml3d_folder, "--vision", trained / "vision/model"]
    inputs += ["--cache", trained / "cache", "--output", tmp_path, "--set", "model.freeze_text=false"]
    run(tmp_path, *command("lavimo", *inputs))
    frozen, learned = (load_file(path / "model.safetensors") for path in (lavimo, tmp_path / "model"))
    name = "text_encoder.encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(frozen[name], learned[name])


def test_text_and_motion_alone(trained, humanml3d_folder, bert_folder, tmp_path):
    inputs = ["--recipe", trained / "lavimo.yaml", "--data", humanml3d_folder, "--vision", trained / "vision/model"]
    inputs += ["--cache", tmp_path / "films", "--output", tmp_path, "--set", "model.use_video=false"]
    run(tmp_path, *command("lavimo", *inputs))
    assert set(evaluation(tmp_path / "model", humanml3d_folder, bert_folder, tmp_path)["pairs"]) == {"text / motion"}
    assert not (tmp_path / "films").exists()


def evaluation(model, data, bert, folder, *options) -> dict:
    options = ("--data", data, "--model", model, "--sentence-encoder", bert, *options)
    result = folder / "evaluation.json"
    run(folder, sys.executable, "-m", "training.evaluate", "lavimo", *map(str, options), "--output", str(result))
    return json.loads(result.read_text())


def test_what_is_evaluated(trained, lavimo, humanml3d_folder, bert_folder, tmp_path):
    for name in ("000010", "000011"):
        motion = lamp_hf.Motion.load(humanml3d_folder / "new_joint_vecs" / f"{name}.npy")
        motion.save(tmp_path / f"{name}.mp4", size=64)
    numbers = evaluation(lavimo, humanml3d_folder, bert_folder, tmp_path, "--films", tmp_path)
    foreign, pairs = numbers["foreign_films"], numbers["pairs"]
    assert foreign["films"] == foreign["motions"] == 2 and set(foreign) > set(DEGRADATIONS)
    assert all(foreign[kind]["among_all"]["R@2"] == 100 for kind in DEGRADATIONS)
    assert set(pairs) == {
        "text / motion", "text / fixed view", "text / unseen views", "fixed view / motion", "unseen views / motion"
    }  # fmt: skip
    assert pairs["fixed view / motion"]["all"]["forth"]["gallery"] == 2


@pytest.mark.parametrize("length", [5, 16, 40, 77, 96, 192, 196, 224])
def test_films_for_training_have_the_frames_that_a_video_file_would_give(length):
    pictures = np.arange(length, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 8, 8, 3), np.uint8)
    frames = Video(pictures, fps=20).sample(16, 8)
    np.testing.assert_array_equal(frames.pixels[frames.mask][:, 0, 0, 0], sampled_frames(length, 16))


def test_a_film_is_the_same_in_every_process(tmp_path):
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


@pytest.fixture(scope="module")
def gallery(lavimo):
    index = lamp_hf.MotionIndex(lavimo)
    index.add([lamp_hf.Motion(make_motion(81 + 20 * i, seed=i)) for i in range(4)], ids=list("abcd"))
    return index


def test_a_film_finds_motions_alone_and_with_a_sentence(gallery, tmp_path):
    path = lamp_hf.Motion(make_motion(60, seed=1)).save(tmp_path / "film.mp4", size=64)
    hits = gallery.search(video=path, k=2)
    assert len(hits) == 2 and hits[0].score >= hits[1].score
    assert (hits[0].video_start, hits[0].video_end) == (0, pytest.approx(3, abs=0.06))
    both = gallery.search(text="someone waves", video=path.read_bytes(), k=4)
    assert len(both) == 4 and both[0].score != gallery.search(video=path, k=4)[0].score


def test_a_box_cuts_the_person_out_of_a_film(gallery):
    pictures = lamp_hf.Motion(make_motion(60, seed=1)).render(64)
    crowded = np.random.default_rng(0).integers(0, 255, (60, 96, 128, 3)).astype(np.uint8)
    crowded[:, 20:84, 50:114] = pictures
    alone, boxed, whole = (
        {hit.id: hit.score for hit in gallery.search(video=film, boxes=box, k=4)}
        for film, box in ((pictures, None), (crowded, (50, 20, 114, 84)), (crowded, None))
    )
    with pytest.raises(ValueError, match="there is none"):
        gallery.search(text="someone waves", boxes=(50, 20, 114, 84))
    assert boxed == pytest.approx(alone, abs=1e-5) and boxed != pytest.approx(whole, abs=1e-3)


def test_moments_of_a_long_film_do_not_overlap(gallery, tmp_path):
    index = lamp_hf.MotionIndex(gallery._model)
    index.add([lamp_hf.Motion(make_motion(20 * 30, seed=3))], ids=["long"])
    path = lamp_hf.Motion(make_motion(20 * 25, seed=2)).save(tmp_path / "film.mp4", size=64)
    spans = sorted((hit.start, hit.end) for hit in index.search(video=path, k=10, moments=True))
    assert len(spans) > 2 and all(left[1] <= right[0] for left, right in pairwise(spans))


def test_films_may_be_spoilt_as_phones_do(tmp_path):
    content = lamp_hf.Motion(make_motion(20)).save(tmp_path / "film.mp4", size=64).read_bytes()
    for kind, spoil in DEGRADATIONS.items():
        frames = Video(spoil(content)).sample(8, 32)
        assert frames.mask.all(), kind
        whole = Video(content).sample(8, 32)
        same = np.abs(frames.pixels.astype(int) - whole.pixels).mean() < 12
        assert same == (kind != "cropped"), kind


def test_a_split_is_written_as_films_once(trained, humanml3d_folder, tmp_path):
    options = (
        "--data",
        humanml3d_folder,
        "--split",
        "test",
        "--seeds",
        "fixed",
        "7",
        "--size",
        "32",
        "--output",
        tmp_path,
    )
    for found in ("4 videos written, 0 skipped", "0 videos written, 4 skipped"):
        assert found in run(trained, sys.executable, "-m", "training.video.render", *map(str, options))
    clips = sorted(path.name for path in (tmp_path / "seed-7").iterdir())
    assert clips == sorted(path.name for path in (tmp_path / "seed-fixed").iterdir()) and len(clips) == 2
    assert Video(tmp_path / "seed-7" / clips[0]).sample(4, 16).mask.all()


def test_a_long_film_is_searched_by_its_parts(gallery, tmp_path):
    path = lamp_hf.Motion(make_motion(20 * 25, seed=2)).save(tmp_path / "film.mp4", size=64)
    hits = gallery.search(video=path, k=4)
    assert [hit.id for hit in hits] == list(dict.fromkeys(hit.id for hit in hits))
    assert all(0 <= hit.video_start < hit.video_end <= 25.1 for hit in hits)
    assert all(hit.video_end - hit.video_start == pytest.approx(4, abs=0.1)
               or hit.video_end - hit.video_start == pytest.approx(9.8, abs=0.1) for hit in hits)  # fmt: skip


def test_a_gallery_of_a_model_without_eyes_says_so(processor, tmp_path):
    from conftest import tiny_lamp_config

    lamp_hf.LampModel(tiny_lamp_config(processor)).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="reads no video"):
        lamp_hf.MotionIndex(tmp_path).search(video=np.zeros((4, 8, 8, 3), np.uint8))
