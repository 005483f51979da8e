"""Holds standing feet in their places while the rest of the body has moved."""

import itertools
import math
from dataclasses import dataclass

import torch
from torch import nn

from .motion_representation import shortest_rotation
from .skeleton import Skeleton
from .smooth_curves import bridge


_HEIGHT = 0.07  # metres above the lowest height of the toe; a lower toe may stand
_SPEED, _SHARE = 0.6, 0.25  # metres per second, and share of the root's speed; a slower toe may stand
_STRIDE, _STANDING = 0.4, 0.6  # metres and seconds; a foot that is dragged as far and stands as long makes a step
_SAME_PLACE = 0.05  # metres; a foot that stands twice within this makes no step
_SHORTEST_SWING, _SWING_SPEED = 0.25, 6.0  # seconds and metres per second of a step
_LIFT, _HIGHEST = 0.3, 0.12  # height of a step, as a share of its length and at most in metres
_REACH = 0.12  # seconds within which a raised foot comes from one place and goes to the next


def standing_feet(joints: torch.Tensor, skeleton: Skeleton, fps: float) -> torch.Tensor:
    """Find the frames in which the left and the right toe are low and slow, `(num_frames, 2)`, in joints in metres.

    Gaps and stands of a single frame are none.
    """
    toes = joints[:, skeleton.toes]
    if len(toes) < 3:
        return torch.ones(len(toes), 2, dtype=torch.bool)
    speed, root = (torch.gradient(part, dim=0)[0].norm(dim=-1) * fps for part in (toes, joints[:, :1]))
    low = toes[..., 1] - toes[..., 1].quantile(0.02, dim=0) < _HEIGHT
    stands = (low & (speed < _SPEED + _SHARE * root)).to(joints).T[:, None]

    def widened(mask: torch.Tensor) -> torch.Tensor:
        return nn.functional.max_pool1d(nn.functional.pad(mask, (1, 1), mode="replicate"), 3, 1)

    closed = 1 - widened(1 - widened(stands))
    return (widened(1 - widened(1 - closed)) > 0.5)[:, 0].T


def place_feet(
    joints: torch.Tensor,
    heights: torch.Tensor,
    standing: torch.Tensor,
    held: torch.Tensor,
    skeleton: Skeleton,
    fps: float,
) -> torch.Tensor:
    """Let each foot stand in one place as long as it stands; it moves as a whole, and the knee follows.

    Args:
        joints (`torch.DoubleTensor` of shape `(num_frames, num_joints, 3)`): metres.
        heights (`torch.DoubleTensor` of shape `(num_frames, 2)`): of the left and the right toe while they stand.
        standing, held (`torch.BoolTensor` of shape `(num_frames, 2)`): where each foot stands, and where it must not
            be moved.
        skeleton ([`Skeleton`]): the joint tree.
        fps (`float`): frames per second.

    Returns:
        `torch.DoubleTensor` of the same shape.
    """
    for side, toe in enumerate(skeleton.toes):
        stands = _stands(joints[:, toe], standing[:, side], held[:, side], side, fps)
        shift = _shifts(joints[:, toe], heights[:, side], stands, held[:, side], fps)
        joints = move_foot(joints, toe, shift, skeleton)
    return joints


@dataclass
class _Stand:
    """Frames `[first, last)` in which a foot stands, those of them that are held, `[kept, until)`, and its place."""

    first: int
    last: int
    kept: int
    until: int
    place: torch.Tensor


def _shifts(toe: torch.Tensor, height: torch.Tensor, stands: list[_Stand], held: torch.Tensor, fps: float):
    """Return the shift that a toe needs in each frame, `(num_frames, 3)`."""
    rows = [torch.arange(stand.first, stand.last) for stand in stands]
    if not rows:
        return torch.zeros_like(toe)
    frames, place = torch.cat(rows), torch.cat([stand.place.expand(len(row), 3) for stand, row in zip(stands, rows)])
    level = torch.cat([torch.full((len(row),), stand.kept == stand.until) for stand, row in zip(stands, rows)])
    place = torch.stack([place[:, 0], torch.where(level, height[frames], place[:, 1]), place[:, 2]], 1)
    shift = bridge(len(toe), frames.double(), place - toe[frames], _REACH * fps, to_zero=True)
    lowest = torch.full_like(height, float(height.min()))
    for one, other in itertools.pairwise(stands):
        swing = torch.linspace(0, math.pi, other.first - one.last + 2, dtype=toe.dtype)[1:-1]
        lift = (_LIFT * (other.place - one.place).norm()).clamp(max=_HIGHEST)
        lowest[one.last : other.first] += lift * swing.sin() ** 1.5
    raised = torch.maximum(shift[:, 1], lowest - toe[:, 1])
    shift[:, 1] = torch.where(held, shift[:, 1], raised)
    return shift


def _stands(toe: torch.Tensor, standing: torch.Tensor, held: torch.Tensor, side: int, fps: float) -> list[_Stand]:
    """List when and where a foot stands, with steps where it has to be in two places."""
    stands: list[_Stand] = []
    for first, last in _runs(standing | held):
        fixed = held[first:last].nonzero()[:, 0] + first
        if len(fixed) > 1:
            apart = toe[fixed].diff(dim=0).norm(dim=-1) > _SAME_PLACE
            cuts = ((fixed[1:] + fixed[:-1] + 1) // 2)[apart].tolist()
        else:
            drag = float((toe[last - 1] - toe[first]).norm())
            steps = min(int(drag // _STRIDE), int((last - first) // (_STANDING * fps)))
            cuts = [round(first + (k + side / 2) * (last - first) / (steps + 1)) for k in range(1, steps + 1)]
        for start, end in itertools.pairwise(sorted({first, *(cut for cut in cuts if first < cut < last), last})):
            kept = fixed[(fixed >= start) & (fixed < end)]
            place = toe[kept].mean(0) if len(kept) else toe[start:end].mean(0)
            span = (int(kept[0]), int(kept[-1]) + 1) if len(kept) else (start, start)
            stands.append(_Stand(start, end, *span, place))
    for one, other in itertools.pairwise(stands):
        distance = float((other.place - one.place)[[0, 2]].norm())
        if distance > _SAME_PLACE:
            missing = round(fps * max(_SHORTEST_SWING, distance / _SWING_SPEED)) - (other.first - one.last)
            least = max(one.first + 1, one.until)
            most = min(other.last - 1, other.kept if other.until > other.kept else other.last - 1)
            one.last = max(one.last - max(missing, 0) // 2, min(least, one.last))
            other.first = min(other.first + (max(missing, 0) + 1) // 2, max(most, other.first))
    return stands


def _runs(mask: torch.Tensor) -> list[tuple[int, int]]:
    """Return the frames `[first, last)` of each run of true values."""
    edges = nn.functional.pad(mask.int(), (1, 1)).diff().nonzero()[:, 0]
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


def move_foot(joints: torch.Tensor, toe: int, shifts: torch.Tensor, skeleton: Skeleton) -> torch.Tensor:
    """Move the foot that ends in `toe` and let the knee follow; thigh, shin and foot keep their lengths.

    A leg that is too short to reach straightens as far as it can do so smoothly.

    Args:
        joints (`torch.Tensor` of shape `(num_frames, num_joints, 3)`): positions.
        toe (`int`): the joint at the end of the foot.
        shifts (`torch.Tensor` of shape `(num_frames, 3)`): how far to move it.
        skeleton ([`Skeleton`]): the joint tree.

    Returns:
        `torch.Tensor` of the same shape.
    """
    hip, knee, ankle, *foot = skeleton.leg(toe)
    start, middle, end = joints[:, hip], joints[:, knee], joints[:, ankle]
    thigh, shin = _length(middle - start), _length(end - middle)
    old_direction, target = _unit(end - start), end + shifts - start
    direction = _unit(target)
    reach = _soft_reach(_length(end - start), _length(target), longest=thigh + shin)
    reach = reach.clamp((thigh - shin).abs(), thigh + shin)
    along = (thigh**2 - shin**2 + reach**2) / (2 * reach.clamp(min=1e-9))
    bend = middle - start  # made perpendicular to the leg: the direction in which the knee bends
    bend = bend - (bend * old_direction).sum(-1, keepdim=True) * old_direction
    straight = _length(bend) < 0.01 * thigh
    across = joints[:, skeleton.hips[1]] - joints[:, skeleton.hips[0]]  # to the left; a straight knee bends forward
    bend = _unit(torch.where(straight, torch.linalg.cross(across, -old_direction, dim=-1), bend))
    bend = (shortest_rotation(old_direction, direction) @ bend[..., None])[..., 0]
    result = joints.clone()
    result[:, knee] = start + along * direction + (thigh**2 - along**2).clamp(min=0).sqrt() * bend
    result[:, ankle] = start + reach * direction
    result[:, foot] += (result[:, ankle] - end)[:, None]
    return result


def _soft_reach(old: torch.Tensor, wanted: torch.Tensor, longest: torch.Tensor) -> torch.Tensor:
    """Return how far a leg that reached `old` reaches: as far as `wanted`, or less as that nears the `longest`.

    Without this, a knee that is stretched in one frame would jump.
    """
    room = (longest - old).clamp(min=1e-6)
    return old + torch.where(wanted > old, room * -torch.expm1(-(wanted - old).clamp(min=0) / room), wanted - old)


def _length(vectors: torch.Tensor) -> torch.Tensor:
    return vectors.norm(dim=-1, keepdim=True)


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    return vectors / _length(vectors).clamp(min=1e-9)


__all__ = ["move_foot", "place_feet", "standing_feet"]
