"""The feature extractor: what normalisation makes of each group of features."""

import numpy as np
import pytest
import torch

import lamp_hf
from lamp_hf.models.skeleton import SKELETONS


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
    positions = lamp_hf.models.skeleton.HUMANML3D.slices["positions"]
    deviations = np.array(extractor.std)[positions]
    assert np.ptp(deviations) == 0 and deviations[0] == pytest.approx(1 + 2 / len(deviations), rel=1e-2)


def test_a_gain_can_be_chosen_and_columns_that_never_change_do_not_divide_by_zero():
    features = np.zeros((10, 263))
    features[:, 0] = [-1.0, 1.0] * 5
    extractor = lamp_hf.MotionFeatureExtractor.from_statistics([features], root_and_contact_gain=2.0)
    normalised = extractor.normalise(torch.from_numpy(features))
    assert normalised.isfinite().all() and normalised[:, 0].abs().max() == 2.0
