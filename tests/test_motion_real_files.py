"""Small inputs made after files that people have: odd trees, soles, calibration poses, own units, SMPL's names."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from conftest import make_motion
from scipy.spatial.transform import Rotation
from test_motion_asf_amc import write_body
from test_motion_rigs import bvh_of_rig, rigid_motion

from lamp_hf import Motion
from lamp_hf.models.skeleton import HUMANML3D
from lamp_hf.motion.animation import Animation
from lamp_hf.motion.retarget import retarget_animation
from lamp_hf.motion.rigs import rigs
from lamp_hf.motion.smpl import SMPL_PELVIS, SMPLX_PELVIS


JOINT = {name: i for i, name in enumerate(HUMANML3D.joint_names)}


def guessed(joints: np.ndarray, tree: str) -> np.ndarray:
    """Return what is read of a tree with names that no rig has.

    A line of the tree is a name, two blanks deeper than its parent's, and the joint of HumanML3D that it lies on; a
    joint without one lies a centimetre above its parent's parent.
    """
    names, parents, places, depths = [], [], [], []
    for line in tree.strip("\n").splitlines():
        name, *joint = line.split()
        depth = (len(line) - len(line.lstrip())) // 2
        parent = max((i for i, other in enumerate(depths) if other == depth - 1), default=-1)
        place = joints[:, JOINT[joint[0]]] if joint else places[parents[parent]] + [0, 0.01, 0]
        for values, value in ((names, name), (parents, parent), (places, place), (depths, depth)):
            values.append(value)
    with pytest.warns(UserWarning, match="unknown rig; guessed from its tree"):
        return retarget_animation(Animation(names, parents, np.stack(places, 1), 20.0)).joints


class TestGuessing:
    def test_legs_may_hang_beside_the_spine_and_eyes_are_no_arms(self):
        limbs = [
            f"""
      __Clavicle_{s} {side}_collar
        Clavicle_{s} {side}_collar
          UpArm_{s} {side}_shoulder
            LoArm_{s} {side}_elbow
              Palm_{s} {side}_wrist"""
            for s, side in (("L", "left"), ("R", "right"))
        ]
        legs = [
            f"""
    __UpLeg_{s} pelvis
      UpLeg_{s} {side}_hip
        LoLeg_{s} {side}_knee
          Foot_{s} {side}_ankle
            Toe_{s} {side}_foot"""
            for s, side in (("L", "left"), ("R", "right"))
        ]
        head = """
      Throat neck
        Skull head
          __Jaw
            Jaw
          __Eye_L
            Eye_L
              Lid_L
          __Eye_R
            Eye_R
              Lid_R"""
        spine = "Root pelvis\n  Spine1 spine1\n    Spine2 spine2"
        tree = spine + "".join([head, *limbs]) + "\n  Basin pelvis" + "".join(legs)
        joints = rigid_motion()
        found = guessed(joints, tree)
        limbs = [JOINT[f"{side}_{part}"] for side in ("left", "right") for part in ("hip", "knee", "ankle", "foot")]
        limbs += [JOINT[f"{side}_{part}"] for side in ("left", "right") for part in ("shoulder", "elbow", "wrist")]
        limbs += [JOINT[part] for part in ("pelvis", "neck", "head")]
        np.testing.assert_allclose(found[:, limbs], joints[:, limbs])

    def test_the_neck_is_known_by_its_name_where_the_arms_hang_below_the_thorax(self):
        arms = [
            f"""
      {s}shoulderjoint spine3
        {s}humerus {side}_shoulder
          {s}radius {side}_elbow
            {s}hand {side}_wrist"""
            for s, side in (("l", "left"), ("r", "right"))
        ]
        legs = [
            f"""
  {s}femur {side}_hip
    {s}tibia {side}_knee
      {s}foot {side}_ankle
        {s}toes {side}_foot"""
            for s, side in (("l", "left"), ("r", "right"))
        ]
        spine = "root pelvis\n  lowerback spine1\n    upperback spine2\n      thorax spine3\n        neck neck\n"
        joints = rigid_motion()
        found = guessed(joints, spine + "          head head" + "".join(arms) + "".join(legs))
        np.testing.assert_allclose(found[:, [12, 15]], joints[:, [12, 15]])


class TestFeet:
    def test_a_foot_that_ends_at_its_sole_gets_toes_in_front(self, tmp_path):
        joints = rigid_motion()
        path = bvh_of_rig(tmp_path / "clip.bvh", rigs()["biovision"], joints)
        foot = re.compile(r"JOINT (left|right)_foot\s*\{\s*OFFSET [^\n]*")
        path.write_text(foot.sub(lambda found: f"JOINT {found[1]}_sole {{ OFFSET 0 -0.08 0", path.read_text()))
        loaded = Motion.load(path)
        ankle, toe = loaded.joints[:, [7, 8]], loaded.joints[:, [10, 11]]
        across = joints[:, 1] - joints[:, 2]
        forward = np.cross(across, [0, 1, 0])[:, None]
        ahead = ((toe - ankle) * forward).sum(-1) / np.linalg.norm(forward, axis=-1)
        assert (ahead > 0.05).mean() > 0.95 and np.linalg.norm(toe - ankle, axis=-1).max() < 0.2
        assert loaded.assumptions.handedness.certainty == "guessed"


class TestCalibrationPose:
    def with_t_pose(self, joints: np.ndarray, steps: int) -> np.ndarray:
        """Put a T-pose before a motion, and steps from one to the other."""
        pose = joints[0].copy()
        across = joints[0, JOINT["left_shoulder"]] - joints[0, JOINT["right_shoulder"]]
        across /= np.linalg.norm(across)
        for sign, side in ((1, "left"), (-1, "right")):
            for part, outer in (("shoulder", "elbow"), ("elbow", "wrist")):
                one, other = JOINT[f"{side}_{part}"], JOINT[f"{side}_{outer}"]
                pose[other] = pose[one] + sign * across * np.linalg.norm(joints[0, other] - joints[0, one])
        motion = joints.copy()
        for side in ("left", "right"):  # arms that hang
            for part, outer in (("shoulder", "elbow"), ("elbow", "wrist")):
                one, other = JOINT[f"{side}_{part}"], JOINT[f"{side}_{outer}"]
                length = np.linalg.norm(joints[0, other] - joints[0, one])
                motion[:, other] = motion[:, one] + [0, -length, 0]
        shares = np.linspace(0, 1, steps, endpoint=False)[:, None, None]
        return np.concatenate([(1 - shares) * pose + shares * motion[0], motion])

    def test_a_first_frame_from_which_the_body_jumps_is_left_out(self, tmp_path):
        joints = self.with_t_pose(rigid_motion(), 1)
        path = bvh_of_rig(tmp_path / "clip.bvh", rigs()["cmu"], joints)
        with pytest.warns(UserWarning, match="the first frame is a T-pose"):
            loaded = Motion.load(path)
        assert loaded.num_frames == len(joints) - 1
        assert np.abs(loaded.joints - joints[1:]).max() < 2e-3

    def test_a_motion_that_leaves_a_t_pose_slowly_is_kept(self, tmp_path):
        joints = self.with_t_pose(rigid_motion(), 12)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loaded = Motion.load(bvh_of_rig(tmp_path / "clip.bvh", rigs()["cmu"], joints))
        assert loaded.num_frames == len(joints)


class TestUnitsOfTheirOwn:
    @pytest.mark.parametrize("metres", [0.0378, 0.0422, 0.00498, 0.474])
    def test_a_body_in_no_known_unit_gets_an_adult_s_size_with_a_warning(self, metres, tmp_path):
        joints = rigid_motion()
        path = bvh_of_rig(tmp_path / "clip.bvh", rigs()["mixamo"], joints / metres)
        with pytest.warns(UserWarning, match="since no known unit makes one.*give --unit"):
            loaded = Motion.load(path)
        found = float(loaded.assumptions.unit.value.removesuffix(" m"))
        assert found == pytest.approx(metres, rel=0.1)
        assert np.abs(Motion.load(path, unit=metres).joints - joints).max() < 2e-3


class TestAcclaim:
    def test_the_rest_pose_tells_the_axis_and_the_rate_is_no_statement_of_the_file(self, tmp_path):
        found = Motion.load(write_body(tmp_path)).assumptions
        assert found.up.value == "y" and found.up.reason == "rest pose and floor"
        assert str(found.rate) == "120 (likely, as in most files of the format)"


class TestNamesOfSmpl:
    def archive(self, tmp_path: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
        archive = dict(np.load(Motion(make_motion()).save(tmp_path / "clip.npz")))
        path = tmp_path / "amass.npz"
        np.savez(path, **{name: archive[name] for name in ("poses", "trans", "mocap_framerate")})
        return archive, Motion.load(path).joints

    def test_the_parts_of_amass_and_the_names_of_the_body_model_are_read(self, tmp_path):
        archive, expected = self.archive(tmp_path)
        root, body = archive["poses"][:, :3], archive["poses"][:, 3:66]
        path = archive["trans"] + SMPL_PELVIS - SMPLX_PELVIS  # 21 joints below the root are SMPL-X's
        np.savez(tmp_path / "parts.npz", root_orient=root, pose_body=body, trans=path, mocap_frame_rate=20.0)
        np.savez(tmp_path / "video.npz", global_orient=root, body_pose=body.reshape(-1, 21, 3), transl=path, fps=20.0)
        matrices = [Rotation.from_rotvec(part.reshape(-1, 3)).as_matrix() for part in (root, body)]
        matrices = [part.reshape(len(path), -1, 3, 3) for part in matrices]
        np.savez(
            tmp_path / "matrices.npz", global_orient=matrices[0], body_pose=matrices[1], transl=path, framerate=20.0
        )
        for name in ("parts", "video", "matrices"):
            assert np.abs(Motion.load(tmp_path / f"{name}.npz").joints - expected).max() < 1e-4, name

    @pytest.mark.parametrize(("joints", "pelvis"), [(23, SMPL_PELVIS), (21, SMPLX_PELVIS)], ids=["SMPL", "SMPL-X"])
    def test_the_path_is_that_of_the_model_s_origin_and_the_body_turns_about_its_pelvis(
        self, joints, pelvis, tmp_path
    ):
        path, body = np.tile([1, 1.2, 3], (20, 1)), np.zeros((20, 3 * joints))
        root = np.linspace(0, 3, 20)[:, None] * [0, 1.0, 0]
        np.savez(tmp_path / "video.npz", global_orient=root, body_pose=body, transl=path, fps=20.0)
        loaded = Motion.load(tmp_path / "video.npz")
        assert loaded.assumptions.up.value == "y"
        np.testing.assert_allclose(loaded.joints[:, 0], path + pelvis, atol=1e-6)

    def test_a_motion_from_video_without_a_rate_asks_for_it(self, tmp_path):
        archive, expected = self.archive(tmp_path)
        root, body = archive["poses"][:, :3], archive["poses"][:, 3:66]
        path = archive["trans"] + SMPL_PELVIS - SMPLX_PELVIS  # 21 joints below the root are SMPL-X's
        np.savez(tmp_path / "video.npz", global_orient=root, body_pose=body, transl=path)
        with pytest.raises(ValueError, match=r"video\.npz: it states no frame rate.*--source-fps"):
            Motion.load(tmp_path / "video.npz")
        assert np.abs(Motion.load(tmp_path / "video.npz", fps=20).joints - expected).max() < 1e-5

    def test_poses_of_another_length_than_the_path_are_refused(self, tmp_path):
        np.savez(tmp_path / "odd.npz", global_orient=np.zeros((4, 3)), body_pose=np.zeros((4, 63)), transl=np.zeros(3))
        with pytest.raises(ValueError, match="do not belong together"):
            Motion.load(tmp_path / "odd.npz", fps=30)


@pytest.mark.parametrize(
    ("suffix", "advice"),
    [
        ("fbx", "Blender"),
        ("glb", "Blender"),
        ("c3d", "markers"),
        ("pkl", r"\.npz"),
        ("asf", r"\.amc"),
        ("doc", "known suff"),
    ],
)
def test_a_format_that_is_not_read_says_what_to_do(suffix, advice, tmp_path):
    with pytest.raises(ValueError, match=rf"clip\.{suffix}: .*{advice}"):
        Motion.load(tmp_path / f"clip.{suffix}")
