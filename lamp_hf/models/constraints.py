"""Spatial constraints of a generated motion: paths, key poses and places of joints, in seconds and metres."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from numbers import Real

import numpy as np

from .skeleton import Skeleton


MAX_SPEED = 7.0  # metres per second of the root; a sprint
MAX_JOINT_SPEED = 15.0  # metres per second; a fast kick or throw
JUMP = 0.5  # metres by which a jump raises the reach of a joint
DEEPEST = 0.05  # metres below the floor; deeper points are refused
SAME_PLACE = 0.05  # metres; constraints that differ by less agree
LONGEST = 60.0  # seconds of a motion with constraints


@dataclass(frozen=True)
class Constraint:
    """A place, a path or a pose that a generated motion has to meet; made by `path`, `pose` and `point`.

    The floor is at height 0. Frame 0 is over the origin and faces +z, unless a constraint says otherwise; +x is to its
    left. Angles are degrees from +z, positive to the left.

    Attributes:
        kind (`str`): `"path"`, `"pose"` or `"point"`.
        times (`tuple[float]`, *optional*): seconds; of each point of a path, or the one of a pose or a point.
        positions (`tuple[tuple[float]]`): metres; x, z of a path, x, y, z of each joint of a pose, or of a point.
        joints (`tuple[str]`, *optional*): names of the joints that a pose or a point is about; None for all.
        facing (`tuple[float]`, *optional*): of a path: degrees, one for all or one for each of its points.
        speed (`float`, *optional*): of a path: metres per second.
        place (`bool`): whether a pose stands where its coordinates say.
        skeleton (`str`, *optional*): of a pose, where it is known.
    """

    kind: str
    positions: tuple[tuple[float, ...], ...]
    times: tuple[float, ...] | None = None
    joints: tuple[str, ...] | None = None
    facing: tuple[float, ...] | None = None
    speed: float | None = None
    place: bool = False
    skeleton: str | None = None

    @classmethod
    def path(
        cls,
        points: Iterable[Sequence[float]],
        times: Iterable[float] | None = None,
        facing: float | Iterable[float] | None = None,
        speed: float | None = None,
    ) -> "Constraint":
        """Lead the root, the pelvis, along points on the floor.

        With times, the root is over each point at its time and moves as the text says between. Without, it follows a
        smooth curve through the points, in the rhythm of the text from the first second to the last, or at a speed.

        Args:
            points (`Iterable` of shape `(num_points, 2)`): x and z, metres.
            times (`Iterable[float]`, *optional*): seconds at each point, increasing.
            facing (`float` or one for each point, *optional*): degrees; along the path, as the text has it, if not
                given.
            speed (`float`, *optional*): metres per second, in place of times.

        Raises:
            ValueError: when a value is no finite number, or there are too few or too many of them.
        """
        rows = _numbers(points, (None, 2), "a path takes points (x, z)")
        if len(rows) < 2 and times is None:
            raise ValueError("a path without times needs two points or more")
        if times is not None and speed is not None:
            raise ValueError("a path has times or a speed, not both")
        if times is not None:
            times = _numbers(times, (len(rows),), f"a path of {len(rows)} points takes as many times")
            if any(later <= earlier for earlier, later in itertools.pairwise(times)):
                raise ValueError("times of a path must increase")
        if facing is not None:
            facing = [facing] if isinstance(facing, Real) else list(facing)
            count = len(facing) if len(facing) in (1, len(rows)) else len(rows)
            facing = _numbers(facing, (count,), f"facing takes one angle, or one for each of {len(rows)} points")
        if speed is not None and not (_is_number(speed) and 0 < speed <= MAX_SPEED):
            raise ValueError(f"a speed is a number of metres per second up to {MAX_SPEED:g}, got {speed!r}")
        return cls("path", rows, times, facing=facing, speed=None if speed is None else float(speed))

    @classmethod
    def pose(cls, time: float, pose, joints: Iterable[str] | None = None, place: bool = False) -> "Constraint":
        """Bring the body, or some of its joints, into a pose at a time.

        Args:
            time (`float`): seconds.
            pose (`Motion` of one frame, or `np.ndarray` of shape `(num_joints, 3)`): all joints, metres, the floor at
                height 0; a body of another size is fitted.
            joints (`Iterable[str]`, *optional*): names of the joints that matter; all if not given.
            place (`bool`): the pose stands and faces where its coordinates say; otherwise it is moved to the root's
                path and turned to where the body faces.

        Raises:
            ValueError: when the pose is more than a frame, a value is no finite number, or a joint is no name.
        """
        values = getattr(pose, "joints", pose)
        if getattr(values, "ndim", 0) == 3:
            if len(values) != 1:
                raise ValueError(f"a pose is one frame, got {len(values)}: give motion.joints[30], for instance")
            values = values[0]
        rows = _numbers(values, (None, 3), "a pose takes joints (num_joints, 3)")
        if joints is not None:
            joints = _joint_names(joints)
        skeleton = getattr(pose, "skeleton", None)
        return cls("pose", rows, (_time(time),), joints, place=bool(place), skeleton=skeleton)

    @classmethod
    def point(cls, joint: str, time: float, position: Sequence[float]) -> "Constraint":
        """Bring a joint to a point at a time.

        Args:
            joint (`str`): name of the joint, `"right_wrist"` for instance.
            time (`float`): seconds.
            position (`Sequence[float]`): x, y, z, metres.

        Raises:
            ValueError: when a value is no finite number, or the joint is no name.
        """
        (row,) = _numbers([position], (1, 3), "a point takes a position (x, y, z)")
        return cls("point", (row,), (_time(time),), _joint_names([joint]))

    def to_dict(self) -> dict:
        """Return what JSON can store and `from_dict` reads: the arguments of the constructor, and its `kind`."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        points, times = values.pop("positions"), values.pop("times", None)
        if self.kind == "path":
            del values["place"]
            return values | {"points": points} | ({} if times is None else {"times": times})
        if self.kind == "pose":
            return values | {"time": times[0], "pose": points}
        return {"kind": "point", "joint": self.joints[0], "time": times[0], "position": points[0]}

    @classmethod
    def from_dict(cls, values: dict) -> "Constraint":
        """Make a constraint of what `to_dict` returns.

        Raises:
            ValueError: when a key is missing or unknown, or a value is wrong.
        """
        wanted = {
            "path": ({"points"}, {"times", "facing", "speed"}),
            "pose": ({"time", "pose"}, {"joints", "place", "skeleton"}),
            "point": ({"joint", "time", "position"}, set()),
        }
        kind = values.get("kind") if isinstance(values, dict) else None
        if not isinstance(kind, str) or kind not in wanted:
            raise ValueError(f'a constraint is a dictionary with a "kind": {", ".join(wanted)}')
        needed, allowed = wanted[kind]
        given = values.keys() - {"kind"}
        if wrong := sorted((needed - given) | (given - needed - allowed)):
            raise ValueError(f"{kind}: {wrong[0]!r} is {'missing' if wrong[0] in needed else 'unknown'}")
        arguments = {name: value for name, value in values.items() if name not in ("kind", "skeleton")}
        made = getattr(cls, kind)(**arguments)
        skeleton = values.get("skeleton")
        return made if skeleton is None else cls(**(vars(made) | {"skeleton": skeleton}))

    def __str__(self) -> str:
        if self.kind == "path":
            return "path"
        names = "" if self.joints is None else f" of {', '.join(self.joints)}"
        return f"{self.kind}{names} at {self.times[0]:g} s"


def check_constraints(
    constraints: Iterable[Constraint], duration: float, fps: float, skeleton: Skeleton
) -> list[Constraint]:
    """Return constraints as a list; refuse those that no body can meet, or not all together.

    Args:
        constraints (`Iterable[Constraint]`): all of one motion.
        duration (`float`): seconds of the motion.
        fps (`float`): its frames per second.
        skeleton ([`Skeleton`]): the body.

    Raises:
        ValueError: with the first reason.
    """
    if duration > LONGEST:
        raise ValueError(f"a motion with constraints lasts at most {LONGEST:g} seconds, not {duration:g}")
    constraints = [constraints] if isinstance(constraints, Constraint) else list(constraints)
    for one in constraints:
        if not isinstance(one, Constraint):
            raise ValueError(f"constraints are made by lamp_hf.Constraint, got {type(one).__name__}")
        _check_one(one, duration, skeleton)
    if sum(one.kind == "path" for one in constraints) > 1:
        raise ValueError("a motion has one path: join the points of several")
    _check_places(constraints, round(duration * fps), fps, skeleton)
    _check_root(constraints, fps, skeleton)
    return constraints


def nearest_frame(time: float, fps: float, num_frames: int) -> int:
    """Return the frame nearest to a time in seconds; the end of a motion means its last frame."""
    return min(round(time * fps), num_frames - 1)


def path_length(points) -> float:
    """Return the length of the straight lines between points `(num_points, 2)`."""
    return float(np.linalg.norm(np.diff(np.asarray(points, float), axis=0), axis=-1).sum())


def bones_between(first: str, second: str, skeleton: Skeleton) -> float:
    """Return the metres of bone between two joints: the farthest that they can be apart."""
    lines = []
    for name in (first, second):
        joint, line = skeleton.joint_names.index(name), []
        while joint > 0:
            line.append(joint)
            joint = skeleton.parents[joint]
        lines.append(set(line))
    return sum(skeleton.bone_lengths[bone] for bone in lines[0] ^ lines[1]) * skeleton.metres


def highest(joint: str, skeleton: Skeleton) -> float:
    """Return the metres above the floor that a joint reaches in a jump with all bones upright."""
    feet = [skeleton.joint_names[toe] for toe in skeleton.toes]
    return max(bones_between(foot, joint, skeleton) for foot in feet) + JUMP


def _check_one(one: Constraint, duration: float, skeleton: Skeleton) -> None:
    for name in one.joints or ():
        if name not in skeleton.joint_names:
            raise ValueError(f"{one}: no joint {name!r}; known: {', '.join(skeleton.joint_names)}")
    for time in one.times or ():
        if not 0 <= time <= duration + 1e-6:
            raise ValueError(f"{one}: second {time:g} is not in a motion of {duration:g} seconds")
    if one.kind == "path":
        times = one.times or (0.0, path_length(one.positions) / one.speed if one.speed else duration)
        if times[-1] > duration + 1e-6:
            raise ValueError(
                f"path: {path_length(one.positions):.3g} m at {one.speed:g} m/s take {times[-1]:.3g} seconds, "
                f"the motion lasts {duration:g}"
            )
        if one.times is None and path_length(one.positions) > MAX_SPEED * times[-1]:
            raise ValueError(f"path: {path_length(one.positions):.3g} m in {times[-1]:g} seconds are too fast")
    elif one.kind == "pose":
        if one.skeleton not in (None, skeleton.name):
            raise ValueError(f"{one}: its skeleton is {one.skeleton!r}; the model uses {skeleton.name!r}")
        if len(one.positions) != skeleton.num_joints:
            raise ValueError(f"{one}: {len(one.positions)} joints, the model's skeleton has {skeleton.num_joints}")
        joints = np.array(one.positions)
        reference = np.array(skeleton.bone_lengths) * skeleton.metres
        size = np.linalg.norm(skeleton.bones(joints), axis=-1).sum() / reference.sum()
        if not 0.5 < size < 2:
            raise ValueError(f"{one}: its bones are {size:.2g} times as long as the model's: give it in metres")
        if not -DEEPEST <= joints[:, 1].min() <= JUMP:
            raise ValueError(f"{one}: its lowest joint is at {joints[:, 1].min():.2f} m: the floor is at height 0")


def _places(constraints: list[Constraint], skeleton: Skeleton) -> list[tuple[float, str, np.ndarray | None, int]]:
    """List the joints that have a place at a time: seconds, joint, place (None if it is relative), constraint."""
    places = []
    for number, one in enumerate(constraints):
        if one.kind == "pose":
            for name in one.joints or skeleton.joint_names:
                joint = skeleton.joint_names.index(name)
                places.append((one.times[0], name, np.array(one.positions[joint]) if one.place else None, number))
        elif one.kind == "point":
            places.append((one.times[0], one.joints[0], np.array(one.positions[0]), number))
    return sorted(places, key=lambda place: place[0])


def _check_places(constraints: list[Constraint], num_frames: int, fps: float, skeleton: Skeleton) -> None:
    places, names = _places(constraints, skeleton), [str(one) for one in constraints]
    for _, joint, place, number in places:
        if place is not None and not -DEEPEST <= place[1] <= highest(joint, skeleton):
            limit = highest(joint, skeleton)
            raise ValueError(
                f"{names[number]}: {joint} at a height of {place[1]:.3g} m, it gets from the floor to {limit:.2f} m"
            )
    for i, (time, joint, place, one) in enumerate(places):
        frame = nearest_frame(time, fps, num_frames)
        for later, other, there, two in places[i + 1 :]:
            if one == two:
                continue
            apart = 0.0 if place is None or there is None else float(np.linalg.norm(there - place))
            if nearest_frame(later, fps, num_frames) == frame:
                if other == joint:
                    where = f"at {frame / fps:g} s{', the last one' if frame == num_frames - 1 else ''}"
                    raise ValueError(
                        f"{names[one]} and {names[two]} want {joint} in the same frame, {where}: give one of them"
                    )
                if apart and apart > bones_between(joint, other, skeleton) + SAME_PLACE:
                    length = bones_between(joint, other, skeleton)
                    raise ValueError(
                        f"{names[one]} and {names[two]} are {apart:.2f} m apart, the bones between {length:.2f} m"
                    )
            elif other == joint:
                if apart > MAX_JOINT_SPEED * (later - time):
                    speed = apart / (later - time)
                    raise ValueError(f"{names[one]} and {names[two]}: {joint} would have to move at {speed:.0f} m/s")
                break


def _check_root(constraints: list[Constraint], fps: float, skeleton: Skeleton) -> None:
    """Refuse a root that is in two places, too fast, or too far from where a joint has to be."""
    stops: list[tuple[float, np.ndarray, float, str]] = []  # seconds, x and z, metres around it, constraint
    for one in constraints:
        if one.kind == "path" and one.times is not None:
            stops += [(time, np.array(point), 0.0, "path") for time, point in zip(one.times, one.positions)]
        elif one.kind == "pose" and one.place:
            stops.append((one.times[0], np.array(one.positions[0])[[0, 2]], 0.0, str(one)))
        elif one.kind == "point":
            reach = bones_between(skeleton.joint_names[0], one.joints[0], skeleton)
            stops.append((one.times[0], np.array(one.positions[0])[[0, 2]], reach, str(one)))
    if not any(one.kind == "path" for one in constraints) and all(time * fps > 0.5 for time, *_ in stops):
        stops.append((0.0, np.zeros(2), 0.0, "the start"))
    if not stops:
        return
    stops.sort(key=lambda stop: stop[0])
    times, places, margins = (np.array(column, float) for column in list(zip(*stops))[:3])
    far = np.linalg.norm(places[:, None] - places, axis=-1) - margins[:, None] - margins
    gaps = np.abs(times[:, None] - times)
    wrong = np.argwhere(far > MAX_SPEED * gaps + SAME_PLACE)
    if len(wrong):
        first, second = min(wrong.tolist(), key=lambda pair: gaps[tuple(pair)])
        names = " and ".join(dict.fromkeys(stops[i][3] for i in sorted((first, second))))
        apart, seconds = np.linalg.norm(places[first] - places[second]), gaps[first, second]
        raise ValueError(f"{names}: {apart:.2f} m in {seconds:.2f} seconds are out of reach")


def _numbers(values, shape: tuple[int | None, ...], what: str) -> tuple:
    """Return finite numbers of a shape as nested tuples; None stands for any size from 1."""
    try:
        array = np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{what}, got {values!r:.60}") from None
    sizes_fit = array.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, array.shape))
    if not sizes_fit or not array.size:
        raise ValueError(f"{what}, got the shape {list(array.shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{what}: a number is NaN or infinite")
    return tuple(tuple(row) if isinstance(row, list) else row for row in array.tolist())


def _joint_names(joints) -> tuple[str, ...]:
    names = [joints] if isinstance(joints, str) or not isinstance(joints, Iterable) else list(joints)
    if not names:
        raise ValueError("joints of a pose: name one or more, or leave them out for the whole body")
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"a joint is given by its name, 'right_wrist' for instance, got {name!r:.60}")
    return tuple(names)


def _time(value) -> float:
    if not _is_number(value):
        raise ValueError(f"a time is a number of seconds, got {value!r}")
    return float(value)


def _is_number(value) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


__all__ = ["Constraint", "check_constraints", "nearest_frame", "path_length"]
