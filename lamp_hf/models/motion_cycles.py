"""Cycles of a clip: pairs of frames that are so alike that what lies between them may be repeated.

Frames are those of features at the skeleton's own rate; distances are in metres, speeds in metres a frame.
"""

import numpy as np

from .skeleton import HUMANML3D, Skeleton


SHORTEST_CYCLE = 16  # frames
_SHORTEST_LOOP = 0.5  # seconds
RAMP = 8  # frames in which one repetition is blended into the next
REST = 0.02  # metres a frame: every joint is slower where a clip may come to rest
SHOWN = 0.8  # share of the movement of a cycle, or of a clip, that has to recur elsewhere, or in a part of it
_ALIKE = 0.08  # root mean square in metres of what separates two frames that may be joined
_FARTHEST, _FASTEST = 0.1, 0.02  # greatest difference of any joint there: metres, and metres a frame
_QUICK = 0.05  # metres a frame: poses that change as fast may be twice as far apart, for they fall between frames
_SEAMS = 64  # pairs of frames that are looked at more closely in each clip
_STEADY = 0.6  # least ratio of the speeds of a cycle and its clip
_WINDOW = 600  # frames of a long clip that are searched together, and of the longest loop that is looked for
_LONG = 0.15  # how much nearer alike the ends of a cycle have to be that is twice as long
_MOVING = 0.2  # the same for a cycle that is cut where the body moves twice as fast as it does on average
_OFF = 0.5  # the same for a cycle that is twice as long, or half as long, as is asked for


def find_cycles(features: np.ndarray) -> np.ndarray:
    """Find where a clip may be repeated: what lies between two frames that are nearly alike and goes on and on.

    Frames are compared by pose, root-relative and in the body's own facing, velocities and contacts. The movement
    between them has about the speed of the whole clip and either occurs elsewhere in it or is under way at both ends
    of a short cycle, as in a walk of two steps: a kick between two rests is no cycle. Of many pairs, 64 are examined.

    Returns:
        `np.ndarray` of shape `(num_cycles, 2)`: the first frame of each cycle and the one after its last.
    """
    if len(features) < SHORTEST_CYCLE + RAMP:
        return np.zeros((0, 2), int)
    apart, alike = differences(features)
    pairs = np.argwhere(np.triu(apart[:, : len(features) - RAMP] < alike, SHORTEST_CYCLE))
    if len(pairs) > _SEAMS:
        pairs = pairs[np.random.default_rng(0).choice(len(pairs), _SEAMS, replace=False)]
    pairs = pairs[_joinable(pairs, features, alike, HUMANML3D)]
    speed = speeds(features)
    return np.array([pair for pair in pairs.tolist() if _goes_on(*pair, apart, alike, speed)], int).reshape(-1, 2)


def check_loop_length(seconds: float, skeleton: Skeleton) -> None:
    """Refuse a loop that is shorter or longer than those that [`best_cycle`] looks for.

    Raises:
        ValueError: when it is not from 0.5 to 30 seconds long, at 20 frames per second.
    """
    longest = _WINDOW / skeleton.fps
    if not _SHORTEST_LOOP <= seconds <= longest:
        raise ValueError(f"a loop lasts from {_SHORTEST_LOOP:g} to {longest:g} seconds, not {seconds:g}")


def best_cycle(features: np.ndarray, skeleton: Skeleton, seconds: float | None = None) -> tuple[int, int]:
    """Return the cycle of a clip whose ends are most alike, as the first frame and the one after its last.

    Of cycles whose ends are equally alike, it is the shortest, or the one that lasts most nearly as long as is asked
    for: a whole number of repetitions, at most 1.41 times longer or shorter.

    Args:
        features (`np.ndarray` of shape `(num_frames, num_features)`): of the clip; a long one is searched in parts of
            600 frames.
        skeleton ([`Skeleton`]): of the features.
        seconds (`float`, *optional*): how long the cycle is to last, see [`check_loop_length`].

    Raises:
        ValueError: when the clip has no cycle, or none as long is looked for, saying why.
    """
    if seconds is not None:
        check_loop_length(seconds, skeleton)
    shortest = round(_SHORTEST_LOOP * skeleton.fps)
    if len(features) < shortest + 2:
        raise ValueError(f"a cycle lasts {_SHORTEST_LOOP:g} seconds or more, the motion is shorter")
    starts = range(0, max(len(features) - _WINDOW // 2, 1), _WINDOW // 2)
    found, nearest = [], None
    for first in starts:
        part = features[first : first + _WINDOW]
        apart, alike = differences(part, skeleton)
        pairs = np.argwhere(np.triu(np.ones_like(apart, bool), shortest))
        pairs, rank = _asked_for(pairs, None if seconds is None else seconds * skeleton.fps)
        if not len(pairs):
            continue
        distance = apart[pairs[:, 0], pairs[:, 1]]
        if nearest is None or distance.min() < nearest[0]:
            nearest = float(distance.min()), (pairs[distance.argmin()] + first) / skeleton.fps
        speed = speeds(part, skeleton)
        rank = rank + _MOVING * speed[pairs[:, 0]] / speed.mean()
        close = distance < alike
        pairs, rank = pairs[close], (distance / min(alike, np.median(distance) + 1e-6) + rank)[close]
        joinable = _joinable(pairs, part, alike, skeleton)
        pairs, rank = pairs[joinable], rank[joinable]
        order = np.argsort(rank, kind="stable")
        good = (row for row in order if _goes_on(*pairs[row].tolist(), apart, alike, speed))
        if (best := next(good, None)) is not None:
            found.append((rank[best], *(pairs[best] + first).tolist()))
    if not found:
        raise ValueError(_why_not(nearest, seconds))
    _, start, end = min(found)
    return start, end


def _asked_for(pairs: np.ndarray, frames: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs that are far enough apart, and how much their distance in time counts against each."""
    lengths = pairs[:, 1] - pairs[:, 0]
    if frames is None:
        return pairs, _LONG * np.log2(lengths / SHORTEST_CYCLE)
    off = np.abs(np.log2(lengths / frames))
    return pairs[off <= 0.5], _OFF * off[off <= 0.5]


def _why_not(nearest: tuple[float, np.ndarray] | None, seconds: float | None) -> str:
    if nearest is None:
        return f"the motion is too short for a cycle of {seconds:g} seconds"
    distance, (start, end) = nearest
    wanted = "" if seconds is None else f" of about {seconds:g} seconds"
    return (
        f"the motion has no cycle{wanted}: nothing in it goes on and on; the most similar moments, at {start:.2f} and "
        f"{end:.2f} s, are {100 * distance:.0f} cm apart"
    )


def differences(features: np.ndarray, skeleton: Skeleton = HUMANML3D) -> tuple[np.ndarray, float]:
    """Return what separates any two frames, `(num_frames, num_frames)` in metres, and how much of it is little.

    It is the root mean square over joints of the distance and of what half a blend adds to it at constant velocities.
    """
    pose, velocity, _ = poses(features, skeleton)
    both = np.concatenate([pose, RAMP / 2 * velocity], -1).reshape(len(features), -1) / np.sqrt(pose.shape[1])
    squares = (both * both).sum(-1)
    apart = np.sqrt(np.maximum(squares[:, None] + squares - 2 * both @ both.T, 0))
    change = np.linalg.norm(np.diff(pose, axis=0), axis=-1).mean()
    return apart, float(_ALIKE * (1 + min(change / _QUICK, 1)))


def speeds(features: np.ndarray, skeleton: Skeleton = HUMANML3D) -> np.ndarray:
    """Return the mean speed of the joints in each frame, `(num_frames,)`, in metres a frame."""
    return np.linalg.norm(poses(features, skeleton)[1], axis=-1).mean(-1) + 1e-6


def poses(features: np.ndarray, skeleton: Skeleton = HUMANML3D) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pose and velocity `(num_frames, J, 3)`, in the body's own facing, and contacts `(num_frames, 4)`."""
    columns, metres = skeleton.slices, np.float32(skeleton.metres)
    root = np.pad(features[:, columns["root_height"]], ((0, 0), (1, 1)))[:, None]
    positions, velocities = (
        features[:, columns[name]].reshape(len(features), -1, 3) for name in ("positions", "velocities")
    )
    contacts = features[:, columns["contacts"]] > 0.5  # generated ones lie between 0 and 1
    return np.concatenate([root, positions], 1) * metres, velocities * metres, contacts


def _joinable(pairs: np.ndarray, features: np.ndarray, alike: float, skeleton: Skeleton) -> np.ndarray:
    """Tell of each pair of frames if no joint is far away, or moves otherwise, and the same feet are on the ground."""
    pose, velocity, contacts = poses(features, skeleton)
    one, other = pairs.T
    slack = alike / _ALIKE
    good = np.linalg.norm(pose[one] - pose[other], axis=-1).max(-1, initial=0) < slack * _FARTHEST
    good &= np.linalg.norm(velocity[one] - velocity[other], axis=-1).max(-1, initial=0) < slack**2 * _FASTEST
    return good & (contacts[one] == contacts[other]).all(-1)


def _goes_on(start: int, end: int, apart: np.ndarray, alike: float, speed: np.ndarray) -> bool:
    """Return True if what happens between two similar frames is what the whole clip is about, and is no single act."""
    cycle = speed[start:end].mean()
    if not _STEADY * speed.mean() <= cycle <= speed.mean() / _STEADY:
        return False
    elsewhere = np.r_[:start, end : len(apart)]
    known = apart[start:end, elsewhere].min(-1, initial=np.inf) < 1.5 * alike
    recurs = np.average(known, weights=speed[start:end]) >= SHOWN
    under_way = min(speed[start], speed[end]) > max(_STEADY * cycle, REST / 3)
    return bool(recurs or (under_way and end - start <= 2 * SHORTEST_CYCLE))


__all__ = ["best_cycle", "check_loop_length", "differences", "find_cycles", "poses", "speeds"]
