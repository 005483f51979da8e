"""Joints as read from a BVH or an AMC; of several bodies in one file, which joints belong together and who is read."""

import dataclasses
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .rig_guess import guess_rig
from .rigs import fits


@dataclass
class Animation:
    """Joints of a rig as read from a file, in its own units and axes.

    Args:
        names (`list[str]`): name of each joint; the name of a joint's end site ends in " end".
        parents (`list[int]`): -1 for the root.
        positions (`np.ndarray` of shape `(num_frames, num_joints, 3)`): world positions.
        fps (`float`): frames per second.
        rest (`np.ndarray` of shape `(num_joints, 3)`, *optional*): positions without any rotation.
        is_ours (`bool`): joints have the names and orders of rotation of this package's files, whose unit is a metre
            and whose rest pose stands along Y.
        states_rate (`bool`): the file itself says its frames per second.
    """

    names: list[str]
    parents: list[int]
    positions: np.ndarray
    fps: float
    rest: np.ndarray | None = None
    is_ours: bool = False
    states_rate: bool = True


def choose_body(animation: Animation, rig: dict | None = None, name: str | None = None) -> Animation:
    """Return one body of a file: the named one, or the first, with a warning that lists them where there are several.

    A body has the name of its first joint; of several with this name, the second has "#2" behind it.

    Args:
        animation ([`Animation`]): any rig; things without a body's joints may stand beside the bodies.
        rig (`dict`, *optional*): bone map of the bodies, see `rigs.yaml`.
        name (`str`, *optional*): of the body.

    Raises:
        ValueError: when there is no body of this name, listing those there are.
    """
    bodies = find_bodies(animation, rig)
    if name is None and len(bodies) > 1:
        listed = ", ".join(bodies)
        warnings.warn(
            f"there are {len(bodies)} bodies ({listed}); the first is read; choose one with --body (body=)",
            stacklevel=5,
        )
    if name is not None and name not in bodies:
        raise ValueError(f"there is no body {name!r}; bodies: {', '.join(bodies)}")
    return take(animation, bodies[name] if name is not None else next(iter(bodies.values())))


def find_bodies(animation: Animation, rig: dict | None) -> dict[str, list[int]]:
    """Return the joints of each body by its name: branches whose joints are a known rig's, or look like a body.

    Args:
        animation ([`Animation`]): any rig; things without a body's joints may stand beside the bodies.
        rig (`dict`, *optional*): bone map of the bodies, see `rigs.yaml`.
    """

    def is_known(joints: list[int]) -> bool:
        return fits([animation.names[joint] for joint in joints], rig)

    def looks_like_body(joints: list[int]) -> bool:
        branch = take(animation, joints)
        places = branch.positions[:: max(1, len(branch.positions) // 10)]
        try:
            guess_rig(branch.names, branch.parents, places)
        except ValueError:
            return False
        return True

    bodies = _divide(animation.parents, is_known, follow=True)
    if len(bodies) == 1 and not is_known(bodies[0]):
        bodies = _divide(animation.parents, looks_like_body, follow=False)
    names = [animation.names[body[0]] for body in bodies]
    numbers = [Counter(names[:i])[name] + 1 for i, name in enumerate(names)]
    return {name if n == 1 else f"{name}#{n}": body for name, n, body in zip(names, numbers, bodies)}


def _divide(parents: list[int], is_body: Callable[[list[int]], bool], follow: bool) -> list[list[int]]:
    """Divide joints into bodies; all joints are one, unless a branch by itself is a body.

    Args:
        parents (`list[int]`): of the joints, each behind its parent.
        is_body (`Callable`): tells if the joints of a branch are those of a body.
        follow (`bool`): a branch that alone is a body is one without the joints beside it, too; otherwise branches are
            bodies only where there are several.
    """
    joint, body = 0, list(range(len(parents)))
    sizes = [1] * len(parents)  # joints in the branch that begins at each
    for child in reversed(range(1, len(parents))):
        sizes[parents[child]] += sizes[child]
    for _ in range(_FORKS):
        children = [i for i in range(joint + 1, len(parents)) if parents[i] == joint and sizes[i] >= _FEWEST_JOINTS]
        branches = [_branch(child, parents) for child in children[:_MOST_BODIES]]
        bodies = [branch for branch in branches if is_body(branch)]
        if len(bodies) > 1:
            return bodies
        if follow and bodies:
            body = bodies[0]
        elif follow or len(branches) != 1:
            break
        joint = (bodies or branches)[0][0]
    return [body]


_FORKS = 8  # how deep below the root bodies are looked for
_FEWEST_JOINTS, _MOST_BODIES = 12, 50  # of a body, and in a file


def _branch(joint: int, parents: list[int]) -> list[int]:
    inside = {joint}
    for i in range(joint + 1, len(parents)):
        if parents[i] in inside:
            inside.add(i)
    return sorted(inside)


def take(animation: Animation, joints: list[int]) -> Animation:
    """Return some of the joints; those whose parent is not among them become roots."""
    rows = {-1: -1} | {joint: row for row, joint in enumerate(joints)}
    rest: np.ndarray | None = animation.rest
    return dataclasses.replace(
        animation,
        names=[animation.names[joint] for joint in joints],
        parents=[rows.get(animation.parents[joint], -1) for joint in joints],
        positions=animation.positions[:, joints],
        rest=None if rest is None else rest[joints],
    )
