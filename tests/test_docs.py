"""Every block of code in the README and in docs/ runs, in the order in which a reader meets it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import make_motion

import lamp_hf


ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"(<!-- .*? -->\n)?```(python|bash)\n(.*?)```", re.DOTALL)


@pytest.fixture
def workshop(tmp_path, humanml3d_folder, monkeypatch) -> Path:
    """What pages take for granted: recordings, a film, a data set."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recordings").mkdir()
    for i in range(3):
        lamp_hf.Motion(make_motion(seed=i)).save(tmp_path / "recordings" / f"{i}.bvh")
    lamp_hf.Motion(make_motion()).save("walk.bvh")
    lamp_hf.Motion(make_motion(seed=1)).save("wave.npz")
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_runs(page, workshop):
    names: dict = {}
    blocks = _BLOCK.findall(page.read_text(encoding="utf-8"))
    assert blocks
    for note, language, code in blocks:
        if "command" in note:
            continue  # the README's two commands, which CI runs
        if "long" in note or "training." in code or "torchrun" in code:
            check_options(code)
        elif language == "python":
            exec(compile(code, str(page), "exec"), names)
        else:
            run(code)


def run(code: str) -> None:
    code = code.replace("lamp-hf ", f"{sys.executable} -m lamp_hf ")
    code = re.sub(r"-m lamp_hf view ([^#\n]*)", r"-m lamp_hf view \1 -o page.html ", code)
    done = subprocess.run(["bash", "-e", "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{code}\n{done.stdout[-500:]}\n{done.stderr[-1500:]}"


def check_options(code: str) -> None:
    """Of commands that take hours: scripts, recipes and options are there."""
    commands = re.sub(r"\\\n\s*", "", code)
    script = (
        r"training\.(?:evaluate|ablations) [\w-]+|training\.[\w.]+|lamp_hf\.import_checkpoint|lamp_hf \w+|lamp-hf \w+"
    )
    module = rf"(?:-m |^)({script})(.*)"
    known = re.findall(module, commands, re.MULTILINE)
    assert known, f"no command is checked in:\n{code}"
    for script, rest in known:
        script = script.replace("lamp-hf", "lamp_hf")
        command = [sys.executable, "-m", *script.split(), "--help"]
        told = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"COLUMNS": "200"})
        assert told.returncode == 0, told.stderr
        for option in re.findall(r" (--[\w-]+)", rest.split("#")[0]):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", told.stdout), f"{script} has no {option}"
        for recipe in re.findall(r"training/recipes/\S+", rest):
            assert (ROOT / recipe).is_file(), recipe


def test_the_readmes_table_holds_the_measured_numbers():
    folder = Path(lamp_hf.bundled()).parent

    def numbers(model: str, name: str) -> dict:
        return json.loads((ROOT / "training" / "results" / model / f"{name}.json").read_text())

    generated = numbers("lamp_small", "text_to_motion")
    found = numbers("lamp_small", "retrieval")["scorings"]["mean"]
    everything, composed = found["all"]["text_to_motion"], numbers("lamp_small", "composition")
    said = numbers("lamp_small_captioning", "captioning")["captioner"]
    filmed = numbers("lavimo_small", "retrieval")["pairs"]
    batches = [filmed[f"{view} / motion"]["small_batches"]["forth"]["R@1"] for view in ("fixed view", "unseen views")]
    sizes = [
        sum(path.stat().st_size for path in (folder / model).glob("*.safetensors")) / 1e6
        for model in ("lamp_small", "lamp_small_captioning", "lavimo_small")
    ]
    rows = [
        f"{generated['captions']['well_covered']:.1f} %, what a paraphrase in other words says: "
        f"{generated['paraphrases']['all']:.1f} % (real clips {generated['real']['well_covered']:.1f} %)",
        f"at once: {composed['space']:.0f} %, in a row: {composed['time']:.0f} % (aim 80) | {sizes[0]:.0f} |",
        f"from one sentence {composed['time']:.0f} % come out right, {composed['sequence']:.0f} % with `mode",
        f"among 387: {everything['R@1']:.1f} %, among ten {everything['R@10']:.1f} %; first hit shows the action: "
        f"{found['first_hit_action']:.1f} %",
        f"rightly: {said['action']:.1f} %, the side: {said['side']:.1f} % | {sizes[1]:.0f} |",
        f"{batches[0]:.1f} % by the usual camera, {batches[1]:.1f} % by unseen ones (aims 85, 65) | {sizes[2]:.0f} |",
        f"Feet slide {generated['physics']['skating_ratio']:.1f} times",
    ]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [row for row in rows if row not in readme]
