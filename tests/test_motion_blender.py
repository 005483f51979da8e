"""Blender reads what is written: joints in place at every frame, the right way up, at the right speed, with a skin."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from characters import RIGS, Played, write_bvh_character, write_character
from conftest import make_motion

import lamp_hf
from lamp_hf import Motion
from lamp_hf.models.skeleton import HUMANML3D
from lamp_hf.motion.bvh import read_bvh


needs_blender = pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="needs `pip install bpy`")
MILLIMETRES = 0.002


def in_blender(path: Path, fps: float) -> dict:
    script = Path(__file__).with_name("blender_joints.py")
    done = subprocess.run([sys.executable, str(script), str(path), str(fps)], capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("JSON")]
    assert lines, done.stderr[-2000:]
    seen = json.loads(lines[0][4:])
    seen["joints"] = dict(zip(seen["names"], np.array(seen["joints"]).swapaxes(0, 1)))
    return seen


@needs_blender
@pytest.mark.slow
class TestBlender:
    @pytest.mark.parametrize("kind", ["bvh", "glb", "fbx"])
    @pytest.mark.parametrize("fps", [20.0, 29.97])
    def test_a_motion(self, kind, fps, tmp_path):
        joints = make_motion(facing=1.0)
        seen = in_blender(Motion(joints, fps=fps).save(tmp_path / f"clip.{kind}"), fps)
        for name, place in zip(HUMANML3D.joint_names, joints.swapaxes(0, 1)):
            assert np.abs(seen["joints"][name] - place).max() < MILLIMETRES, name
        assert seen["fps"] == pytest.approx(fps, rel=2e-3)
        np.testing.assert_allclose(seen["scale"], 1, rtol=1e-5)
        assert seen["skinned"] == ([] if kind == "bvh" else ["motion"])

    @pytest.mark.parametrize("rig", RIGS)
    def test_a_character(self, rig, tmp_path):
        hero = write_character(tmp_path / "hero.glb", **RIGS[rig])
        path = lamp_hf.retarget(Motion(make_motion()), hero, tmp_path / "moving.glb")
        seen, played = in_blender(path, 20), Played(path)
        for name, place in seen["joints"].items():
            assert np.abs(place - played.places(name)).max() < MILLIMETRES, name
        assert seen["skinned"] and seen["fps"] == 20

    def test_a_character_as_fbx(self, tmp_path):
        hero = write_character(tmp_path / "hero.glb", **RIGS["unreal"])
        motion = Motion(make_motion())
        played = Played(lamp_hf.retarget(motion, hero, tmp_path / "moving.glb"))
        seen = in_blender(lamp_hf.retarget(motion, hero, tmp_path / "moving.fbx"), 20)
        for name, place in seen["joints"].items():
            assert np.abs(place - played.places(name)).max() < MILLIMETRES, name
        assert seen["skinned"] and seen["fps"] == 20

    def test_a_skeleton(self, tmp_path):
        mine = write_bvh_character(tmp_path / "mine.bvh")
        path = lamp_hf.retarget(Motion(make_motion()), mine, tmp_path / "moving.bvh")
        animation = read_bvh(path)
        seen = in_blender(path, 20)
        for name, place in seen["joints"].items():
            joint = animation.names.index(name)
            assert np.abs(place - animation.positions[:, joint]).max() < 100 * MILLIMETRES, name


@pytest.mark.skipif(importlib.util.find_spec("bpy") is not None, reason="bpy is installed")
def test_an_fbx_without_blender_names_what_to_install(tmp_path):
    with pytest.raises(ValueError, match="pip install bpy"):
        Motion(make_motion()).save(tmp_path / "clip.fbx")
    hero = write_character(tmp_path / "hero.glb", **RIGS["unreal"])
    with pytest.raises(ValueError, match="pip install bpy"):
        lamp_hf.retarget(Motion(make_motion()), hero, tmp_path / "hero.fbx")
    assert not list(tmp_path.glob("*.fbx"))
