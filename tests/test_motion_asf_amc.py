"""ASF and AMC: joints agree with kinematics written out by hand; skeletons are found beside motions."""

from pathlib import Path

import numpy as np
import pytest

from lamp_hf import Motion
from lamp_hf.models.skeleton import HUMANML3D
from lamp_hf.motion.asf_amc import read_amc


# name, parent, direction, length: a body in CMU's units, of 17.7 to a metre, that stands facing Z+
BONES = [
    ("lhipjoint", "root", (0.6, -0.8, 0), 2.4), ("lfemur", "lhipjoint", (0.34, -0.94, 0), 7.0),
    ("ltibia", "lfemur", (0.34, -0.94, 0), 7.2), ("lfoot", "ltibia", (0.1, -0.3, 0.95), 2.3),
    ("ltoes", "lfoot", (0, 0, 1), 1.1), ("rhipjoint", "root", (-0.6, -0.8, 0), 2.4),
    ("rfemur", "rhipjoint", (-0.34, -0.94, 0), 7.0), ("rtibia", "rfemur", (-0.34, -0.94, 0), 7.2),
    ("rfoot", "rtibia", (-0.1, -0.3, 0.95), 2.3), ("rtoes", "rfoot", (0, 0, 1), 1.1),
    ("lowerback", "root", (0, 1, 0), 2.0), ("upperback", "lowerback", (0, 1, 0), 2.1),
    ("thorax", "upperback", (0, 1, 0), 2.1), ("lowerneck", "thorax", (0, 1, 0), 1.5),
    ("upperneck", "lowerneck", (0, 1, 0), 1.5), ("head", "upperneck", (0, 1, 0), 1.6),
    ("lclavicle", "thorax", (0.9, 0.44, 0), 3.3), ("lhumerus", "lclavicle", (1, 0, 0), 5.0),
    ("lradius", "lhumerus", (1, 0, 0), 3.3), ("lwrist", "lradius", (1, 0, 0), 1.6),
    ("rclavicle", "thorax", (-0.9, 0.44, 0), 3.3), ("rhumerus", "rclavicle", (-1, 0, 0), 5.0),
    ("rradius", "rhumerus", (-1, 0, 0), 3.3), ("rwrist", "rradius", (-1, 0, 0), 1.6),
]  # fmt: skip
TURNING = {"lfemur": "rx ry rz", "ltibia": "rx", "lfoot": "rx rz", "thorax": "rx ry rz", "rhumerus": "rx ry rz",
           "rradius": "rx", "head": "rz ry"}  # fmt: skip


def axes_of(bone: str) -> np.ndarray:
    return np.random.default_rng(sum(map(ord, bone))).uniform(-60, 60, 3).round(3)


def write_body(folder: Path, skeleton: str = "07.asf", motion: str = "07_02.amc", unit: str = "deg") -> Path:
    """Write a body whose angles are random but small, in two frames; return the motion."""
    turn = np.degrees if unit == "deg" else np.asarray
    lines = [
        "# made by hand", ":version 1.10", ":units", "  mass 1.0", "  length 0.45", f"  angle {unit}", ":root",
        "  order TX TY TZ RX RY RZ", "  axis XYZ", "  position 0 0 0", "  orientation 0 0 0", ":bonedata",
    ]  # fmt: skip
    for number, (bone, _, direction, length) in enumerate(BONES):
        axes = turn(np.radians(axes_of(bone)))
        lines += ["  begin", f"    id {number + 1}", f"    name {bone}"]
        lines += [f"    direction {' '.join(map(str, direction))}", f"    length {length}"]
        lines += [f"    axis {axes[0]:.8f} {axes[1]:.8f} {axes[2]:.8f} XYZ"]
        if bone in TURNING:
            lines += [f"    dof {TURNING[bone]}", "    limits (-160.0 20.0)", "           (-70 70)"]
        lines += ["  end"]
    lines += [":hierarchy", "  begin"]
    for parent in dict.fromkeys(parent for _, parent, _, _ in BONES):
        lines += [f"    {parent} {' '.join(bone for bone, above, _, _ in BONES if above == parent)}"]
    (folder / skeleton).write_text("\n".join([*lines, "  end", ""]))
    rows = ["#!OML:ASF", ":FULLY-SPECIFIED", ":DEGREES" if unit == "deg" else ":RADIANS"]
    for frame in range(2):
        rows += [str(frame + 1)]
        for bone, values in angles(frame).items():
            place = [1.5 * frame, 17.0, -3.0] if bone == "root" else []
            rows += [" ".join([bone, *(f"{value:.8f}" for value in [*place, *turn(np.radians(values))])])]
    (folder / motion).write_text("\n".join(rows) + "\n")
    return folder / motion


def angles(frame: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(frame)
    return {bone: rng.uniform(-30, 30, len(dof.split())) for bone, dof in {"root": "rx ry rz", **TURNING}.items()}


def elementary(axis: str, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array(
        {"x": [[1, 0, 0], [0, c, -s], [0, s, c]], "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
         "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]]}[axis]
    )  # fmt: skip


def ends_by_hand(frame: int) -> dict[str, np.ndarray]:
    """Return where each bone ends: rotations about x, then y, then z, between the bone's axes and back."""
    turned = {"root": np.eye(3)}
    for axis, value in zip("xyz", angles(frame)["root"]):
        turned["root"] = elementary(axis, value) @ turned["root"]
    ends = {"root": np.array([1.5 * frame, 17.0, -3.0])}
    for bone, parent, direction, length in BONES:
        x, y, z = axes_of(bone)
        axes = elementary("z", z) @ elementary("y", y) @ elementary("x", x)
        turn = np.eye(3)
        for dof, value in zip(TURNING.get(bone, "").split(), angles(frame).get(bone, ())):
            turn = elementary(dof[1], value) @ turn
        turned[bone] = turned[parent] @ axes @ turn @ axes.T
        ends[bone] = ends[parent] + turned[bone] @ (np.array(direction) * length)
    return ends


@pytest.mark.parametrize("unit", ["deg", "rad"])
def test_bones_begin_and_end_where_kinematics_by_hand_put_them(unit, tmp_path):
    read = read_amc(write_body(tmp_path, unit=unit))
    at = dict(zip(read.names, read.positions.swapaxes(0, 1)))
    parents = {bone: parent for bone, parent, _, _ in BONES}
    for frame in range(2):
        ends = ends_by_hand(frame)
        for bone, parent in parents.items():
            np.testing.assert_allclose(at[bone][frame], ends[parent], atol=1e-5)
        for bone in ("head", "ltoes", "rwrist"):
            np.testing.assert_allclose(at[f"{bone} end"][frame], ends[bone], atol=1e-5)


def test_a_body_is_read_in_metres_at_cmu_s_rate(tmp_path):
    motion = Motion.load(write_body(tmp_path))
    assert motion.fps == 120 and motion.num_frames == 2
    bones = {
        "left_hip": "lhipjoint", "left_knee": "lfemur", "left_ankle": "ltibia", "left_foot": "lfoot",
        "neck": "lowerneck", "head": "upperneck", "right_elbow": "rhumerus", "right_wrist": "rradius",
    }  # fmt: skip
    for frame in range(2):
        ends = ends_by_hand(frame)
        for joint, bone in bones.items():
            place = motion.joints[frame, HUMANML3D.joint_names.index(joint)]
            np.testing.assert_allclose(place, ends[bone] * 0.0564444, atol=1e-4)


@pytest.mark.parametrize("skeleton", ["07_02.asf", "07.ASF", "someone.asf"])
def test_the_skeleton_is_found_beside_the_motion(skeleton, tmp_path):
    assert read_amc(write_body(tmp_path, skeleton)).positions.shape[0] == 2


def test_damage_is_refused_by_name(tmp_path):
    path = write_body(tmp_path)
    good, skeleton = path.read_text(), tmp_path / "07.asf"
    for old, new, message in (
        ("ltibia", "nothing", r"07_02\.amc.*unexpected line in frame 1: 'nothing"),
        ("\n2\n", "\n2\nroot 1 2\n", r"unexpected line in frame 2: 'root 1 2'"),
        ("root ", "root 0 ", "unexpected line"),
        ("17.00000000", "nan", "NaN or infinity"),
    ):
        path.write_text(good.replace(old, new))
        with pytest.raises(ValueError, match=message):
            read_amc(path)
    path.write_text(good)
    skeleton.write_text(skeleton.read_text().replace(":hierarchy", ":nothing"))
    with pytest.raises(ValueError, match=r"07\.asf: damaged ASF"):
        read_amc(path)
    skeleton.unlink()
    with pytest.raises(ValueError, match="needs its skeleton beside it"):
        read_amc(path)
