"""Decide what the numbers of a motion file mean: unit, up axis, handedness and frame rate, and how sure that is."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..models.motion_loops import Cycle
from ..models.skeleton import HUMANML3D, Skeleton
from .limits import MAX_RATE, check_rate


UNITS = {
    "metres": 1.0, "centimetres": 0.01, "millimetres": 0.001, "decimetres": 0.1, "inches": 0.0254, "feet": 0.3048,
    "CMU units": 0.0564444,
}  # fmt: skip
UNKNOWN_RIG = "unknown"  # its bones were guessed from the tree
AXES = ("x", "y", "z", "-x", "-y", "-z")


@dataclass(frozen=True)
class Finding:
    """A property of a file.

    Args:
        value (`str`): e.g. `"centimetres"`.
        certainty (`str`): `"given"` by the user, `"stated"` by the file or its format, `"sure"`, `"likely"` or
            `"guessed"` from the motion.
        reason (`str`): evidence in a few words.
    """

    value: str
    certainty: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.value} ({', '.join(filter(None, (self.certainty, self.reason)))})"


@dataclass(frozen=True)
class Assumptions:
    """Interpretation of a motion file, kept as `assumptions` with the [`Motion`] that is loaded from it."""

    unit: Finding
    up: Finding
    handedness: Finding
    rig: Finding
    rate: Finding


@dataclass(frozen=True)
class Recording:
    """A body as a file has it.

    Args:
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): in the file's unit and axes.
        skeleton ([`Skeleton`]): the joint tree.
        fps (`float`, *optional*): frames per second, where the file states them.
        rig (`str`): name of the file's rig.
        rest (`np.ndarray` of shape `(num_joints, 3)`, *optional*): the rest pose, without the root's rotation.
        unit (`float`, *optional*): metres in one unit, by the rules of the format.
        up (`str`, *optional*): the axis that points up, by the rules of the format.
        stated (`bool`): the file itself says its unit and axes, so that they are not doubted.
        has_toes (`bool`): the file has joints of the toes.
        pelvis (`np.ndarray` of shape `(3,)`, *optional*): of poses on a body in metres, whatever the unit of their
            path: where the pelvis is while the path is zero, metres.
        text (`str`, *optional*): what the motion shows.
        states_rate (`bool`): the file itself says its frames per second.
        cycle ([`Cycle`], *optional*): where the file says that the motion loops.
    """

    joints: np.ndarray
    skeleton: Skeleton
    fps: float | None
    rig: str
    rest: np.ndarray | None = None
    unit: float | None = None
    up: str | None = None
    stated: bool = False
    has_toes: bool = False
    pelvis: np.ndarray | None = None
    text: str | None = None
    states_rate: bool = True
    cycle: Cycle | None = None


def check_options(
    rig: str | Path | None = None, unit: float | None = None, up: str | None = None, fps: float | None = None
) -> None:
    """Check what a user says about a file or a folder of files, before any is read.

    Raises:
        ValueError: when a value is none that a file can have.
        FileNotFoundError: when there is no such bone map.
    """
    if rig is not None and not Path(rig).is_file():
        raise FileNotFoundError(f"no such bone map: {rig}")
    if unit is not None and not 0 < unit < np.inf:
        raise ValueError(f"unit must be a positive number of metres, got {unit}")
    if up is not None and up not in AXES:
        raise ValueError(f"up must be one of {', '.join(AXES)}, got {up!r}")
    if fps is not None and not 0 < fps <= MAX_RATE:
        raise ValueError(f"fps must be a number up to {MAX_RATE:g}, got {fps}")


def interpret(
    recording: Recording, unit: float | None = None, up: str | None = None, fps: float | None = None
) -> tuple[np.ndarray, float, Assumptions]:
    """Bring a body to metres and Y up.

    Args:
        recording ([`Recording`]): the body as the file has it.
        unit (`float`, *optional*): metres in one unit of the file; found by the size of the body by default.
        up (`str`, *optional*): the axis that points up, `"x"`, `"-y"` etc.; found by the rest pose and the floor by
            default.
        fps (`float`, *optional*): frames per second of the file, where it states none or wrong ones.

    Returns:
        Joints, float32 `(num_frames, num_joints, 3)`, frames per second, and what was assumed.

    Raises:
        ValueError: when the numbers are not those of a person, with the likely cause.
    """
    rate, rate_finding = _find_rate(recording, fps)
    metres, unit_finding = _find_unit(recording, unit)
    if recording.pelvis is None:
        joints = recording.joints * metres
    else:
        joints = recording.joints + (metres - 1) * (recording.joints[:, :1] - recording.pelvis)
    axis, up_finding = _find_up(recording, joints, up)
    joints = joints @ rotation_to_y_up(axis).astype(joints.dtype)
    mirrored, hand_finding = _find_handedness(recording)
    if mirrored:
        joints = joints * np.array([-1, 1, 1], joints.dtype)
    rig_certainty = "stated" if recording.stated else "guessed" if recording.rig == UNKNOWN_RIG else "sure"
    rig_finding = Finding(recording.rig, rig_certainty)
    found = Assumptions(unit_finding, up_finding, hand_finding, rig_finding, rate_finding)
    return joints.astype(np.float32), rate, found


def rotation_to_y_up(up: str) -> np.ndarray:
    """Return the matrix that turns row vectors of a world in which `up` points up to Y up."""
    sign = -1.0 if up[0] == "-" else 1.0
    return {
        "x": np.array([[0, sign, 0], [-sign, 0, 0], [0, 0, 1.0]]),  # z stays
        "y": np.diag([1.0, sign, sign]),
        "z": np.array([[1.0, 0, 0], [0, 0, -sign], [0, sign, 0]]),  # x stays
    }[up[-1]]


def _find_rate(recording: Recording, given: float | None) -> tuple[float, Finding]:
    """Return frames per second.

    Raises:
        ValueError: when nobody states a rate, or the file states one that no recording has.
    """
    stated = recording.fps
    if given is not None:
        check_rate(len(recording.joints), given)
        return given, Finding(f"{given:g}", "given")
    if stated is None:
        raise ValueError("it states no frame rate (mocap_framerate): give it, --source-fps or fps=")
    if not (recording.stated or 0.5 <= stated <= MAX_RATE):
        seconds = 1 / stated if stated else np.inf
        for rate, meaning in ((seconds, "frames per second"), (1000 / max(seconds, 1e-9), "milliseconds")):
            likely = min(_COMMON_RATES, key=lambda common: abs(common - rate))
            if abs(likely - rate) < 0.002 * likely:
                raise ValueError(
                    f"{seconds:g} seconds per frame are not plausible, they are probably {meaning}: give the frame "
                    f"rate, --source-fps {likely:g} or fps={likely:g}"
                )
    try:
        check_rate(len(recording.joints), stated)
    except ValueError as error:
        raise ValueError(f"{error}: give the right one, --source-fps or fps=") from None
    if not (recording.stated or stated >= 0.5):
        raise ValueError(f"{1 / stated:g} seconds per frame are not plausible: give --source-fps or fps=")
    certainty, reason = ("stated", "") if recording.states_rate else ("likely", "as in most files of the format")
    return stated, Finding(f"{stated:.6g}", certainty, reason)


_COMMON_RATES = (
    12, 12.5, 15, 20, 23.976, 24, 25, 29.97, 30, 48, 50, 59.94, 60, 72, 90, 100, 120, 144, 150, 200, 240, 250,
)  # fmt: skip


def body_size(joints: np.ndarray, skeleton: Skeleton) -> float:
    """Compare a body with an adult of 1.7 metres: median ratio of legs, arms and trunk.

    Args:
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): positions.
        skeleton ([`Skeleton`]): the joint tree.

    Returns:
        `float`: the size, 1 for an adult if positions are in metres.
    """
    index = {name: i for i, name in enumerate(skeleton.joint_names)}
    chains = [("pelvis", *(name for name in ("spine1", "spine2", "spine3") if name in index), "neck")]
    for side in ("left", "right"):
        chains += [tuple(f"{side}_{part}" for part in limb) for limb in (_LEG, _ARM)]
    ratios = []
    for chain, adult in zip(chains, (_TRUNK_LENGTH, _LEG_LENGTH, _ARM_LENGTH, _LEG_LENGTH, _ARM_LENGTH)):
        bones = [np.linalg.norm(joints[:, index[a]] - joints[:, index[b]], axis=-1).mean() for a, b in pairwise(chain)]
        ratios.append(sum(bones) / adult)
    return float(np.median(ratios))


_LEG, _ARM = ("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist")
_LEG_LENGTH, _ARM_LENGTH, _TRUNK_LENGTH = 0.82, 0.53, 0.55  # metres, of HumanML3D's reference body


def _find_unit(recording: Recording, given: float | None) -> tuple[float, Finding]:
    """Return the metres in one unit: the one that makes the body nearest to an adult's size.

    Rare units must fit better, by a factor of 1.15, since children are more frequent than files in feet. Where none
    makes a person, as with characters of cartoons and files in units of their own, the body gets an adult's size.

    Raises:
        ValueError: when no unit makes a body of 0.4 to 2.5 times an adult's size, or the given one makes no body.
    """
    size = body_size(recording.joints, recording.skeleton)
    if given is not None and recording.pelvis is not None:
        return given, Finding(f"{given:g} m", "given", "of the path")
    if given is not None:
        if not 0.1 < size * given < 10:
            raise ValueError(f"with a unit of {given:g} m its body would measure {1.7 * size * given:.3g} m")
        return given, Finding(f"{given:g} m", "given", f"a body of {1.7 * size * given:.2f} m")
    if recording.stated and recording.unit:
        return recording.unit, Finding(_unit_name(recording.unit), "stated")
    units = UNITS if recording.unit is None else _units_of_arrays(recording.unit)
    misfit = {name: abs(np.log(max(size, 1e-12) * metres)) + _RARE.get(name, 0.0) for name, metres in units.items()}
    best, *others = sorted(misfit, key=misfit.__getitem__)
    tall = size * units[best]
    if not 0.4 < tall < 2.5:
        raise ValueError(
            f"a body of {1.7 * size:.3g} units is no person in {', '.join(units)}: give the metres in one unit"
        )
    shortest, tallest = _ADULTS if best in _RARE else _PEOPLE
    if recording.unit is None and not shortest < tall < tallest:
        return 1 / size, Finding(f"{1 / size:.3g} m", "guessed", "for a body of 1.70 m, since no known unit makes one")
    margin = misfit[others[0]] - misfit[best]
    certainty = "sure" if margin > 0.7 else "likely" if margin > 0.3 else "guessed"
    return units[best], Finding(best, certainty, f"a body of {1.7 * tall:.2f} m")


_PEOPLE, _ADULTS = (0.5, 1.5), (0.75, 1.33)  # sizes that are believed in common and in rare units; 1 is 1.7 metres
_RARE = dict.fromkeys(("decimetres", "inches", "feet", "CMU units"), float(np.log(1.15)))


def _units_of_arrays(own: float) -> dict[str, float]:
    """Return the units that arrays have: that of the data set, or metres, centimetres or millimetres by mistake."""
    if own == 1:
        return {name: UNITS[name] for name in ("metres", "centimetres", "millimetres")}
    return {_unit_name(own): own, "metres": 1.0, "centimetres": 0.01}


def _unit_name(unit: float) -> str:
    return next((name for name, metres in UNITS.items() if metres == unit), f"{unit:g} m")


def _find_up(recording: Recording, joints: np.ndarray, given: str | None) -> tuple[str, Finding]:
    """Return the axis that points up; a body that lies or hangs does not turn the world.

    Raises:
        ValueError: when arrays that should have Y up hold a body that stands along another axis.
    """
    if given is not None:
        return given, Finding(given, "given")
    if recording.up is not None and recording.up not in AXES:
        raise ValueError(f"its upward axis is {recording.up!r}; known: {', '.join(AXES)}")
    if recording.stated and recording.up:
        return recording.up, Finding(recording.up, "stated")
    expected = recording.up or (None if recording.rest is None else standing_axis(recording.rest, recording.skeleton))
    scores = {axis: _score(axis, joints, recording.skeleton, expected) for axis in AXES}
    best, second = sorted(AXES, key=lambda axis: -scores[axis])[:2]
    if recording.up is not None and (best == recording.up or scores[best] < _STANDS):
        return recording.up, Finding(recording.up, "stated", "by the format")
    if recording.up == "y":
        raise ValueError(
            f"its body stands along {best}, but its format has Y up: give --up {best} (up={best!r}), or --up y if "
            "the person does lie"
        )
    margin = scores[best] - scores[second]
    certainty = "sure" if margin > 1 else "likely" if margin > 0.4 else "guessed"
    reason = "rest pose and floor" if recording.rest is not None and expected else "posture and floor"
    return best, Finding(best, certainty, reason)


_STANDS = 3.0  # score of a body that stands on a floor at zero for nearly all of the clip


def standing_axis(rest: np.ndarray, skeleton: Skeleton) -> str | None:
    """Return the axis along which a rest pose stands, if it is one: trunk and legs on either side of the pelvis."""
    at = dict(zip(skeleton.joint_names, rest))
    trunk, legs = at["neck"] - at["pelvis"], at["pelvis"] - (at["left_ankle"] + at["right_ankle"]) / 2
    lengths = float(np.linalg.norm(trunk)), float(np.linalg.norm(legs))
    if min(lengths) <= 1e-6 * max(lengths) or trunk @ legs < 0.8 * lengths[0] * lengths[1]:
        return None
    upward = trunk + legs
    upward = upward / np.linalg.norm(upward)
    axis = int(np.abs(upward).argmax())
    if abs(upward[axis]) < 0.9:
        return None
    return ("-" if upward[axis] < 0 else "") + "xyz"[axis]


def _score(axis: str, joints: np.ndarray, skeleton: Skeleton, expected: str | None) -> float:
    """Weigh the evidence that an axis points up.

    Points are given to the axis of the rest pose or format, to one along which the lowest joint keeps its height, to
    one with this height near zero, and to one along which the body stands. Y is preferred a little.
    """
    index = {name: i for i, name in enumerate(skeleton.joint_names)}
    height = joints[..., "xyz".index(axis[-1])] * (-1.0 if axis[0] == "-" else 1.0)
    neck, ankles = index["neck"], [index["left_ankle"], index["right_ankle"]]
    length: np.ndarray = np.linalg.norm(joints[:, neck] - joints[:, ankles].mean(1), axis=-1)
    standing = float((height[:, neck] - height[:, ankles].mean(1) > 0.7 * length).mean())
    lowest = height.min(1)
    floor = float(np.quantile(lowest, 0.05))
    steady = float((lowest - floor < 0.2).mean())
    at_zero = -0.15 < floor < 0.35
    return steady + at_zero + standing * (1.5 if at_zero else 0.5) + (axis == expected) + 0.2 * (axis == "y")


def _find_handedness(recording: Recording) -> tuple[bool, Finding]:
    """Tell if the file's axes are left-handed: toes then point behind a body whose left and right are as named."""
    if recording.up is not None:
        return False, Finding("right", "stated", "" if recording.stated else "by the format")
    if recording.skeleton is not HUMANML3D or not recording.has_toes:
        return False, Finding("right", "guessed")
    at = {name: recording.joints[:, i] for i, name in enumerate(HUMANML3D.joint_names)}
    across = at["left_hip"] - at["right_hip"]
    forward = np.cross(across, at["neck"] - at["pelvis"])
    forward /= np.linalg.norm(forward, axis=-1, keepdims=True).clip(min=1e-9)
    toes = [at[f"{side}_foot"] - at[f"{side}_ankle"] for side in ("left", "right")]
    ahead = np.mean([(toe * forward).sum(-1) / np.linalg.norm(toe, axis=-1).clip(min=1e-9) for toe in toes])
    certainty = "sure" if abs(ahead) > 0.5 else "likely" if abs(ahead) > 0.25 else "guessed"
    if ahead < -0.25:
        return True, Finding("left", certainty, "toes point backward, so x is mirrored")
    return False, Finding("right", certainty, "toes point forward" if ahead > 0.25 else "")
