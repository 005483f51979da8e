"""The diffusers wrapper makes what the transformers pipeline makes, and goes to a folder and back."""

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
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


@pytest.mark.parametrize("options", [{}, {"trust_remote_code": True}], ids=["plain", "trusted"])
def test_diffusers_itself_loads_the_folder(pipe, tmp_path, options):
    pipe.save_pretrained(tmp_path)
    again = DiffusionPipeline.from_pretrained(tmp_path, **options)
    assert type(again) is LampTextToMotionDiffusionPipeline
    wanted, found = (one("she bows", duration=1.0, generator=seeded(0)).joints[0] for one in (pipe, again))
    np.testing.assert_array_equal(wanted, found)


def test_several_motions_of_each_prompt_follow_one_another(pipe):
    streams = [seeded(seed) for seed in range(4)]
    several = pipe(["she bows", "a man"], duration=[1.0, 2.0], num_motions_per_prompt=2, generator=streams)
    single = [
        pipe(text, duration=duration, generator=seeded(seed)).joints[0]
        for seed, (text, duration) in enumerate([("she bows", 1.0), ("she bows", 1.0), ("a man", 2.0), ("a man", 2.0)])
    ]
    assert [len(joints) for joints in several.joints] == [20, 20, 40, 40]
    for found, wanted in zip(several.joints, single):
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.abs(single[0] - single[1]).max() > 1e-3


def test_guidance_leads_away_from_a_negative_prompt(pipe):
    def generate(**options):
        return pipe("she bows", duration=2.0, generator=seeded(0), **options).joints[0]

    strong = {"guidance_scale": 1e4}  # an untrained model hardly tells texts apart
    assert np.abs(generate(negative_prompt="a man turns", **strong) - generate(**strong)).max() > 1e-3
    # Away from the prompt itself there is nowhere to go, whatever the scale.
    unguided = generate(guidance_scale=1.0)
    np.testing.assert_allclose(generate(negative_prompt="she bows", guidance_scale=9.0), unguided, atol=1e-5)
    np.testing.assert_array_equal(generate(negative_prompt="a man turns", guidance_scale=1.0), unguided)


def test_a_callback_sees_every_step_and_may_change_the_tokens(pipe):
    mask, steps = pipe.model.transformer.mask_token_id, []

    def watch(own, step, timestep, tensors):
        steps.append((step, int(timestep), int((tensors["codes"] == mask).sum())))
        return tensors

    watched = pipe("she bows", duration=2.0, generator=seeded(0), num_inference_steps=6, callback_on_step_end=watch)
    plain = pipe("she bows", duration=2.0, generator=seeded(0), num_inference_steps=6)
    np.testing.assert_array_equal(watched.joints[0], plain.joints[0])
    assert [step[:2] for step in steps] == [(i, i) for i in range(6)]
    masked = [count for *_, count in steps]
    assert masked == sorted(masked, reverse=True) and masked[-1] == 0

    def replace(own, step, timestep, tensors):
        return {"codes": torch.full_like(tensors["codes"], 7)}

    first, second = (
        pipe("she bows", duration=2.0, generator=seeded(seed), callback_on_step_end=replace).joints[0]
        for seed in (0, 1)
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("when", [0, 2, 4])
def test_tokens_that_a_callback_masks_are_settled_by_later_steps(pipe, when):
    mask, last = pipe.model.transformer.mask_token_id, []

    def hide(own, step, timestep, tensors):
        last[:] = [tensors["codes"]]
        return {"codes": torch.full_like(tensors["codes"], mask)} if step == when else {}

    durations = [2.0, 0.2]  # no step after the fifth settles any of a motion of one token
    made = pipe(["she bows"] * 2, durations, num_inference_steps=6, callback_on_step_end=hide)
    assert all(np.isfinite(joints).all() for joints in made.joints)
    assert (last[0][0] < mask).all() and last[0][1, 0] < mask


def test_a_callback_cannot_mask_after_the_last_step(pipe):
    def hide(own, step, timestep, tensors):
        return {"codes": torch.full_like(tensors["codes"], pipe.model.transformer.mask_token_id)}

    with pytest.raises(ValueError, match="masks tokens after the last step"):
        pipe("she bows", duration=1.0, callback_on_step_end=hide)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": ""}, "empty"),
        ({"prompt": 5}, "must be a string"),
        ({"prompt": []}, "no prompt"),
        ({"prompt": "she bows", "generator": 5}, "generator must be a torch.Generator"),
        ({"prompt": "she bows", "generator": [np.random.default_rng(0)]}, "generator must be a torch.Generator"),
        ({"prompt": "she bows", "callback_on_step_end": 5}, "callback_on_step_end must be a function"),
        ({"prompt": "she bows", "callback_on_step_end_tensor_inputs": None}, "must be a string, or a list"),
        ({"prompt": "she bows", "callback_on_step_end": lambda *_: 5}, "must return a dictionary"),
        ({"prompt": "she bows", "callback_on_step_end": lambda *_: {"codes": torch.zeros(1)}}, "as many as it was"),
        ({"prompt": "she bows", "callback_on_step_end": lambda *a: {"codes": a[3]["codes"] + 10**6}}, "which masks"),
        ({"prompt": "she bows", "num_motions_per_prompt": 0}, "num_motions_per_prompt must be a whole"),
        ({"prompt": ["she bows", "a man"], "negative_prompt": ["she"]}, "one for each"),
        ({"prompt": "she bows", "callback_on_step_end_tensor_inputs": ["latents"]}, "asks for 'latents'"),
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
