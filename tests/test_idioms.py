"""The idioms of transformers and diffusers that users bring along work with our models and pipelines."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_clip
from transformers import AutoModel, pipeline

import lamp_hf


def run(code: str, *arguments: str, **environment: str) -> str:
    """Return what a new process prints that runs the code."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


SAVE = """
import sys
import lamp_hf
getattr(lamp_hf, sys.argv[1]).from_pretrained(sys.argv[2]).save_pretrained(sys.argv[3])
"""


@pytest.mark.parametrize(
    ("name", "file", "wanted"),
    [
        ("LampForTextToMotion", "config.json", {"AutoConfig", "AutoModel"}),
        ("LampProcessor", "processor_config.json", {"AutoProcessor"}),
    ],
)
def test_saved_files_name_their_code_whatever_was_imported_before(name, file, wanted, model_folder, tmp_path):
    run(SAVE, name, str(model_folder), str(tmp_path))
    auto_map = json.loads((tmp_path / file).read_text())["auto_map"]
    assert auto_map.keys() == wanted
    for reference in auto_map.values():
        assert (tmp_path / f"{reference.partition('.')[0]}.py").is_file()


WITHOUT_IMPORT = """
import importlib.util, sys
from pathlib import Path
from transformers import pipeline
folder = Path(importlib.util.find_spec("lamp_hf").origin).parent / "checkpoints" / sys.argv[1]
assert "lamp_hf" not in sys.modules
print(pipeline(model=str(folder), trust_remote_code=True).task)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("lamp_small", "text-to-motion"),
        ("lamp_small_captioning", "motion-to-text"),
        ("lavimo_small", "zero-shot-motion-classification"),
    ],
)
def test_a_bundled_folder_is_a_pipeline_without_an_import(name, task, tmp_path):
    assert run(WITHOUT_IMPORT, name, HF_HOME=str(tmp_path)).splitlines()[-1] == task


def test_the_task_may_be_left_out(model_folder, captioner_folder):
    assert pipeline(model=str(model_folder)).task == "text-to-motion"
    assert pipeline(model=str(captioner_folder)).task == "motion-to-text"


def test_a_pipeline_of_a_loaded_model_finds_its_processor(model_folder):
    given = pipeline("text-to-motion", model=AutoModel.from_pretrained(model_folder))
    named = pipeline("text-to-motion", model=str(model_folder))
    ours, theirs = (pipe("she bows", duration=1.0, seed=0)["joints"] for pipe in (given, named))
    np.testing.assert_array_equal(ours, theirs)


def test_a_pipeline_of_a_made_model_asks_for_its_processor(text_to_motion_model, processor):
    with pytest.raises(ValueError, match="give processor="):
        pipeline("text-to-motion", model=text_to_motion_model)
    assert pipeline("text-to-motion", model=text_to_motion_model, processor=processor).processor is processor


@pytest.mark.parametrize("task", ["text-to-motion", "motion-to-text", "zero-shot-motion-classification"])
def test_a_batch_size_may_be_given_with_the_model_or_with_a_call(task, model_folder, captioner_folder):
    folder = captioner_folder if task == "motion-to-text" else model_folder
    calls = {
        "text-to-motion": lambda pipe, **own: pipe(["she bows"] * 3, duration=1.0, guidance_scale=1.0, **own),
        "motion-to-text": lambda pipe, **own: pipe([make_clip()] * 3, **own),
        "zero-shot-motion-classification": lambda pipe, **own: pipe([make_clip()] * 3, ["walks", "bows"], **own),
    }
    for given, own, largest in (({"batch_size": 2}, {}, 2), ({"batch_size": 2}, {"batch_size": 3}, 3), ({}, {}, 3)):
        pipe, sizes = pipeline(task, model=str(folder), **given), []
        part = pipe.model.transformer if task == "text-to-motion" else pipe.model.lamp.motion_encoder
        part.register_forward_hook(lambda module, inputs, output, sizes=sizes: sizes.append(len(inputs[0])))
        calls[task](pipe, **own)
        assert max(sizes) == largest
    with pytest.raises(ValueError, match="batch_size must be a whole number from 1"):
        calls[task](pipe, batch_size=0)


def test_a_result_becomes_a_motion(model_folder):
    made = pipeline("text-to-motion", model=str(model_folder))("she bows", duration=1.0, seed=0)
    motion = lamp_hf.Motion(**made)
    assert (motion.fps, motion.text, motion.skeleton) == (20.0, "she bows", "humanml3d")
    np.testing.assert_array_equal(motion.joints, made["joints"])
    with pytest.raises(TypeError, match="'speed'"):
        lamp_hf.Motion(**made, speed=2)


NO_TEXT = [5, None, 2.5, b"she bows", {"text": "she bows"}, [5], [None], ["she bows", 5]]


@pytest.fixture(scope="module")
def generator(model_folder):
    return pipeline("text-to-motion", model=str(model_folder))


@pytest.mark.parametrize("inputs", NO_TEXT, ids=repr)
@pytest.mark.parametrize("options", [{}, {"mode": "sequence"}], ids=["each", "sequence"])
def test_what_is_no_text_is_refused(inputs, options, generator):
    with pytest.raises(ValueError, match="must be a string"):
        generator(inputs, duration=1.0, **options)


def test_half_a_character_is_refused_wherever_a_text_goes(generator, captioner_folder, embedder):
    half = "she bows \ud800"
    captioner = pipeline("motion-to-text", model=str(captioner_folder))
    classifier = pipeline("zero-shot-motion-classification", model=generator.model)
    for call in (
        lambda: generator(half),
        lambda: generator.stream(half, duration=1.0),
        lambda: captioner(make_clip(), prompt=half),
        lambda: classifier(make_clip(), candidate_labels=[half]),
        lambda: embedder.embed_texts([half]),
    ):
        with pytest.raises(ValueError, match="half a character"):
            call()


@pytest.mark.parametrize("motion", [5, None, 2.5, {1, 2}], ids=repr)
def test_what_is_no_motion_is_refused(motion, captioner_folder):
    captioner = pipeline("motion-to-text", model=str(captioner_folder))
    with pytest.raises(ValueError, match="must be a Motion"):
        captioner(motion)


@pytest.mark.parametrize("options", [{"max_new_tokens": 2.5}, {"max_new_tokens": "8"}, {"num_beams": 0}], ids=str)
def test_options_of_captions_are_whole_numbers(options, captioner_folder):
    captioner = pipeline("motion-to-text", model=str(captioner_folder))
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be a whole number from 1"):
        captioner(make_clip(), **options)


def test_labels_and_their_template_are_texts(generator):
    classifier = pipeline("zero-shot-motion-classification", model=generator.model)
    with pytest.raises(ValueError, match="a label is empty"):
        classifier(make_clip(), candidate_labels=["walk", " "])
    with pytest.raises(ValueError, match="has no place"):
        classifier(make_clip(), candidate_labels=["walk"], hypothesis_template=5)


def test_attention_may_be_named(model_folder, captioner_folder, lamp_folder):
    for folder in (model_folder, captioner_folder, lamp_folder):
        models = [AutoModel.from_pretrained(folder, attn_implementation=name) for name in ("sdpa", "eager")]
        for one, other in zip(*(model.state_dict().values() for model in models)):
            torch.testing.assert_close(one, other)
    with pytest.raises(ValueError):
        AutoModel.from_pretrained(lamp_folder, attn_implementation="nonsense")


@pytest.mark.slow
def test_attention_may_be_named_where_the_video_encoder_has_none():
    model = AutoModel.from_pretrained(lamp_hf.bundled("video"), attn_implementation="sdpa")
    assert model.text_encoder.config._attn_implementation == "sdpa"


def test_activation_checkpointing_leaves_gradients_as_they_are(text_to_motion_model):
    model = text_to_motion_model.train()
    codes = torch.arange(20).reshape(2, 10) % 32
    inputs = {"codes": codes, "token_mask": torch.ones(2, 10, dtype=torch.bool), "labels": codes}
    inputs |= {"input_ids": torch.tensor([[2, 7, 3], [2, 8, 3]])}
    gradients, calls = [], []
    for checkpointed in (False, True):
        if checkpointed:
            model.activation_checkpointing_enable()
            for layer in model.transformer.layers.layers:
                layer.linear1.register_forward_hook(lambda *_: calls.append(1))
        model.zero_grad()
        torch.manual_seed(0)  # of dropout, which the second pass repeats
        model(**inputs).loss.backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert len(calls) == 2 * len(model.transformer.layers.layers)  # forward, and again in the backward pass
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) > 20
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


@pytest.mark.parametrize("k", [0, -1, 2.5, "3", None, True], ids=repr)
def test_a_number_of_hits_is_a_whole_number_from_1(k, index):
    with pytest.raises(ValueError, match="k must be a whole number from 1"):
        index.search("she bows", k=k)


def test_bundled_folders_name_classes_of_the_package():
    for task in lamp_hf.BUNDLED:
        folder = Path(lamp_hf.bundled(task))
        for file in ("config.json", "processor_config.json"):
            for reference in json.loads((folder / file).read_text())["auto_map"].values():
                module, _, name = reference.partition(".")
                assert (folder / f"{module}.py").is_file() and hasattr(lamp_hf, name)
