"""Round trips: every kind of object goes to a Hub and comes back the same.

With the package and without it, online and from the cache.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import tiny_lamp_config, tiny_qformer_config
from hub_round_trip import METRICS, MODELS, OURS, PIPELINES
from loopback_hub import USER, LoopbackHub
from test_lavimo import config as lavimo_config

import lamp_hf
from lamp_hf.hub.push import stage


pytestmark = pytest.mark.slow
WAYS = {
    "with the package": ("pull", MODELS + PIPELINES + METRICS + OURS),
    "without the package": ("stranger", MODELS + PIPELINES + METRICS),
    "without the package, offline": ("offline", MODELS + PIPELINES + METRICS),
    "saved again without the package": ("again", PIPELINES),
}


def run_role(python: str | Path, role: str, folder: Path, hub: LoopbackHub, **environment) -> dict:
    """Run a role of `hub_round_trip.py` in a process of its own; returns the results that it prints."""
    script = Path(__file__).with_name("hub_round_trip.py")
    done = subprocess.run(
        [str(python), str(script), role, str(folder)],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600, cwd=folder,
        env=os.environ | {
            "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_EVALUATE_OFFLINE": "0", "HF_TOKEN": "hf_loopback",
            "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HOME": str(folder / f"home of {'stranger' if role == 'again' else role}"), "OMP_NUM_THREADS": "1",
        } | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def answers(processor, model_folder, captioner_folder, strangers_python, tmp_path_factory) -> dict[str, dict]:
    """Run every role against one Hub; returns the results by role."""
    folder = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    words = len(processor.tokenizer)
    text = {"model_type": "bert", "vocab_size": words, "hidden_size": 16, "num_hidden_layers": 1}
    text |= {"num_attention_heads": 2, "intermediate_size": 32}
    models = {
        "tokenizer": lamp_hf.MotionVQVAEModel(tiny_qformer_config(processor).motion_config),
        "lamp": lamp_hf.LampModel(tiny_lamp_config(processor, initializer_range=0.5)),
        "lavimo": lamp_hf.LavimoModel(lavimo_config(text_config=text)),
    }
    for name, model in models.items():
        model.save_pretrained(folder / name)
    processor.save_pretrained(folder / "lamp")
    lamp_hf.LavimoProcessor(processor.feature_extractor, processor.tokenizer, 4, 16).save_pretrained(folder / "lavimo")
    lamp_hf.MaskedMotionScheduler(7).save_pretrained(folder / "scheduler")
    folders = {name: str(folder / name) for name in models} | {
        "text-to-motion": str(model_folder),
        "motion-to-text": str(captioner_folder),
        "zero-shot-motion-classification": str(folder / "lamp"),
        **{name: str(folder / name) for name in METRICS + OURS},  # some are made of those above
    }
    (folder / "lamp_bertscore").mkdir()
    stage("metric", f"{USER}/lamp_bertscore", None, folder / "lamp_bertscore")
    (folder / "folders.json").write_text(json.dumps(folders))
    with LoopbackHub() as hub:
        results = {role: run_role(sys.executable, role, folder, hub) for role in ("push", "pull")}
        results |= {role: run_role(strangers_python, role, folder, hub) for role in ("stranger", "again")}
    home = {"HF_HOME": str(folder / "home of stranger")}
    results["offline"] = run_role(
        strangers_python, "stranger", folder, hub, HF_HUB_OFFLINE="1", HF_EVALUATE_OFFLINE="1", **home
    )
    return results


@pytest.mark.parametrize(("way", "kind"), [(way, kind) for way, (_, kinds) in WAYS.items() for kind in kinds])
def test_round_trip(answers, way, kind, record_property):
    pushed, pulled = answers["push"][kind], answers[WAYS[way][0]][kind]
    for result in (pushed, pulled):
        assert "error" not in result, result["error"]
    record_property("seconds", round(pulled["seconds"], 2))
    assert pulled["answer"] == pytest.approx(pushed["answer"]) and pushed["answer"]
