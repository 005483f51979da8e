"""Every block of code in the README and in docs/ runs, in the order in which a reader meets it."""

import contextlib
import functools
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import make_motion

import lamp_hf
from lamp_hf.hub.push import KINDS
from lamp_hf.models.skeleton import HUMANML3D
from lamp_hf.motion.check import limits_of
from lamp_hf.motion.clean import SLIDING_SPEED, STANDING_SPEED
from lamp_hf.motion.formats import READABLE


ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"(<!-- .*? -->\n)?```(python|bash)\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)
_LINK = re.compile(r"\]\((?!https?://)([^)#]+)")


ADDRESS = "127.0.0.1:8000"  # of the server, on the pages


@pytest.fixture
def start_server():
    """A function that runs `lamp-hf serve` until the page ends, and returns its address."""
    running = []

    def start(options: list[str]) -> str:
        command = [sys.executable, "-m", "lamp_hf", "serve", "--port", "0", *options]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return re.search(r"at http://([\d.:]+),", running[-1].stdout.readline())[1]

    yield start
    for process in running:
        process.terminate()
        process.communicate()


@pytest.fixture
def workshop(tmp_path, humanml3d_folder, monkeypatch) -> Path:
    """Make the folder in which a reader of the pages works, with recordings, a character, a data set and galleries."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recordings").mkdir()
    for i in range(3):
        lamp_hf.Motion(make_motion(seed=i)).save(tmp_path / "recordings" / f"{i}.bvh")
    lamp_hf.Motion(make_motion()).save("walk.bvh")
    lamp_hf.Motion(make_motion(seed=1)).save("wave.npz")
    lamp_hf.Motion(make_motion(seed=2)).save("hero.glb")
    lamp_hf.Motion(make_motion()).save("phone.mp4", size=64)
    for folder in (tmp_path, tmp_path / "recordings"):
        (folder / "captions.csv").write_text("name,caption\n0,a man walks\n1,a man walks\n2,a man walks\n")
    (tmp_path / "HumanML3D").symlink_to(humanml3d_folder)
    (tmp_path / "training").symlink_to(ROOT / "training")
    index = lamp_hf.MotionIndex()
    for name in ("gallery-1", "gallery-2"):
        index.add([make_motion().astype(np.float32)], ids=[name])
        index.save(name)
        index.remove([name])
    return tmp_path


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] if page.parent.name == "docs" else []) for page in PAGES],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_every_block_runs_and_prints_what_the_page_says(page, workshop, start_server):
    names: dict = {}
    address = ADDRESS
    for note, language, code, output in _BLOCK.findall(page.read_text(encoding="utf-8")):
        code = code.replace(ADDRESS, address)
        if "lamp-hf serve" in code and "long" not in note:
            before, _, options = code.partition("lamp-hf serve")
            run(before)
            address = start_server(options.split())
            continue
        if "command" in note:
            continue  # the README's two commands, which CI runs
        if "in Blender" in note:
            continue  # tests/test_blender.py runs it there
        if "long" in note or "training." in code or "torchrun" in code:
            check_options(code)
        elif language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile(code, str(page), "exec"), names)
            assert not output or printed.getvalue() == output
        else:
            printed = run(code)
            assert not output or printed == output


PROSE = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]


@pytest.mark.parametrize("page", PROSE, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere_and_lines_are_short(page):
    text = re.sub(r"<!-- command .*?```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert [line for line in text.splitlines() if len(line) > 100 and not line.startswith("|")] == []
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    assert [link for link in _LINK.findall(prose) if not (page.parent / link).exists()] == []


def test_the_index_lists_every_page():
    linked = _LINK.findall((ROOT / "docs" / "README.md").read_text(encoding="utf-8"))
    assert {page.name for page in PAGES if page.name != "README.md"} <= set(linked)


def run(code: str) -> str:
    """Run commands of a page in the current folder and return what they print."""
    code = code.replace("lamp-hf ", f"{sys.executable} -m lamp_hf ")
    code = re.sub(r"-m lamp_hf view ([^#\n]*)", r"-m lamp_hf view \1 -o page.html ", code)
    done = subprocess.run(["bash", "-e", "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{code}\n{done.stdout[-500:]}\n{done.stderr[-1500:]}"
    return done.stdout


def check_options(code: str) -> None:
    """Check scripts, recipes and options of commands that would take hours."""
    commands = re.sub(r"\\\n\s*", "", code)
    script = r"(?:lamp_hf\.)?training\.(?:(?:evaluate|ablations|scale) [\w-]+|[\w.]+)"
    script += r"|lamp_hf\.import_checkpoint(?:\.\w+)?|lamp.hf train [\w-]+|lamp.hf [\w-]+"
    module = rf"(?:-m |^)({script})(.*)"
    known = re.findall(module, commands, re.MULTILINE)
    assert known, f"no command is checked in:\n{code}"
    for script, rest in known:
        printed = print_help(script.replace("lamp-hf", "lamp_hf"))
        for option in re.findall(r" (--[\w-]+)", rest.split("#")[0]):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", printed), f"{script} has no {option}"
    for recipe in re.findall(r"--recipe (\S+)", code):
        assert (ROOT / "training" / "recipes" / f"{recipe}.yaml").is_file(), recipe


@functools.cache
def print_help(command: str) -> str:
    words = [sys.executable, "-m", *command.split(), "--help"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_has_the_measured_numbers():
    checkpoints = Path(lamp_hf.bundled()).parent

    def numbers(model: str, name: str) -> dict:
        return json.loads((ROOT / "training" / "results" / model / f"{name}.json").read_text(encoding="utf-8"))

    def size(model: str) -> str:
        return f"{sum(path.stat().st_size for path in (checkpoints / model).glob('*.safetensors')) / 1e6:.0f} MB"

    found = numbers("lamp_small", "retrieval")["scorings"]["whole"]
    families = numbers("lamp_small", "families")["captions"]
    generated, videos = numbers("lamp_small", "text_to_motion"), numbers("lavimo_small", "retrieval")["pairs"]
    usual, unseen = (
        videos[f"{view} / motion"]["small_batches"]["forth"]["R@1"] for view in ("fixed view", "unseen views")
    )
    claims = [
        f"family recognised: {families['generated']:.1f} % (real clips {families['real']:.1f} %)",
        f"does what the caption says: {generated['captions']['well_covered']:.1f} % | {size('lamp_small')}",
        f"first hit is of the right family: {found['first_hit_family']:.1f} %",
        f"names the right action: {numbers('lamp_small_captioning', 'captioning')['captioner']['action']:.1f} % | "
        f"{size('lamp_small_captioning')}",
        f"shows both in {numbers('lamp_small', 'composition')['sequence']:.0f} % of our test prompts",
        f"rendered video: {usual:.1f} %; from unseen views: {unseen:.1f} % | {size('lavimo_small')}",
    ]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert [claim for claim in claims if claim not in readme] == []


def test_pages_name_the_limits_kinds_and_formats_of_the_code():
    wrist = limits_of("jump", HUMANML3D)[HUMANML3D.joint_names.index("left_wrist")]
    slow, slides = (f"less than {speed:g} m/s" for speed in (STANDING_SPEED, SLIDING_SPEED))
    claims = {
        "check.md": [f"jump of left_wrist, 9.6 m/s against {wrist:.3g};"],
        "motion_files.md": [slow.replace("less", "slower"), slides],
        "retrieval.md": [f"every {', '.join(READABLE[:-1])} and {READABLE[-1]} below"],
        "hub.md": [f"# kinds: {', '.join(KINDS)}"],
    }
    pages = {name: " ".join((ROOT / "docs" / name).read_text(encoding="utf-8").split()) for name in claims}
    assert [claim for name, found in claims.items() for claim in found if claim not in pages[name]] == []


def test_the_citation_names_the_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == lamp_hf.__version__
    assert len(citation["references"]) == 2


@pytest.mark.parametrize(
    "path", [*ROOT.glob(".github/**/*.yml"), ROOT / ".pre-commit-config.yaml"], ids=lambda path: path.name
)
def test_files_for_github_are_valid_and_call_scripts_that_exist(path):
    text = path.read_text(encoding="utf-8")
    assert yaml.safe_load(text)
    for script in re.findall(r"(?:\.ci|tests)/[\w.]+", text):
        assert (ROOT / script).is_file(), script
