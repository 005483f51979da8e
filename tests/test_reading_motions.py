"""Feature extractor: reads a motion whatever it is given as, and needs the package for motion files alone."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import make_motion

import lamp_hf
from lamp_hf.models import feature_extraction_motion


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
