"""Loops: a cycle of a clip, closed so that its last frame leads into its first one wherever the body has got to."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from .motion_cycles import best_cycle, check_loop_length
from .motion_representation import bone_directions, headings, joints_to_features, rotate_y, set_bone_lengths
from .motion_requests import MotionRequest
from .skeleton import Skeleton
from .smooth_curves import unwrap


_FADE = 0.4  # seconds on each side of the seam over which what separates its sides fades
TRIES = 8  # motions that are generated until one has a cycle
_GROUND = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)  # what of a place is over the ground
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
    clip = _doubles(joints)
    pose, root_steps, turns, lengths = _in_own_facing(clip, skeleton)
    count = end - start
    fade = min(max(round(_FADE * fps), 1), count // 2)
    values = [pose.flatten(1), root_steps, turns[:, None], lengths]
    pose, root_steps, turns, lengths = (_meet(part, start, end, fade, max(1, round(_SLOPE * fps))) for part in values)
    pose = pose.unflatten(1, (-1, 3))
    pose = set_bone_lengths(pose, pose[:, :1], skeleton, lengths)
    heading = headings(clip[start], skeleton) + nn.functional.pad(turns[:, 0].cumsum(0), (1, 0))
    steps = rotate_y(nn.functional.pad(root_steps, (0, 1))[:, [0, 2, 1]], heading[:-1])
    places = clip[start, 0] * _GROUND + nn.functional.pad(steps.cumsum(0), (0, 0, 1, 0))
    loop = rotate_y(pose, heading[:-1, None]) + places[:-1, None]
    x, _, z = (places[-1] - places[0]).tolist()
    turn = math.degrees(heading[-1] - heading[0])
    return loop.float().numpy(), Cycle(start / fps, end / fps, (x, z), turn)


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
    loop = _doubles(joints)
    origin, travel = loop[0, 0] * _GROUND, torch.tensor([cycle.travel[0], 0.0, cycle.travel[1]], dtype=loop.dtype)
    angles = math.radians(cycle.turn) * torch.arange(min(first, 0), max(first + count, 0) + 1, dtype=loop.dtype)
    places = nn.functional.pad(rotate_y(travel.expand(len(angles) - 1, 3), angles[:-1]).cumsum(0), (0, 0, 1, 0))
    places = places + origin - places[max(-first, 0)]
    numbers = range(max(first, 0), max(first, 0) + count + 1)
    parts = [
        rotate_y((loop if number < numbers[-1] else loop[:1]) - origin, angles[number]) + places[number]
        for number in numbers
    ]
    return torch.cat(parts).float().numpy()


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
    loop = _doubles(joints)
    turn, floor = -headings(loop[0], skeleton), loop[..., 1].min()
    origin = torch.stack([loop[0, 0, 0], floor, loop[0, 0, 2]])
    x, _, z = rotate_y(loop.new_tensor([cycle.travel[0], 0.0, cycle.travel[1]]), turn).tolist()
    return rotate_y(loop - origin, turn).float().numpy(), replace(cycle, travel=(x, z))


def _doubles(joints: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(joints, np.float64))


def _meet(values: torch.Tensor, start: int, end: int, fade: int, reach: int) -> torch.Tensor:
    """Return rows `start` up to `end`, changed so that row `end` would be row `start`, and goes on alike.

    What differs fades within `fade` rows; slopes are those of `reach` rows on both sides.
    """

    def slope_at(row: int) -> torch.Tensor:
        first, last = max(row - reach, 0), min(row + reach, len(values) - 1)
        return (values[last] - values[first]) / (last - first)

    apart, slower = values[end] - values[start], slope_at(end) - slope_at(start)
    time = torch.arange(fade + 1, dtype=values.dtype)[:, None] / fade
    place, slope = 1 - 3 * time**2 + 2 * time**3, fade * (time - 2 * time**2 + time**3)
    result = values[start:end].clone()
    result[: fade + 1] += (place * apart / 2 + slope * slower / 2)[: len(result)]
    result[len(result) - fade :] -= (place * apart / 2 - slope * slower / 2).flip(0)[:-1]
    return result


def _in_own_facing(joints: torch.Tensor, skeleton: Skeleton) -> tuple[torch.Tensor, ...]:
    """Return pose `(T, J, 3)`, steps of the root to the next frame `(T, 2)`, turns `(T,)`, bone lengths `(T, J)`."""
    heading = unwrap(headings(joints, skeleton))
    pose = rotate_y(joints - joints[:, :1] * _GROUND, -heading[:, None])
    steps, turns = rotate_y(joints[:, 0].diff(dim=0), -heading[:-1])[:, [0, 2]], heading.diff()
    steps, turns = (torch.cat([rows, rows[-1:]]) for rows in (steps, turns))  # the last frame goes on as before
    return pose, steps, turns, bone_directions(joints, skeleton)[1]


__all__ = ["Cycle", "close_cycle", "find_loop", "generate_loops", "repeated"]
