"""Rigs: known by their names, whatever most names begin or end with, or else guessed from the tree."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
from test_motion_rigs import bvh_of_rig, rigid_motion

from lamp_hf import Motion
from lamp_hf.models.skeleton import HUMANML3D
from lamp_hf.motion import bvh
from lamp_hf.motion.retarget import Animation, retarget_animation
from lamp_hf.motion.rigs import find_rig, index_joints, joint_of, rigs


# Joints of published rigs: those of the middle, those of both sides with * for the side, and the sides.
PUBLISHED = {
    "poser": (
        "hip, abdomen, chest, neck, head, leftEye, rightEye",
        "*Buttock, *Thigh, *Shin, *Foot, *Collar, *Shldr, *ForeArm, *Hand, *Thumb1, *Index1",
        "lr",
    ),
    "mocapnet": (
        "hip, abdomen, chest, neck, head, lefteye, righteye",
        "*buttock, *hip, *knee, *foot, *collar, *shoulder, *elbow, *hand, *thumb1",
        "lr",
    ),
    "daz-genesis": (
        "hip, pelvis, abdomenLower, abdomenUpper, chestLower, chestUpper, neckLower, neckUpper, head",
        "*ThighBend, *ThighTwist, *Shin, *Foot, *Metatarsals, *Toe, *Collar, *ShldrBend, *ShldrTwist, *ForearmBend, "
        "*ForearmTwist, *Hand",
        "lr",
    ),
    "rigify": (
        "spine, spine.001, spine.002, spine.003, spine.004, spine.005, spine.006",
        "pelvis.*, thigh.*, shin.*, foot.*, toe.*, heel.02.*, shoulder.*, upper_arm.*, forearm.*, hand.*",
        "LR",
    ),
    "character-creator": (
        "RL_BoneRoot, CC_Base_Hip, CC_Base_Pelvis, CC_Base_Waist, CC_Base_Spine01, CC_Base_Spine02, "
        "CC_Base_NeckTwist01, CC_Base_NeckTwist02, CC_Base_Head",
        "CC_Base_*_Thigh, CC_Base_*_Calf, CC_Base_*_Foot, CC_Base_*_ToeBase, CC_Base_*_Clavicle, CC_Base_*_Upperarm, "
        "CC_Base_*_Forearm, CC_Base_*_Hand",
        "LR",
    ),
    "unreal": (
        "root, pelvis, spine_01, spine_02, spine_03, neck_01, head",
        "thigh_*, calf_*, foot_*, ball_*, clavicle_*, upperarm_*, lowerarm_*, hand_*, index_01_*",
        "lr",
    ),
    "vrm": (
        "hips, spine, chest, upperChest, neck, head",
        "*UpperLeg, *LowerLeg, *Foot, *Toes, *Shoulder, *UpperArm, *LowerArm, *Hand",
        ("left", "right"),
    ),
    "vroid": (
        "Root, J_Bip_C_Hips, J_Bip_C_Spine, J_Bip_C_Chest, J_Bip_C_UpperChest, J_Bip_C_Neck, J_Bip_C_Head",
        "J_Bip_*_UpperLeg, J_Bip_*_LowerLeg, J_Bip_*_Foot, J_Bip_*_ToeBase, J_Bip_*_Shoulder, J_Bip_*_UpperArm, "
        "J_Bip_*_LowerArm, J_Bip_*_Hand",
        "LR",
    ),
    "makehuman": (
        "root, spine05, spine04, spine03, spine02, spine01, neck01, neck02, neck03, head",
        "pelvis.*, upperleg01.*, upperleg02.*, lowerleg01.*, lowerleg02.*, foot.*, toe1-1.*, clavicle.*, "
        "shoulder01.*, upperarm01.*, upperarm02.*, lowerarm01.*, lowerarm02.*, wrist.*",
        "LR",
    ),
    "soma": (
        "Hips, Spine1, Spine2, Chest, Neck1, Neck2, Head, HeadEnd, Jaw",
        "*Leg, *Shin, *Foot, *ToeBase, *ToeEnd, *Shoulder, *Arm, *ForeArm, *Hand, *HandThumb1",
        ("Left", "Right"),
    ),
    "motive": (  # of an actor named Bob
        "Bob_Hip, Bob_Ab, Bob_Chest, Bob_Neck, Bob_Head",
        "Bob_*Thigh, Bob_*Shin, Bob_*Foot, Bob_*Toe, Bob_*Shoulder, Bob_*UArm, Bob_*FArm, Bob_*Hand",
        "LR",
    ),
    "motive-hips": (
        "Hips, Ab, Chest, Neck, Head",
        "*Thigh, *Shin, *Foot, *Toe, *Shoulder, *UArm, *FArm, *Hand",
        "LR",
    ),
    "daz-genesis-9": (
        "hip, pelvis, spine1, spine2, spine3, spine4, neck1, neck2, head, l_eye, r_eye, tongue01",
        "*_thigh, *_thightwist1, *_shin, *_foot, *_metatarsal, *_toes, *_bigtoe1, *_shoulder, *_upperarm, "
        "*_upperarmtwist1, *_forearm, *_forearmtwist1, *_hand, *_index1, *_pectoral",
        "lr",
    ),
    "biovision": (
        "Hips, Chest, Neck, Head",
        "*UpLeg, *LowLeg, *Foot, *Collar, *UpArm, *LowArm, *Hand",
        ("Left", "Right"),
    ),
}


def published_names(rig: str) -> list[str]:
    middle, limbs, sides = PUBLISHED[rig]
    return middle.split(", ") + [name.replace("*", side) for side in sides for name in limbs.split(", ")]


def rename(path: Path, new_name) -> Path:
    """Give every joint of a BVH the name that `new_name` makes of its own."""
    path.write_text(re.sub(r"(ROOT|JOINT) (\S+)", lambda found: f"{found[1]} {new_name(found[2])}", path.read_text()))
    return path


@pytest.mark.parametrize("rig", PUBLISHED)
class TestPublishedRigs:
    def test_names_are_recognised(self, rig):
        assert find_rig(published_names(rig)) is rigs()[rig]

    @pytest.mark.parametrize("around", ["Actor1:{}", "b_{}", "{}_jnt", "xx{}yy"])
    def test_what_all_names_begin_or_end_with_does_not_count(self, rig, around):
        assert find_rig([around.format(name) for name in published_names(rig)]) is rigs()[rig]


def test_rigify_s_deforming_bones_are_known_behind_their_prefix():
    middle = ["DEF-spine", *(f"DEF-spine.00{i}" for i in range(1, 7))]
    limbs = "pelvis.*, thigh.*, thigh.*.001, shin.*, shin.*.001, foot.*, toe.*, shoulder.*, upper_arm.*, "
    limbs += "upper_arm.*.001, forearm.*, forearm.*.001, hand.*, breast.*"
    names = middle + [f"DEF-{name.replace('*', side)}" for side in "LR" for name in limbs.split(", ")]
    assert find_rig(names) is rigs()["rigify"]
    known = index_joints(names)
    assert (
        names[joint_of(known, "thigh.L")] == "DEF-thigh.L" and names[joint_of(known, "spine.004")] == "DEF-spine.004"
    )


def test_a_refusal_names_the_nearest_rig_behind_a_common_beginning():
    names = ["Actor_" + name for name in published_names("unreal") if name not in ("neck_01", "calf_l")]
    with pytest.raises(ValueError, match="the closest is 'unreal', but these joints are missing: neck_01, calf_l"):
        find_rig(names)


def test_hands_that_are_missing_are_the_ends_of_the_forearms(tmp_path):
    joints = rigid_motion()
    path = bvh_of_rig(tmp_path / "clip.bvh", rigs()["rigify"], joints)
    forearm = np.linalg.norm(joints[0, 20] - joints[0, 18])
    path.write_text(re.sub(r"JOINT hand\.([LR])", r"JOINT tip.\1", path.read_text()))
    loaded = Motion.load(path)
    assert np.linalg.norm(loaded.joints - joints, axis=-1).max() < 0.1 * forearm


class TestGuessing:
    def load(self, path: Path) -> Motion:
        with pytest.warns(UserWarning, match="unknown rig; guessed from its tree"):
            return Motion.load(path)

    def test_a_body_is_found_without_names(self, tmp_path):
        joints = rigid_motion(facing=2.0)
        path = bvh_of_rig(tmp_path / "clip.bvh", rigs()["smpl"], joints)
        numbers = {name: f"bone{i}" for i, name in enumerate(bvh.read_bvh(path).names)}
        loaded = self.load(rename(path, numbers.__getitem__))
        assert np.linalg.norm(loaded.joints - joints, axis=-1).max() < 2e-3

    def test_sides_that_the_names_tell_are_believed(self, tmp_path):
        joints = rigid_motion()
        path = bvh_of_rig(tmp_path / "clip.bvh", rigs()["unreal"], joints)
        words = {"thigh": "jambe", "calf": "genou", "foot": "pied", "neck_01": "cou", "upperarm": "bras"}

        def translate(name: str) -> str:
            for english, french in words.items():
                name = name.replace(english, french)
            return name

        loaded = self.load(rename(path, translate))
        assert np.linalg.norm(loaded.joints - joints, axis=-1).max() < 2e-3

    @pytest.mark.parametrize("missing", ["neck", "left_shoulder"])
    def test_what_is_no_person_is_refused(self, missing, tmp_path):
        keep = [i for i, name in enumerate(HUMANML3D.joint_names) if missing not in _ancestors(i)]
        parents = tuple(keep.index(p) if (p := HUMANML3D.parents[i]) in keep else -1 for i in keep)
        read = bvh.read_bvh(Motion(rigid_motion()).save(tmp_path / "clip.bvh"))
        assert parents[0] == -1 and len(read.names) > len(keep)
        names = [f"bone{i}" for i in keep]
        from lamp_hf.motion.rig_guess import guess_rig

        with pytest.raises(ValueError, match="not those of two legs, two arms and a head"):
            guess_rig(names, list(parents), rigid_motion()[:, keep])


def _ancestors(joint: int) -> list[str]:
    names = []
    while joint >= 0:
        names.append(HUMANML3D.joint_names[joint])
        joint = HUMANML3D.parents[joint]
    return names


@pytest.mark.parametrize("shape", ["wide", "comb"])
def test_odd_trees_of_many_joints_are_refused_at_once(shape):
    count = 20_000
    parents = [-1] + [0 if shape == "wide" else max(joint - 1 - joint % 2, 0) for joint in range(1, count)]
    animation = Animation([f"j{joint}" for joint in range(count)], parents, np.zeros((1, count, 3)), 20.0)
    start = time.perf_counter()
    with pytest.raises(ValueError, match="unknown rig"):
        retarget_animation(animation)
    assert time.perf_counter() - start < 10
