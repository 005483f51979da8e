"""AMASS's and SMPL's poses (axis-angles) to and from joints, without body-model files."""

import numpy as np
from scipy.spatial.transform import Rotation

from ..models.motion_representation import check_motion
from ..models.skeleton import HUMANML3D
from .rotations import forward_kinematics, local_rotations, rest_directions, solve_rotations


_SMPLH_JOINTS = 52  # 22 of the body, 15 of each hand
_Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # a Y-up column vector to AMASS's axes: x, -z, y
# Where the pelvis of the neutral mean body is while `trans` is zero, in metres. The body model turns the body about it
# and then adds `trans`, so it is the same along the axes of any file: where Y is up, below. `betas` move it by some
# centimetres. The numbers are those of PHC's smpl_humanoid.xml, and SMPL-X's own J_regressor @ v_template.
SMPL_PELVIS = np.array([-0.0018, -0.2233, 0.0282])
SMPLX_PELVIS = np.array([0.0031, -0.3514, 0.0120])


def smpl_arrays(joints: np.ndarray, fps: float) -> dict[str, np.ndarray]:
    """Describe a motion by the arrays of AMASS (SMPL-H, Z up).

    Args:
        joints (`np.ndarray` of shape `(num_frames, 22, 3)`): metres, Y up.
        fps (`float`): frames per second.

    Returns:
        `dict[str, np.ndarray]`: `poses` float32 `(num_frames, 156)`, axis-angles in radians of 52 joints relative to
        their parents (the root's in the world, hands zero); `trans` float32 `(num_frames, 3)`, metres, which the body
        model adds to where its pelvis is; `betas` float32 `(16,)`, zero for the mean body, whose bone lengths differ a
        little from the motion's; `gender` `"neutral"`; `mocap_framerate` float64.
    """
    rotations, _ = solve_rotations(joints, HUMANML3D)
    local = local_rotations(rotations, HUMANML3D.parents)
    local[:, 0] = _Z_UP @ local[:, 0]
    poses = np.zeros((len(joints), _SMPLH_JOINTS, 3), np.float32)
    poses[:, : HUMANML3D.num_joints] = (
        Rotation.from_matrix(local.reshape(-1, 3, 3)).as_rotvec().reshape(*local.shape[:2], 3)
    )
    return {
        "poses": poses.reshape(len(joints), -1),
        "trans": (joints[:, 0] @ _Z_UP.T - SMPL_PELVIS).astype(np.float32),
        "betas": np.zeros(16, np.float32),
        "gender": np.array("neutral"),
        "mocap_framerate": np.array(float(fps)),
    }


def axis_angles(poses: np.ndarray) -> np.ndarray:
    """Bring the poses of a file to axis-angles; rotation matrices are told by being orthogonal.

    Args:
        poses (`np.ndarray` of shape `(num_frames, ...)`): axis-angles or rotation matrices of at least 22 joints.

    Returns:
        `np.ndarray` of shape `(num_frames, 66)`, radians, of the joints of SMPL's body.

    Raises:
        ValueError: when they are something else, with the likely cause.
    """
    poses = poses.reshape(len(poses), -1)
    count, width = HUMANML3D.num_joints, poses.shape[1]
    for name, size in (("matrices", 9), ("quaternions", 4), ("6D rotations", 6)):
        if width % size or width < count * size:
            continue
        blocks = np.asarray(poses[:, : count * size], float).reshape(-1, size)
        if name == "matrices" and _are_rotations(blocks.reshape(-1, 3, 3)):
            return Rotation.from_matrix(blocks.reshape(-1, 3, 3)).as_rotvec().reshape(len(poses), -1)
        rows = blocks.reshape(-1, 3 if size == 6 else size)
        if name != "matrices" and np.abs(np.linalg.norm(rows, axis=-1) - 1).max() < 0.01:
            raise ValueError(f"poses {list(poses.shape)} are probably {name}: give axis-angles in radians")
    if width < 3 * count or width % 3:
        raise ValueError(f"poses {list(poses.shape)} are not axis-angles of at least {count} joints")
    poses = np.asarray(poses[:, : 3 * count], float)  # of the body; hands and face follow
    check_motion(poses, poses.shape[1:], name="poses")
    angles = np.linalg.norm(poses.reshape(-1, 3), axis=-1)
    if (angles > 2 * np.pi).mean() > 0.01:
        raise ValueError(f"poses turn by up to {angles.max():.0f}; they are probably degrees: give radians")
    return poses


def _are_rotations(matrices: np.ndarray) -> bool:
    return bool(np.abs(matrices @ matrices.swapaxes(-1, -2) - np.eye(3)).max() < 0.01)


def pelvis_at_rest(body: np.ndarray) -> np.ndarray:
    """Return where the pelvis is while the path is zero, `(3,)`, metres, by the body model that the poses are for.

    SMPL-X has 55 joints, of which files hold all, or the 21 of the body below the root. SMPL has 24 and 23; SMPL-H, of
    AMASS, 52.

    Args:
        body (`np.ndarray` of shape `(num_frames, ...)`): axis-angles or rotation matrices of these joints.
    """
    return SMPLX_PELVIS if np.prod(body.shape[1:]) in (3 * 21, 9 * 21, 3 * 55, 9 * 55) else SMPL_PELVIS


def smpl_joints(poses: np.ndarray, pelvis: np.ndarray) -> np.ndarray:
    """Turn SMPL, SMPL-H or SMPL-X poses into joints, by forward kinematics on the reference skeleton.

    An approximation: bones have the reference body's lengths and the mean body's rest directions, and `betas` are
    ignored.

    Args:
        poses (`np.ndarray` of shape `(num_frames, 3 * num_joints)`): axis-angles in radians of at least 22 joints.
        pelvis (`np.ndarray` of shape `(num_frames, 3)`): its path, metres.

    Returns:
        `np.ndarray` of shape `(num_frames, 22, 3)`, metres, in the axes of the path.
    """
    count = HUMANML3D.num_joints
    local = Rotation.from_rotvec(poses[:, : 3 * count].reshape(-1, 3)).as_matrix().reshape(-1, count, 3, 3)
    offsets = rest_directions(HUMANML3D) * np.array(HUMANML3D.bone_lengths)[:, None]
    return forward_kinematics(pelvis, local, offsets, HUMANML3D.parents).astype(np.float32)
