"""The stages end to end: they learn, stop, go on, and give the same result in any number of processes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import CAPTIONS, free_port, tiny_text_to_motion
from safetensors.torch import load_file
from transformers import BertConfig, BertModel, BertTokenizer

import lamp_hf
from lamp_hf.models.skeleton import HUMANML3D
from training.ablations import STUDIES
from training.augmentation.paraphrase import Paraphraser
from training.data import shortened
from training.loop import StepDataset


ROOT = Path(__file__).parents[1]
SMALL = {
    "tokenizer": {"model": {"width": 16, "codebook_dim": 8, "codebook_size": 16}},
    "lamp": {
        "model": {"query_intermediate_size": 16, "cross_attention_width": 16, "projection_dim": 8, "dropout": 0.0}
    },
    "text_to_motion": {
        "model": {
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "dropout": 0.0,
            "condition_mode": "query_mean",
            "part_reader_size": 0,
        }
    },
}
RESIDUAL = {
    "residual_tokenizer": {"model": {"width": 16, "codebook_dim": 8, "codebook_size": 16, "num_quantizers": 2}}
}
CAPTIONING = {
    "part_reader": {"part_reader_size": 16},
    "language_model": {
        "model": {"hidden_size": 16, "num_hidden_layers": 1, "ffn_dim": 32, "num_attention_heads": 2, "dropout": 0.0}
    },
    "captioner": {"language_model_dtype": "float32"},
    "retrieval": {},
}


@pytest.fixture
def recipe(tmp_path, bert_folder):
    """Writes a stage's `small` recipe, made tiny, with changes to its optimization."""

    def write(stage: str, **changes) -> Path:
        values = yaml.safe_load((ROOT / f"training/recipes/small/{stage}.yaml").read_text())
        values |= (SMALL | RESIDUAL | CAPTIONING)[stage]
        values["data"] |= {"mirrored": False, "rarity_exponent": 0.0}
        if "composed" in values["data"]:
            values["data"]["composed"] = 0
        if stage == "retrieval":
            values["data"] |= {"sentence_encoder": str(bert_folder)}
            values["model"] |= {"summary_size": 8}
        if stage == "lamp":
            values["text_encoder"] = str(bert_folder)
            values["data"]["vocabulary_size"] = None
        quick = {"max_steps": 4, "batch_size": 4, "warmup_steps": 1, "mixed_precision": "no", "ema_decay": 0.5}
        values["optimization"] |= quick | changes
        values |= {"checkpoint_steps": 2, "evaluation_steps": 4}
        path = tmp_path / f"{stage}.yaml"
        path.write_text(yaml.safe_dump(values))
        return path

    return write


def command(stage: str, *arguments) -> list[str]:
    return [sys.executable, "-m", f"training.train_{stage}", *map(str, arguments)]


def environment(tmp_path, **more) -> dict:
    return (
        os.environ
        | {
            "HF_HOME": str(tmp_path / "cache"),
            "OMP_NUM_THREADS": "1",
            "ACCELERATE_USE_CPU": "true",
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        }
        | more
    )


def run(tmp_path, *arguments, **kwargs) -> str:
    done = subprocess.run(
        list(arguments), cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, **kwargs
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def assert_same(first: Path, second: Path, tolerance: float = 0.0) -> None:
    ours, theirs = weights(first), weights(second)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], atol=tolerance, rtol=tolerance, msg=name)


def test_all_stages_train_one_after_another(tmp_path, humanml3d_folder, recipe, bert_folder):
    folders = {stage: tmp_path / "runs" / stage for stage in SMALL}
    data = ("--data", with_odd_clips(humanml3d_folder, tmp_path / "data"))
    for stage, previous in (("tokenizer", []), ("lamp", ["tokenizer"]), ("text_to_motion", ["tokenizer", "lamp"])):
        earlier = [part for name in previous for part in (f"--{name}", folders[name] / "model")]
        run(tmp_path, *command(stage, "--recipe", recipe(stage), *data, "--output", folders[stage], *earlier))
        numbers = json.loads((folders[stage] / "evaluations.jsonl").read_text().splitlines()[-1])
        assert numbers["step"] == 4 and all(value == value for value in numbers.values())
    start = ("--set", f"start={folders['text_to_motion'] / 'model'}", "optimization.learning_rate=0")
    paths = ("--output", tmp_path / "started", *earlier)
    run(tmp_path, *command("text_to_motion", "--recipe", recipe("text_to_motion"), *data, *paths, *start))
    assert_same(folders["text_to_motion"], tmp_path / "started", tolerance=1e-6)
    check_part_reader(tmp_path, recipe, data, folders, earlier)
    check_going_on_with_codes(tmp_path, recipe, data, folders)
    residual = tmp_path / "residual"
    composed = ("--set", "data.composed=1")  # of two wild clips: there may be none
    run(
        tmp_path,
        *command("tokenizer", "--recipe", recipe("residual_tokenizer"), *data, "--output", residual, *composed),
    )
    paths = ("--tokenizer", residual / "model", "--lamp", folders["lamp"] / "model", "--output", tmp_path / "refined")
    run(tmp_path, *command("text_to_motion", "--recipe", recipe("text_to_motion"), *data, *paths, *composed))
    plain = ("--set", f"plain_text_encoder={bert_folder}", "model.condition_mode=text_mean")
    paths = ("--output", tmp_path / "plain", *earlier)
    run(tmp_path, *command("text_to_motion", "--recipe", recipe("text_to_motion"), *data, *paths, *plain))
    from transformers import pipeline

    pipe = pipeline("text-to-motion", model=str(tmp_path / "refined" / "model"))
    assert pipe.model.config.tokenizer_config.num_quantizers == 2 and pipe("she bows", duration=1.0)["fps"] == 20
    pipe = pipeline("text-to-motion", model=str(tmp_path / "plain" / "model"))
    assert pipe.model.config.condition_mode == "text_mean" and len(pipe("she bows", duration=1.0)["joints"]) == 20
    assert lamp_hf.LampModel.from_pretrained(folders["lamp"] / "model").config.hidden_size == 16
    pipe = pipeline("text-to-motion", model=str(folders["text_to_motion"] / "model"))
    assert pipe("a person walks forward", duration=2.0)["joints"].shape == (40, 22, 3)

    check_retrieval(tmp_path, recipe, data, folders, bert_folder)
    language, captioner = tmp_path / "language", tmp_path / "captioner"
    run(tmp_path, *command("language_model", "--recipe", recipe("language_model"), *data, "--output", language))
    paths = ("--lamp", folders["lamp"] / "model", "--language-model", language / "model", "--output", captioner)
    run(tmp_path, *command("captioner", "--recipe", recipe("captioner", learning_rate=0.1), *data, *paths))
    motion = np.load(humanml3d_folder / "new_joint_vecs" / "000000.npy")
    trained, untrained = (pipeline("motion-to-text", model=str(captioner / name)) for name in ("model", "base"))
    values = trained.preprocess(motion)
    soft = [pipe.model.get_soft_tokens(**values) for pipe in (trained, untrained)]
    assert not torch.equal(*soft) and trained(motion)[0]["generated_text"] is not None
    assert not list((captioner / "model").glob("model*.safetensors"))  # the adapter alone


def check_retrieval(tmp_path, recipe, data, folders, bert_folder):
    """It trains its heads alone, of LaMP and of a generator with LaMP in it, which makes the same motions after."""
    from transformers import pipeline

    for stage in ("lamp", "text_to_motion"):
        paths = ("--lamp", folders[stage] / "model", "--output", tmp_path / f"retrieval_{stage}")
        run(tmp_path, *command("retrieval", "--recipe", recipe("retrieval"), *data, *paths))
        before, after = (load_file(path / "model" / "model.safetensors") for path in (folders[stage], paths[-1]))
        changed = {name for name in after if name not in before or not torch.equal(before[name], after[name])}
        parts = {name.removeprefix("lamp.").split(".")[0] for name in changed}
        assert parts == {"text_head", "motion_head", "motion_summary", "matching_head", "logit_scale"}
    motions = [
        pipeline("text-to-motion", model=str(folder / "model"))("she bows", duration=1.0, seed=0)["joints"]
        for folder in (folders["text_to_motion"], tmp_path / "retrieval_text_to_motion")
    ]
    np.testing.assert_array_equal(*motions)
    assert len(lamp_hf.MotionIndex(tmp_path / "retrieval_lamp" / "model").search(text="she bows")) == 0
    result = tmp_path / "retrieval.json"
    options = ("--data", data[1], "--model", tmp_path / "retrieval_lamp" / "model", "--rerank", "2")
    options += ("--sentence-encoder", bert_folder, "--output", result)
    run(tmp_path, sys.executable, "-m", "training.evaluate", "retrieval", *map(str, options))
    numbers = json.loads(result.read_text())
    assert set(numbers["scorings"]) == {"max", "mean", "euclidean", "mean, re-ranked"}
    assert numbers["scorings"]["max"]["all"]["text_to_motion"]["gallery"] == numbers["clips"] == 2


def test_the_papers_sizes_start_step_save_and_resume(tmp_path, humanml3d_folder, language_folder, capsys):
    """With a BERT-base that nobody trained, two clips a batch; prints what a step takes."""
    bert = tmp_path / "bert"
    words = sorted({word for caption in CAPTIONS for word in caption.split()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    vocabulary += [f"[unused{i}]" for i in range(30522 - len(vocabulary))]
    BertTokenizer(vocab={word: i for i, word in enumerate(vocabulary)}).save_pretrained(bert)
    BertModel(BertConfig()).save_pretrained(bert)
    quick = ["optimization.batch_size=2", "optimization.num_workers=0", "evaluation_steps=100"]
    earlier = []
    for stage in SMALL:
        recipe, output = ROOT / f"training/recipes/base/{stage}.yaml", tmp_path / stage
        changes = [f"text_encoder={bert}"] * (stage == "lamp") + quick
        for steps in (1, 2):
            log = run(
                tmp_path,
                *command(stage, "--recipe", recipe, "--data", humanml3d_folder, "--output", output, *earlier),
                *("--set", f"optimization.max_steps={steps}", *changes),
            )
            with capsys.disabled():
                print(f"\n{stage}, step {steps}:", next(line for line in log.splitlines() if "a step" in line))
        assert (output / "checkpoints" / "step_00000002").is_dir() and (output / "model").is_dir()
        shutil.rmtree(output / "checkpoints")  # gigabytes
        earlier += [f"--{stage}", output / "model"]
    paths = ("--lamp", tmp_path / "lamp" / "model", "--language-model", language_folder, "--output", tmp_path / "m2t")
    recipe = ROOT / "training/recipes/base/captioner.yaml"  # OPT-2.7B is too large for a test
    changes = ("--set", "optimization.max_steps=1", *quick)
    run(tmp_path, *command("captioner", "--recipe", recipe, "--data", humanml3d_folder, *paths, *changes))
    assert (tmp_path / "m2t" / "model" / "adapter_model.safetensors").is_file()


def with_odd_clips(folder: Path, copy: Path) -> Path:
    """A copy of a data set with more clips, shorter than a token and of too long captions."""
    shutil.copytree(folder, copy)
    for split in ("train", "val"):
        np.save(copy / "new_joint_vecs" / f"{split}.npy", np.load(folder / "new_joint_vecs" / "000000.npy")[:3])
        (copy / "texts" / f"{split}.txt").write_text(f"{'a person walks ' * 40}#a/DET#0.0#0.0\n")
        with open(copy / f"{split}.txt", "a") as names:
            names.write(f"\n{split}")
    return copy


def test_texts_are_cut_to_what_the_model_reads(processor):
    long, words = "she bows " * 40, "she bows"
    cut = shortened([words, long], processor.tokenizer)
    limit = processor.tokenizer.model_max_length
    assert cut[0] == words and long.startswith(cut[1])
    assert limit - 2 <= len(processor.tokenizer(cut[1])["input_ids"]) <= limit


def test_options_that_a_measurement_does_not_read_are_refused(tmp_path):
    command = (sys.executable, "-m", "training.evaluate", "sampling", "--data", "x", "--model", "x")
    done = subprocess.run(
        [*command, "--evaluator", "x", "--temperature", "1"],
        cwd=ROOT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "unrecognized arguments: --temperature 1" in done.stderr


def test_a_tokenizer_of_other_statistics_is_refused(tmp_path, processor, lamp_config):
    from training.train_text_to_motion import build

    lamp_hf.LampModel(lamp_config).save_pretrained(tmp_path / "lamp")
    processor.save_pretrained(tmp_path / "lamp")
    lamp_hf.MotionVQVAEModel(lamp_config.motion_config).save_pretrained(tmp_path / "tokenizer")
    values = processor.feature_extractor.to_dict()
    model = {"hidden_size": 16, "num_attention_heads": 2}
    build_recipe = {"seed": 0, "start": None, "plain_text_encoder": None, "model": model}
    lamp_hf.MotionFeatureExtractor(**values).save_pretrained(tmp_path / "tokenizer")
    assert build(build_recipe, tmp_path / "tokenizer", tmp_path / "lamp")
    values["std"] = [2.0 * value for value in values["std"]]
    lamp_hf.MotionFeatureExtractor(**values).save_pretrained(tmp_path / "tokenizer")
    with pytest.raises(ValueError, match="expect motions of different std"):
        build(build_recipe, tmp_path / "tokenizer", tmp_path / "lamp")


def test_a_reader_of_another_lamp_is_refused(tmp_path, processor):
    """Its parts are conditions of the LaMP that it was trained with."""
    from training.train_part_reader import build as add_reader
    from training.train_text_to_motion import build

    trained = tiny_text_to_motion(processor, part_reader_size=16)
    for name, model in (("start", trained), ("lamp", trained.lamp), ("tokenizer", trained.vqvae)):
        model.save_pretrained(tmp_path / name)
        processor.save_pretrained(tmp_path / name)
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "part_reader_size")
    given = {name: getattr(trained.config, name) for name in sizes}
    build_recipe = {"seed": 0, "start": str(tmp_path / "start"), "plain_text_encoder": None, "model": given}
    assert build(build_recipe, tmp_path / "tokenizer", tmp_path / "lamp")
    torch.nn.init.normal_(trained.lamp.get_input_embeddings().weight)
    trained.lamp.save_pretrained(tmp_path / "lamp")
    with pytest.raises(ValueError, match="--lamp is not the one that the part reader"):
        build(build_recipe, tmp_path / "tokenizer", tmp_path / "lamp")
    with pytest.raises(ValueError, match="there is no reader to train"):
        add_reader(tmp_path / "start", 0)


def check_part_reader(tmp_path, recipe, data, folders, earlier) -> None:
    """A generator gains a reader of parts, which alone is trained, then goes on with it."""
    generator, reader, going_on = folders["text_to_motion"], tmp_path / "part_reader", tmp_path / "going_on"
    paths = ("--generator", generator / "model", "--output", reader)
    run(tmp_path, *command("part_reader", "--recipe", recipe("part_reader"), *data, *paths))
    before, trained = weights(generator), weights(reader)
    assert all(torch.equal(trained[name], tensor) for name, tensor in before.items())
    assert {name.split(".")[0] for name in trained.keys() - before.keys()} == {"part_reader"}
    start = ("--set", f"start={reader / 'model'}", "model.part_reader_size=16")
    run(
        tmp_path,
        *command(
            "text_to_motion", "--recipe", recipe("text_to_motion"), *data, *earlier, "--output", going_on, *start
        ),
    )
    after = weights(going_on)
    moved = {name.split(".")[0] for name, tensor in after.items() if not torch.equal(tensor, trained[name])}
    assert moved == {"transformer", "length_predictor"}


def check_going_on_with_codes(tmp_path, recipe, data, folders) -> None:
    """A tokenizer is trained on, and the generator of its earlier codes with it, but not with one that is not."""
    further, other = tmp_path / "further_tokenizer", tmp_path / "other_tokenizer"
    start = ("--set", f"start={folders['tokenizer'] / 'model'}", "optimization.learning_rate=0")
    run(tmp_path, *command("tokenizer", "--recipe", recipe("tokenizer"), *data, "--output", further, *start))
    before, after = weights(folders["tokenizer"]), weights(further)
    moved = {name.split(".")[0] for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert moved == {"quantizer"}  # whose codes follow averages, at any learning rate
    run(tmp_path, *command("tokenizer", "--recipe", recipe("tokenizer"), *data, "--output", other, "--set", "seed=1"))
    start = ("--set", f"start={folders['text_to_motion'] / 'model'}")
    paths = ("--lamp", folders["lamp"] / "model", "--output", tmp_path / "generator_of_further")
    go_on = command("text_to_motion", "--recipe", recipe("text_to_motion"), *data, *paths, *start)
    with pytest.raises(AssertionError, match="--tokenizer is neither the one"):
        run(tmp_path, *go_on, "--tokenizer", other / "model")
    run(tmp_path, *go_on, "--tokenizer", further / "model")


def test_a_gentle_wave_weighs_as_much_as_a_wide_one_and_hanging_hands_nothing():
    from training.train_tokenizer import TokenizerObjective

    config = lamp_hf.MotionVQVAEConfig(width=16, codebook_dim=8, codebook_size=16)
    objective = TokenizerObjective(lamp_hf.MotionVQVAEModel(config), None, {})
    wrist, elbow = (HUMANML3D.joint_names.index(f"left_{name}") for name in ("wrist", "elbow"))

    def wave(width: float, height: float) -> torch.Tensor:
        body = torch.zeros(1, 40, 22, 3)
        body[0, :, wrist, 0] = width * torch.sin(torch.arange(40.0))
        body[0, :, wrist, 1] = body[0, :, elbow, 1] + height
        return body

    mask = torch.ones(1, 39, dtype=torch.bool)
    errors = [objective.raised_hands(wave(width / 2, 0.2), wave(width, 0.2), mask).item() for width in (0.05, 0.5)]
    assert errors[0] == pytest.approx(errors[1], rel=0.2) and errors[0] > 0.3
    assert objective.raised_hands(wave(0.5, 0.2), wave(0.5, 0.2), mask) == 0
    assert objective.raised_hands(wave(0.1, -0.2), wave(0.5, -0.2), mask) == 0


def test_a_reader_learns_what_its_sentences_name(processor):
    """The kind of each, and the conditions of both parts."""
    from training.train_part_reader import PartReaderObjective

    model = tiny_text_to_motion(processor, part_reader_size=16, dropout=0.0)
    objective = PartReaderObjective(model).train()
    batch = dict(processor(text=CAPTIONS)) | {"kinds": torch.tensor([0, 1, 2, 1])}
    batch["conditions"] = torch.randn(4, 2, 1, 32, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(model.part_reader.requires_grad_(True).parameters(), lr=1e-2)
    losses = []
    for _ in range(150):
        loss, logs = objective(**batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert logs["kind"] == 1 and logs["error"] < 0.2


def test_a_killed_run_goes_on_exactly_where_it_was(tmp_path, humanml3d_folder, recipe):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    arguments = ("--recipe", recipe("tokenizer", max_steps=12), "--data", humanml3d_folder)
    run(tmp_path, *command("tokenizer", *arguments, "--output", whole))
    process = subprocess.Popen(
        command("tokenizer", *arguments, "--output", killed),
        cwd=ROOT, env=environment(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list((killed / "checkpoints").glob("step_*4")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list((killed / "checkpoints").glob("step_*"))
    run(tmp_path, *command("tokenizer", *arguments, "--output", killed))
    assert_same(whole, killed)


def test_two_processes_train_like_one_with_the_same_batch(tmp_path, humanml3d_folder, recipe):
    arguments = ("--recipe", recipe("tokenizer", batch_size=8), "--data", humanml3d_folder)
    run(tmp_path, *command("tokenizer", *arguments, "--output", tmp_path / "one"))
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    launch += ["--master_addr", "127.0.0.1", "--master_port", str(free_port())]
    run(tmp_path, *launch, "-m", "training.train_tokenizer", *map(str, arguments), "--output", str(tmp_path / "two"))
    assert_same(tmp_path / "one", tmp_path / "two", tolerance=2e-4)


class Numbers:
    """Ten clips that are just their index."""

    lengths = np.arange(10)
    weights = None

    def item(self, index, rng):
        return index, rng.random()


def test_a_batch_is_a_function_of_seed_and_step():
    def batches(seed):
        dataset = StepDataset(Numbers(), batch_size=4, seed=seed, bucket_batches=1)
        return [[dataset[step, row] for row in range(4)] for step in (3, 0, 1)]

    assert batches(seed=0) == batches(seed=0) != batches(seed=1)
    _, first, second = batches(seed=0)
    assert len({index for index, _ in first + second}) == 8  # an epoch draws no clip twice


def test_a_batch_that_does_not_divide_is_refused(tmp_path, humanml3d_folder, recipe):
    arguments = ("--recipe", recipe("tokenizer", batch_size=5, gradient_accumulation_steps=2))
    done = subprocess.run(
        command("tokenizer", *arguments, "--data", humanml3d_folder, "--output", tmp_path / "run"),
        cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode != 0 and "does not divide" in done.stderr


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_ablations_change_what_their_recipes_have(study):
    recipe = yaml.safe_load((ROOT / f"training/recipes/small/{study.stage}.yaml").read_text())
    for change in [*study.changes, *(change for changes in study.variants.values() for change in changes)]:
        section = recipe
        for name in change.partition("=")[0].split("."):
            assert name in section, change
            section = section[name]
    assert set(study.options) <= set(study.variants)


def test_paraphrases_keep_sides_and_leave_the_words_kept_for_testing_alone():
    paraphrase = Paraphraser(ROOT / "training/augmentation/synonyms.yaml", probability=1.0)
    rng = np.random.default_rng(0)
    for _ in range(50):
        words = paraphrase("someone turns to the left and waves with the right hand", rng).split()
        assert "left" in " ".join(words) and "right" in words
    assert (
        Paraphraser(ROOT / "training/augmentation/synonyms.yaml", probability=0.0)("a man walks", rng) == "a man walks"
    )

    def words_of(texts):
        return {word for text in texts for word in re.findall(r"[a-z]+", str(text).lower())}

    kept = yaml.safe_load((ROOT / "training/evaluation/paraphrases.yaml").read_text())
    kept = words_of(text for split in kept.values() for texts in split.values() for text in texts)
    new = words_of(text for texts in paraphrase.synonyms.values() for text in texts)
    # Captions of the bundled model's data have these, and the phrases that are replaced.
    captions = words_of(paraphrase.synonyms) | {
        "along",
        "at",
        "down",
        "fists",
        "foot",
        "front",
        "high",
        "off",
        "on",
        "toward",
    }
    assert not kept & new - captions
