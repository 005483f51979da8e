"""Characters of any build: at rest where the motion's body is at rest, without flips."""

import numpy as np
import pytest
from characters import RIGS, Played, joint_name, rest_pose, write_character
from scipy.spatial.transform import Rotation
from test_motion_onto_character import squat

import lamp_hf
from lamp_hf import Motion
from lamp_hf.models.skeleton import HUMANML3D
from lamp_hf.motion.rotations import rest_directions, rest_positions


def standing(num_frames: int = 40, **directions: tuple[float, float, float]) -> Motion:
    """A person who stands with hanging arms and turns a little to and fro, with bones in other directions."""
    rest = rest_directions(HUMANML3D)
    bones = dict.fromkeys(("left_elbow", "left_wrist", "right_elbow", "right_wrist"), (0, -1, 0)) | directions
    for joint, direction in bones.items():
        rest[HUMANML3D.joint_names.index(joint)] = np.array(direction) / np.linalg.norm(direction)
    body = rest_positions(rest * np.array(HUMANML3D.bone_lengths)[:, None], HUMANML3D.parents)
    turns = Rotation.from_euler("y", 5 * np.sin(np.linspace(0, 6, num_frames))[:, None], degrees=True).as_matrix()
    joints = body @ turns.swapaxes(-1, -2)
    return Motion(joints - joints[..., 1].min() * np.array([0, 1, 0]), fps=20)


def turned(played: Played, joint: str) -> np.ndarray:
    """Return how far a joint of Mixamo's names is turned from rest, in degrees, with what the turn is about."""
    node = played.names.index(joint_name(joint, "mixamo"))
    turns, rest = (matrix[..., :3, :3] / np.linalg.norm(matrix[..., :3, :1], axis=-2, keepdims=True) for matrix in
                   (played.world[:, node], played.rest[node]))  # fmt: skip
    return np.degrees(Rotation.from_matrix(turns @ np.linalg.inv(rest)).as_rotvec())


def steps(played: Played) -> np.ndarray:
    """Return how far each node turns from frame to frame, in degrees."""
    turns = played.world[..., :3, :3] / np.linalg.norm(played.world[..., :3, :1], axis=-2, keepdims=True)
    cosine = (np.trace(turns[:-1].swapaxes(-1, -2) @ turns[1:], axis1=-2, axis2=-1) - 1) / 2
    return np.degrees(np.arccos(cosine.clip(-1, 1)))


class TestBuild:
    """Joints lie elsewhere in one body than in another; postures are what counts."""

    OTHER = {
        "left_hip": (1, 0, 0), "right_hip": (-1, 0, 0), "spine1": (0, 1, -0.9), "spine2": (0, 1, 0.3),
        "spine3": (0, 1, 0.3), "neck": (0, 1, 0.2), "head": (0, 1, 0.1), "left_collar": (0.2, 1, 0),
        "right_collar": (-0.2, 1, 0), "left_shoulder": (1, -0.4, 0.1), "right_shoulder": (-1, -0.4, 0.1),
        "left_foot": (0, -0.65, 0.76), "right_foot": (0, -0.65, 0.76),
    }  # fmt: skip

    @pytest.mark.parametrize("build", [{}, OTHER], ids=["SMPL's", "another"])
    def test_who_stands_upright_stands_as_at_rest(self, build, tmp_path):
        hero = write_character(tmp_path / "hero.glb", **RIGS["mixamo"])
        played = Played(lamp_hf.retarget(standing(**build), hero, tmp_path / "moving.glb"))
        for joint in ("pelvis", "spine1", "spine2", "neck", "left_ankle", "right_ankle"):
            assert abs(turned(played, joint)[:, [0, 2]]).max() < 6, joint
        for joint in ("left_hip", "right_hip"):
            assert abs(turned(played, joint)[:, 1]).max() < 10, joint  # kneecaps look ahead
        places = rest_pose()
        for joint in ("left_shoulder", "right_shoulder", "left_ankle", "right_foot"):
            assert abs(played.places(joint_name(joint, "mixamo"))[:, 1] - places[joint][1]).max() < 0.01, joint

    @pytest.mark.parametrize("bones, joint", [
        ({"head": (0, 0.3, 1)}, "neck"), ({"left_foot": (0, -1, 0.3), "right_foot": (0, -1, 0.3)}, "left_ankle"),
    ], ids=["looks down", "on the toes"])  # fmt: skip
    def test_a_posture_is_no_build(self, bones, joint, tmp_path):
        hero = write_character(tmp_path / "hero.glb", **RIGS["mixamo"])
        played = Played(lamp_hf.retarget(standing(**bones), hero, tmp_path / "moving.glb"))
        assert turned(played, joint)[:, 0].min() > 30

    def test_toes_point_where_the_motions_do(self, tmp_path):
        motion = standing(left_foot=(0.5, -0.4, 0.8), right_foot=(0.3, -0.4, 0.8))
        hero = write_character(tmp_path / "hero.glb", **RIGS["mixamo"])
        played = Played(lamp_hf.retarget(motion, hero, tmp_path / "moving.glb"))
        for side, ankle in (("left", 7), ("right", 8)):
            toes, heel = (played.places(joint_name(f"{side}_{part}", "mixamo")) for part in ("foot", "ankle"))
            ours, theirs = toes - heel, motion.joints[:, ankle + 3] - motion.joints[:, ankle]
            assert abs(np.arctan2(ours[:, 0], ours[:, 2]) - np.arctan2(theirs[:, 0], theirs[:, 2])).max() < 0.02

    def test_feet_stand_under_wide_hips(self, tmp_path):
        hero = write_character(tmp_path / "hero.glb", hips=3.0, **RIGS["mixamo"])
        played = Played(lamp_hf.retarget(squat(), hero, tmp_path / "moving.glb"))
        for side, sign in (("left", 1), ("right", -1)):
            ankle = played.places(joint_name(f"{side}_ankle", "mixamo"))
            assert sign * ankle[:, 0].mean() == pytest.approx(0.36, abs=0.03)
            assert np.ptp(ankle, axis=0).max() < 0.002

    def test_a_moment_below_the_floor_does_not_raise_the_body(self, tmp_path):
        motion = standing()
        motion.joints[10:15, :, 1] -= 0.2
        hero = write_character(tmp_path / "hero.glb", **RIGS["mixamo"])
        played = Played(lamp_hf.retarget(motion, hero, tmp_path / "moving.glb"))
        for part in ("ankle", "foot"):
            height = played.places(joint_name(f"left_{part}", "mixamo"))[:, 1] - rest_pose()[f"left_{part}"][1]
            assert height.min() > -0.005 and height[20:].max() < 0.01


class TestJumps:
    def test_a_trunk_that_twists_by_more_than_half_a_turn(self, tmp_path):
        joints = np.tile(standing(1).joints, (60, 1, 1)).astype(float)
        turn = Rotation.from_euler("y", np.linspace(0, 250, 60)[:, None], degrees=True).as_matrix()
        upper = [9, *range(12, 22)]
        joints[:, upper] = joints[:, [9]] + (joints[:, upper] - joints[:, [9]]) @ turn.swapaxes(-1, -2)
        hero = write_character(tmp_path / "hero.glb", **RIGS["mixamo"])
        assert steps(Played(lamp_hf.retarget(Motion(joints), hero, tmp_path / "moving.glb"))).max() < 15

    def test_legs_that_are_folded(self, tmp_path):
        """Knees point ahead while the ankles circle below the hips, 10 cm from them."""
        joints = np.tile(standing(1).joints, (60, 1, 1)).astype(float)
        angle = np.linspace(0, np.pi, 60)[:, None]
        for side, (hip, knee, ankle, toes) in ((1, (1, 4, 7, 10)), (-1, (2, 5, 8, 11))):
            way = np.sin(angle) * [side, 0, 0] - np.cos(angle) * [0, 1, 0]
            upper, lower = HUMANML3D.bone_lengths[knee], HUMANML3D.bone_lengths[ankle]
            along = (0.1**2 + upper**2 - lower**2) / 0.2
            foot = joints[:, toes] - joints[:, ankle]
            joints[:, knee] = joints[:, hip] + along * way + [0, 0, np.sqrt(upper**2 - along**2)]
            joints[:, ankle] = joints[:, hip] + 0.1 * way
            joints[:, toes] = joints[:, ankle] + foot
        joints[..., 1] -= joints[..., 1].min()
        hero = write_character(tmp_path / "hero.glb", **RIGS["mixamo"])
        played = Played(lamp_hf.retarget(Motion(joints), hero, tmp_path / "moving.glb"))
        legs = [played.names.index(joint_name(f"left_{part}", "mixamo")) for part in ("hip", "knee")]
        assert steps(played)[:, legs].max() < 15
