"""Several bodies in one BVH: one complete body is read, the others are named, and an option chooses."""

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest
from test_motion_rigs import bvh_of_rig, rigid_motion
from typer.testing import CliRunner

from lamp_hf import Motion
from lamp_hf.cli import app
from lamp_hf.models.skeleton import HUMANML3D
from lamp_hf.motion import bvh
from lamp_hf.motion.rigs import rigs


def write_scene(path: Path, *names: str, one_root: bool = True, offset: float = 3.0) -> list[np.ndarray]:
    """Write bodies, each with joint names by a pattern or a function, and return their joints."""
    bodies = [rigid_motion(seed=i, facing=float(i)) + [offset * i, 0, 0] for i in range(len(names))]
    trees, rows = [], []
    for name, joints in zip(names, bodies):
        rename = name if callable(name) else name.format
        skeleton = dataclasses.replace(HUMANML3D, joint_names=tuple(map(rename, HUMANML3D.joint_names)))
        bvh.write_bvh(path, joints, 20, skeleton)
        head, motion = path.read_text().split("MOTION\n")
        trees.append(head.replace("HIERARCHY\n", ""))
        rows.append(motion.splitlines()[2:])
    hierarchy = "".join(trees)
    if one_root:
        branches = "".join(tree.replace("ROOT", "JOINT", 1) for tree in trees)
        hierarchy = f"ROOT scene\n{{\nOFFSET 0 0 0\nCHANNELS 0\n{branches}}}\n"
    motion = "\n".join(" ".join(row) for row in zip(*rows))
    path.write_text(f"HIERARCHY\n{hierarchy}MOTION\nFrames: 60\nFrame Time: 0.05\n{motion}\n")
    return bodies


def worst(motion: Motion, joints: np.ndarray) -> float:
    return float(np.linalg.norm(motion.joints - joints, axis=-1).max())


def numbered(start: int):
    """Return names that tell nothing: "n100", "n101", ..."""
    numbers = {name: f"n{start + i}" for i, name in enumerate(HUMANML3D.joint_names)}
    return lambda name: numbers.get(name, f"{name}_{start}")


@pytest.mark.parametrize("one_root", [True, False])
class TestSeveralBodies:
    @pytest.mark.parametrize("pattern", ["A:{}", "bob_{}", "{}"])
    @pytest.mark.parametrize("cut", [False, True])
    def test_the_first_is_read_and_all_are_named(self, pattern, cut, one_root, tmp_path):
        path = tmp_path / "clip.bvh"
        bodies = write_scene(path, pattern, pattern.replace("A", "B").replace("bob", "amy"), one_root=one_root)
        if cut:  # the first has neither head nor toes by name
            for joint in ("head", "left_foot", "right_foot"):
                text = path.read_text()
                path.write_text(text.replace(f"JOINT {pattern.format(joint)}\n", f"JOINT nub_{joint}\n", 1))
        with pytest.warns(UserWarning, match="there are 2 bodies .*choose one with --body"):
            loaded = Motion.load(path)
        assert worst(loaded, bodies[0]) < 0.02

    @pytest.mark.parametrize(
        ("patterns", "labels"),
        [
            (("A:{}", "B:{}"), ("A:pelvis", "B:pelvis")),
            (("{}", "{}"), ("pelvis", "pelvis#2")),
            ((numbered(100), numbered(200)), ("n100", "n200")),
        ],
    )
    def test_a_body_is_chosen_by_its_first_joint(self, patterns, labels, one_root, tmp_path):
        path = tmp_path / "clip.bvh"
        bodies = write_scene(path, *patterns, one_root=one_root)
        for label, joints in zip(labels, bodies):
            with warnings.catch_warnings():
                warnings.filterwarnings("error", message="there are")
                warnings.filterwarnings("ignore", message="unknown rig")
                assert worst(Motion.load(path, body=label), joints) < 2e-3
        with pytest.raises(ValueError, match=rf"clip\.bvh: there is no body 'C'; bodies: {labels[0]}, {labels[1]}"):
            Motion.load(path, body="C")

    def test_the_commands_take_the_option(self, one_root, tmp_path):
        path = tmp_path / "clip.bvh"
        bodies = write_scene(path, "A:{}", "B:{}", one_root=one_root)
        result = CliRunner().invoke(app, ["convert", str(path), str(tmp_path / "b.npz"), "--body", "B:pelvis"])
        assert result.exit_code == 0, result.output
        assert worst(Motion.load(tmp_path / "b.npz"), bodies[1]) < 2e-3
        result = CliRunner().invoke(app, ["info", str(path), "--body", "B:pelvis"])
        assert result.exit_code == 0 and "frames: 60" in result.output


def test_a_prop_with_a_root_of_its_own_is_no_body(tmp_path):
    joints = rigid_motion()
    text = bvh_of_rig(tmp_path / "clip.bvh", rigs()["mixamo"], joints).read_text()
    head, motion = text.split("MOTION\n")
    prop = "ROOT sword\n{\nOFFSET 0 0 0\nCHANNELS 3 Xposition Yposition Zposition\nEnd Site\n{\nOFFSET 0 9 0\n}\n}\n"
    frames, rate, *rows = motion.splitlines()
    rows = [f"500 1 -3 {row}" for row in rows]
    (tmp_path / "clip.bvh").write_text(
        "\n".join([head.replace("HIERARCHY\n", "HIERARCHY\n" + prop) + "MOTION", frames, rate, *rows]) + "\n"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert worst(Motion.load(tmp_path / "clip.bvh"), joints) < 2e-3


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_file_that_can_hold_one_body_only_takes_no_name(suffix, tmp_path):
    path = Motion(rigid_motion()).save(tmp_path / f"clip{suffix}")
    with pytest.raises(ValueError, match="it holds one body; leave out body"):
        Motion.load(path, body="Hips")


def test_one_body_alone_needs_no_warning(tmp_path):
    path = bvh_of_rig(tmp_path / "clip.bvh", rigs()["mixamo"], rigid_motion())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Motion.load(path)
        assert Motion.load(path, body="Hips").num_frames == 60
