"""The bundled models give the outputs that are stored in `stored_outputs.npz`.

Everything runs in double precision, where machines differ by less than 1e-12, so that a figure that moves by more
than 1e-6 is a change of behaviour. After a change that is meant, write the file anew:
`python -m tests.test_stored_outputs`.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoProcessor, pipeline

import lamp_hf


STORED = Path(__file__).with_name("stored_outputs.npz")
PROMPTS = ["a person walks forward", "a person waves with the left hand", "a person turns around, then runs"]


def load(task: str):
    folder = lamp_hf.bundled(task)
    return AutoModel.from_pretrained(folder).double().eval(), AutoProcessor.from_pretrained(folder)


def motion_batch(processor, dtype=torch.float64) -> dict:
    """Two smooth motions of different lengths, made from sines alone."""
    clips = []
    for frames, pace in ((60, 0.3), (44, 0.5)):
        time, joint = np.arange(frames)[:, None, None], np.arange(22)[None, :, None]
        joints = np.concatenate(
            [
                0.2 * np.sin(pace * time + joint),
                1 + 0.03 * joint + 0.1 * np.cos(pace * time * joint / 9),
                0.02 * time + 0.1 * np.cos(joint + 0 * time),
            ],
            -1,
        )
        clips.append(joints.astype(np.float32))
    batch = processor(motion=clips)
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in batch.items()}


@torch.no_grad()
def text_to_motion_outputs() -> dict[str, np.ndarray]:
    model, processor = load("text-to-motion")
    text = dict(processor(text=PROMPTS))
    made = model.generate(text["input_ids"], text["attention_mask"], num_tokens=[12, None, 15], seeds=[0, 1, 2])
    lamp = lamp_hf.LampModel.from_pretrained(lamp_hf.bundled()).double().eval()
    return {
        "generated": made.motion_values.numpy(),
        "generated_tokens": made.token_mask.numpy(),
        "text": lamp.get_text_features(text["input_ids"], text["attention_mask"]).numpy(),
        "motion": lamp.get_motion_features(**motion_batch(processor)).numpy(),
    }


def pipeline_outputs() -> dict[str, np.ndarray]:
    """Joints by every route through the pipeline, in the single precision that it returns."""
    pipe = pipeline("text-to-motion", model=lamp_hf.bundled(), dtype=torch.float64)
    whole = pipe(PROMPTS[0], duration=3.1, seed=3)
    return {
        "whole": whole["joints"],
        "raw_bones": pipe(PROMPTS[1], duration=2.0, seed=4, fit_bones=False)["joints"],
        "sequence": pipe(PROMPTS[2], duration=5.0, seed=5, mode="sequence")["joints"],
        "long": pipe(PROMPTS[0], duration=12.0, seed=6)["joints"],
        "stream": np.concatenate(list(pipe.stream(PROMPTS[:2], duration=[2.0, 2.5], seed=7))),
        "prefix": pipe(PROMPTS[1], duration=2.0, seed=8, prefix=whole["joints"])["joints"],
        "keep": pipe(PROMPTS[1], seed=9, motion=whole["joints"], keep=[(0, 1.0), (2.0, 3.1)])["joints"],
    }


@torch.no_grad()
def captioning_outputs() -> dict[str, np.ndarray]:
    model, processor = load("captioning")
    batch = motion_batch(processor)
    return {"caption_ids": model.generate(**batch, max_new_tokens=12, do_sample=False, num_beams=1).numpy()}


@torch.no_grad()
def video_outputs() -> dict[str, np.ndarray]:
    model, processor = load("video")
    text = dict(processor(text=PROMPTS))
    pictures = np.indices((8, 48, 48, 3)).sum(0) * 5 % 256
    video = dict(processor(video=[pictures.astype(np.uint8)]))
    video = {name: value.double() if value.is_floating_point() else value for name, value in video.items()}
    return {
        "text": model.get_text_features(text["input_ids"], text["attention_mask"]).numpy(),
        "motion": model.get_motion_features(**motion_batch(processor)).numpy(),
        "video": model.get_video_features(**video).numpy(),
    }


OUTPUTS = {
    "text-to-motion": text_to_motion_outputs,
    "pipeline": pipeline_outputs,
    "captioning": captioning_outputs,
    "video": video_outputs,
}


@pytest.mark.parametrize("task", OUTPUTS)
def test_bundled_models_give_the_stored_outputs(task):
    with np.load(STORED) as stored:
        outputs = OUTPUTS[task]()
        assert outputs.keys() == {name.split("/")[1] for name in stored if name.startswith(f"{task}/")}
        for name, value in outputs.items():
            tolerance = 1e-6 if value.dtype == np.float64 else 1e-5  # metres; single precision adds up over frames
            np.testing.assert_allclose(value, stored[f"{task}/{name}"], rtol=0, atol=tolerance, err_msg=name)


if __name__ == "__main__":
    np.savez_compressed(
        STORED, **{f"{task}/{name}": value for task, make in OUTPUTS.items() for name, value in make().items()}
    )
