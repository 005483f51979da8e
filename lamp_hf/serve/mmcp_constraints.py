"""Constraints of MMCP as those of the library: frames become seconds, quaternions the places of joints."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from ..models.constraints import Constraint
from ..models.skeleton import Skeleton
from ..motion.rotations import children_of, forward_kinematics
from .errors import ApiError
from .mmcp_schema import EffectorTarget, OtherConstraint, PoseKeyframe, RootPath


CONSTRAINTS = ["root_path", "effector_target", "pose_keyframe"]  # that are supported
_STILL = 1e-6  # metres between stops at the same place, by rounding


Given = RootPath | EffectorTarget | PoseKeyframe | OtherConstraint


@dataclass(frozen=True)
class Start:
    """Where a motion begins: the model's own begin over the origin and face +z.

    Args:
        x, z (`float`): metres.
        angle (`float`): radians about Y from +z.
    """

    x: float = 0.0
    z: float = 0.0
    angle: float = 0.0

    @classmethod
    def of(cls, given: Sequence[Given]) -> "Start":
        """Find it in a path of the request; the add-on for Blender always sends one for frame 0."""
        for one in given:
            if isinstance(one, RootPath) and one.frames[0] == 0:
                return cls(*one.positions_xz[0], one.heading_radians[0] if one.heading_radians else 0.0)
        return cls()

    def to_model(self, points: np.ndarray) -> np.ndarray:
        """Bring points `(..., 3)` from the client's world to the model's."""
        return (np.asarray(points) - [self.x, 0, self.z]) @ self._turn

    def to_world(self, points: np.ndarray) -> np.ndarray:
        """Bring points `(..., 3)` from the model's world to the client's."""
        return points @ self._turn.T + [self.x, 0, self.z]

    @property
    def _turn(self) -> np.ndarray:
        return Rotation.from_euler("y", self.angle).as_matrix()


def to_constraints(
    given: Sequence[Given], num_frames: int, fps: float, skeleton: Skeleton, offsets: np.ndarray
) -> list[Constraint]:
    """Turn the constraints of a request into those of the pipeline, in the model's world; all paths become one.

    Args:
        given (`Sequence`): constraints of the request.
        num_frames (`int`): frames of the motion.
        fps (`float`): frames per second.
        skeleton ([`Skeleton`]): names and parents of the joints.
        offsets (`np.ndarray` of shape `(num_joints, 3)`): the body, see [`rest_offsets`].

    Raises:
        ApiError: with a code of the protocol, when one is not supported, or names a frame or joint that is not there.
    """
    start, made = Start.of(given), []
    stops: dict[int, tuple[np.ndarray, float | None]] = {}  # place and heading by frame
    for one in given:
        if isinstance(one, OtherConstraint):
            raise ApiError("unsupported_constraint", f"{one.type!r} constraints are not supported")
        _check_frames([one.frame] if isinstance(one, PoseKeyframe) else one.frames, num_frames)
        if isinstance(one, RootPath):
            places = start.to_model(np.array([(x, 0.0, z) for x, z in one.positions_xz]))[:, [0, 2]]
            headings: list[float | None] = [*one.heading_radians] if one.heading_radians else [None for _ in places]
            turns = [None if turn is None else turn - start.angle for turn in headings]
            stops |= {frame: (place, turn) for frame, place, turn in zip(one.frames, places, turns)}
        elif isinstance(one, EffectorTarget):
            made += _points(one, fps, skeleton, start)
        else:
            made.append(_pose(one, fps, skeleton, offsets, start))
    return [*made, _path(stops, fps)] if stops.keys() - {0} else made


def _check_frames(frames: list[int], num_frames: int) -> None:
    for frame in frames:
        if frame >= num_frames:
            raise ApiError("frame_out_of_range", f"frame {frame} is not in a motion of {num_frames} frames")


def _check_joints(joints: Sequence[str], skeleton: Skeleton) -> None:
    for joint in joints:
        if joint not in skeleton.joint_names:
            raise ApiError("unknown_joint", f"no joint {joint[:60]!r}: known are {', '.join(skeleton.joint_names)}")


def _path(stops: dict[int, tuple[np.ndarray, float | None]], fps: float) -> Constraint:
    frames = sorted(stops)
    points, turns = np.array([stops[frame][0] for frame in frames]), [stops[frame][1] for frame in frames]
    facing = None
    if any(turn is not None for turn in turns):
        facing = [math.degrees(way if turn is None else turn) for turn, way in zip(turns, _along(points))]
    return Constraint.path(points, times=[frame / fps for frame in frames], facing=facing)


def _along(points: np.ndarray) -> list[float]:
    """Return the angle of the way from each stop to the next, in radians."""
    angles, angle = [], 0.0  # the model begins facing +z
    for x, z in np.diff(points, axis=0, append=points[-1:]):
        if math.hypot(x, z) > _STILL:  # where there is no way on, as at the end, the body stays turned as it came
            angle = math.atan2(x, z)
        angles.append(angle)
    return angles


def _points(one: EffectorTarget, fps: float, skeleton: Skeleton, start: Start) -> list[Constraint]:
    _check_joints([one.joint], skeleton)
    if one.rotations is not None:
        raise ApiError("invalid_request", "rotations of an effector_target are not supported: leave them out")
    places = start.to_model(np.array(one.positions))
    return [Constraint.point(one.joint, frame / fps, place) for frame, place in zip(one.frames, places)]


def _pose(one: PoseKeyframe, fps: float, skeleton: Skeleton, offsets: np.ndarray, start: Start) -> Constraint:
    """Pose the skeleton; only the joints that the listed rotations move count, unless the others are at rest."""
    _check_joints(list(one.joint_rotations), skeleton)
    rotations = np.tile(np.eye(3), (1, skeleton.num_joints, 1, 1))
    for name, quaternion in one.joint_rotations.items():
        if not any(quaternion):
            raise ApiError("invalid_request", f"the rotation of {name} is zero: give a unit quaternion")
        rotations[0, skeleton.joint_names.index(name)] = Rotation.from_quat(quaternion).as_matrix()
    root = np.zeros((1, 3)) if one.root_position is None else np.array([one.root_position])
    (joints,) = forward_kinematics(root, rotations, offsets, skeleton.parents)
    if one.root_position is None:
        joints[:, 1] -= joints[:, 1].min()
    else:
        joints = start.to_model(joints)
    names = None
    if one.fill_mode == "generate" and len(one.joint_rotations) < skeleton.num_joints:
        moved = {0} if one.root_position is not None else set()
        for name in one.joint_rotations:
            moved |= set(children_of(skeleton.joint_names.index(name), skeleton.parents))
        names = [skeleton.joint_names[joint] for joint in sorted(moved)]
        if not names:
            listed = ", ".join(one.joint_rotations)
            raise ApiError("invalid_request", f"a rotation of {listed} moves no joint: list the joints before it too")
    return Constraint.pose(one.frame / fps, joints, names, place=one.root_position is not None)
