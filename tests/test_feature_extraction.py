"""Feature extractor: what it reads, and what normalisation makes of each group of features."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import make_motion

import lamp_hf
from lamp_hf.models import feature_extraction_motion
from lamp_hf.models.skeleton import HUMANML3D, SKELETONS


EMPHASISED = {"root_yaw", "root_velocity", "root_height", "contacts"}


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS.keys())
def test_root_and_contact_features_weigh_five_times_as_much_as_the_others(skeleton):
    rng = np.random.default_rng(0)
    features = rng.normal(2.0, 0.3, (4000, skeleton.num_features))
    extractor = lamp_hf.MotionFeatureExtractor.from_statistics([features[:1000], features[1000:]], skeleton.name)
    normalised = extractor.normalise(torch.from_numpy(features))
    assert normalised.mean(0).abs().max() < 1e-9
    for group, columns in skeleton.slices.items():
        expected = 5.0 if group in EMPHASISED else 1.0
        assert normalised[:, columns].std(0).mean().item() == pytest.approx(expected, rel=1e-2), group
    torch.testing.assert_close(extractor.denormalise(normalised), torch.from_numpy(features))


def test_features_of_a_group_share_one_deviation_so_that_small_ones_stay_small():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4000, 263))
    features[:, 5] *= 3.0  # one coordinate of a joint moves more than the others
    extractor = lamp_hf.MotionFeatureExtractor.from_statistics([features])
    positions = HUMANML3D.slices["positions"]
    deviations = np.array(extractor.std)[positions]
    assert np.ptp(deviations) == 0 and deviations[0] == pytest.approx(1 + 2 / len(deviations), rel=1e-2)


def test_a_gain_can_be_chosen_and_columns_that_never_change_do_not_divide_by_zero():
    features = np.zeros((10, 263))
    features[:, 0] = [-1.0, 1.0] * 5
    extractor = lamp_hf.MotionFeatureExtractor.from_statistics([features], root_and_contact_gain=2.0)
    normalised = extractor.normalise(torch.from_numpy(features))
    assert normalised.isfinite().all() and normalised[:, 0].abs().max() == 2.0


@pytest.fixture
def extractor(processor):
    return processor.feature_extractor


def test_a_motion_has_the_same_features_in_every_form(extractor, tmp_path):
    joints = make_motion(40).astype(np.float32)
    motion = lamp_hf.Motion(joints)
    motion.save(tmp_path / "motion.npz")
    wanted = extractor.read(joints)
    for given in (
        motion,
        tmp_path / "motion.npz",
        str(tmp_path / "motion.npz"),
        {"joints": joints, "fps": 20.0},
        wanted,
    ):
        np.testing.assert_allclose(extractor.read(given), wanted, atol=1e-5)
        np.testing.assert_allclose(extractor(given)["motion_values"], extractor(joints)["motion_values"], atol=1e-4)
        if given is not wanted:  # features do not say where a motion starts
            np.testing.assert_allclose(extractor.read_joints(given), joints, atol=1e-5)


def test_the_package_lends_its_reader_of_files_to_the_feature_extractor_alone(tmp_path):
    path = tmp_path / "motion.npy"
    np.save(path, make_motion(30).astype(np.float32))
    code = (
        "import sys, lamp_hf; from lamp_hf.models.feature_extraction_motion import MotionFeatureExtractor;"
        f"print('lamp_hf.motion.clip' in sys.modules, MotionFeatureExtractor().read({str(path)!r}).shape)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "False (29, 263)\n"


def test_without_the_package_a_path_is_refused_in_a_clear_line(extractor, monkeypatch):
    monkeypatch.setattr(feature_extraction_motion, "_read_file", None)
    with pytest.raises(ValueError, match=r"motion 0 is a path.*import lamp_hf first, or give an array"):
        extractor("walk.bvh")
