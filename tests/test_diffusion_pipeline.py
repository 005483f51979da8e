"""The diffusers wrapper makes what the transformers pipeline makes, and goes to a folder and back."""

import numpy as np
import pytest
import torch
from transformers import pipeline

import lamp_hf
from lamp_hf import LampTextToMotionDiffusionPipeline, MaskedMotionScheduler


@pytest.fixture(scope="module")
def pipe(model_folder):
    model = lamp_hf.LampForTextToMotion.from_pretrained(model_folder)
    scheduler = MaskedMotionScheduler(mask_token_id=model.transformer.mask_token_id)
    return LampTextToMotionDiffusionPipeline(model, lamp_hf.LampProcessor.from_pretrained(model_folder), scheduler)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_it_makes_what_the_other_pipeline_makes(pipe, model_folder):
    other = pipeline("text-to-motion", model=str(model_folder))
    made = pipe(["she bows", "a man"], duration=[2.05, None], generator=[seeded(3), seeded(4)])
    wanted = other(["she bows", "a man"], duration=[2.05, None], seed=[3, 4])
    for joints, features, motion in zip(made.joints, made.features, wanted):
        np.testing.assert_allclose(joints, motion["joints"], atol=1e-5)
        np.testing.assert_allclose(features, motion["features"], atol=1e-5)


def test_its_scheduler_decides(pipe):
    steps = []

    class Counting(MaskedMotionScheduler):
        def step(self, logits, timestep, *arguments, **options):
            steps.append(timestep)
            return super().step(logits, timestep, *arguments, **options)

    own = LampTextToMotionDiffusionPipeline(pipe.model, pipe.processor, Counting(32))
    own("she bows", duration=1.0, num_inference_steps=3)
    assert steps == [0, 1, 2]


def test_folder_round_trip(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    again = LampTextToMotionDiffusionPipeline.from_pretrained(tmp_path)
    wanted, found = (one("she bows", duration=1.0, generator=seeded(0)).joints[0] for one in (pipe, again))
    np.testing.assert_array_equal(wanted, found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": ""}, "empty"),
        ({"prompt": "she bows", "duration": 60.0}, "at most"),
        ({"prompt": ["she bows", "a man"], "duration": [1.0]}, "one for each"),
        (
            {"prompt": "she bows", "duration": 1.0, "num_inference_steps": 0},
            "num_inference_steps must be a whole",
        ),
        ({"prompt": "she bows", "duration": 1.0, "guidance_scale": float("nan")}, "guidance_scale must be a number"),
    ],
)
def test_bad_calls(pipe, arguments, message):
    with pytest.raises(ValueError, match=message):
        pipe(**arguments)
