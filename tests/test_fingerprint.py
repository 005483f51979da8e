"""Fingerprints: a gallery or a result belongs to a model whatever later versions call its options."""

import json

import pytest

import lamp_hf
from lamp_hf.fingerprint import content_digest, fingerprint


@pytest.mark.parametrize(
    ("task", "recorded"),
    [
        ("text-to-motion", "lamp_small@9022e486"),
        ("captioning", "lamp_small_captioning@22484cff"),
        ("video", "lavimo_small@d6badc2f"),
    ],
)
def test_bundled_models_have_the_fingerprints_that_galleries_recorded(task, recorded):
    assert fingerprint(lamp_hf.bundled(task)) == recorded


def test_renamed_options_leave_a_fingerprint_as_it_is(model_folder, tmp_path):
    for file in model_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["order_noise"], config["guidance_schedule"] = config.pop("choice_temperature"), "constant"
    del config["guidance_interval"]
    config |= {"prefix_position": True, "mask_padding": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert content_digest(tmp_path) == content_digest(model_folder)


def test_another_option_is_another_fingerprint(model_folder, tmp_path):
    for file in model_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"released_quirks": {"prefix_position": False}}))
    assert content_digest(tmp_path) != content_digest(model_folder)
