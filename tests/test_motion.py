import numpy as np
import pytest
from conftest import make_motion

import lamp_hf
from lamp_hf import Motion
from lamp_hf.models.motion_representation import HUMANML3D, canonicalise
from lamp_hf.motion.rotations import forward_kinematics, local_rotations, solve_rotations


@pytest.fixture
def motion():
    import torch

    joints = canonicalise(torch.from_numpy(make_motion(facing=0.3))).numpy()
    return Motion(joints, text="a person walks")


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_array_files_keep_every_bit(motion, tmp_path, suffix):
    loaded = Motion.load(motion.save(tmp_path / f"clip{suffix}"))
    assert np.array_equal(loaded.joints, motion.joints) and loaded.fps == motion.fps
    assert loaded.text == (motion.text if suffix == ".npz" else None)


@pytest.mark.parametrize("facing", [0.0, 1.6, 3.14, -2.5])
def test_bvh_has_every_single_child_joint_in_place_whatever_the_body_faces(tmp_path, facing):
    joints = make_motion(facing=facing)
    loaded = Motion.load(Motion(joints).save(tmp_path / "clip.bvh"))
    assert loaded.fps == pytest.approx(20.0)
    offset = np.abs(np.diff(loaded.joints - joints, axis=0))
    assert offset.max() < 0.05  # hips and collars of this loose-limbed body cannot be rigid; nothing jumps
    steps = np.abs(loaded.joints[:, 0] - joints[:, 0])
    assert steps.max() < 1e-4


def test_rotations_are_exact_for_a_rigid_body():
    rotations, offsets = solve_rotations(make_motion(), HUMANML3D)
    local = local_rotations(rotations, HUMANML3D.parents)
    joints = forward_kinematics(make_motion()[:, 0], local, offsets, HUMANML3D.parents)
    again, offsets_again = solve_rotations(joints, HUMANML3D)
    back = forward_kinematics(
        joints[:, 0], local_rotations(again, HUMANML3D.parents), offsets_again, HUMANML3D.parents
    )
    assert np.abs(back - joints).max() < 1e-3


def test_features_file_is_told_from_joints_by_its_shape(motion, tmp_path):
    np.save(tmp_path / "features.npy", motion.features)
    loaded = Motion.load(tmp_path / "features.npy")
    assert loaded.num_frames == motion.num_frames - 1
    np.testing.assert_allclose(loaded.joints, motion.joints[:-1], atol=1e-3)


def test_video_plays_as_long_as_the_motion(motion, tmp_path):
    import av

    motion.save(tmp_path / "clip.mp4")
    with av.open(str(tmp_path / "clip.mp4")) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert float(video.streams.video[0].average_rate) == 20
    assert len(frames) == motion.num_frames and frames[0].shape == (480, 480, 3)


def test_a_raised_left_arm_is_orange_and_on_the_right_of_a_picture_taken_from_the_front():
    rest = np.zeros((1, 22, 3))
    for joint, parent in enumerate(HUMANML3D.parents):
        if parent >= 0:
            rest[:, joint] = rest[:, parent] + np.array(HUMANML3D.directions[joint]) * HUMANML3D.bone_lengths[joint]
    rest += [0, 0.95, 0]
    raised = rest.copy()
    raised[:, [18, 20]] = raised[:, [16]] + np.array([[0, 0.26, 0], [0, 0.53, 0]])
    before, after = (Motion(joints).render(160)[0].astype(int) for joints in (rest, raised))
    changed = np.abs(after - before).sum(-1) > 60
    orange = (after[..., 0] > after[..., 2] + 40) & changed
    assert orange.sum() > 20
    rows, columns = np.nonzero(orange)
    assert columns.mean() > 80 and rows.mean() < 60


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a BVH"),
        (b"\x00\xff" * 50, "not a BVH"),
        (b"HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\nMOTION\nFrames: 1\nFrame Time: 0.05\n0\n", "damaged BVH"),
        (
            b"HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\nCHANNELS 3 Xposition Yposition Zposition\n}\nMOTION\nFrames: 2\n"
            b"Frame Time: 0.05\n0 0 0\n",
            "3 numbers found",
        ),
        (
            b"HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\nCHANNELS 3 Xposition Yposition Zposition\n}\nMOTION\nFrames: 1\n"
            b"Frame Time: 0.05\n0 0 0\n",
            "no joint named pelvis",
        ),
    ],
)
def test_damaged_bvh_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "clip.bvh"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        Motion.load(path)
    assert "clip.bvh" in str(caught.value)


def test_pickles_and_damaged_arrays_are_refused(tmp_path):
    np.save(tmp_path / "pickle.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04nonsense")
    np.save(tmp_path / "shape.npy", np.zeros((4, 5)))
    for name in ("pickle.npy", "damaged.npz", "shape.npy"):
        with pytest.raises(ValueError, match=name):
            Motion.load(tmp_path / name)


@pytest.mark.parametrize("joints", [np.zeros((4, 20, 3)), np.full((4, 22, 3), np.nan), np.zeros((0, 22, 3))])
def test_broken_joints_are_refused(joints):
    with pytest.raises(ValueError):
        Motion(joints)


def test_a_failed_save_leaves_nothing_behind(motion, tmp_path, monkeypatch):
    from lamp_hf.motion import clip

    def fail(motion, path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setitem(clip._WRITERS, ".npy", fail)
    with pytest.raises(OSError):
        motion.save(tmp_path / "clip.npy")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="known suffixes"):
        motion.save(tmp_path / "clip.fbx")
    with pytest.raises(OSError, match="no folder"):
        motion.save(tmp_path / "missing" / "clip.npy")


def test_public_names_are_there():
    for name in lamp_hf.__all__:
        assert getattr(lamp_hf, name) is not None
