"""Map the joints of any rig to HumanML3D's skeleton: identify the bones."""

import dataclasses
import warnings

import numpy as np

from ..models.skeleton import HUMANML3D, KIT, Skeleton
from .animation import Animation, choose_body
from .rig_guess import guess_rig
from .rigs import PAIRS, find_rig, index_joints, is_kit, joint_of, plain_name, required_joints, rigs
from .world import UNKNOWN_RIG, Recording, standing_axis


def retarget_animation(animation: Animation, rig: dict | None = None, body: str | None = None) -> Recording:
    """Extract HumanML3D's joints (KIT-ML's if the rig is KIT-ML's), in the file's unit and axes.

    Bone lengths remain the performer's; `joints_to_features` brings them to the reference body.

    Args:
        animation ([`Animation`]): any rig.
        rig (`dict`, *optional*): bone map, see `rigs.yaml`; chosen by the joint names by default.
        body (`str`, *optional*): the body to take where there are several, see [`choose_body`]; the first by default.

    Returns:
        [`Recording`], which [`lamp_hf.motion.world.interpret`] brings to metres and Y up.

    Raises:
        ValueError: when joints have no counterpart, or there is no such body, listing what there is.
    """
    animation = choose_body(animation, rig, body)
    names = index_joints(animation.names)
    if rig is None and is_kit(names):
        places = [names[plain_name(name)] for name in KIT.joint_names]
        rest = None if animation.rest is None else animation.rest[places]
        return _recording(animation, animation.positions[:, places], KIT, "kit", rest)
    label = "bone map"
    if rig is None:
        rig = find_or_guess(animation)
        label = next((name for name, bones in rigs().items() if bones is rig), UNKNOWN_RIG)
    rest = None
    if animation.rest is not None:
        rest = _pick(dataclasses.replace(animation, positions=animation.rest[None]), names, rig)[0]
    recording = _recording(animation, _pick(animation, names, rig), HUMANML3D, label, rest)
    return _without_calibration_pose(dataclasses.replace(recording, has_toes=_has_toes(animation, names, rig)))


def _without_calibration_pose(recording: Recording) -> Recording:
    """Leave out a first frame in a T-pose from which the second jumps, as CMU's recordings have in BVH; warn of it."""
    at = dict(zip(recording.skeleton.joint_names, recording.joints[:2].swapaxes(0, 1)))
    if len(recording.joints) < 3:
        return recording
    jumps = straight = True
    for side, other in (("left", "right"), ("right", "left")):
        shoulder, wrist = at[f"{side}_shoulder"], at[f"{side}_wrist"]
        across = (shoulder - at[f"{other}_shoulder"])[0]
        arm = wrist - shoulder
        length = np.linalg.norm(arm[0])
        straight &= bool(arm[0] @ across > 0.9 * length * np.linalg.norm(across))
        jumps &= bool(np.linalg.norm(arm[1] - arm[0]) > 0.5 * length)
    if not (straight and jumps):
        return recording
    warnings.warn("the first frame is a T-pose from which the second jumps; it is left out", stacklevel=5)
    return dataclasses.replace(recording, joints=recording.joints[1:])


def _recording(
    animation: Animation, joints: np.ndarray, skeleton: Skeleton, rig: str, rest: np.ndarray | None
) -> Recording:
    recording = Recording(joints, skeleton, animation.fps, rig, rest, states_rate=animation.states_rate)
    turned = rest is not None and standing_axis(rest, skeleton) not in (None, "y")  # Blender exports Z up
    if not animation.is_ours or turned:
        return recording
    return dataclasses.replace(recording, unit=1.0, up="y", stated=True)


def find_or_guess(animation: Animation) -> dict:
    """Return the bone map of a known rig, or one guessed from the tree, with a warning.

    Raises:
        ValueError: when neither is possible.
    """
    try:
        return find_rig(animation.names)
    except ValueError as unknown:
        try:
            rig = guess_rig(animation.names, animation.parents, animation.positions)
        except ValueError as error:
            raise ValueError(f"{unknown}; {error}") from None
    limbs = ", ".join(f"{part} {' and '.join(rig[part])}" for part in ("hip", "knee", "shoulder", "elbow"))
    warnings.warn(f"unknown rig; guessed from its tree: neck {rig['neck']}, {limbs}; or give a bone map", stacklevel=4)
    return rig


def _pick(animation: Animation, names: dict[str, int], rig: dict) -> np.ndarray:
    """Pick out HumanML3D's joints, `(num_frames, 22, 3)`; optional ones that the rig lacks are estimated."""

    def find(name: str | None) -> np.ndarray | None:
        joint = joint_of(names, name) if name else None
        return None if joint is None else animation.positions[:, joint]

    missing = [name for name in required_joints(rig) if find(name) is None]
    if missing:
        raise ValueError(f"these joints of the bone map are not in the file: {', '.join(missing)}")
    named = {"pelvis": rig["pelvis"], "neck": rig["neck"], "head": rig.get("head")}
    for part in PAIRS:
        named |= {f"{side}_{part}": name for side, name in zip(("left", "right"), rig.get(part, ()))}
    found = {joint: place for joint, name in named.items() if (place := find(name)) is not None}
    spine = [place for place in map(find, rig.get("spine", [])) if place is not None]
    found |= _spine(found["pelvis"], spine, found["neck"])
    if "head" not in found:
        found["head"] = _end_of(animation, names, rig["neck"], found["neck"] - found["spine3"], 0.1)
    for i, side in enumerate(("left", "right")):
        if f"{side}_wrist" not in found:
            upper_arm = found[f"{side}_elbow"] - found[f"{side}_shoulder"]
            found[f"{side}_wrist"] = _end_of(animation, names, rig["elbow"][i], upper_arm, 0.9)
    collars_coincide, has_toes = _collars_coincide(found), _has_toes(animation, names, rig)
    for i, side in enumerate(("left", "right")):
        if f"{side}_foot" not in found:
            shin = found[f"{side}_ankle"] - found[f"{side}_knee"]
            ahead = _forward(found["left_hip"] - found["right_hip"], shin)
            found[f"{side}_foot"] = (
                _end_of(animation, names, rig["ankle"][i], ahead, 1.0) if has_toes else found[f"{side}_ankle"] + ahead
            )
        if f"{side}_collar" not in found or collars_coincide:
            found[f"{side}_collar"] = 0.7 * found["neck"] + 0.3 * found[f"{side}_shoulder"]
    return np.stack([found[name] for name in HUMANML3D.joint_names], 1)


def _has_toes(animation: Animation, names: dict[str, int], rig: dict) -> bool:
    """Tell if something beyond the ankle points another way than the shin; in some rigs a foot ends at the sole."""
    knee, ankle = (joint_of(names, rig[part][0]) for part in ("knee", "ankle"))
    if ankle not in animation.parents:
        return False
    places = animation.positions
    shin, foot = places[:, ankle] - places[:, knee], places[:, animation.parents.index(ankle)] - places[:, ankle]
    lengths = np.linalg.norm(shin, axis=-1) * np.linalg.norm(foot, axis=-1)
    return bool(((shin * foot).sum(-1) / lengths.clip(min=1e-9)).mean() < 0.95)


def _forward(across: np.ndarray, shin: np.ndarray) -> np.ndarray:
    """Return where the toes of a foot lie from the ankle, at a right angle to the shin but for a little slope."""
    ahead = np.cross(shin, across)
    length: np.ndarray = np.linalg.norm(shin, axis=-1, keepdims=True)
    ahead = length * ahead / np.linalg.norm(ahead, axis=-1, keepdims=True).clip(min=1e-9)
    ankle, foot = (HUMANML3D.bone_lengths[HUMANML3D.joint_names.index(f"left_{part}")] for part in ("ankle", "foot"))
    return foot / ankle * (0.9 * ahead + 0.44 * shin)


def _collars_coincide(found: dict[str, np.ndarray]) -> bool:
    """Tell if both collars are one point; CMU's, for example, lie in the neck."""
    if "left_collar" not in found or "right_collar" not in found:
        return False
    between_shoulders = _distance(found["left_shoulder"], found["right_shoulder"])
    return _distance(found["left_collar"], found["right_collar"]) < 0.1 * between_shoulders


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.linalg.norm(first - second, axis=-1).mean())


def _spine(pelvis: np.ndarray, between: list[np.ndarray], neck: np.ndarray) -> dict[str, np.ndarray]:
    """Return three joints from pelvis to neck: the rig's own if it has three, or interpolated ones."""
    chain = np.stack([pelvis, *between, neck], 1)  # [T, joints, 3]
    lengths = np.linalg.norm(np.diff(chain, axis=1), axis=-1).mean(0)
    if len(between) == 3 and lengths.min() > 0.05 * lengths.sum():
        return {f"spine{i + 1}": joint for i, joint in enumerate(between)}
    along = np.concatenate([[0], np.cumsum(lengths)]) / max(lengths.sum(), 1e-9)
    reference = np.cumsum([HUMANML3D.bone_lengths[joint] for joint in (3, 6, 9, 12)])
    result = {}
    for i, share in enumerate(reference[:3] / reference[3]):
        joint = int(np.clip(np.searchsorted(along, share, side="right") - 1, 0, len(lengths) - 1))
        part = (share - along[joint]) / max(along[joint + 1] - along[joint], 1e-9)
        result[f"spine{i + 1}"] = (1 - part) * chain[:, joint] + part * chain[:, joint + 1]
    return result


def _end_of(animation: Animation, names: dict[str, int], name: str, direction: np.ndarray, share: float):
    """Return the end of a joint without a mapped child: its end site or first child, or a point along `direction`."""
    joint = joint_of(names, name)
    children = [i for i, parent in enumerate(animation.parents) if parent == joint]
    if children:
        return animation.positions[:, children[0]]
    return animation.positions[:, joint] + share * direction
