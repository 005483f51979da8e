"""Blender shows the files that we write: the same joints at the same times, upright, in metres, with a moving body."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from bodies import walking
from characters import RIGS, Played, write_bvh_character, write_character
from conftest import make_motion

import lamp_hf
from lamp_hf import Motion
from lamp_hf.models.motion_loops import repeated
from lamp_hf.models.skeleton import HUMANML3D, KIT
from lamp_hf.motion.bvh import read_bvh


BLENDER = os.environ.get("LAMP_HF_BLENDER_PYTHON")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BLENDER, reason="LAMP_HF_BLENDER_PYTHON names no Python with bpy, see CONTRIBUTING.md"),
]
TESTS = Path(__file__).parent
PAGES = TESTS.parent / "docs"
NEAR = 0.002  # metres


@dataclass
class Clip:
    """The content of a file: joints `(num_frames, num_joints, 3)` in metres, Y up, and their names."""

    joints: np.ndarray
    names: list[str]
    fps: float
    unit: float = 1.0  # metres in one unit of the file


WALK = Motion(walking(30))


def stretching() -> Motion:
    """A forearm that changes its length, which rotations alone cannot show."""
    joints = make_motion(20)
    joints[:, 20] += 0.1 * np.sin(np.arange(20))[:, None] * (joints[:, 20] - joints[:, 18])
    return Motion(joints)


MOTIONS = {
    "walk": (WALK, {}),
    "turned": (Motion(make_motion(20, facing=2.0)), {}),  # hips and collars swing by themselves
    "stretching": (stretching(), {}),
    "kit": (Motion(make_motion(20, skeleton=KIT) * KIT.metres, 12.5, "kit"), {}),
    "30-fps": (WALK.resample(30), {}),
    "120-fps": (WALK.trim(0, 0.5).resample(120), {}),
    "in-place": (WALK.in_place(), {}),
    "root-motion": (Motion(walking(30, turning=3.0)), {"root_motion": True}),
    "loop": (Motion(walking()).loop(), {}),
    "loop-root-motion": (Motion(walking()).loop(), {"root_motion": True}),
}
OWN = [f"{name}{suffix}" for name in MOTIONS for suffix in (".bvh", ".glb")]
CHARACTERS = [*(f"onto-{rig}.glb" for rig in RIGS), "onto-another-animation.glb", "onto-metres.bvh", "onto-cm.bvh"]
BLOCKS = re.findall(r"<!-- in Blender -->\n```python\n(.*?)```", (PAGES / "blender.md").read_text("utf-8"), re.DOTALL)


def write_files(folder: Path) -> dict[str, Clip]:
    """Write every kind of file; return what each holds."""
    clips = {}
    for name, (motion, options) in MOTIONS.items():
        for suffix in (".bvh", ".glb"):
            path = motion.save(folder / f"{name}{suffix}", **options)
            ends_with_its_first_pose = suffix == ".glb" and motion.cycle is not None
            joints = repeated(motion.joints, motion.cycle, 1) if ends_with_its_first_pose else motion.joints
            clips[path.name] = Clip(joints, list(motion._skeleton.joint_names), motion.fps)
    for rig, options in RIGS.items():
        hero = write_character(folder / f"hero-{rig}.glb", **options)
        clips |= played(lamp_hf.retarget(WALK, hero, folder / f"onto-{rig}.glb"))
    squat = Motion(make_motion(15, seed=1))
    clips |= played(lamp_hf.retarget(squat, folder / "onto-mixamo.glb", folder / "onto-another-animation.glb"))
    for name, unit in (("metres", 1.0), ("cm", 0.01)):
        hero = write_bvh_character(folder / f"hero-{name}.bvh", scale=1 / unit)
        path = lamp_hf.retarget(WALK, hero, folder / f"onto-{name}.bvh")
        read = read_bvh(path)
        names = [name for name in read.names if not name.endswith(" end")]
        places = read.positions[:, [read.names.index(name) for name in names]]
        in_blender = [name.replace(" ", "_") for name in names]
        clips[path.name] = Clip(places, in_blender, WALK.fps, unit)
    return clips


def played(path: Path) -> dict[str, Clip]:
    """Return what another reader than ours finds in a character."""
    shown = Played(path)
    (skin,) = shown.document["skins"]
    return {
        path.name: Clip(shown.world[..., :3, 3][:, skin["joints"]], [shown.names[i] for i in skin["joints"]], WALK.fps)
    }


@pytest.fixture(scope="module")
def clips_and_finds(tmp_path_factory) -> tuple[dict[str, Clip], dict[str, np.ndarray]]:
    """Return what each file holds, and what one run of Blender found in all of them."""
    folder = tmp_path_factory.mktemp("blender")
    clips = write_files(folder)
    files = [*OWN, *CHARACTERS]
    for i, block in enumerate(BLOCKS):
        (folder / f"block-{i}.py").write_text(block)
        files.append(f"block-{i}.py")
    files.append("walk.fbx")  # of the last block
    command = [BLENDER, TESTS / "blender_import.py", *files, "-o", "found.npz"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]
    with np.load(folder / "found.npz") as found:
        return clips, dict(found)


@pytest.fixture
def clip(file, clips_and_finds) -> Clip:
    return clips_and_finds[0][file]


@pytest.fixture
def found(file, clips_and_finds) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(f"{file}/"): value
        for name, value in clips_and_finds[1].items()
        if name.startswith(f"{file}/")
    }


def heads(found: dict, names: list[str]) -> np.ndarray:
    """Return where bones begin, `(num_frames, num_bones, 3)`, in axes with Y up; Blender's Z is up."""
    return found["heads"][:, [list(found["bones"]).index(name) for name in names]][..., [0, 2, 1]] * [1, 1, -1]


def far(found: dict, joints: np.ndarray, clip: Clip) -> float:
    """Return the greatest distance in metres between joints and the bones of their names."""
    return clip.unit * float(np.linalg.norm(heads(found, clip.names) - joints, axis=-1).max())


@pytest.mark.parametrize("file", [*OWN, *CHARACTERS])
class TestEveryFile:
    def test_bones_begin_at_the_joints_in_all_frames(self, clip, found):
        assert far(found, clip.joints, clip) < NEAR

    def test_a_body_a_centimetre_aside_mirrored_or_a_frame_late_would_be_seen(self, clip, found):
        assert far(found, clip.joints + [0.01 / clip.unit, 0, 0], clip) > NEAR
        assert far(found, clip.joints * [-1, 1, 1], clip) > NEAR
        assert far(found, np.roll(clip.joints, 1, 0), clip) > NEAR

    def test_frames_come_when_the_motion_has_them(self, clip, found):
        times = (found["keys"] - found["keys"][0]) / found["fps"]
        np.testing.assert_allclose(times, np.arange(len(clip.joints)) / clip.fps, atol=1e-4)


@pytest.mark.parametrize("file", ["walk.bvh", "walk.glb", "in-place.bvh", "in-place.glb"])
def test_a_body_that_faces_plus_z_stands_along_blender_s_z_and_faces_its_front_view(file, found):
    bones = dict(zip(found["bones"], found["heads"].swapaxes(0, 1)))
    assert (bones["head"] - bones["pelvis"])[:, 2].min() > 0.5
    assert (bones["left_foot"] - bones["left_ankle"])[0, 1] < -0.1
    assert (bones["left_shoulder"] - bones["right_shoulder"])[:, 0].min() > 0.2


@pytest.mark.parametrize("file", OWN)
def test_the_armature_has_no_scale(file, found):
    np.testing.assert_allclose(found["scale"], 1, atol=1e-6)


@pytest.mark.parametrize("file", [file for file in [*OWN, *CHARACTERS] if file.endswith(".glb")])
def test_the_mesh_hangs_on_the_bones_and_goes_where_they_go(file, clip, found):
    assert found["skinned"] == 1
    joints = heads(found, clip.names)
    low, high = np.sort(found["bounds"][..., [0, 2, 1]] * [1, 1, -1], axis=1).swapaxes(0, 1)
    assert np.abs(joints.min(1) - low).max() < 0.15 and np.abs(joints.max(1) - high).max() < 0.15


@pytest.mark.parametrize("file", ["root-motion.bvh", "loop-root-motion.bvh"])
def test_the_root_of_a_bvh_travels_over_the_ground(file, clip, found):
    path = clip.joints[:, 0] * [1, 0, 1]
    assert np.abs(heads(found, ["root"])[:, 0] - path).max() < NEAR


@pytest.mark.parametrize("file", [*(f"block-{i}.py" for i in range(len(BLOCKS))), "walk.fbx"])
def test_the_page_s_own_lines_bring_a_walk_with_keys_on_whole_frames(file, found):
    clip = Clip(WALK.joints, list(HUMANML3D.joint_names), WALK.fps)
    assert far(found, clip.joints, clip) < NEAR
    np.testing.assert_allclose(found["keys"] - found["keys"][0], np.arange(WALK.num_frames), atol=1e-3)
    assert found["fps"] == pytest.approx(WALK.fps)
    np.testing.assert_allclose(found["scale"], 1, atol=1e-5)
    assert file == "block-1.py" or found["skinned"] == 1
