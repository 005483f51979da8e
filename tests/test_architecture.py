"""The rules of the source tree: which room imports which, how long files get, how docstrings begin."""

import ast

import architecture
import pytest
from architecture import ROOT, Arrow


@pytest.mark.parametrize("found", [pytest.param(found, id=rule) for rule, found in architecture.violations().items()])
def test_the_tree_keeps_its_rules(found):
    assert found == []


@pytest.mark.parametrize(
    "start, end, allowed",
    [
        ("motion", "models", True),
        ("cli", "retrieval", True),
        ("retrieval", "retrieval", True),
        ("training.train_*", "metrics", True),
        ("motion", "data", False),
        ("models", "motion", False),
        ("serve", "hub", False),
        ("metrics", "training.evaluation", False),
    ],
)
def test_a_room_may_import_lower_floors_alone(start, end, allowed):
    assert architecture.may_import(start, end) is allowed
    assert architecture.answer(start, end).startswith("yes" if allowed else "no")


def read(source: str, file: str = "lamp_hf/motion/new.py") -> dict:
    front_door = ast.parse('_EXPORTS = {"MotionIndex": "retrieval.index"}')
    return {ROOT / "lamp_hf" / "__init__.py": front_door, ROOT / file: ast.parse(source)}


@pytest.mark.parametrize(
    "source",
    [
        "from ..retrieval.index import MotionIndex",
        "from ..retrieval import index",
        "from lamp_hf.retrieval import index",
        "import lamp_hf.retrieval.index",
        "from .. import MotionIndex",
        "import lamp_hf\nlamp_hf.MotionIndex",
        "def later():\n    from ..retrieval import index",
        "import importlib\nimportlib.import_module('lamp_hf.retrieval.index')",
    ],
)
def test_an_import_upward_is_found_however_it_is_written(source):
    (wrong,) = architecture.arrows_upward(architecture.read_arrows(read(source)))
    assert wrong.startswith("lamp_hf/motion/new.py:")
    assert "motion imports retrieval" in wrong


def test_imports_of_the_own_room_and_of_other_packages_are_no_arrows():
    assert architecture.read_arrows(read("import numpy\nfrom .clip import Motion\nfrom . import glb")) == []


def test_circles_between_rooms_are_found_once():
    arrows = [
        Arrow("a.py", 1, "data", "motion"),
        Arrow("b.py", 1, "motion", "models"),
        Arrow("c.py", 1, "models", "data"),
    ]
    assert architecture.circles(arrows) == ["data -> motion -> models -> data"]
    assert architecture.circles(arrows[:2]) == []


@pytest.mark.parametrize(
    "source", ["from ..motion import clip", "import lamp_hf", "from lamp_hf.models import skeleton"]
)
def test_models_import_only_siblings_by_one_dot(source):
    file = "lamp_hf/models/new.py"
    assert len(architecture.imports_out_of_models(read(source, file))) == 1
    assert architecture.imports_out_of_models(read("import torch\nfrom .skeleton import Skeleton", file)) == []


def test_a_new_room_needs_a_floor(monkeypatch):
    monkeypatch.setattr(architecture, "FLOORS", architecture.FLOORS[1:])
    wrong = architecture.rooms_without_floor(read("", "lamp_hf/models/new.py"))
    assert wrong == ["lamp_hf/models/new.py: room models has no floor; give it one in tests/architecture.py"]


def test_docstrings_that_do_not_say_what_are_found():
    (wrong,) = architecture.riddles(read('def f():\n    """Of a table."""\ndef g():\n    """Format a table."""'))
    assert wrong == "lamp_hf/motion/new.py:1: docstring begins with 'Of'"


def test_the_command_prints_every_room(capsys):
    architecture.main([])
    printed = capsys.readouterr().out
    assert all(room in printed for rooms in architecture.FLOORS for room in rooms)
