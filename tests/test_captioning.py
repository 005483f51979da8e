"""The captioner: any language model behind LaMP's queries, adapted by LoRA; its pipeline and command."""

import csv
import itertools
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import make_motion, tiny_lamp_config, tiny_language_config, tiny_qformer_config
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file
from test_cli import run
from transformers import AutoModel, AutoModelForCausalLM, LlamaConfig, OPTConfig, Qwen2Config, pipeline

import lamp_hf
from lamp_hf import LampForMotionCaptioning, Motion
from lamp_hf.models.modeling_auto_lamp import load_lamp


LORA = {"r": 4, "target_modules": r"language_model\..*\.(q_proj|v_proj)"}
KINDS = {
    "opt": (OPTConfig, {"ffn_dim": 32}, "lamp"),
    "llama": (LlamaConfig, {"intermediate_size": 32}, "lamp_qformer"),
    "qwen": (Qwen2Config, {"intermediate_size": 32, "num_key_value_heads": 1}, "whole"),
}


def make_captioner(processor, kind: str, **changes) -> LampForMotionCaptioning:
    """A captioner that reads LaMP, LaMP with the whole motion beside the queries, or the paper's Q-Former."""
    torch.manual_seed(0)
    language_config, sizes, lamp = KINDS[kind]
    language = AutoModelForCausalLM.from_config(tiny_language_config(language_config, **sizes))
    if lamp == "lamp_qformer":
        reader = lamp_hf.LampQFormerMotionModel(tiny_qformer_config(processor))
    else:
        reader = lamp_hf.LampMotionModel(tiny_lamp_config(processor))
    return LampForMotionCaptioning.from_parts(reader, language, whole_motion=lamp == "whole", **changes).eval()


@pytest.fixture(params=KINDS)
def captioner(request, processor) -> LampForMotionCaptioning:
    """A captioner for each kind of language model, and of LaMP."""
    return make_captioner(processor, request.param)


@pytest.fixture
def batch() -> dict:
    torch.manual_seed(1)
    mask = torch.arange(40) < torch.tensor([[40], [24]])
    return {
        "motion_values": torch.randn(2, 40, 263) * mask[..., None],
        "motion_attention_mask": mask,
        "input_ids": torch.randint(4, 300, (2, 6)),
        "attention_mask": torch.tensor([[1] * 6, [1] * 4 + [0] * 2]),
    }


def adapted(model: LampForMotionCaptioning) -> LampForMotionCaptioning:
    model.add_adapter(LoraConfig(**LORA, modules_to_save=LampForMotionCaptioning.TRAINED))
    torch.manual_seed(2)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def test_a_language_model_keeps_its_precision_and_lays_down_its_habits(processor, batch, tmp_path):
    config = tiny_language_config(OPTConfig, ffn_dim=32)
    language = AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
    language.generation_config.repetition_penalty = 5.0
    model = LampForMotionCaptioning.from_parts(
        lamp_hf.LampQFormerMotionModel(tiny_qformer_config(processor)), language
    ).eval()
    model.save_pretrained(tmp_path)
    reloaded = LampForMotionCaptioning.from_pretrained(tmp_path).eval()
    assert reloaded.language_model.dtype == torch.bfloat16 and reloaded.lamp.dtype == torch.float32
    assert torch.equal(reloaded(**batch).logits, model(**batch).logits)
    motion = {name: batch[name] for name in ("motion_values", "motion_attention_mask")}
    assert torch.equal(*(one.generate(**motion, max_new_tokens=8) for one in (model, reloaded)))


def test_the_motion_encoder_of_a_loaded_captioner_is_frozen(captioner, tmp_path):
    captioner.save_pretrained(tmp_path)
    loaded = LampForMotionCaptioning.from_pretrained(tmp_path).train()
    frozen = {name.split(".")[1] for name, weight in loaded.named_parameters() if not weight.requires_grad}
    assert frozen == {"motion_encoder"} and not loaded.lamp.motion_encoder.training


class TestLora:
    def test_only_adapters_queries_and_projection_learn(self, captioner, batch):
        adapted(captioner)(**batch, labels=batch["input_ids"]).loss.backward()
        learning = {name for name, parameter in captioner.named_parameters() if parameter.grad is not None}
        assert learning and all(
            any(
                part in name
                for part in ("lora_", "query_tokens.modules_to_save", "language_projection.modules_to_save")
            )
            for name in learning
        )
        assert {"lora_A", "lora_B", "query_tokens", "language_projection"} <= {
            part for name in learning for part in name.split(".")
        }

    def test_they_alone_are_saved_and_come_back_bit_by_bit(self, captioner, batch, tmp_path):
        captioner.save_pretrained(tmp_path / "base")
        model = adapted(LampForMotionCaptioning.from_pretrained(tmp_path / "base"))
        model.save_pretrained(tmp_path / "adapter")
        saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
        trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        assert sum(values.numel() for values in saved.values()) == trained
        assert not list((tmp_path / "adapter").glob("model*.safetensors"))
        reloaded = LampForMotionCaptioning.from_pretrained(tmp_path / "adapter").eval()
        assert torch.equal(reloaded(**batch).logits, model(**batch).logits)
        motion = {name: batch[name] for name in ("motion_values", "motion_attention_mask")}
        assert torch.equal(reloaded.generate(**motion, max_new_tokens=6), model.generate(**motion, max_new_tokens=6))

    @pytest.mark.slow
    def test_a_fresh_process_says_the_same(self, captioner, batch, tmp_path):
        captioner.save_pretrained(tmp_path / "base")
        model = adapted(LampForMotionCaptioning.from_pretrained(tmp_path / "base"))
        model.save_pretrained(tmp_path / "adapter")
        torch.save(batch["motion_values"], tmp_path / "motion.pt")
        code = (
            "import sys, torch, lamp_hf; model = lamp_hf.LampForMotionCaptioning.from_pretrained(sys.argv[1]).eval()\n"
            "print(model.generate(torch.load(sys.argv[2]), max_new_tokens=6).tolist())"
        )
        command = [sys.executable, "-c", code, tmp_path / "adapter", tmp_path / "motion.pt"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == model.generate(batch["motion_values"], max_new_tokens=6).tolist()

    def test_merged_says_what_unmerged_says(self, captioner, batch, tmp_path):
        captioner.save_pretrained(tmp_path / "base")
        model = adapted(LampForMotionCaptioning.from_pretrained(tmp_path / "base"))
        model.save_pretrained(tmp_path / "adapter")
        base = LampForMotionCaptioning.from_pretrained(tmp_path / "base")
        merged = PeftModel.from_pretrained(base, tmp_path / "adapter").merge_and_unload().eval()
        torch.testing.assert_close(merged(**batch).logits, model(**batch).logits, atol=1e-5, rtol=1e-5)
        merged.save_pretrained(tmp_path / "merged")
        plain = AutoModel.from_pretrained(tmp_path / "merged").eval()
        torch.testing.assert_close(plain(**batch).logits, model(**batch).logits, atol=1e-5, rtol=1e-5)

    def test_an_adapter_of_another_language_model_or_with_a_hole_is_refused(self, captioner, tmp_path):
        captioner.save_pretrained(tmp_path / "base")
        adapted(LampForMotionCaptioning.from_pretrained(tmp_path / "base")).save_pretrained(tmp_path / "adapter")
        other = captioner.config.language_config.to_dict() | {"vocab_size": 301}
        language = AutoModelForCausalLM.from_config(type(captioner.config.language_config)(**other))
        with pytest.raises(ValueError, match="vocab_size 300, not 301"):
            LampForMotionCaptioning.from_parts(captioner.lamp, language).load_adapter(str(tmp_path / "adapter"))
        weights = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
        lost = next(name for name in weights if "lora_B" in name)
        del weights[lost]
        save_file(weights, tmp_path / "adapter" / "adapter_model.safetensors")
        with pytest.raises(ValueError, match=r"missing weight .*lora_B"):
            LampForMotionCaptioning.from_pretrained(tmp_path / "adapter")


def test_the_text_before_a_word_and_the_motion_decide_it_and_nothing_behind(captioner, batch):
    logits = captioner(**batch).logits
    later = dict(batch, input_ids=batch["input_ids"].clone())
    later["input_ids"][:, 3] = 5
    torch.testing.assert_close(captioner(**later).logits[:, :3], logits[:, :3])
    moved = dict(batch, motion_values=batch["motion_values"] + 1)
    assert not torch.allclose(captioner(**moved).logits[:, 0], logits[:, 0])


def test_padding_changes_no_caption(captioner, batch):
    together = captioner.get_soft_tokens(batch["motion_values"], batch["motion_attention_mask"])
    alone = captioner.get_soft_tokens(batch["motion_values"][1:, :24])
    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=1e-4)


def test_motions_may_come_as_latents_that_lamp_encoded_before(captioner, batch):
    motion = {name: batch.pop(name) for name in ("motion_values", "motion_attention_mask")}
    latents, mask = captioner.lamp.encode_latents(*motion.values())
    assert torch.equal(
        captioner(**batch, latents=latents, latent_mask=mask).logits, captioner(**batch, **motion).logits
    )


def test_the_whole_motion_is_read_beside_its_parts(processor, batch):
    captioner = make_captioner(processor, "qwen")
    before = captioner.get_soft_tokens(batch["motion_values"])
    with torch.no_grad():
        captioner.lamp.motion_head.bias += 1
    assert not torch.allclose(captioner.get_soft_tokens(batch["motion_values"]), before)


def test_a_captioner_of_the_papers_q_former_loads_also_as_version_0_1_0_saved_it(processor, batch, tmp_path):
    captioner = make_captioner(processor, "llama")
    captioner.save_pretrained(tmp_path)
    for saved in ('"lamp_qformer"', '"lamp"'):
        config = tmp_path / "config.json"
        config.write_text(config.read_text().replace('"lamp_qformer"', saved).replace('"whole_motion": false,', ""))
        loaded = LampForMotionCaptioning.from_pretrained(tmp_path).eval()
        assert isinstance(loaded.lamp, lamp_hf.LampQFormerMotionModel)
        assert torch.equal(loaded(**batch).logits, captioner(**batch).logits)


def test_the_q_former_has_no_whole_motion(processor):
    with pytest.raises(ValueError, match="whole_motion needs a LaMP"):
        lamp_hf.LampMotionCaptioningConfig(lamp_config=tiny_qformer_config(processor), whole_motion=True)


@pytest.mark.parametrize("kind", KINDS)
def test_lamp_comes_back_from_the_folder_of_its_captioner(kind, processor, batch, tmp_path):
    captioner = make_captioner(processor, kind)
    captioner.save_pretrained(tmp_path)
    loaded = load_lamp(tmp_path, motion_only=True).eval()
    queries = (lamp.get_motion_queries(batch["motion_values"]) for lamp in (captioner.lamp, loaded))
    assert torch.equal(*queries)


@pytest.fixture(scope="module")
def pipe(captioner_folder):
    return pipeline("motion-to-text", model=str(captioner_folder))


@pytest.fixture
def motion() -> Motion:
    return Motion(make_motion(61))


class TestPipeline:
    def test_motion_file_joints_and_features_are_one(self, pipe, motion, tmp_path):
        path = motion.save(tmp_path / "clip.npy")
        answers = pipe([motion, str(path), path, motion.joints, motion.features])
        assert all(set(answer[0]) == {"generated_text"} for answer in answers)
        assert len({answer[0]["generated_text"] for answer in answers}) == 1
        assert pipe(motion) == answers[0] and pipe([]) == []

    def test_batches_change_nothing_and_beams_are_deterministic(self, pipe):
        motions = [make_motion(30 + 7 * i, seed=i) for i in range(5)]
        assert len({answer[0]["generated_text"] for answer in pipe(motions)}) > 1
        assert pipe(motions, batch_size=5) == pipe(motions, batch_size=1) == pipe(motions, batch_size=2)

    def test_a_prompt_begins_the_caption(self, pipe, motion):
        text = pipe(motion, prompt="a man is")[0]["generated_text"]
        assert text.startswith("a man is")

    def test_sampling_has_a_seed_and_several_sequences_differ(self, pipe, motion):
        sample = {"do_sample": True, "num_return_sequences": 4, "temperature": 2.0}
        first, again, other = (pipe(motion, seed=seed, **sample) for seed in (0, 0, 1))
        assert pipe([make_motion(30), motion], seed=0, **sample)[1] == first  # alone and in any batch
        assert first == again != other and len(first) == 4
        three = pipe(motion, num_return_sequences=3)
        assert len(three) == 3 and len({answer["generated_text"] for answer in three}) > 1

    def test_options_given_with_the_model_hold_in_every_call(self, pipe, captioner_folder, motion):
        options = {"do_sample": True, "temperature": 2.0}
        sampling = pipeline("motion-to-text", model=str(captioner_folder), **options)
        captions = sampling([make_motion(30), motion], seed=0)
        assert captions == pipe([make_motion(30), motion], seed=0, **options)
        assert sampling(motion, seed=0) == captions[1]  # alone and in any batch
        assert sampling(motion, do_sample=False) == pipe(motion)
        with pytest.raises(ValueError, match="seed is for sampling"):
            sampling(motion, do_sample=False, seed=0)

    def test_long_motions_are_captioned_part_by_part(self, pipe):
        (answer,) = pipe(make_motion(500))
        times = [chunk["timestamp"] for chunk in answer["chunks"]]
        assert times[0][0] == 0 and times[-1][1] == pytest.approx(499 / 20)
        assert all(earlier[1] == later[0] for earlier, later in itertools.pairwise(times))
        assert pipe(make_motion(60), return_timestamps=True)[0]["chunks"][0]["timestamp"] == (0, 59 / 20)

    @pytest.mark.parametrize(
        ("motion", "options", "message"),
        [
            (np.zeros((60, 21, 3)), {}, "expected at least one frame of shape .22, 3."),
            (np.full((60, 22, 3), np.nan), {}, "motion 1: frame 0 holds NaN"),
            (make_motion(4), {}, "motion 1 is too short: 3 frames, it must last 0.25 seconds"),
            (np.zeros((0, 263)), {}, "too short"),
            (Motion(make_motion(30, skeleton="kit"), skeleton="kit"), {}, "skeleton 'kit'"),
            ("nowhere.bvh", {}, "no such file"),
            (make_motion(60), {"beams": 3}, "unknown option 'beams'"),
            (make_motion(60), {"temperature": 0.5}, "temperature is for sampling"),
        ],
    )
    def test_bad_requests_are_refused_before_any_work(self, pipe, motion, options, message, monkeypatch):
        monkeypatch.setattr(pipe.model, "generate", None)
        with pytest.raises((ValueError, OSError), match=message):
            pipe([make_motion(60), motion], **options)

    def test_a_prompt_that_leaves_no_room_is_refused(self, pipe, motion):
        with pytest.raises(ValueError, match="the language model reads 128 tokens"):
            pipe(motion, prompt="a man " * 60)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_captions_too(self, captioner_folder, motion, dtype):
        half = pipeline("motion-to-text", model=str(captioner_folder), dtype=dtype)
        assert half.model.dtype == half.model.language_model.dtype == dtype
        assert isinstance(half(motion)[0]["generated_text"], str)

    def test_tokenizers_without_padding_start_or_with_padding_on_the_left_do(self, captioner_folder, motion, tmp_path):
        shutil.copytree(captioner_folder, tmp_path / "model")
        settings = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
        settings |= {"pad_token": None, "padding_side": "left"}
        (tmp_path / "model" / "tokenizer_config.json").write_text(json.dumps(settings))
        odd = pipeline("motion-to-text", model=str(tmp_path / "model"))
        assert odd([motion, make_motion(30)])[0] == pipeline("motion-to-text", model=str(captioner_folder))(motion)

    def test_saved_by_itself_it_loads_without_trust(self, pipe, motion, tmp_path):
        pipe.save_pretrained(tmp_path)
        pipe.processor.save_pretrained(tmp_path)
        assert pipeline("motion-to-text", model=str(tmp_path))(motion) == pipe(motion)

    def test_kit_has_its_own_frame_rate(self, captioner_folder, tmp_path):
        shutil.copytree(captioner_folder, tmp_path / "model")
        clips = [lamp_hf.joints_to_features(make_motion(40, skeleton="kit"), "kit")]
        extractor = lamp_hf.MotionFeatureExtractor.from_statistics(clips, "kit")
        tokenizer = lamp_hf.LampProcessor.from_pretrained(captioner_folder).tokenizer
        processor = lamp_hf.LampProcessor(extractor, tokenizer)
        config = tiny_qformer_config(processor, motion_config={"width": 16, "codebook_dim": 8, "feature_size": 251})
        language = AutoModelForCausalLM.from_config(tiny_language_config(OPTConfig, ffn_dim=32))
        model = LampForMotionCaptioning.from_parts(
            lamp_hf.LampQFormerMotionModel(config), language, max_new_tokens=4
        ).eval()
        kit = lamp_hf.MotionToTextPipeline(model, processor=processor, tokenizer=tokenizer)
        joints = make_motion(60, skeleton="kit") * 0.75 / 480
        (answer,) = kit(Motion(joints, 12.5, "kit"), return_timestamps=True)
        assert answer["chunks"][0]["timestamp"] == (0, 59 / 12.5)
        assert kit(joints, return_timestamps=True) == [answer]

    def test_a_tokenizer_with_more_words_than_the_model_is_refused(self, captioner_folder, tmp_path):
        shutil.copytree(captioner_folder, tmp_path / "model")
        tokenizer = lamp_hf.LampProcessor.from_pretrained(tmp_path / "model").tokenizer
        tokenizer.add_tokens(["zigzag"])
        tokenizer.save_pretrained(tmp_path / "model")
        with pytest.raises(ValueError, match="words, the language model"):
            pipeline("motion-to-text", model=str(tmp_path / "model"))


def test_models_of_another_task_are_refused(captioner_folder, model_folder):
    for task, folder in (("motion-to-text", model_folder), ("text-to-motion", captioner_folder)):
        with pytest.raises(ValueError, match="this pipeline needs"):
            pipeline(task, model=str(folder))


def test_the_bundled_captioner_tells_left_from_right_and_walking_from_waving():
    make = pipeline("text-to-motion", model=lamp_hf.bundled())
    texts = ["a person waves with the left hand", "a person raises the right hand", "a person walks forward"]
    made = make(texts, duration=4.0, seed=0)
    answers = pipeline("motion-to-text", model=lamp_hf.bundled("captioning"))([motion["joints"] for motion in made])
    left, right, walk = (answer[0]["generated_text"] for answer in answers)
    assert "left" in left and "right" not in left and "right" in right and "left" not in right
    assert not {"left", "right", "hand", "arm"} & set(walk.split())


@pytest.mark.slow
def test_the_command_captions_a_file_and_a_folder(captioner_folder, motion, tmp_path):
    (tmp_path / "clips").mkdir()
    path = motion.save(tmp_path / "clips" / "walk.bvh")
    Motion(make_motion(500)).save(tmp_path / "clips" / "long.npz")
    (tmp_path / "clips" / "broken.bvh").write_text("nothing")
    done = run("caption", path, "--model", captioner_folder, "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["captions"]
    assert row["name"] == "walk.bvh" and row["start"] == 0 and row["end"] == 3.0
    done = run("caption", tmp_path / "clips", "-o", tmp_path / "captions.csv", "--model", captioner_folder)
    assert done.returncode == 0 and "broken.bvh" in done.stderr
    with open(tmp_path / "captions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["name"] for row in rows} == {"walk.bvh", "long.npz"}
    assert float(rows[0]["start"]) == 0 and rows[-1]["caption"] == row["caption"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing.bvh",), "no such file"),
        ((".", "-o", "captions.txt"), "give a .csv file"),
        (("short.npy",), "short.npy is too short"),
    ],
)
def test_the_command_refuses_in_a_line(arguments, message, captioner_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Motion(make_motion(4)).save(tmp_path / "short.npy")
    done = run("caption", *arguments, "--model", captioner_folder)
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1
