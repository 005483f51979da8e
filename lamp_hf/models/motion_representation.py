"""The motion representation of Guo et al. (CVPR 2022): joint positions <-> redundant features.

HumanML3D uses 22 joints and 263 numbers a frame, KIT-ML 21 joints and 251 numbers. A row of features holds

| slice           | size     | content (all in the frame that faces where the body faces)                   |
|-----------------|----------|------------------------------------------------------------------------------|
| `root_yaw`      | 1        | half the yaw increment to the next frame, radians                            |
| `root_velocity` | 2        | root x, z displacement to the next frame                                     |
| `root_height`   | 1        | root y                                                                       |
| `positions`     | 3(J - 1) | joint positions with the root's x, z removed                                 |
| `rotations`     | 6(J - 1) | local joint rotations, first two matrix columns (Zhou et al., CVPR 2019)      |
| `velocities`    | 3J       | joint displacements to the next frame                                        |
| `contacts`      | 4        | left ankle, left toe, right ankle, right toe on the ground (0 or 1)          |

All functions work on any leading dimensions, on any device, and have no loop over frames or clips. Units are metres
(KIT-ML: its own unit, see `KIT`), Y up.
"""

import functools

import numpy as np
import torch
from torch import nn

from .skeleton import Skeleton, get_skeleton


_SMOOTHING_SIGMA = 20.0  # frames; HumanML3D smooths the facing direction before it measures rotations
_EPSILON = 1e-8


def numpy_or_torch(function):
    """Lets a function of one floating tensor take a NumPy array too; what comes in decides what goes out."""

    @functools.wraps(function)
    def wrapper(values, *args, **kwargs):
        if isinstance(values, torch.Tensor):
            return function(values, *args, **kwargs)
        values = torch.as_tensor(np.asarray(values, dtype=np.float32))
        return function(values, *args, **kwargs).numpy()

    return wrapper


def check_motion(values, shape: tuple[int, ...], name: str = "motion") -> None:
    """Refuses values whose last dimensions are not `shape` or that hold NaN or infinity, naming the first bad frame.

    Args:
        values (`torch.Tensor` or `np.ndarray` of shape `(..., num_frames, *shape)`): joints or features.
        shape (`tuple[int]`): dimensions after the frames.
        name (`str`): the clip's name in the message.

    Raises:
        ValueError: on a wrong shape, no frame at all, or a value that is not finite.
    """
    values = torch.as_tensor(values)
    if tuple(values.shape[-len(shape) :]) != shape or values.ndim <= len(shape) or values.shape[-len(shape) - 1] == 0:
        wanted = ", ".join(map(str, shape))
        raise ValueError(f"{name}: expected at least one frame of shape [{wanted}], got {list(values.shape)}")
    finite = values.isfinite().flatten(-len(shape)).all(-1)
    if not finite.all():
        frame = int((~finite).nonzero()[0, -1])
        raise ValueError(f"{name}: frame {frame} holds NaN or infinity")


def retarget(joints: torch.Tensor, skeleton: str | Skeleton = "humanml3d") -> torch.Tensor:
    """Gives a body the bone lengths of the reference skeleton: directions stay, the root's path scales with the legs.

    Args:
        joints (`torch.FloatTensor` of shape `(..., num_frames, num_joints, 3)`): positions of any body.

    Returns:
        `torch.FloatTensor` of the same shape, on the reference skeleton.
    """
    skeleton = get_skeleton(skeleton)
    _, lengths = bone_directions(joints[..., :1, :, :], skeleton)
    legs = list(skeleton.legs)
    reference = sum(skeleton.bone_lengths[leg] for leg in legs)
    scale = reference / lengths[..., legs].sum(-1).clamp(min=_EPSILON)  # [..., 1], of frame 0
    return set_bone_lengths(joints, joints[..., :1, :] * scale[..., None, None], skeleton)


def canonicalise(joints: torch.Tensor, skeleton: str | Skeleton = "humanml3d") -> torch.Tensor:
    """Retargets, puts the lowest joint on the floor, frame 0's root over the origin, and lets frame 0 face Z+.

    Args:
        joints (`torch.FloatTensor` of shape `(..., num_frames, num_joints, 3)`): positions of any body. To batch clips
            of different lengths repeat the last frame: that changes no result.

    Returns:
        `torch.FloatTensor` of the same shape.
    """
    skeleton = get_skeleton(skeleton)
    joints = retarget(joints, skeleton)
    floor = joints[..., 1].amin((-2, -1))
    root = joints[..., 0, 0, :]
    origin = torch.stack([root[..., 0], floor, root[..., 2]], -1)
    joints = joints - origin[..., None, None, :]
    across = _across(joints[..., 0, :, :], skeleton.hips) + _across(joints[..., 0, :, :], skeleton.shoulders)
    return rotate_y(joints, -_heading(across)[..., None, None])


@numpy_or_torch
def joints_to_features(joints: torch.Tensor, skeleton: str | Skeleton = "humanml3d") -> torch.Tensor:
    """Canonicalises joints and computes their features (HumanML3D's motion representation).

    Args:
        joints (`torch.FloatTensor` or `np.ndarray` of shape `(..., num_frames, num_joints, 3)`): positions of any
            body, anywhere, facing anywhere, in the skeleton's units.

    Returns:
        Features of shape `(..., num_frames - 1, 12 * num_joints - 1)`, of the kind that came in. The last frame gives
        only its velocity.

    Raises:
        ValueError: when the shape is wrong, there are fewer than two frames, or a value is not finite.
    """
    skeleton = get_skeleton(skeleton)
    check_motion(joints, (skeleton.num_joints, 3))
    if joints.shape[-3] < 2:
        raise ValueError("motion: features need at least two frames, velocities are differences")
    joints = canonicalise(joints, skeleton)
    yaw = -_smoothed_heading(joints, skeleton)  # [..., T], turns the world into the body's frame
    step = joints[..., 1:, :, :] - joints[..., :-1, :, :]
    yaw_step = yaw[..., 1:] - yaw[..., :-1]
    yaw_step = torch.atan2(yaw_step.sin(), yaw_step.cos())

    # The root's displacement is seen from the next frame's facing, the joints' from this frame's: as in the data sets.
    root_velocity = rotate_y(step[..., 0, :], yaw[..., 1:])[..., [0, 2]]
    velocities = rotate_y(step, yaw[..., :-1, None])
    ground = joints.new_tensor([1.0, 0.0, 1.0])
    positions = rotate_y(joints - joints[..., :1, :] * ground, yaw[..., None])[..., :-1, 1:, :]
    feet = list(skeleton.left_foot + skeleton.right_foot)
    contacts = step[..., feet, :].square().sum(-1) < skeleton.contact_threshold
    return torch.cat(
        [
            yaw_step[..., None] / 2,
            root_velocity,
            joints[..., :-1, 0, 1:2],
            positions.flatten(-2),
            _local_rotations(joints, yaw, skeleton)[..., :-1, :],
            velocities.flatten(-2),
            contacts.to(joints.dtype),
        ],
        -1,
    )


@numpy_or_torch
def features_to_joints(features: torch.Tensor, skeleton: str | Skeleton = "humanml3d") -> torch.Tensor:
    """Integrates the root and places the local positions around it ("recover from ric").

    Args:
        features (`torch.FloatTensor` or `np.ndarray` of shape `(..., num_frames, 12 * num_joints - 1)`): not
            normalised.

    Returns:
        Joints of shape `(..., num_frames, num_joints, 3)`, of the kind that came in.

    Raises:
        ValueError: when the shape is wrong or a value is not finite.
    """
    skeleton = get_skeleton(skeleton)
    check_motion(features, (skeleton.num_features,))
    columns = skeleton.slices
    heading, path = integrate_root(features, skeleton)
    positions = features[..., columns["positions"]].unflatten(-1, (-1, 3))
    positions = rotate_y(positions, heading[..., None])
    positions = positions + nn.functional.pad(path, (0, 1))[..., None, [0, 2, 1]]
    height = features[..., columns["root_height"]]
    root = torch.cat([path[..., :1], height, path[..., 1:]], -1)
    return torch.cat([root[..., None, :], positions], -2)


@numpy_or_torch
def fit_bone_lengths(features: torch.Tensor, skeleton: str | Skeleton = "humanml3d") -> torch.Tensor:
    """Gives the local positions in features the reference skeleton's bone lengths; all other columns stay.

    Decoded positions are regressed one by one, so bones stretch a little from frame to frame; here they keep their
    directions and get their length back.
    """
    skeleton = get_skeleton(skeleton)
    columns = skeleton.slices["positions"]
    positions = features[..., columns].unflatten(-1, (-1, 3))
    root = nn.functional.pad(features[..., skeleton.slices["root_height"]], (1, 1))[..., None, :]
    fitted = set_bone_lengths(torch.cat([root, positions], -2), root, skeleton)
    features = features.clone()
    features[..., columns] = fitted[..., 1:, :].flatten(-2)
    return features


def integrate_root(features: torch.Tensor, skeleton: Skeleton) -> tuple[torch.Tensor, torch.Tensor]:
    """Heading in radians, `(..., num_frames)`, and ground path in x and z, `(..., num_frames, 2)`, of features."""
    yaw_step = 2 * features[..., :-1, skeleton.slices["root_yaw"]][..., 0]
    heading = nn.functional.pad(-yaw_step.cumsum(-1), (1, 0))
    velocity = features[..., :-1, skeleton.slices["root_velocity"]]
    velocity = nn.functional.pad(velocity, (0, 1))[..., [0, 2, 1]]
    path = rotate_y(velocity, heading[..., 1:]).cumsum(-2)[..., [0, 2]]
    return heading, nn.functional.pad(path, (0, 0, 1, 0))


@numpy_or_torch
def mirror(joints: torch.Tensor, skeleton: str | Skeleton = "humanml3d") -> torch.Tensor:
    """Swaps left and right: x changes its sign and each joint takes its opposite's place. Shapes stay."""
    skeleton = get_skeleton(skeleton)
    return joints[..., list(skeleton.mirrored_joints), :] * joints.new_tensor([-1.0, 1.0, 1.0])


def set_bone_lengths(
    joints: torch.Tensor, root: torch.Tensor, skeleton: Skeleton, lengths: torch.Tensor | None = None
) -> torch.Tensor:
    """Joints rebuilt from `root` `(..., T, 1, 3)` outwards with the same bone directions and other lengths.

    Args:
        lengths (`torch.FloatTensor` of shape `(num_joints,)`, *optional*): the reference skeleton's if not given.
    """
    directions, _ = bone_directions(joints, skeleton)
    bones = directions * (joints.new_tensor(skeleton.bone_lengths) if lengths is None else lengths)[:, None]
    return root + skeleton._ancestors.to(joints) @ bones


def bone_directions(joints: torch.Tensor, skeleton: Skeleton) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit direction `(..., J, 3)` and length `(..., J)` of each bone; one without length points as at rest."""
    parents = [0, *skeleton.parents[1:]]
    bones = joints - joints[..., parents, :]
    lengths = bones.norm(dim=-1)
    rest = joints.new_tensor(skeleton.directions).expand_as(bones)
    directions = torch.where(lengths[..., None] > _EPSILON, bones / lengths.clamp(min=_EPSILON)[..., None], rest)
    return directions, lengths


def _across(joints: torch.Tensor, pair: tuple[int, int]) -> torch.Tensor:
    """From the left joint to the right joint of a pair."""
    right, left = pair
    return joints[..., right, :] - joints[..., left, :]


def _heading(across: torch.Tensor) -> torch.Tensor:
    """Angle about Y from Z+ to the direction faced by a body whose right side points `across`."""
    return torch.atan2(across[..., 2], -across[..., 0])


def rotate_y(vectors: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Turns `(..., 3)` vectors about Y by angles that broadcast against their leading dimensions."""
    cos, sin = angle.cos(), angle.sin()
    x, y, z = vectors.unbind(-1)
    return torch.stack([cos * x + sin * z, y, cos * z - sin * x], -1)


def _smoothed_heading(joints: torch.Tensor, skeleton: Skeleton) -> torch.Tensor:
    """The facing that the features are measured in, `(..., T)` radians.

    Two oddities of the published data are kept, since models and statistics of the field depend on them: the hips
    count with the wrong sign against the (wider) shoulders, and frame 0 faces Z+ exactly, though the smoothed heading
    may not.
    """
    across = _across(joints, skeleton.shoulders) - _across(joints, skeleton.hips)
    across = nn.functional.normalize(across, dim=-1)
    forward = torch.stack([-across[..., 0], across[..., 2]], -1)  # [..., T, (z, x)] of the direction faced
    radius = int(4 * _SMOOTHING_SIGMA + 0.5)
    offsets = torch.arange(-radius, radius + 1, device=joints.device, dtype=joints.dtype)
    kernel = torch.exp(-0.5 * (offsets / _SMOOTHING_SIGMA) ** 2)
    rows = forward.movedim(-1, -2).reshape(-1, 1, forward.shape[-2])
    rows = nn.functional.pad(rows, (radius, radius), mode="replicate")
    rows = nn.functional.conv1d(rows, (kernel / kernel.sum()).view(1, 1, -1))
    z, x = rows.view(*forward.shape[:-2], 2, -1).unbind(-2)
    heading = torch.atan2(x, z)
    return torch.cat([torch.zeros_like(heading[..., :1]), heading[..., 1:]], -1)


def _local_rotations(joints: torch.Tensor, yaw: torch.Tensor, skeleton: Skeleton) -> torch.Tensor:
    """Rotation of each joint relative to its chain, `(..., T, 6(J - 1))`: two columns of each matrix.

    A joint's global rotation is the shortest one from its rest direction to its bone, so no joint waits for another.
    """
    directions, _ = bone_directions(joints, skeleton)
    rest = joints.new_tensor(skeleton.directions)
    rotations = shortest_rotation(rest[1:], directions[..., 1:, :])  # [..., T, J-1, 3, 3]
    cos, sin, zero = yaw.cos(), yaw.sin(), torch.zeros_like(yaw)
    root = torch.stack([cos, zero, sin, zero, zero + 1, zero, -sin, zero, cos], -1).unflatten(-1, (3, 3))
    rotations = torch.cat([root[..., None, :, :], rotations], -3)
    parents = rotations[..., list(skeleton.rotation_parents[1:]), :, :]
    first, second = rotations[..., 1:, :, 0:1], rotations[..., 1:, :, 1:2]
    return torch.cat([(parents * first).sum(-2), (parents * second).sum(-2)], -1).flatten(-2)


def shortest_rotation(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Rotation matrices that turn unit vectors the shortest way; defined for opposite vectors too.

    Args:
        source, target (`torch.FloatTensor` of shape `(..., 3)`): unit vectors.

    Returns:
        `torch.FloatTensor` of shape `(..., 3, 3)`.
    """
    # Half a turn about `source`, then half a turn about the bisector, carries one to the other.
    bisector = source + target
    opposite = bisector.norm(dim=-1, keepdim=True) < 1e-4
    # Opposite vectors have no bisector: a single half turn about any axis normal to them will do.
    normal = torch.cross(source, source[..., [2, 0, 1]] + source.new_tensor([0.3, -0.5, 0.7]), dim=-1)
    bisector = nn.functional.normalize(torch.where(opposite, normal, bisector), dim=-1)
    identity = torch.eye(3, dtype=source.dtype, device=source.device)
    half_turn = 2 * source[..., :, None] * source[..., None, :] - identity
    first = torch.where(opposite[..., None], identity, half_turn)
    return 2 * bisector[..., :, None] * (bisector[..., :, None] * first).sum(-2, keepdim=True) - first
