"""`import lamp_hf` is cheap and writes nothing; the libraries know our classes as soon as they are imported."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lamp_hf


MODULES = ("configuration_lamp", "modeling_lamp_qformer", "modeling_motion_vqvae", "modeling_lamp_text_to_motion",
           "modeling_lavimo", "feature_extraction_motion", "processing_lamp", "pipeline_text_to_motion")  # fmt: skip


def run(code: str, **environment: str) -> str:
    """Return what a new process prints that runs the code offline."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | offline | environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_imports_neither_torch_nor_transformers():
    assert run("import sys, lamp_hf; print({'torch', 'transformers', 'evaluate'} & set(sys.modules))") == "set()"


def test_importing_the_package_writes_nothing(tmp_path):
    run("import lamp_hf", HF_HOME=str(tmp_path), HOME=str(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("order", ["lamp_hf, evaluate", "evaluate, lamp_hf"])
def test_the_metric_is_found_by_its_name_in_either_order(tmp_path, order):
    code = f"import {order}; print(type(evaluate.load('lamp_bertscore')).__name__)"
    assert run(code, HF_HOME=str(tmp_path)) == "LampBertScore"


@pytest.mark.slow
def test_the_metric_is_not_registered_where_that_is_not_wanted_or_not_possible(tmp_path):
    (tmp_path / "file").write_text("")
    for home, wanted in ((tmp_path / "home", "0"), (tmp_path / "file" / "below", "1")):
        run("import lamp_hf, evaluate", HF_HOME=str(home), LAMP_HF_REGISTER_METRICS=wanted)
        assert not home.exists()


CLASSES = """
from transformers import AutoConfig, AutoModel, pipelines
for name in ("motion_vqvae", "lamp", "lamp_qformer", "lamp_text_to_motion", "lamp_motion_captioning", "lavimo"):
    config = type(AutoConfig.for_model(name))
    print(AutoModel._model_mapping[config].__name__)
for task in ("text-to-motion", "motion-to-text", "zero-shot-motion-classification"):
    print(pipelines.check_task(task)[0])
"""


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("name", ["AutoModel", "AutoConfig", "BertModel", "BertConfig", "PreTrainedModel", "Trainer"])
def test_anything_of_transformers_may_be_imported_next(name):
    """Its modules import each other half-way: ours must wait until they are complete."""
    found = run(f"import lamp_hf\nfrom transformers import {name}\n{CLASSES}").split()
    assert found == run(f"import transformers, lamp_hf\n{CLASSES}").split()


@pytest.mark.parametrize("first", [f"lamp_hf.models.{name}" for name in MODULES] + ["transformers.pipelines"])
def test_classes_are_registered_whatever_is_imported_first(first):
    found = run(f"import {first}, lamp_hf\n{CLASSES}").split()
    lamp = ["LampModel", "LampQFormerModel", "LampForTextToMotion", "LampForMotionCaptioning"]
    assert found == [
        "MotionVQVAEModel",
        *lamp,
        "LavimoModel",
        "text-to-motion",
        "motion-to-text",
        "zero-shot-motion-classification",
    ]


def test_the_version_is_that_of_the_installation_and_of_setup_py():
    assert lamp_hf.__version__ == run("import importlib.metadata as m; print(m.version('lamp-hf'))")
    assert f'version="{lamp_hf.__version__}"' in (Path(__file__).parents[1] / "setup.py").read_text()


def test_a_bare_copy_of_the_code_says_that_its_version_is_not_known(strangers_python, tmp_path):
    ignored = shutil.ignore_patterns("checkpoints", "__pycache__")
    shutil.copytree(Path(lamp_hf.__file__).parent, tmp_path / "lamp_hf", ignore=ignored)
    command = [strangers_python, "-c", "import lamp_hf; print(lamp_hf.__version__)"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.stdout.strip() == "0+unknown", done.stderr
