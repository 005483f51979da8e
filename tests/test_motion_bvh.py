"""BVH: files that other readers play alike, and readings of what programs write besides the rules."""

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import make_motion
from scipy.spatial.transform import Rotation

from lamp_hf import Motion
from lamp_hf.models.skeleton import HUMANML3D, KIT
from lamp_hf.motion import bvh


def play(path: Path, adds_offset: bool) -> dict[str, np.ndarray]:
    """Read a BVH that we wrote as three.js does, which adds positions to offsets, or as Blender, which replaces them.

    Returns:
        `dict[str, np.ndarray]`: places `(num_frames, 3)` by joint.
    """
    head, _, motion = path.read_text().partition("MOTION")
    values = np.array(motion.split()[5:], float).reshape(int(motion.split()[1]), -1)
    places, turns, open_joints, column, words = {}, {}, [], 0, head.split()
    for i, word in enumerate(words):
        if word == "{":
            open_joints.append(words[i - 1])
        elif word == "}":
            open_joints.pop()
        elif word == "OFFSET":
            offset = np.tile(np.array(words[i + 1 : i + 4], float), (len(values), 1))
        elif word == "CHANNELS":
            turn = Rotation.identity(len(values))
            for k, channel in enumerate(words[i + 2 : i + 2 + int(words[i + 1])], start=column):
                if channel.endswith("position"):
                    axis = "XYZ".index(channel[0])
                    offset[:, axis] = values[:, k] + offset[:, axis] * adds_offset
                else:
                    turn = turn * Rotation.from_euler(channel[0], values[:, [k]], degrees=True)
            column += int(words[i + 1])
            parent, joint = open_joints[-2:] if len(open_joints) > 1 else (None, open_joints[-1])
            places[joint] = offset if parent is None else places[parent] + turns[parent].apply(offset)
            turns[joint] = turn if parent is None else turns[parent] * turn
    return places


@pytest.mark.parametrize("adds_offset", [False, True])
@pytest.mark.parametrize("skeleton", [HUMANML3D, KIT], ids=lambda skeleton: skeleton.name)
class TestWriting:
    def test_rotations_and_the_root_s_path_are_enough_for_bones_of_constant_length(
        self, skeleton, adds_offset, tmp_path
    ):
        joints = (
            make_motion(skeleton=skeleton, facing=2.0) * skeleton.metres
        )  # its hips and collars swing by themselves
        path = Motion(joints, 20, skeleton).save(tmp_path / "clip.bvh")
        assert path.read_text().count("Xposition") == 1
        places = play(path, adds_offset)
        for i, name in enumerate(skeleton.joint_names):
            assert np.linalg.norm(places[name] - joints[:, i], axis=-1).max() < 2e-3, name

    def test_a_bone_that_stretches_alone_has_positions(self, skeleton, adds_offset, tmp_path):
        joints = make_motion(skeleton=skeleton) * skeleton.metres
        wrist = skeleton.joint_names.index("left_wrist")
        joints[:, wrist] += (
            0.1 * np.sin(np.arange(60))[:, None] * (joints[:, wrist] - joints[:, skeleton.parents[wrist]])
        )
        path = Motion(joints, 20, skeleton).save(tmp_path / "clip.bvh")
        assert path.read_text().count("Xposition") == 2
        places = play(path, adds_offset)
        for i, name in enumerate(skeleton.joint_names):
            assert np.linalg.norm(places[name] - joints[:, i], axis=-1).max() < 2e-3, name


ARM = """HIERARCHY
ROOT hips
{{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT arm
  {{
    OFFSET 0 {length} 0
    CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
    End Site
    {{
      OFFSET 0 1 0
    }}
  }}
}}
MOTION
Frames: 2
Frame Time: 0.05
0 9 0 90 0 0 {first} 0 0 0
0 9 0 90 0 0 {second} 0 0 0
"""


@pytest.mark.parametrize(
    ("length", "first", "second", "places"),
    [
        (4, "0 0 0", "0 0 0", [[-4, 9, 0], [-4, 9, 0]]),  # zeros for the offset
        (4, "0.000001 0 0", "0 0 0.000002", [[-4, 9, 0], [-4, 9, 0]]),  # noise
        (4, "0.01 0 0", "0.01 0 0", [[-4, 9, 0], [-4, 9, 0]]),  # a constant
        (4, "0 4 0", "0 4 0", [[-4, 9, 0], [-4, 9, 0]]),  # the offset itself
        (4, "0 0.1 0", "0 0.3 0", [[-4.1, 9, 0], [-4.3, 9, 0]]),  # displacements from the offset
        (4, "0 5 0", "1 4 0", [[-5, 9, 0], [-4, 10, 0]]),  # places
        (0, "0 4 0", "0 4 0", [[-4, 9, 0], [-4, 9, 0]]),  # places of a joint without an offset
    ],
)
def test_positions_below_the_root_are_read_as_they_are_meant(length, first, second, places, tmp_path):
    path = tmp_path / "arm.bvh"
    path.write_text(ARM.format(length=length, first=first, second=second))
    np.testing.assert_allclose(bvh.read_bvh(path).positions[:, 1], places, atol=1e-5)


class TestTolerance:
    """Variants that programs write, and what is said of real damage."""

    TEXT = ARM.format(length=4, first="0 4.5 0", second="0 4.5 1.25").replace("0 9 0 90", "-0.5 -9.25 0.125 90")

    @pytest.mark.parametrize(
        "written",
        [
            TEXT.replace("Frames: 2", "Frames: 1").encode(),  # Rokoko announces one frame too few
            TEXT.replace("Frames: 2", "Frames 2").replace("Frame Time:", "FrameTime").encode(),
            TEXT.encode() + b"\x1a",
            TEXT.encode() + b"\0\0\r\n\0",
            b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode(),
            TEXT.replace("\n", "\r").encode(),
            TEXT.encode("utf-16"),
            re.sub(r"(\d)\.(\d)", r"\1,\2", TEXT).encode(),  # decimal commas
            TEXT.replace("-0.5 -9.25 0.125", "-0.5, -9.25,0.125").encode(),
            TEXT.replace("-0.5 -9.25", "-0.5-9.25").encode(),  # fixed columns
        ],
    )
    def test_variants_of_the_format_are_read(self, written, tmp_path):
        (tmp_path / "clean.bvh").write_text(self.TEXT)
        (tmp_path / "clip.bvh").write_bytes(written)
        read, clean = bvh.read_bvh(tmp_path / "clip.bvh"), bvh.read_bvh(tmp_path / "clean.bvh")
        assert read.positions.shape == (2, 3, 3) and read.fps == 20
        np.testing.assert_array_equal(read.positions, clean.positions)
        np.testing.assert_allclose(read.positions[:, 0], [[-0.5, -9.25, 0.125]] * 2)

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("Frames: 2", "Frames: 3", "3 frames of 12 channels announced, 24 numbers found"),
            ("0.125 90", "0.12590.123456", r"value 3, '0.12590.123456', is not a number: numbers are glued together"),
            ("0.125 90", "0.125 x90", r"value 4, 'x90', is not a number"),
        ],
    )
    def test_damage_is_named_with_its_place(self, old, new, message, tmp_path):
        (tmp_path / "clip.bvh").write_text(self.TEXT.replace(old, new))
        with pytest.raises(ValueError, match=message):
            bvh.read_bvh(tmp_path / "clip.bvh")
