"""The wheel, built from the source distribution as `pip install` does: its content, and that it works on its own."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from training_stages import tiny_recipe

import lamp_hf


ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns(".git", ".venv", "runs", "node_modules", "*.egg-info", "build", "__pycache__")
    shutil.copytree(ROOT, folder / "source", ignore=ignored)
    run("-c", "import setuptools.build_meta as build; print(build.build_sdist('dist'))", cwd=folder / "source")
    (archive,) = (folder / "source" / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    run("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", folder, unpacked, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def run(*arguments, **options) -> str:
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


BUNDLE = re.compile(
    r"README\.md|(config|evaluation|processor_config|tokenizer|tokenizer_config|model\.safetensors\.index)\.json"
    r"|model-\d+-of-\d+\.safetensors|lamp_hf_classes\.py|familiarity\.(json|safetensors)"
)


def test_it_holds_models_pages_rigs_and_cards_and_nothing_of_ours(wheel, record_property):
    names = zipfile.ZipFile(wheel).namelist()
    record_property("megabytes", round(wheel.stat().st_size / 1e6, 1))
    wanted = [
        *(
            f"lamp_hf/checkpoints/{model}/config.json"
            for model in ("lamp_small", "lamp_small_captioning", "lavimo_small")
        ),
        "lamp_hf/motion/viewer.html",
        "lamp_hf/motion/rigs.yaml",
        "lamp_hf/metrics/lamp_bertscore/lamp_bertscore.py",
        "lamp_hf/hub_cards/lamp_small.md",
        "lamp_hf/hub_cards/demo_space/app.py",
        "lamp_hf/hub_cards/metric_space/app.py",
        "lamp_hf/training/train_lamp.py",
        "lamp_hf/training/recipes/base/lamp.yaml",
        "lamp_hf/training/augmentation/synonyms.yaml",
        "lamp_hf/training/evaluation/composed_prompts.yaml",
    ]
    assert not set(wanted) - set(names)
    ours = ("tests/", "training/", "runs/", "lamp_hf/training/results", "lamp_hf/training/LOG")
    assert not [name for name in names if name.startswith(ours)]
    bundles = [name.split("/") for name in names if name.startswith("lamp_hf/checkpoints/")]
    assert not ["/".join(parts) for parts in bundles if not BUNDLE.fullmatch(parts[-1])]  # no other results
    assert not [name for name in names if name.endswith(".json") and "/checkpoints/" not in name]
    assert {parts[2] for parts in bundles if parts[-1] == "evaluation.json"} == set(lamp_hf.BUNDLED.values())
    shards = [name for name in names if name.endswith(".safetensors")]
    assert sum("lamp_small/" in name for name in shards) == len(
        list((ROOT / "lamp_hf/checkpoints/lamp_small").glob("*.safetensors"))
    )


def test_it_works_where_it_is_installed(wheel, tmp_path, humanml3d_folder, bert_folder):
    run("-m", "pip", "install", "-q", "--no-deps", "--target", tmp_path / "site", wheel)
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    where = run(
        "-c",
        "import lamp_hf, lamp_hf.hub.cards as c; print(lamp_hf.__file__, c.TEMPLATES)",
        cwd=tmp_path,
        env=environment,
    )
    assert where.count(str(tmp_path / "site")) == 2
    output = tmp_path / "bow.bvh"
    run("-m", "lamp_hf", "generate", "a person bows", "-o", output, "--duration", "1", cwd=tmp_path, env=environment)
    assert output.stat().st_size > 10_000
    recipe = tiny_recipe(tmp_path, "tokenizer", bert_folder)
    stage = ("--recipe", recipe, "--data", humanml3d_folder, "--output", tmp_path / "tokenizer")
    run("-m", "lamp_hf", "train", "tokenizer", *stage, cwd=tmp_path, env=environment)
    assert (tmp_path / "tokenizer" / "model" / "config.json").is_file()
