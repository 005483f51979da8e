"""Tiny real components: a body that walks by formula, a data set in HumanML3D's layout, small models."""

import os
import re
import shutil
import socket
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest
import torch


os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)  # tests run side by side

import lamp_hf  # noqa: E402
from lamp_hf.models.skeleton import HUMANML3D, get_skeleton  # noqa: E402


SHARED = Path(__file__).parents[2] / "shared" / "data"


def make_motion(num_frames: int = 60, seed: int = 0, skeleton=HUMANML3D, facing: float = 0.0) -> np.ndarray:
    """A body that walks, turns a little and swings its limbs; float64 [num_frames, num_joints, 3] in its units."""
    skeleton = get_skeleton(skeleton)
    rng = np.random.default_rng(seed)
    time = np.arange(num_frames) / skeleton.fps
    directions = np.array(skeleton.directions, float)
    directions[list(skeleton.left_foot) + list(skeleton.right_foot)] += [0, -0.3, 0.2]
    joints = np.zeros((num_frames, skeleton.num_joints, 3))
    for joint, parent in enumerate(skeleton.parents):
        if parent < 0:
            continue
        phase, size = rng.uniform(0, 6.28, 3), rng.uniform(0.05, 0.3, 3)
        swing = np.sin(2 * np.pi * time[:, None] + phase) * size
        bone = directions[joint] + swing
        bone /= np.linalg.norm(bone, axis=-1, keepdims=True)
        joints[:, joint] = joints[:, parent] + bone * skeleton.bone_lengths[joint]
    turn = facing + 0.4 * np.sin(0.7 * time)
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
    x, y, z = joints[..., 0], joints[..., 1], joints[..., 2]
    joints = np.stack([cos * x + sin * z, y, cos * z - sin * x], -1)
    path = np.stack([np.sin(turn), np.zeros_like(turn), np.cos(turn)], -1).cumsum(0) * 0.05 / skeleton.metres
    return joints + path[:, None] + [0, 1.0 / skeleton.metres, 0]


def make_clip(seconds: float = 3.0, seed: int = 0) -> lamp_hf.Motion:
    """The same as a [`Motion`] of HumanML3D's skeleton."""
    return lamp_hf.Motion(make_motion(round(20 * seconds) + 1, seed=seed))


def unit_vectors(count: int, size: int = 16, seed: int = 0) -> np.ndarray:
    """Random directions; float32 [count, size]."""
    vectors = np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def damage_number(numbers: dict, names: list[str], damage: str) -> None:
    """Make the number at a path of keys missing, null or NaN."""
    *path, last = names
    for name in path:
        numbers = numbers[name]
    if damage == "missing":
        del numbers[last]
    else:
        numbers[last] = None if damage == "null" else float("nan")


@pytest.fixture(scope="session")
def strangers_python(tmp_path_factory) -> Path:
    """The Python of an environment of its own, which has all that is installed here but the package."""
    folder = tmp_path_factory.mktemp("stranger")
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if "lamp_hf" not in path.name:
            (site / path.name).symlink_to(path)
    return folder / "bin" / "python"


def python_blocks(page: str) -> list[str]:
    """Blocks of code in Markdown."""
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


CAPTIONS = ["a person walks forward", "someone waves with the left hand", "a man turns to the right", "she bows"]


@pytest.fixture(scope="session")
def humanml3d_folder(tmp_path_factory) -> Path:
    """Twelve clips in HumanML3D's layout; one is broken, one has a caption of a part, one is very short."""
    folder = tmp_path_factory.mktemp("humanml3d")
    for name in ("new_joint_vecs", "texts"):
        (folder / name).mkdir()
    names = [f"{i:06d}" for i in range(12)]
    for i, name in enumerate(names):
        features = lamp_hf.joints_to_features(make_motion(9 if i == 5 else 41 + 4 * i, seed=i))
        if i == 3:
            features[7, 100] = np.nan
        np.save(folder / "new_joint_vecs" / f"{name}.npy", features)
        caption = CAPTIONS[i % len(CAPTIONS)]
        lines = [f"{caption}#a/DET person/NOUN#0.0#0.0"]
        if i == 4:
            lines.append("walks at the end#walks/VERB#1.0#2.0")
        (folder / "texts" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    (folder / "train.txt").write_text("\n".join(names[:8]))
    (folder / "val.txt").write_text("\n".join(names[8:10]))
    (folder / "test.txt").write_text("\n".join(names[10:]))
    return folder


@pytest.fixture(scope="session")
def processor(humanml3d_folder):
    from transformers import BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + sorted(
        {w for caption in CAPTIONS for w in caption.split()}
    )
    tokenizer = BertTokenizer(vocab={word: i for i, word in enumerate(words)}, bos_token="[DEC]", model_max_length=16)
    clips = [
        np.load(path)
        for path in sorted((humanml3d_folder / "new_joint_vecs").glob("*.npy"))
        if "000003" not in path.name
    ]
    return lamp_hf.LampProcessor(lamp_hf.MotionFeatureExtractor.from_statistics(clips), tokenizer)


def tiny_qformer_config(processor, **changes):
    values = {
        "motion_config": {"width": 16, "codebook_dim": 8, "codebook_size": 32},
        "vocab_size": len(processor.tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "query_intermediate_size": 32,
        "cross_attention_width": 24,
        "projection_dim": 16,
        "max_position_embeddings": 16,
        "decoder_start_token_id": processor.tokenizer.bos_token_id,
    }
    return lamp_hf.LampQFormerConfig(**(values | changes))


def tiny_lamp_config(processor, **changes):
    values = {
        "motion_config": {"width": 16, "codebook_dim": 8, "codebook_size": 32},
        "text_config": {
            "vocab_size": len(processor.tokenizer),
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "max_position_embeddings": 16,
        },
        "trunk_size": 16,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "intermediate_size": 32,
        "word_state_size": 24,
        "projection_dim": 16,
        "token_projection_dim": 8,
        "matcher_size": 16,
        "num_matcher_layers": 1,
        "num_decoder_layers": 1,
    }
    return lamp_hf.LampConfig(**(values | changes))


def tiny_lamp(processor, **changes) -> lamp_hf.LampModel:
    torch.manual_seed(0)
    return lamp_hf.LampModel(tiny_lamp_config(processor, **changes)).eval()


@pytest.fixture
def lamp_config(processor):
    return tiny_lamp_config(processor)


@pytest.fixture
def qformer_config(processor):
    return tiny_qformer_config(processor)


@pytest.fixture
def text_to_motion_model(processor):
    return tiny_text_to_motion(processor)


def tiny_text_to_motion(processor, **changes):
    torch.manual_seed(0)
    values = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    values["lamp_config"] = tiny_lamp_config(processor)
    config = lamp_hf.LampTextToMotionConfig(**(values | changes))
    model = lamp_hf.LampForTextToMotion(config)
    model.vqvae.quantizer.codebook.normal_()
    return model.eval()


def qformer_text_to_motion(processor, condition_mode: str = "query_mean", **changes):
    """The generator with the paper's Q-Former."""
    config = tiny_qformer_config(processor)
    return tiny_text_to_motion(processor, lamp_config=config, condition_mode=condition_mode, **changes)


def open_gates(transformer) -> None:
    """Let a new generator's tokens hear the words, which gates keep from them at the start."""
    for attention in transformer.word_attention:
        torch.nn.init.normal_(attention.gate)


def residual_config() -> lamp_hf.MotionVQVAEConfig:
    return lamp_hf.MotionVQVAEConfig(width=16, codebook_dim=8, codebook_size=32, num_quantizers=3)


def residual_text_to_motion(processor):
    model = tiny_text_to_motion(processor, tokenizer_config=residual_config(), num_residual_layers=2)
    for book in model.vqvae.residual_quantizers:
        book.codebook.normal_()
    return model


@pytest.fixture(scope="session")
def model_folder(processor, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_text_to_motion(processor).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


FAMILIES = ["walk", "wave-left-hand", "walk-turn", "bow"]  # of the captions


@pytest.fixture(scope="session")
def familiar_folder(processor, tmp_path_factory) -> Path:
    """The same generator, which knows that it was trained on the four captions, and on nothing else."""
    folder = tmp_path_factory.mktemp("familiar")
    model, own = (
        tiny_text_to_motion(processor),
        lamp_hf.LampProcessor(processor.feature_extractor, processor.tokenizer),
    )
    embeddings = model.lamp.get_sentence_features(**own(text=CAPTIONS))
    own.familiarity = lamp_hf.Familiarity(CAPTIONS, FAMILIES, embeddings, threshold=0.99, num_neighbours=1)
    model.save_pretrained(folder)
    own.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def lamp_folder(processor, tmp_path_factory) -> Path:
    """LaMP alone, with first weights so wide that the embeddings of motions differ."""
    folder = tmp_path_factory.mktemp("lamp")
    torch.manual_seed(0)
    model = lamp_hf.LampModel(tiny_lamp_config(processor, initializer_range=0.5))
    torch.nn.init.normal_(model.motion_encoder.conv_in.weight)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def embedder(lamp_folder):
    from lamp_hf.retrieval.embedder import Embedder

    return Embedder(lamp_folder)


@pytest.fixture(params=["faiss", "milvus"])
def store(request, tmp_path) -> dict[str, str]:
    """Options of [`MotionIndex`] that say where it keeps its vectors; all that holds of one store holds of both."""
    if request.param == "faiss":
        return {}
    for name in ("pymilvus", "milvus_lite"):
        pytest.importorskip(name, reason="needs pip install 'lamp-hf[milvus]'")
    return {"store": "milvus", "uri": str(tmp_path / "vectors.db")}


@pytest.fixture
def index(lamp_folder) -> lamp_hf.MotionIndex:
    """A gallery of five motions, a to e."""
    index = lamp_hf.MotionIndex(lamp_folder)
    index.add([make_clip(seed=seed) for seed in range(5)], ids=list("abcde"))
    return index


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory) -> Path:
    """A BERT that nobody trained, in the layout of the Hub."""
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + sorted(
        {w for caption in CAPTIONS for w in caption.split()}
    )
    BertTokenizer(vocab={word: i for i, word in enumerate(words)}).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def language_folder(tmp_path_factory) -> Path:
    """An OPT that nobody trained, with a tokenizer of the captions' words."""
    from transformers import OPTConfig, OPTForCausalLM

    from training.train_language_model import train_tokenizer

    folder = tmp_path_factory.mktemp("language")
    tokenizer = train_tokenizer(CAPTIONS, 300)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    OPTForCausalLM(tiny_language_config(OPTConfig, len(tokenizer), ffn_dim=32, init_std=0.3)).save_pretrained(folder)
    return folder


def tiny_language_config(kind, vocab_size: int = 300, **changes):
    """Make a small config of any causal language model."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 128}
    special = {"bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1}
    return kind(vocab_size=vocab_size, **sizes, **special, **changes)


@pytest.fixture(scope="session")
def captioner_folder(processor, language_folder, tmp_path_factory) -> Path:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    language = AutoModelForCausalLM.from_pretrained(language_folder)
    lamp = lamp_hf.LampMotionModel(tiny_lamp_config(processor, initializer_range=0.5))
    torch.nn.init.normal_(lamp.motion_encoder.conv_in.weight)
    folder = tmp_path_factory.mktemp("captioner")
    options = {"num_beams": 3, "max_new_tokens": 8, "whole_motion": True}
    options["initializer_range"] = 1.0  # wide, so that motions differ in words
    lamp_hf.LampForMotionCaptioning.from_parts(lamp, language, **options).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(language_folder)
    lamp_hf.LampProcessor(processor.feature_extractor, tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def odd_clips_folder(humanml3d_folder, tmp_path_factory) -> Path:
    """The data set with clips that are shorter than a token and captions that are longer than models read."""
    folder = tmp_path_factory.mktemp("odd") / "data"
    shutil.copytree(humanml3d_folder, folder)
    for split in ("train", "val"):
        np.save(folder / "new_joint_vecs" / f"{split}.npy", np.load(folder / "new_joint_vecs" / "000000.npy")[:3])
        (folder / "texts" / f"{split}.txt").write_text(f"{'a person walks ' * 40}#a/DET#0.0#0.0\n")
        with open(folder / f"{split}.txt", "a") as names:
            names.write(f"\n{split}")
    return folder


@pytest.fixture(scope="session")
def stage_folder(odd_clips_folder, bert_folder, tmp_path_factory):
    """Returns the folder of a training stage after four steps; the stages before it are trained as needed, once."""
    from training_stages import INPUTS, tiny_recipe, train

    runs = tmp_path_factory.mktemp("runs")

    def folder(stage: str) -> Path:
        if not (runs / stage / "model").is_dir():
            inputs = [part for name, earlier in INPUTS.get(stage, {}).items()
                      for part in (f"--{name}", folder(earlier) / "model")]  # fmt: skip
            if stage == "lavimo":
                inputs += ["--cache", runs / "cache"]
            recipe = tiny_recipe(runs, stage, bert_folder)
            train(stage, "--recipe", recipe, "--data", odd_clips_folder, "--output", runs / stage, *inputs)
        return runs / stage

    return folder


@pytest.fixture
def continued(tmp_path, odd_clips_folder, bert_folder, stage_folder):
    """Trains a generator on the tokenizer and LaMP, or others, with further changes of the recipe."""
    from training_stages import tiny_recipe, train

    def run(name: str, *changes: str, tokenizer=None, lamp=None) -> Path:
        tokenizer, lamp = tokenizer or stage_folder("tokenizer"), lamp or stage_folder("lamp")
        paths = ("--tokenizer", tokenizer / "model", "--lamp", lamp / "model")
        recipe = tiny_recipe(tmp_path, "text_to_motion", bert_folder)
        paths += ("--output", tmp_path / name, "--set", *changes)
        train("text_to_motion", "--recipe", recipe, "--data", odd_clips_folder, *paths)
        return tmp_path / name

    return run
