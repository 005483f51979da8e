"""Leads a motion along a path: its rhythm, its heading and its place change, the poses of its body do not."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from .motion_representation import headings, rotate_y
from .skeleton import Skeleton
from .smooth_curves import bridge, interpolation, smoothed, stiffness, unwrap


_REACH = 0.5  # seconds within which the path bends, and a body turns
_SMOOTHING = 0.25  # seconds; directions and speeds are read from paths smoothed by this, without the sway of steps
_WALKING = 0.3  # metres per second; a slower body says little of where it is going
_STAYING = 0.005  # weight of not turning at all, against 1 of turning with the path
_FORWARD = 0.15  # metres per second; a body that hardly moves counts as about to walk forward
_STANDING = 0.6  # metres per second added to both speeds where rhythms are compared, so that none comes to a halt


@dataclass
class RootTargets:
    """Places and headings of the root at some frames.

    Args:
        frames, points, weights (`torch.DoubleTensor` of shape `(n,)`, `(n, 2)` and `(n,)`): frames, x and z in metres,
            and how closely to keep to them.
        facing_frames, facings (`torch.DoubleTensor` of shape `(m,)`): frames, and headings there in radians.
    """

    frames: torch.Tensor
    points: torch.Tensor
    weights: torch.Tensor
    facing_frames: torch.Tensor
    facings: torch.Tensor


def follow(
    joints: torch.Tensor, targets: RootTargets, skeleton: Skeleton, fps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Move and turn a body so that its root meets targets.

    First the motion is played faster where the new path is faster than the old one, and slower where it is slower.
    Then the body turns as its path does, so that it walks forward, backward or sideways as before. What is left to the
    targets is made up by a smooth shift.

    Args:
        joints (`torch.DoubleTensor` of shape `(num_frames, num_joints, 3)`): metres.
        targets ([`RootTargets`]): where the root has to be.
        skeleton ([`Skeleton`]): the joint tree.
        fps (`float`): frames per second.

    Returns:
        `torch.DoubleTensor` of the same shape, and the frame of the motion that is played at each, `(num_frames,)`.
    """
    played = torch.arange(len(joints), dtype=torch.float64)
    if not len(targets.frames) and not len(targets.facings):
        return joints, played
    reach, num_frames = _REACH * fps, len(joints)
    sampling = interpolation(targets.frames, num_frames)

    def through_targets(path: torch.Tensor) -> torch.Tensor:
        if not len(targets.frames):
            return path
        missing = targets.points - sampling @ path
        return path + bridge(num_frames, targets.frames, missing, reach, weights=targets.weights)

    wanted = through_targets(joints[:, 0, [0, 2]])
    played = rhythm(joints[:, 0, [0, 2]], wanted, fps)
    joints = sample(joints, played)
    turn = _turns(joints, wanted, targets, skeleton, fps)
    path = joints[:, :1] * joints.new_tensor([1.0, 0.0, 1.0])
    steps = rotate_y(path.diff(dim=0), turn[1:, None])[:, 0, [0, 2]]
    new = through_targets(torch.cat([path[:1, 0, [0, 2]], path[0, 0, [0, 2]] + steps.cumsum(0)]))
    return rotate_y(joints - path, turn[:, None]) + nn.functional.pad(new, (0, 1))[:, None, [0, 2, 1]], played


def rhythm(path: torch.Tensor, wanted: torch.Tensor, fps: float) -> torch.Tensor:
    """Return which frame to play when, so that a root on `path` is as fast as one on `wanted`, both `(num_frames, 2)`.

    Faster, that is, where the other is faster: the motion still ends with its end.
    """
    own, new = (_distances(line, fps) for line in (path, wanted))
    frames = torch.arange(len(path), dtype=torch.float64)
    if min(own[-1], new[-1]) < 1e-3:
        return frames
    idle = frames * _STANDING / fps
    return torch.from_numpy(np.interp(new * own[-1] / new[-1] + idle, own + idle, frames))


def sample(joints: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Read joints `(num_frames, num_joints, 3)` at frames `(n,)`; between two, positions are interpolated."""
    first = frames.floor().long().clamp(0, max(len(joints) - 2, 0))
    share = (frames - first)[:, None, None]
    return (1 - share) * joints[first] + share * joints[(first + 1).clamp(max=len(joints) - 1)]


def _distances(path: torch.Tensor, fps: float) -> torch.Tensor:
    """Return how far a path `(num_frames, 2)` has gone at each frame, without the sway of steps."""
    steps = smoothed(path, _SMOOTHING * fps).diff(dim=0).norm(dim=-1)
    return nn.functional.pad(steps.cumsum(0), (1, 0))


def _turns(joints: torch.Tensor, wanted: torch.Tensor, targets: RootTargets, skeleton: Skeleton, fps: float):
    """Return the angle by which to turn the body in each frame, `(num_frames,)`."""
    num_frames, heading = len(joints), unwrap(headings(joints, skeleton))
    speed, own = (_velocities(path, fps) for path in (wanted, joints[:, 0, [0, 2]]))
    own = rotate_y(own, -heading)  # where it walks, as its body sees it
    own = smoothed(own + own.new_tensor([0.0, 0.0, _FORWARD]), _REACH * fps)
    turn = torch.atan2(speed[:, 0], speed[:, 2]) - torch.atan2(own[:, 0], own[:, 2]) - heading
    trust = speed.norm(dim=-1) ** 2
    trust = (trust / (trust + _WALKING**2)) ** 2
    walking = trust > 0.25
    if walking.any():
        turn[walking] = unwrap(_wrap(turn[walking]))
    matrix = stiffness(num_frames, _REACH * fps, even=True) + _STAYING * torch.eye(num_frames, dtype=joints.dtype)
    if len(targets.facings):
        given = interpolation(targets.facing_frames, num_frames)
        nearest = given @ torch.linalg.solve(matrix + torch.diag(trust), trust * turn)
        missing = targets.facings - given @ heading
        missing = nearest + _wrap(missing - nearest)
        missing = missing[:1] + nn.functional.pad(_wrap(missing.diff()).cumsum(0), (1, 0))
        near = bridge(num_frames, targets.facing_frames, torch.ones(len(missing), 1, dtype=joints.dtype), 10.0, True)
        trust = trust * (1 - near[:, 0]).clamp(0, 1)
        matrix = matrix + 1e4 * given.T @ given
        return torch.linalg.solve(matrix + torch.diag(trust), trust * turn + 1e4 * given.T @ missing)
    return torch.linalg.solve(matrix + torch.diag(trust), trust * turn)


def _velocities(path: torch.Tensor, fps: float) -> torch.Tensor:
    """Return velocities `(num_frames, 3)` over the floor of a smoothed path `(num_frames, 2)`."""
    path = smoothed(path, _SMOOTHING * fps)
    (velocity,) = torch.gradient(path, dim=0) if len(path) > 1 else (torch.zeros_like(path),)
    return nn.functional.pad(velocity * fps, (0, 1))[:, [0, 2, 1]]


def _wrap(angles: torch.Tensor) -> torch.Tensor:
    """Return angles within half a turn of 0."""
    return angles - 2 * math.pi * torch.round(angles / (2 * math.pi))


__all__ = ["RootTargets", "follow", "rhythm", "sample"]
