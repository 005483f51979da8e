"""Import paths of earlier versions: they lead to the new modules, with a warning, and load nothing early."""

import importlib
import subprocess
import sys

import pytest

from lamp_hf._aliases import NEW_PATHS


@pytest.fixture(autouse=True)
def forgotten():
    for name in [name for name in sys.modules if any(f"{name}.".startswith(f"{old}.") for old in NEW_PATHS)]:
        del sys.modules[name]


@pytest.mark.parametrize("old, new", NEW_PATHS.items())
def test_an_old_path_is_the_new_module_and_warns(old, new):
    if "demo" in old:
        pytest.importorskip("gradio")
    with pytest.warns(DeprecationWarning, match=f"{old} is now {new};"):
        module = importlib.import_module(old)
    assert module is importlib.import_module(new)
    assert module.__spec__.name == new


def test_submodules_are_the_same_modules_too():
    with pytest.warns(DeprecationWarning) as caught:
        from lamp_hf.convert import guo
    from lamp_hf.import_checkpoint import guo as new

    assert guo is new and len(caught) == 1
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("lamp_hf.convert.none")


def python(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True)


def test_an_old_command_runs_and_names_the_new_one():
    done = python("-m", "lamp_hf.convert", "--help")
    assert done.returncode == 0 and "--output" in done.stdout
    assert "DeprecationWarning: lamp_hf.convert is now lamp_hf.import_checkpoint;" in done.stderr
    assert done.stderr.count("DeprecationWarning") == 1


def test_nothing_is_imported_before_it_is_asked_for():
    code = f"import sys, lamp_hf; print([name for name in {[*NEW_PATHS, *NEW_PATHS.values()]} if name in sys.modules])"
    assert python("-c", code).stdout == "[]\n"
