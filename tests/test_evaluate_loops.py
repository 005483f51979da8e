"""The evaluation of loops: which families are cyclic, and which seams are smooth."""

from types import SimpleNamespace

import numpy as np
from bodies import kicking, walking

import lamp_hf
from lamp_hf.models.motion_loops import Cycle
from training.evaluation.loops import compare, cyclic_families, loop_of, real_limits, seam_jumps


def test_a_family_is_cyclic_if_half_of_ten_clips_or_more_have_a_cycle():
    walk, kick = (lamp_hf.joints_to_features(joints) for joints in (walking(), kicking()))
    motions = [walk] * 5 + [kick] * 5 + [walk] * 4 + [kick] * 6 + [walk] * 9
    families = ["half"] * 10 + ["less"] * 10 + ["few"] * 9
    assert cyclic_families(SimpleNamespace(motions=motions, families=families)) == ["half"]


def test_a_seam_is_compared_with_real_frames():
    real = walking(200)
    limits = {"walk": real_limits([real * 1.05])}
    joints, cycle = loop_of(real)
    assert all(seam_jumps(joints, cycle, limits["walk"])["at_seam"].values())
    broken = real[40:55], Cycle(2.0, 2.75, tuple((real[55] - real[40])[0, [0, 2]]), 0.0)  # not a whole cycle
    assert not all(seam_jumps(*broken, limits["walk"])["at_seam"].values())
    numbers = compare([("walk", joints, cycle), ("walk", *broken), ("walk", None, None)], limits)
    assert np.isclose(numbers["with_loop"], 200 / 3) and numbers["at_seam"]["all"] == 50
    assert numbers["at_seam_by_family"] == {"walk": 50}
