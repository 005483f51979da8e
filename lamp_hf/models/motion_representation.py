"""Motion representation of Guo et al. (CVPR 2022): joint positions to redundant features, and back.

HumanML3D has 22 joints and 263 features per frame, KIT-ML 21 joints and 251 features. The features of a frame are, all
in a coordinate frame that faces where the body faces:

| slice           | size     | content                                                                      |
|-----------------|----------|------------------------------------------------------------------------------|
| `root_yaw`      | 1        | half the yaw increment to the next frame, radians                            |
| `root_velocity` | 2        | root x, z displacement to the next frame                                     |
| `root_height`   | 1        | root y                                                                       |
| `positions`     | 3(J - 1) | joint positions with the root's x, z removed                                 |
| `rotations`     | 6(J - 1) | local joint rotations, first two matrix columns (Zhou et al., CVPR 2019)     |
| `velocities`    | 3J       | joint displacements to the next frame                                        |
| `contacts`      | 4        | left ankle, left toe, right ankle, right toe on the ground (0 or 1)          |

All functions accept any leading dimensions and any device, and have no loop over frames or clips. Units are metres
(KIT-ML: its own unit, see `KIT`), Y is up.
"""

import functools

import numpy as np
import torch
from torch import nn

from .skeleton import Skeleton, get_skeleton


_SMOOTHING_SIGMA = 20.0  # frames; HumanML3D smooths the facing direction before it measures rotations
_EPSILON = 1e-8
_DEEPEST_FOOT = 0.02  # metres below the floor; a joint lies inside the foot, so that real ones hardly get there


def numpy_or_torch(function):
    """Let a function of a floating-point tensor also take a NumPy array, for which it returns a NumPy array."""

    @functools.wraps(function)
    def wrapper(values, *args, **kwargs):
        if isinstance(values, torch.Tensor):
            return function(values, *args, **kwargs)
        values = torch.as_tensor(np.asarray(values, dtype=np.float32))
        return function(values, *args, **kwargs).numpy()

    return wrapper


def check_motion(values, shape: tuple[int, ...], name: str = "motion") -> None:
    """Refuse values whose last dimensions are not `shape` or that hold NaN or infinity.

    Args:
        values (`torch.Tensor` or `np.ndarray` of shape `(..., num_frames, *shape)`): Joints or features.
        shape (`tuple[int]`): Dimensions after the frames.
        name (`str`): Name of the clip in the message.

    Raises:
        ValueError: If the shape is wrong, there is no frame, or a value is not finite; names the first bad frame.
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
    """Give a body the bone lengths of the reference skeleton.

    Bones keep their directions; the root's path scales with the length of the legs.

    Args:
        joints (`torch.FloatTensor` of shape `(..., num_frames, num_joints, 3)`): Positions of any body.
        skeleton (`str` or [`Skeleton`]): Reference skeleton.

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
    """Retarget to the reference skeleton, put the lowest joint on the floor, and start over the origin facing Z+.

    Args:
        joints (`torch.FloatTensor` of shape `(..., num_frames, num_joints, 3)`): Positions of any body. To batch clips
            of different lengths, repeat the last frame: this does not change the result.
        skeleton (`str` or [`Skeleton`]): Reference skeleton.

    Returns:
        `torch.FloatTensor` of the same shape.
    """
    skeleton = get_skeleton(skeleton)
    joints = retarget(joints, skeleton)
    floor = joints[..., 1].amin((-2, -1))
    root = joints[..., 0, 0, :]
    origin = torch.stack([root[..., 0], floor, root[..., 2]], -1)
    joints = joints - origin[..., None, None, :]
    return rotate_y(joints, -headings(joints[..., 0, :, :], skeleton)[..., None, None])


@numpy_or_torch
def joints_to_features(joints: torch.Tensor, skeleton: str | Skeleton = "humanml3d") -> torch.Tensor:
    """Canonicalise joints and compute their features (HumanML3D's motion representation).

    Args:
        joints (`torch.FloatTensor` or `np.ndarray` of shape `(..., num_frames, num_joints, 3)`): Positions of any
            body, anywhere, facing anywhere, in the skeleton's units.
        skeleton (`str` or [`Skeleton`]): Skeleton of the joints.

    Returns:
        `torch.FloatTensor` or `np.ndarray`, as given, of shape `(..., num_frames - 1, 12 * num_joints - 1)`. The last
        frame only serves the velocities of the one before it.

    Raises:
        ValueError: If the shape is wrong, there are fewer than two frames, or a value is not finite.
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

    # As in the data sets, the root's displacement is relative to the next frame's facing, the joints' to this frame's.
    root_velocity = rotate_y(step[..., 0, :], yaw[..., 1:])[..., [0, 2]]
    velocities = rotate_y(step, yaw[..., :-1, None])
    ground = joints.new_tensor([1.0, 0.0, 1.0])
    positions = rotate_y(joints - joints[..., :1, :] * ground, yaw[..., None])[..., :-1, 1:, :]
    contacts = step[..., skeleton.feet, :].square().sum(-1) < skeleton.contact_threshold
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
    """Integrate the root's motion and place the local joint positions around it ("recover from ric").

    Args:
        features (`torch.FloatTensor` or `np.ndarray` of shape `(..., num_frames, 12 * num_joints - 1)`): Features that
            are not normalised.
        skeleton (`str` or [`Skeleton`]): Skeleton of the features.

    Returns:
        `torch.FloatTensor` or `np.ndarray`, as given, of shape `(..., num_frames, num_joints, 3)`: positions in the
        skeleton's units, on the floor, with frame 0 over the origin and facing Z+.

    Raises:
        ValueError: If the shape is wrong or a value is not finite.
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
    """Give the joint positions in features the bone lengths of the reference skeleton.

    A decoder regresses positions one by one, so bones stretch a little from frame to frame. Bones keep their
    directions, and all other columns stay as they are.

    Args:
        features (`torch.FloatTensor` or `np.ndarray` of shape `(..., num_frames, 12 * num_joints - 1)`): Features that
            are not normalised.
        skeleton (`str` or [`Skeleton`]): Skeleton of the features.

    Returns:
        `torch.FloatTensor` or `np.ndarray`, as given, of the same shape.
    """
    skeleton = get_skeleton(skeleton)
    columns = skeleton.slices["positions"]
    positions = features[..., columns].unflatten(-1, (-1, 3))
    root = nn.functional.pad(features[..., skeleton.slices["root_height"]], (1, 1))[..., None, :]
    fitted = set_bone_lengths(torch.cat([root, positions], -2), root, skeleton)
    features = features.clone()
    features[..., columns] = fitted[..., 1:, :].flatten(-2)
    return features


def lift_above_floor(features: torch.Tensor, skeleton: str | Skeleton = "humanml3d") -> torch.Tensor:
    """Lift the body in frames in which a foot is more than 2 cm below the floor, so that it is no deeper.

    A decoder regresses the height of the root, which drifts by some centimetres. Frames are lifted one by one, so
    that a stream needs none that are to come.

    Args:
        features (`torch.FloatTensor` of shape `(..., num_frames, 12 * num_joints - 1)`): features that are not
            normalised.
        skeleton (`str` or [`Skeleton`]): skeleton of the features.

    Returns:
        `torch.FloatTensor` of the same shape.
    """
    skeleton = get_skeleton(skeleton)
    positions, root = skeleton.slices["positions"], skeleton.slices["root_height"]
    heights = features[..., positions].unflatten(-1, (-1, 3))[..., 1]
    feet = heights[..., [joint - 1 for joint in skeleton.feet]]  # the root has no position of its own
    lift = (-_DEEPEST_FOOT / skeleton.metres - feet.amin(-1)).clamp(min=0)[..., None]
    features = features.clone()
    features[..., root] += lift
    features[..., positions.start + 1 : positions.stop : 3] += lift
    return features


def integrate_root(features: torch.Tensor, skeleton: Skeleton) -> tuple[torch.Tensor, torch.Tensor]:
    """Integrate the root of features: heading `(..., num_frames)` in radians and x, z path `(..., num_frames, 2)`."""
    yaw_step = 2 * features[..., :-1, skeleton.slices["root_yaw"]][..., 0]
    heading = nn.functional.pad(-yaw_step.cumsum(-1), (1, 0))
    velocity = features[..., :-1, skeleton.slices["root_velocity"]]
    velocity = nn.functional.pad(velocity, (0, 1))[..., [0, 2, 1]]
    path = rotate_y(velocity, heading[..., 1:]).cumsum(-2)[..., [0, 2]]
    return heading, nn.functional.pad(path, (0, 0, 1, 0))


@numpy_or_torch
def mirror(joints: torch.Tensor, skeleton: str | Skeleton = "humanml3d") -> torch.Tensor:
    """Mirror `(..., num_joints, 3)` joints: negate x and swap the joints of the left and the right side."""
    skeleton = get_skeleton(skeleton)
    return joints[..., list(skeleton.mirrored_joints), :] * joints.new_tensor([-1.0, 1.0, 1.0])


def set_bone_lengths(
    joints: torch.Tensor, root: torch.Tensor, skeleton: Skeleton, lengths: torch.Tensor | None = None
) -> torch.Tensor:
    """Rebuild joints from the root outwards with the same bone directions and other bone lengths.

    Args:
        joints (`torch.FloatTensor` of shape `(..., num_frames, num_joints, 3)`): Positions that give the directions.
        root (`torch.FloatTensor` of shape `(..., num_frames, 1, 3)`): Root positions of the result.
        skeleton ([`Skeleton`]): Skeleton of the joints.
        lengths (`torch.FloatTensor` of shape `(num_joints,)`, or `(..., num_frames, num_joints)`, *optional*): Bone
            lengths, of all frames or of each; the reference skeleton's by default.
    """
    directions, _ = bone_directions(joints, skeleton)
    bones = directions * (joints.new_tensor(skeleton.bone_lengths) if lengths is None else lengths)[..., None]
    return root + skeleton.ancestors.to(joints) @ bones


def bone_directions(joints: torch.Tensor, skeleton: Skeleton) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the unit direction `(..., J, 3)` and the length `(..., J)` of each bone.

    A bone without length points as in the rest pose.
    """
    bones = skeleton.bones(joints)
    lengths = bones.norm(dim=-1)
    rest = joints.new_tensor(skeleton.directions).expand_as(bones)
    directions = torch.where(lengths[..., None] > _EPSILON, bones / lengths.clamp(min=_EPSILON)[..., None], rest)
    return directions, lengths


def _across(joints: torch.Tensor, pair: tuple[int, int]) -> torch.Tensor:
    """Return the vector from the left to the right joint of a pair."""
    right, left = pair
    return joints[..., right, :] - joints[..., left, :]


def headings(joints: torch.Tensor, skeleton: Skeleton) -> torch.Tensor:
    """Return the angle about Y, from Z+, that a body `(..., num_joints, 3)` faces, by its hips and shoulders."""
    across = _across(joints, skeleton.hips) + _across(joints, skeleton.shoulders)
    return torch.atan2(across[..., 2], -across[..., 0])


def rotate_y(vectors: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Rotate `(..., 3)` vectors about Y by angles in radians that broadcast against their leading dimensions."""
    cos, sin = angle.cos(), angle.sin()
    x, y, z = vectors.unbind(-1)
    return torch.stack([cos * x + sin * z, y, cos * z - sin * x], -1)


def _smoothed_heading(joints: torch.Tensor, skeleton: Skeleton) -> torch.Tensor:
    """Return the heading `(..., num_frames)`, in radians, that the features are relative to.

    Two oddities of the published data are kept, because the field's models and statistics depend on them: the hips
    count with the wrong sign against the (wider) shoulders, and frame 0 faces Z+ exactly, though its smoothed heading
    may differ.
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
    """Return each joint's rotation relative to its chain, `(..., T, 6(J - 1))`: two columns of each matrix.

    A joint's global rotation is the shortest one from its rest direction to its bone, so all joints are computed at
    the same time.
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
    """Return the rotation matrices that turn unit vectors the shortest way; defined for opposite vectors too.

    Args:
        source, target (`torch.FloatTensor` of shape `(..., 3)`): Unit vectors.

    Returns:
        `torch.FloatTensor` of shape `(..., 3, 3)`.
    """
    # Half a turn about `source`, then half a turn about the bisector, takes one to the other.
    bisector = source + target
    opposite = bisector.norm(dim=-1, keepdim=True) < 1e-4
    # Opposite vectors have no bisector: a single half turn about any axis normal to them will do.
    normal = torch.cross(source, source[..., [2, 0, 1]] + source.new_tensor([0.3, -0.5, 0.7]), dim=-1)
    bisector = nn.functional.normalize(torch.where(opposite, normal, bisector), dim=-1)
    identity = torch.eye(3, dtype=source.dtype, device=source.device)
    half_turn = 2 * source[..., :, None] * source[..., None, :] - identity
    first = torch.where(opposite[..., None], identity, half_turn)
    return 2 * bisector[..., :, None] * (bisector[..., :, None] * first).sum(-2, keepdim=True) - first


__all__ = [
    "bone_directions",
    "canonicalise",
    "check_motion",
    "features_to_joints",
    "fit_bone_lengths",
    "headings",
    "integrate_root",
    "joints_to_features",
    "lift_above_floor",
    "mirror",
    "retarget",
    "rotate_y",
    "set_bone_lengths",
    "shortest_rotation",
]
