"""Plain restatements of the usual generators and tools: they make what ours make, and are measured alike."""

import numpy as np
import pytest
import torch
from conftest import make_clip, make_motion

import lamp_hf
from lamp_hf.benchmark.peers import measure_call, measure_tools, peak_rate
from lamp_hf.benchmark.plain_networks import DiffusionSizes, MaskedSizes, PlainDiffusion, PlainMasked
from lamp_hf.benchmark.plain_tools import export_plainly, featurise_plainly
from lamp_hf.models.skeleton import HUMANML3D


def test_plain_features_are_ours():
    joints = lamp_hf.features_to_joints(lamp_hf.joints_to_features(make_motion(60)))
    plain, ours = featurise_plainly(joints), lamp_hf.joints_to_features(joints)
    columns = HUMANML3D.slices
    assert plain.shape == ours.shape == (len(joints) - 1, 263)
    for name in ("root_yaw", "root_velocity", "root_height", "positions", "velocities"):
        np.testing.assert_allclose(plain[:, columns[name]], ours[:, columns[name]], atol=0.02, err_msg=name)


def test_the_plain_exporter_finds_the_pose(tmp_path):
    joints = make_clip(1.0).joints
    posed = export_plainly(joints, tmp_path / "clip.bvh", iterations=3)
    assert np.linalg.norm(posed - joints, axis=-1).mean() < 0.03
    assert lamp_hf.Motion.load(tmp_path / "clip.bvh").num_frames == len(joints)


def test_plain_generators_make_motions():
    sizes = {
        "text_layers": 1,
        "text_size": 16,
        "text_length": 4,
        "layers": 1,
        "size": 16,
        "heads": 2,
        "inner_size": 32,
    }
    masked = PlainMasked(MaskedSizes(**sizes, residual_layers=1, codes=8, quantizers=2, decoder_width=8)).eval()
    diffusion = PlainDiffusion(DiffusionSizes(**sizes, decoder_layers=1, steps=3)).eval()
    for motion in (masked(5), diffusion(20)):
        assert motion.shape == (1, 20, 263) and motion.isfinite().all()


def test_operations_are_counted_and_compared_with_the_peak():
    matrix = torch.randn(64, 64)
    peak = peak_rate(torch.device("cpu"), size=64)
    numbers = measure_call("product", lambda: matrix @ matrix, peak, repeats=3)
    assert numbers["product_gflop"] == pytest.approx(2 * 64**3 / 1e9)
    assert numbers["product_share_of_peak"] == pytest.approx(2 * 64**3 / numbers["product_s"] / peak)


def test_tools_are_timed_side_by_side(monkeypatch):
    monkeypatch.setattr("lamp_hf.benchmark.plain_tools.ITERATIONS", 1)
    numbers = measure_tools(lamp_hf.joints_to_features(make_motion(20)), clips=2, repeats=1)
    assert numbers["bvh_times_faster"] == pytest.approx(numbers["plain_bvh_s"] / numbers["bvh_s"])
    assert numbers["features_times_faster"] > 0
