"""Brings joints to targets at key frames by inverse kinematics of the whole body, spread smoothly over time."""

import torch
from torch import nn

from .motion_representation import bone_directions
from .skeleton import Skeleton
from .smooth_curves import bridge


_REACH = 0.25  # seconds; the motion is back to itself about three times as long after a key pose
_STEPS = 10  # of the solver
_DAMPING = 0.1  # of the first step; halved with each
_LONGEST_STEP = 0.7  # radians that a bone turns in one of them
_STIFFNESS = 2e-5  # square metres of a target's error that a limb's turn of a radian is worth
_TRUNK = 20.0  # how much stiffer the trunk is than a limb
_ROOT = (1e6, 200.0, 1e6)  # of limbs, a shift of the root by a metre in x, y, z is worth: it stays on its path


def apply_key_poses(
    joints: torch.Tensor, frames: torch.Tensor, targets: torch.Tensor, skeleton: Skeleton, fps: float
) -> torch.Tensor:
    """Bring joints to targets at some frames, and let the frames around lead there.

    Args:
        joints (`torch.DoubleTensor` of shape `(num_frames, num_joints, 3)`): metres.
        frames (`torch.LongTensor` of shape `(n,)`): key frames, each once.
        targets (`torch.DoubleTensor` of shape `(n, num_joints, 3)`): metres; NaN for joints without a target.
        skeleton ([`Skeleton`]): the joint tree.
        fps (`float`): frames per second.

    Returns:
        `torch.DoubleTensor` of the same shape, on bones of the same lengths.
    """
    if not len(frames):
        return joints
    directions, lengths = bone_directions(joints, skeleton)
    turned, shift = solve(joints[frames], targets, skeleton)
    keys = torch.cat([rotation_between(directions[frames], turned).flatten(1), shift], 1)
    curves = bridge(len(joints), frames.double(), keys, _REACH * fps, to_zero=True)
    turns, shifts = curves[:, :-3].unflatten(1, (-1, 3)), curves[:, -3:]
    bones = rotate(directions, turns) * lengths[..., None]
    return joints[:, :1] + shifts[:, None] + skeleton.ancestors.to(joints) @ bones


def solve(joints: torch.Tensor, targets: torch.Tensor, skeleton: Skeleton) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn the bones of bodies so that joints reach targets, each turned against its parent as little as possible.

    Damped Gauss-Newton steps on the turns of all bones and the place of the root.

    Args:
        joints, targets (`torch.DoubleTensor` of shape `(n, num_joints, 3)`): bodies, and where their joints should be,
            NaN where it does not matter.
        skeleton ([`Skeleton`]): the joint tree.

    Returns:
        Bone directions `(n, num_joints, 3)` and the shift of the root `(n, 3)`.
    """
    start, lengths = bone_directions(joints, skeleton)
    ancestors = skeleton.ancestors.to(joints)
    weights = (~targets.isnan().any(-1)).to(joints)
    targets = targets.nan_to_num()
    bend = start.new_tensor([[0.03, 0.0, 0.03], [-0.03, 0.0, 0.03]]).repeat(skeleton.num_joints, 1)
    bent = nn.functional.normalize(start + bend[: skeleton.num_joints], dim=-1)  # a straight limb cannot be shortened
    directions, shift = _towards(bent, targets, weights, skeleton), torch.zeros_like(joints[:, 0])
    prior = torch.kron(_turning_costs(skeleton).to(joints), torch.eye(3, dtype=joints.dtype))
    prior = torch.block_diag(prior, _STIFFNESS * torch.diag(joints.new_tensor(_ROOT)))
    size, root = 3 * skeleton.num_joints, torch.eye(3, dtype=joints.dtype).repeat(skeleton.num_joints, 1)
    for step_number in range(_STEPS):
        bones = directions * lengths[..., None]
        error = (joints[:, :1] + shift[:, None] + ancestors @ bones - targets).flatten(1)
        # d position / d turn of a bone = -[bone]x, for each joint beyond the bone
        turned = ancestors[None, :, None, :, None] * -_cross(bones)[:, None].transpose(2, 3)
        jacobian = torch.cat([turned.reshape(len(joints), size, size), root.expand(len(joints), -1, -1)], -1)
        weighted = (jacobian * weights.repeat_interleave(3, 1)[..., None]).transpose(1, 2)
        now = torch.cat([rotation_between(start, directions).flatten(1), shift], 1)
        still = joints.new_zeros(size + 3)
        still[size + 1] = float(step_number < _STEPS // 2) * (weights[:, 0] == 0).all()  # limbs move before the body
        hessian = (
            weighted @ jacobian
            + prior
            + torch.diag(still) * 1e3
            + _DAMPING * 0.5**step_number * torch.eye(size + 3, dtype=joints.dtype)
        )
        gradient = (weighted @ error[..., None])[..., 0] + now @ prior
        step = torch.linalg.solve(hessian, -gradient)
        turns = step[:, :size].unflatten(1, (-1, 3))
        turns = turns * (_LONGEST_STEP / turns.norm(dim=-1, keepdim=True).clamp(min=_LONGEST_STEP))
        directions, shift = rotate(directions, turns), shift + step[:, size:]
    return directions, shift


def _towards(directions: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, skeleton: Skeleton):
    """Aim each bone that has targets at both ends."""
    parents = [0, *skeleton.parents[1:]]
    known = (weights * weights[:, parents])[..., None] > 0
    wanted = targets - targets[:, parents]
    known = known & (wanted.norm(dim=-1, keepdim=True) > 1e-6)
    return torch.where(known, nn.functional.normalize(wanted, dim=-1), directions)


def _turning_costs(skeleton: Skeleton) -> torch.Tensor:
    """Return the cost of turns of all bones, `(num_joints, num_joints)`: the turn of each against its parent."""
    costs = torch.zeros(skeleton.num_joints, skeleton.num_joints)
    for joint, parent in enumerate(skeleton.parents):
        if parent < 0:
            continue
        difference = torch.zeros(skeleton.num_joints)
        difference[joint] = 1.0
        if parent > 0:
            difference[parent] = -1.0
        name = skeleton.joint_names[joint]
        stiff = _TRUNK if not name.startswith(("left", "right")) or name.endswith(("hip", "collar")) else 1.0
        costs += _STIFFNESS * stiff * difference[:, None] * difference
    return costs


def rotation_between(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the shortest turns, as vectors along their axes of as many radians, from unit vectors to others."""
    axis = torch.linalg.cross(source, target, dim=-1)
    sin, cos = axis.norm(dim=-1, keepdim=True), (source * target).sum(-1, keepdim=True)
    other = torch.linalg.cross(source, source[..., [2, 0, 1]] + source.new_tensor([0.3, -0.5, 0.7]), dim=-1)
    axis = torch.where((sin < 1e-6) & (cos < 0), other, axis)
    return torch.atan2(sin, cos) * axis / axis.norm(dim=-1, keepdim=True).clamp(min=1e-12)


def rotate(vectors: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Turn vectors `(..., 3)` about axes by as many radians as these are long (Rodrigues)."""
    angle = turns.norm(dim=-1, keepdim=True)
    axis = turns / angle.clamp(min=1e-12)
    along = (axis * vectors).sum(-1, keepdim=True) * axis
    return along + angle.cos() * (vectors - along) + angle.sin() * torch.linalg.cross(axis, vectors, dim=-1)


def _cross(vectors: torch.Tensor) -> torch.Tensor:
    """Return the matrices `(..., 3, 3)` that multiply by `vectors` from the left in the cross product."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


__all__ = ["apply_key_poses", "rotate", "rotation_between", "solve"]
