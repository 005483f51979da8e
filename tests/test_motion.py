import io
import math
import zipfile

import numpy as np
import pytest
from conftest import make_motion
from PIL import Image

import lamp_hf
from lamp_hf import Motion
from lamp_hf.metrics.physics import bone_length_variation, floating, foot_skating, jitter, penetration
from lamp_hf.models.motion_representation import canonicalise
from lamp_hf.models.skeleton import HUMANML3D, SKELETONS


@pytest.fixture
def motion():
    import torch

    joints = canonicalise(torch.from_numpy(make_motion(facing=0.3))).numpy()
    return Motion(joints, text="a person walks")


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda skeleton: skeleton.name)
@pytest.mark.parametrize("frames", [1, 2, 3])
def test_every_writer_takes_any_length_and_skeleton(skeleton, frames, tmp_path):
    joints = make_motion(frames, skeleton=skeleton) * skeleton.metres
    for suffix in ("npy", "npz", "bvh", "glb", "html", "mp4", "gif"):
        path = Motion(joints, skeleton.fps, skeleton).save(tmp_path / f"clip.{suffix}", size=32)
        assert path.stat().st_size > 100
        if suffix in ("npy", "npz", "bvh"):
            loaded = Motion.load(path)
            assert np.abs(loaded.joints - joints).max() < 2.1e-3 and loaded.skeleton == skeleton.name
    assert Motion(joints, 30, skeleton).resample(60).clean(smoothing=0.1).num_frames >= frames


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_array_files_keep_every_bit(motion, tmp_path, suffix):
    loaded = Motion.load(motion.save(tmp_path / f"clip{suffix}"))
    assert np.array_equal(loaded.joints, motion.joints) and loaded.fps == motion.fps
    assert loaded.text == (motion.text if suffix == ".npz" else None)


def test_a_file_of_features_is_recognised_by_its_shape(motion, tmp_path):
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


def test_a_gif_repeats_and_keeps_its_duration(motion, tmp_path):
    with Image.open(motion.save(tmp_path / "clip.gif", size=64)) as picture:
        assert picture.n_frames == motion.num_frames and picture.info["duration"] == 50 and picture.info["loop"] == 0
    with Image.open(motion.resample(60).save(tmp_path / "clip.gif", size=64)) as picture:
        durations = []
        for i in range(picture.n_frames):
            picture.seek(i)
            durations.append(picture.info["duration"])
    assert sum(durations) == pytest.approx(1000 * motion.duration, abs=60)


def test_every_camera_sees_the_body_in_every_frame(motion):
    for camera in ("follow", "fixed", "orbit"):
        frames = motion.render(64, camera, caption="a person walks").astype(int)
        limbs = np.abs(frames[..., 0] - frames[..., 2]) > 40
        assert (limbs.sum((1, 2)) > 5).all(), camera
    with pytest.raises(ValueError, match="follow, fixed, orbit"):
        motion.render(64, "drone")


def test_resampling_keeps_bones_and_the_pace(motion):
    faster = motion.resample(60)
    assert faster.fps == 60 and abs(faster.duration - motion.duration) < 0.06
    assert np.abs(faster.resample(20).joints - motion.joints).max() < 5e-3
    assert bone_length_variation(faster.joints) < 0.02  # its hips swing
    assert np.abs(np.diff(faster.joints, 2, axis=0)).max() < np.abs(np.diff(motion.joints, 2, axis=0)).max()
    # features are always at the skeleton's own rate
    assert faster.features.shape == motion.features.shape
    np.testing.assert_allclose(faster.features[:, :67], motion.features[:, :67], atol=0.02)


class TestTrim:
    def test_infinity_is_the_end(self, motion):
        np.testing.assert_array_equal(motion.trim(2, math.inf).joints, motion.joints[40:])
        np.testing.assert_array_equal(motion.trim(-math.inf, 1).joints, motion.joints[:20])

    @pytest.mark.parametrize("start, end", [(9, math.inf), (math.inf, math.inf), (0, math.nan), (math.nan, 1), (1, 1)])
    def test_a_part_without_a_frame_is_refused(self, start, end, motion):
        with pytest.raises(ValueError, match="no frame between"):
            motion.trim(start, end)


def test_amass_poses_give_the_body_back(motion, tmp_path):
    """Limbs point where they did; the trunk may differ, because SMPL's rest pose does."""
    archive = dict(np.load(motion.save(tmp_path / "clip.npz")))
    assert archive["poses"].shape == (motion.num_frames, 156) and archive["betas"].tolist() == [0] * 16
    assert archive["mocap_framerate"] == 20 and archive["trans"].shape == (motion.num_frames, 3)
    amass = {name: archive[name] for name in ("poses", "trans", "mocap_framerate", "betas", "gender")}
    np.savez(tmp_path / "amass.npz", **amass)
    loaded = Motion.load(tmp_path / "amass.npz")
    assert np.abs(loaded.joints[:, 0] - motion.joints[:, 0]).max() < 1e-5
    limbs = [4, 5, 7, 8, 18, 19, 20, 21]  # bones of knees, ankles, elbows, wrists point where they did
    parents = [HUMANML3D.parents[joint] for joint in limbs]
    ours, theirs = (clip.joints[:, limbs] - clip.joints[:, parents] for clip in (motion, loaded))
    cosine = (ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)
    assert cosine.min() > 0.999


class TestClean:
    def test_standing_feet_stay_and_bones_keep_their_length(self):
        joints = walking_with_sliding_feet()
        cleaned = Motion(joints).clean()
        assert foot_skating(cleaned.joints) < 0.3 * foot_skating(joints)
        before, after = (
            np.linalg.norm(clip[:, 1:] - clip[:, list(HUMANML3D.parents[1:])], axis=-1)
            for clip in (joints, cleaned.joints)
        )
        assert np.abs(before - after).max() < 1e-4
        assert (
            np.abs(cleaned.joints[:, [0, 3, 6, 9, 12, 15]] - joints[:, [0, 3, 6, 9, 12, 15]]).max() < 1e-6
        )  # the trunk is not touched

    def test_smoothing_takes_jitter_away(self, motion):
        noisy = Motion(motion.joints + np.random.default_rng(0).normal(0, 0.01, motion.joints.shape))
        assert jitter(noisy.clean(feet=False, smoothing=0.1).joints) < 0.1 * jitter(noisy.joints)

    def test_physics_of_made_up_bodies(self):
        still = np.repeat(make_motion()[:1], 20, 0)
        still[..., 1] -= still[..., 1].min()
        assert foot_skating(still) == 0 and jitter(still) == 0 and penetration(still) == 0 and floating(still) == 0
        assert foot_skating(still + np.arange(20)[:, None, None] * [0.1, 0, 0]) == pytest.approx(2.0)
        assert penetration(still - [0, 0.03, 0]) == pytest.approx(0.03)
        hop = still.copy()
        hop[5:10, :, 1] += 0.3
        assert floating(hop) == pytest.approx(0.25)


def walking_with_sliding_feet() -> np.ndarray:
    """Make a body that glides with its legs at rest, toes down, and lifts its feet one after the other."""
    joints = np.repeat(make_motion()[:1], 60, 0).astype(np.float32)
    joints[..., 1] -= joints[..., 1].min()
    joints[..., [7, 8, 10, 11], 1] = [0.08, 0.08, 0.02, 0.02]
    joints[:, [4, 5], 2] += 0.05
    joints += np.arange(60)[:, None, None] * np.array([0, 0, 0.01], np.float32)
    time = np.arange(60)
    for side, frames in ((0, (time // 15) % 2 == 0), (1, (time // 15) % 2 == 1)):
        joints[frames, 7 + side, 1] += 0.12
        joints[frames, 10 + side, 1] += 0.12
    return joints


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


def test_pickles_and_damaged_arrays_are_refused(tmp_path):
    np.save(tmp_path / "pickle.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04nonsense")
    np.save(tmp_path / "shape.npy", np.zeros((4, 5)))
    np.savez(tmp_path / "pickle.npz", joints=np.array([None], dtype=object))
    np.savez(tmp_path / "keys.npz", other=np.zeros(3))
    np.savez(tmp_path / "poses.npz", poses=np.zeros((4, 30)), trans=np.zeros((4, 3)))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**9, 22, 3)})
    (tmp_path / "promise.npy").write_bytes(header.getvalue() + bytes(100))
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        archive.writestr("joints.npy", bytes(100))
        archive.infolist()[0].file_size = 5 * 10**9  # the size that the archive declares
    names = (
        "pickle.npy",
        "damaged.npz",
        "shape.npy",
        "pickle.npz",
        "keys.npz",
        "poses.npz",
        "promise.npy",
        "bomb.npz",
    )
    for name in names:
        with pytest.raises(ValueError, match=name):
            Motion.load(tmp_path / name)


@pytest.mark.parametrize("joints", [np.zeros((4, 20, 3)), np.full((4, 22, 3), np.nan), np.zeros((0, 22, 3))])
def test_broken_joints_are_refused(joints):
    with pytest.raises(ValueError):
        Motion(joints)


def test_a_failed_save_leaves_nothing_behind(motion, tmp_path, monkeypatch):
    from lamp_hf.motion import formats

    def fail(motion, path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setitem(formats.WRITERS, ".npy", fail)
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
