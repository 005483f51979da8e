"""Training stages on tiny recipes: real components, four steps."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.state import AcceleratorState
from safetensors.torch import load_file


ROOT = Path(__file__).parents[1]
TINY_TOKENIZER = {"width": 16, "codebook_dim": 8, "codebook_size": 16, "num_quantizers": 1}
TINY = {
    "tokenizer": {"model": TINY_TOKENIZER},
    "lamp": {
        "model": {
            "trunk_size": 16,
            "hidden_size": 16,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "word_state_size": 24,
            "projection_dim": 8,
            "matcher_size": 16,
            "dropout": 0.0,
        }
    },
    "matcher": {"model": {"matcher_size": 16, "num_matcher_layers": 1, "matcher_dropout": 0.0}},
    "lamp_qformer": {
        "model": {"query_intermediate_size": 16, "cross_attention_width": 16, "projection_dim": 8, "dropout": 0.0}
    },
    "text_to_motion": {
        "model": {
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "dropout": 0.0,
            "condition_mode": "words",
        }
    },
    "language_model": {
        "model": {"hidden_size": 16, "num_hidden_layers": 1, "ffn_dim": 32, "num_attention_heads": 2, "dropout": 0.0}
    },
    "captioner": {"language_model_dtype": "float32"},
    "dual_encoder": {"model": {"hidden_size": 8, "projection_dim": 8, "dropout": 0.0}},
    "tmr": {
        "model": {
            "hidden_size": 8,
            "num_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "similar_caption_threshold": 1.1,
        }
    },
    "evaluator": {},
    "vision": {
        "vision": {
            "model_type": "resnet",
            "layer_type": "basic",
            "embedding_size": 8,
            "hidden_sizes": [8, 16],
            "depths": [1, 1],
        }
    },
    "lavimo": {},
}
TRAINED_STAGES = (
    "tokenizer", "lamp", "matcher", "lamp_qformer", "text_to_motion", "language_model", "captioner", "dual_encoder",
    "tmr", "lavimo",
)  # fmt: skip
# Folders of earlier stages that a stage takes, by its options.
INPUTS = {
    "lamp": {"tokenizer": "tokenizer"},
    "matcher": {"tokenizer": "tokenizer", "lamp": "lamp"},
    "lamp_qformer": {"tokenizer": "tokenizer"},
    "text_to_motion": {"tokenizer": "tokenizer", "lamp": "lamp"},
    "dual_encoder": {"lamp": "lamp"},
    "tmr": {"lamp": "lamp"},
    "captioner": {"lamp": "lamp", "language-model": "language_model"},
    "lavimo": {"vision": "vision"},
}


def tiny_recipe(folder: Path, stage: str, bert: Path, **optimization) -> Path:
    """Write a stage's `small` recipe, made tiny, with changes of its optimization."""
    values = yaml.safe_load((ROOT / f"training/recipes/small/{stage}.yaml").read_text())
    values |= TINY[stage]
    values["data"] |= {"mirrored": False, "rarity_exponent": 0.0}
    if "image_size" in values["data"]:
        values["data"]["image_size"] = 32
    values["data"] |= {name: 0 for name in ("composed", "lengthened") if name in values["data"]}
    if stage in ("lamp", "lamp_qformer"):
        values["text_encoder"] = str(bert)
        values["data"]["vocabulary_size"] = None
    if stage == "evaluator":
        values["model"] = {"width": 8, "embedding_size": 8, "text_encoder": str(bert), "text_size": 16}
    if stage == "lavimo":
        values["model"] |= {"hidden_size": 16, "intermediate_size": 32, "projection_dim": 8, "summary_size": 8}
        encoders = {"text_encoder": str(bert), "text_encoder_layers": 1, "sentence_encoder": str(bert)}
        values["data"] |= encoders | {"vocabulary_size": None, "views": 1}
    quick = {
        "max_steps": 4,
        "batch_size": 4,
        "warmup_steps": 1,
        "mixed_precision": "no",
        "ema_decay": 0.5,
        "num_workers": 0,
    }
    values["optimization"] |= quick | optimization
    values |= {"checkpoint_steps": 2, "evaluation_steps": 4}
    path = folder / f"{stage}.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def train(stage: str, *arguments) -> None:
    """Run a stage's script in this process."""
    module = importlib.import_module(f"training.train_{stage}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"train_{stage}", *map(str, arguments)])
        patch.setenv("ACCELERATE_USE_CPU", "true")
        AcceleratorState._reset_state(reset_partial_state=True)
        flash = torch.backends.cuda.flash_sdp_enabled()
        try:
            module.main()
        finally:
            torch.backends.cuda.enable_flash_sdp(flash)  # LAVIMO's training switches it off


def command(stage: str, *arguments) -> list[str]:
    """Return the command that runs a stage in a process of its own."""
    return [sys.executable, "-m", f"training.train_{stage}", *map(str, arguments)]


def environment(folder: Path) -> dict:
    return os.environ | {
        "HF_HOME": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    }


def evaluate(task: str, output: Path, *arguments) -> dict:
    """Run a task of `training.evaluate` in this process and return its numbers."""
    from training.evaluate import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["evaluate", task, "--output", str(output), *map(str, arguments)])
        main()
    return json.loads(output.read_text())


def run(folder: Path, *arguments) -> str:
    """Run a command in the repository and return its output; it must succeed."""
    done = subprocess.run(list(arguments), cwd=ROOT, env=environment(folder), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def changed_parts(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Return the modules with weights that are new or differ."""
    changed = {name for name in after if name not in before or not torch.equal(before[name], after[name])}
    return {name.removeprefix("lamp.").split(".")[0] for name in changed}


def assert_same(first: Path, second: Path, tolerance: float = 0.0) -> None:
    ours, theirs = weights(first), weights(second)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], atol=tolerance, rtol=tolerance, msg=name)
