"""The stage of the paper's Q-Former."""

import json

import lamp_hf


def test_it_trains_and_validates(stage_folder):
    folder = stage_folder("lamp_qformer")
    numbers = json.loads((folder / "evaluations.jsonl").read_text().splitlines()[-1])
    assert numbers["step"] == 4 and all(value == value for value in numbers.values())
    assert lamp_hf.LampQFormerModel.from_pretrained(folder / "model").config.hidden_size == 16


def test_a_generator_may_be_conditioned_by_its_queries(stage_folder, continued):
    lamp = stage_folder("lamp_qformer")
    for mode in ("query_mean", "query_and_text_mean"):
        folder = continued(mode, f"model.condition_mode={mode}", lamp=lamp)
        model = lamp_hf.LampForTextToMotion.from_pretrained(folder / "model")
        assert isinstance(model.lamp, lamp_hf.LampQFormerModel) and model.config.condition_mode == mode
