"""Loops: a cycle of a clip, closed so that its last frame leads into its first one wherever the body has got to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .motion_cycles import best_cycle, check_loop_length
from .motion_representation import joints_to_features
from .motion_requests import MotionRequest
from .skeleton import Skeleton


_FADE = 0.4  # seconds on each side of the seam over which what separates its sides fades
TRIES = 8  # motions that are generated until one has a cycle
_SLOPE = 0.05  # seconds on each side of a frame from which its velocity is measured
_ROOM = 2.0  # seconds that a motion is longer than the loop that is wanted of it, or as long again if that is more


@dataclass(frozen=True)
class Cycle:
    """One repetition of a motion that loops.

    Args:
        start, end (`float`): seconds in the clip in which it was found.
        travel (`tuple[float, float]`): metres along x and z from the first frame of a repetition to that of the next.
        turn (`float`): degrees by which the next repetition is turned, positive to the left.
    """

    start: float
    end: float
    travel: tuple[float, float]
    turn: float


def find_loop(
    joints: np.ndarray, features: np.ndarray, fps: float, skeleton: Skeleton, seconds: float | None = None
) -> tuple[np.ndarray, Cycle]:
    """Find the best cycle of a clip, see [`best_cycle`], and close it, see [`close_cycle`].

    Args:
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres, Y up.
        features (`np.ndarray` of shape `(num_frames, num_features)`): of the clip, at the skeleton's own rate.
        fps (`float`): frames per second of the joints.
        skeleton ([`Skeleton`]): the joint tree.
        seconds (`float`, *optional*): how long the loop is to last, about.

    Returns:
        Joints of the loop, float32 `(num_frames, num_joints, 3)`, and where it was.

    Raises:
        ValueError: when the clip has no cycle, saying why.
    """
    start, end = (round(frame * fps / skeleton.fps) for frame in best_cycle(features, skeleton, seconds))
    return close_cycle(joints, start, min(end, len(joints) - 1), fps, skeleton)


def close_cycle(joints: np.ndarray, start: int, end: int, fps: float, skeleton: Skeleton) -> tuple[np.ndarray, Cycle]:
    """Take the frames from `start` up to `end`, and let both sides of the seam meet halfway.

    What separates frame `end` from frame `start` in the body's own facing (place and velocity of every joint, length
    of every bone, speed and turn of the root) is shared by both sides and fades within 0.4 seconds, as in
    inertialization (Bollo, GDC 2018).

    Returns:
        Joints of the loop, float32 `(end - start, num_joints, 3)`, and its [`Cycle`].
    """
    pose, root_steps, turns, lengths = _in_own_facing(np.asarray(joints, np.float64), skeleton)
    heading, path = _facing(joints, skeleton)[start], joints[start, 0, [0, 2]].astype(np.float64)
    count = end - start
    fade = min(max(round(_FADE * fps), 1), count // 2)
    values = [pose.reshape(len(pose), -1), root_steps, turns[:, None], lengths]
    pose, root_steps, turns, lengths = (_meet(part, start, end, fade, max(1, round(_SLOPE * fps))) for part in values)
    pose = _with_lengths(pose.reshape(count, -1, 3), lengths, skeleton)
    headings = heading + np.r_[0, np.cumsum(turns[:, 0])]
    steps = _turned(np.insert(root_steps, 1, 0, axis=1), headings[:-1])[:, [0, 2]]
    places = path + np.concatenate([np.zeros((1, 2)), np.cumsum(steps, 0)])
    loop = _turned(pose, headings[:-1, None])
    loop[..., [0, 2]] += places[:-1, None]
    travel = places[-1] - places[0]
    turn = float(np.degrees(headings[-1] - headings[0]))
    return loop.astype(np.float32), Cycle(start / fps, end / fps, (float(travel[0]), float(travel[1])), turn)


def repeated(joints: np.ndarray, cycle: Cycle, count: int, first: int = 0) -> np.ndarray:
    """Return `count` repetitions of a loop, each where and as the one before it ends.

    Args:
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): the loop.
        cycle ([`Cycle`]): of the loop.
        count (`int`): repetitions; the frame after the last one closes them, for it is the first of the next.
        first (`int`): number of the first repetition; that of the loop itself is 0.

    Returns:
        `np.ndarray` of shape `(count * num_frames + 1, num_joints, 3)`, float32.
    """
    loop = np.asarray(joints, np.float64)
    origin, travel = loop[0, 0] * [1, 0, 1], np.array([cycle.travel[0], 0.0, cycle.travel[1]])
    angles = np.radians(cycle.turn) * np.arange(min(first, 0), max(first + count, 0) + 1)
    places = np.concatenate(
        [np.zeros((1, 3)), np.cumsum(_turned(np.tile(travel, (len(angles) - 1, 1)), angles[:-1]), 0)]
    )
    places += origin - places[max(-first, 0)]
    numbers = range(max(first, 0), max(first, 0) + count + 1)
    parts = [
        _turned((loop if number < numbers[-1] else loop[:1]) - origin, angles[number]) + places[number]
        for number in numbers
    ]
    return np.concatenate(parts).astype(np.float32)


def generate_loops(
    generate: Callable[[list[MotionRequest]], list[dict]],
    requests: Sequence[MotionRequest],
    stride: int,
    skeleton: Skeleton,
    longest: float,
) -> list[dict]:
    """Generate a loop for each request, with further seeds where a motion has no cycle.

    Args:
        generate (`Callable`): generates motions, as results of the pipeline.
        requests (`list[MotionRequest]`): of one text each; their lengths are about those of the loops.
        stride (`int`): how far apart the seeds that are tried are.
        skeleton ([`Skeleton`]): of the motions.
        longest (`float`): seconds that can be generated.

    Returns:
        Results of the pipeline, whose `joints` and `features` are those of the loop, from the origin on, facing Z+;
        `cycle` is its [`Cycle`].

    Raises:
        ValueError: when a request has several texts, its length is not that of a loop, or none of its motions has a
            cycle.
    """
    if any(len(request.texts) > 1 for request in requests):
        raise ValueError("a loop shows one action: give one text, which does not say an order")
    lengths = [frames and frames / skeleton.fps for request in requests for frames in request.num_frames]
    for seconds in lengths:
        if seconds is not None:
            check_loop_length(seconds, skeleton)
    made: dict[int, dict] = {}
    reasons: dict[int, str] = {}
    for attempt in range(TRIES):
        missing = [row for row in range(len(requests)) if row not in made]
        tried = [
            replace(
                requests[row],
                seed=requests[row].seed + attempt * stride,
                num_frames=[_with_room(requests[row].num_frames[0], skeleton.fps, longest)],
            )
            for row in missing
        ]
        for row, result in zip(missing, generate(tried) if tried else []):
            try:
                made[row] = _looped(result, skeleton, lengths[row])
            except ValueError as error:
                reasons[row] = str(error)
    for row, request in enumerate(requests):
        if row not in made:
            raise ValueError(
                f"no loop of {request.text!r} in {TRIES} motions from seed {request.seed} on: {reasons[row]}; try "
                "another seed or duration, or a sentence about what repeats"
            )
    return [made[row] for row in range(len(requests))]


def _with_room(num_frames: int | None, fps: float, longest: float) -> int | None:
    if num_frames is None:
        return None
    return min(max(2 * num_frames, num_frames + round(_ROOM * fps)), round(longest * fps))


def _looped(result: dict, skeleton: Skeleton, seconds: float | None) -> dict:
    joints, cycle = find_loop(result["joints"], result["features"], result["fps"], skeleton, seconds)
    joints, cycle = _from_the_origin(joints, cycle, skeleton)
    features = joints_to_features(repeated(joints, cycle, 1) / skeleton.metres, skeleton)
    return result | {"joints": joints, "features": features, "cycle": cycle}


def _from_the_origin(joints: np.ndarray, cycle: Cycle, skeleton: Skeleton) -> tuple[np.ndarray, Cycle]:
    """Move a loop so that it starts over the origin facing Z+, on the floor: where its features have it."""
    joints = joints.astype(np.float64)
    turn, (x, _, z) = -_facing(joints[:1], skeleton)[0], joints[0, 0]
    (travel,) = _turned(np.array([[cycle.travel[0], 0.0, cycle.travel[1]]]), turn)
    joints = _turned(joints - [x, joints[..., 1].min(), z], turn)
    return joints.astype(np.float32), replace(cycle, travel=(float(travel[0]), float(travel[2])))


def _meet(values: np.ndarray, start: int, end: int, fade: int, reach: int) -> np.ndarray:
    """Return rows `start` up to `end`, changed so that row `end` would be row `start`, and goes on alike.

    What differs fades within `fade` rows; slopes are those of `reach` rows on both sides.
    """

    def slope_at(row: int) -> np.ndarray:
        first, last = max(row - reach, 0), min(row + reach, len(values) - 1)
        return (values[last] - values[first]) / (last - first)

    apart, slower = values[end] - values[start], slope_at(end) - slope_at(start)
    time = (np.arange(fade + 1) / fade)[:, None]
    place, slope = 1 - 3 * time**2 + 2 * time**3, fade * (time - 2 * time**2 + time**3)
    result = values[start:end].copy()
    result[: fade + 1] += (place * apart / 2 + slope * slower / 2)[: len(result)]
    result[len(result) - fade :] -= (place * apart / 2 - slope * slower / 2)[:0:-1]
    return result


def _facing(joints: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Return the angle about Y from Z+, positive to the left, `(num_frames,)`, without jumps of a full turn."""
    across = sum(joints[:, left] - joints[:, right] for right, left in (skeleton.hips, skeleton.shoulders))
    return np.unwrap(np.arctan2(-across[:, 2], across[:, 0]).astype(np.float64))


def _in_own_facing(joints: np.ndarray, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return pose `(T, J, 3)`, steps of the root to the next frame `(T, 2)`, turns `(T,)`, bone lengths `(T, J)`."""
    heading = _facing(joints, skeleton)
    pose = _turned(joints - joints[:, :1] * [1, 0, 1], -heading[:, None])
    steps = _turned(np.diff(joints[:, 0], axis=0), -heading[:-1])[:, [0, 2]]
    turns = np.diff(heading)
    bones = skeleton.bones(joints)
    steps, turns = (np.concatenate([rows, rows[-1:]]) for rows in (steps, turns))  # the last frame goes on as before
    return pose, steps, turns, np.linalg.norm(bones, axis=-1)


def _with_lengths(pose: np.ndarray, lengths: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Give bones these lengths `(T, J)`; they keep their directions, and the root its place."""
    bones = skeleton.bones(pose)
    bones *= (lengths / np.linalg.norm(bones, axis=-1).clip(min=1e-9))[..., None]
    return pose[:, :1] + skeleton.ancestors.double().numpy() @ bones


def _turned(vectors: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Turn vectors `(..., 3)` about Y, to the left, by angles in radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    x, y, z = np.moveaxis(vectors, -1, 0)
    return np.stack([cos * x + sin * z, y, cos * z - sin * x], -1)


__all__ = ["Cycle", "close_cycle", "find_loop", "generate_loops", "repeated"]
