"""Joints to features and back."""

import numpy as np
import pytest
import torch
from conftest import SHARED, make_motion
from scipy.ndimage import gaussian_filter1d

import lamp_hf
from lamp_hf.models.motion_representation import (
    canonicalise,
    fit_bone_lengths,
    integrate_root,
    lift_above_floor,
    mirror,
    retarget,
    shortest_rotation,
)
from lamp_hf.models.skeleton import HUMANML3D, KIT


@pytest.mark.parametrize("skeleton", [HUMANML3D, KIT], ids=lambda skeleton: skeleton.name)
def test_joints_to_features_and_back_gives_the_canonical_joints(skeleton):
    joints = make_motion(skeleton=skeleton)
    features = lamp_hf.joints_to_features(joints, skeleton.name)
    assert features.shape == (59, skeleton.num_features)
    back = lamp_hf.features_to_joints(features, skeleton.name)
    canonical = canonicalise(torch.from_numpy(joints), skeleton).numpy()[:-1]
    assert np.abs(back - canonical).max() * skeleton.metres < 1e-3


def test_features_do_not_depend_on_where_the_body_is_faces_or_how_big_it_is():
    joints = make_motion()
    turned = make_motion(facing=np.pi) * 1.1 + [3.0, 0.2, -7.0]
    features, other = lamp_hf.joints_to_features(joints), lamp_hf.joints_to_features(turned)
    contacts = HUMANML3D.slices["contacts"]
    np.testing.assert_allclose(features[:, : contacts.start], other[:, : contacts.start], atol=2e-4)


def test_canonical_body_stands_on_the_floor_over_the_origin_and_faces_z():
    joints = canonicalise(torch.from_numpy(make_motion(facing=2.0)))
    assert joints[..., 1].min().abs() < 1e-9
    assert joints[0, 0, [0, 2]].abs().max() < 1e-9
    across = joints[0, 1] - joints[0, 2] + joints[0, 16] - joints[0, 17]
    assert across[2].abs() < 1e-9 and across[0] > 0


def test_retargeting_gives_every_body_the_same_bones():
    joints = retarget(torch.from_numpy(make_motion() * 1.3))
    lengths = (joints[:, 1:] - joints[:, list(HUMANML3D.parents[1:])]).norm(dim=-1)
    reference = torch.tensor(HUMANML3D.bone_lengths[1:], dtype=lengths.dtype)
    assert (lengths - reference).abs().max() < 1e-9


def test_batches_of_any_shape_equal_single_clips_and_repeated_frames_are_harmless_padding():
    clips = [torch.from_numpy(make_motion(length, seed=length)) for length in (30, 47)]
    padded = torch.stack([torch.cat([clips[0], clips[0][-1:].expand(17, -1, -1)]), clips[1]])
    batch = lamp_hf.joints_to_features(padded[None])
    assert batch.shape == (1, 2, 46, 263)
    for row, clip in zip(batch[0], clips):
        single = lamp_hf.joints_to_features(clip)
        torch.testing.assert_close(row[: len(single) - 1], single[:-1])


def test_mirroring_twice_changes_nothing_and_once_swaps_sides():
    joints = make_motion()
    np.testing.assert_allclose(mirror(mirror(joints)), joints, atol=1e-6)
    assert np.allclose(mirror(joints)[:, 20], joints[:, 21] * [-1, 1, 1], atol=1e-6)


def test_a_turn_through_facing_backwards_has_no_jump():
    joints = make_motion()
    angle = np.linspace(np.pi / 2, 3 * np.pi / 2, len(joints))
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x, y, z = joints.transpose(2, 0, 1)
    spinning = np.stack([cos * x + sin * z, y, cos * z - sin * x], -1)
    yaw = lamp_hf.joints_to_features(spinning)[1:, 0]
    assert np.isfinite(yaw).all() and np.abs(yaw).max() < 0.2


def test_the_facing_is_smoothed_by_a_gaussian_of_twenty_frames():
    body = np.zeros((22, 3))
    for joint, parent in enumerate(HUMANML3D.parents[1:], 1):
        body[joint] = body[parent] + np.array(HUMANML3D.directions[joint]) * HUMANML3D.bone_lengths[joint]
    angle = np.where(np.arange(120) < 60, 0.0, np.pi / 2)[:, None]  # turns within one frame
    x, y, z = body.T[:, None]
    joints = np.stack(
        [np.cos(angle) * x + np.sin(angle) * z, y + 0 * angle, np.cos(angle) * z - np.sin(angle) * x], -1
    )
    sin, cos = (gaussian_filter1d(side(angle[:, 0]), 20, mode="nearest") for side in (np.sin, np.cos))
    heading, _ = integrate_root(torch.from_numpy(lamp_hf.joints_to_features(joints)), HUMANML3D)
    np.testing.assert_allclose(heading[1:], np.arctan2(sin, cos)[1:-1], atol=1e-3)


def test_shortest_rotation_carries_vectors_also_opposite_ones():
    generator = torch.Generator().manual_seed(0)
    source = torch.nn.functional.normalize(torch.randn(100, 3, generator=generator, dtype=torch.float64), dim=-1)
    target = source.roll(1, 0).clone()
    target[:10] = -source[:10]
    rotation = shortest_rotation(source, target)
    torch.testing.assert_close((rotation @ source[..., None])[..., 0], target)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(100, dtype=torch.float64))


def test_fitting_bone_lengths_changes_positions_only_and_keeps_directions():
    features = torch.from_numpy(lamp_hf.joints_to_features(make_motion()))
    stretched = features.clone()
    positions = HUMANML3D.slices["positions"]
    stretched[:, positions] *= 1.0
    noise = 0.01 * torch.randn(stretched[:, positions].shape, generator=torch.Generator().manual_seed(0))
    stretched[:, positions] += noise
    fitted = fit_bone_lengths(stretched)
    joints = lamp_hf.features_to_joints(fitted)
    lengths = (joints[:, 1:] - joints[:, list(HUMANML3D.parents[1:])]).norm(dim=-1)
    assert (lengths - torch.tensor(HUMANML3D.bone_lengths[1:])).abs().max() < 1e-5
    assert torch.equal(fitted[:, positions.stop :], stretched[:, positions.stop :])


@pytest.mark.parametrize("skeleton", [HUMANML3D, KIT], ids=lambda skeleton: skeleton.name)
def test_bodies_are_lifted_in_frames_in_which_a_foot_is_below_the_floor(skeleton):
    features = torch.from_numpy(lamp_hf.joints_to_features(make_motion(skeleton=skeleton), skeleton.name))
    sunk, joints = features.clone(), lamp_hf.features_to_joints(features, skeleton.name)
    depth = torch.linspace(0, 0.1, len(features))[:, None] / skeleton.metres
    sunk[:, skeleton.slices["root_height"]] -= depth
    sunk[:, skeleton.slices["positions"]][:, 1::3] -= depth
    lifted = lamp_hf.features_to_joints(lift_above_floor(sunk, skeleton), skeleton.name)
    feet = lifted[:, skeleton.feet, 1].amin(-1) * skeleton.metres
    assert feet.min() > -0.0201 and torch.isclose(feet[-1], torch.tensor(-0.02), atol=1e-5)
    shift = lifted - joints
    assert (shift - shift[:, :1]).abs().max() * skeleton.metres < 1e-5  # the whole body, and upwards alone
    assert shift[..., [0, 2]].abs().max() * skeleton.metres < 1e-5
    assert torch.equal(lift_above_floor(features, skeleton), features)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda joints: np.where(np.arange(60)[:, None, None] == 12, np.nan, joints), "frame 12"),
        (lambda joints: joints[:, :21], r"\[22, 3\]|22, 3"),
        (lambda joints: joints[:0], "at least one frame"),
        (lambda joints: joints[:1], "two frames"),
    ],
)
def test_broken_motion_is_refused_with_the_reason(change, message):
    with pytest.raises(ValueError, match=message):
        lamp_hf.joints_to_features(change(make_motion()))


@pytest.mark.skipif(not SHARED.exists(), reason="the golden clip is not at hand")
def test_golden_clip_of_humanml3d():
    joints = np.load(SHARED / "humanml3d_sample" / "new_joints_012314.npy")
    features = np.load(SHARED / "humanml3d_sample" / "new_joint_vecs_012314.npy")
    assert np.abs(lamp_hf.features_to_joints(features) - joints).max() < 1e-5
    made = lamp_hf.joints_to_features(joints)
    for group, columns in HUMANML3D.slices.items():
        assert np.abs(made[:, columns] - features[:169, columns]).max() < 0.02, group


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="the motion capture is not at hand")
def test_every_real_clip_has_finite_features():
    from datasets import Dataset

    clips = Dataset.from_parquet(str(SHARED / "mocap.parquet")).select_columns(["joints_mm"]).with_format("numpy")
    assert len(clips) > 3000
    for clip in clips:
        joints = clip["joints_mm"].reshape(-1, 22, 3) / 1000
        features = lamp_hf.joints_to_features(joints)
        assert np.isfinite(features).all()
        canonical = canonicalise(torch.from_numpy(joints).float()).numpy()[:-1]
        assert np.abs(lamp_hf.features_to_joints(features) - canonical).max() < 1e-3
