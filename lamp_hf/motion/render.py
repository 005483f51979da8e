"""A small renderer: a body of shaded capsules over a chequered floor, on NumPy alone."""

import numpy as np

from ..models.motion_representation import Skeleton


_FOCAL = 2.6  # in units of the image's half height
_LIGHT = np.array([0.4, 0.75, 0.52])
_SKY, _FLOOR_DARK, _FLOOR_LIGHT = np.array([235, 238, 243.0]), np.array([196, 202, 210.0]), np.array([222, 226, 232.0])
_TRUNK, _LEFT, _RIGHT = np.array([96, 108, 128.0]), np.array([214, 108, 72.0]), np.array([58, 124, 186.0])
_RADII = {  # metres; bones are named by their outer joint
    "hip": 0.09, "knee": 0.075, "ankle": 0.055, "foot": 0.04, "heel": 0.04, "spine1": 0.11, "spine2": 0.115,
    "spine3": 0.12, "neck": 0.1, "head": 0.085, "collar": 0.07, "shoulder": 0.06, "elbow": 0.048, "wrist": 0.04,
}  # fmt: skip


def render(joints: np.ndarray, skeleton: Skeleton, size: int = 224) -> np.ndarray:
    """Draws a motion with a camera that follows the body from the front, a little to its left and above.

    Left limbs are orange, right limbs blue.

    Args:
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres, Y up.
        size (`int`): side of the square image, even.

    Returns:
        `np.ndarray` of shape `(num_frames, size, size, 3)`, uint8.
    """
    joints = np.asarray(joints, dtype=np.float64)
    floor = min(0.0, joints[..., 1].min())
    view = _view_matrix(yaw=np.radians(-25), pitch=np.radians(14))
    target = _smooth(joints[:, 0] * [1, 0, 1]) + [0, 0.95, 0]
    return np.stack([_draw(body, skeleton, view, centre, floor, size) for body, centre in zip(joints, target)])


def _draw(body: np.ndarray, skeleton: Skeleton, view: np.ndarray, centre: np.ndarray, floor: float, size: int):
    distance = 3.4
    points = (body - centre) @ view.T + [0, 0, distance]  # camera space: x right, y up, z away from the camera
    image, depth = _draw_floor(body, view, centre, floor, size, distance)
    light = view @ (_LIGHT / np.linalg.norm(_LIGHT))
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            name = skeleton.joint_names[joint]
            side, part = name.split("_") if "_" in name else ("", name)
            colour = {"left": _LEFT, "right": _RIGHT}.get(side, _TRUNK)
            _draw_capsule(image, depth, points[parent], points[joint], _RADII[part], colour, light)
    return np.clip(image, 0, 255).astype(np.uint8)


def _draw_capsule(image, depth, start, end, radius: float, colour, light) -> None:
    """Shades the visible part of a capsule, projected as a rounded line whose width shrinks with distance."""
    size = len(image)
    half = size / 2
    scale = half * _FOCAL
    if min(start[2], end[2]) < radius + 0.1:
        return  # behind the camera, or so near that it would fill the picture
    (x0, y0), (x1, y1) = ((half + scale * p[0] / p[2], half - scale * p[1] / p[2]) for p in (start, end))
    r0, r1 = scale * radius / start[2], scale * radius / end[2]
    left, right = int(max(min(x0 - r0, x1 - r1), 0)), int(min(max(x0 + r0, x1 + r1) + 1, size))
    top, bottom = int(max(min(y0 - r0, y1 - r1), 0)), int(min(max(y0 + r0, y1 + r1) + 1, size))
    if left >= right or top >= bottom:
        return
    x, y = np.arange(left, right)[None] + 0.5, np.arange(top, bottom)[:, None] + 0.5
    length = (x1 - x0) ** 2 + (y1 - y0) ** 2
    along = np.clip(((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / max(length, 1e-9), 0, 1)
    width = r0 + along * (r1 - r0)
    dx, dy = (x - x0 - along * (x1 - x0)) / width, (y0 + along * (y1 - y0) - y) / width
    towards = 1 - dx**2 - dy**2  # squared component of the normal that points at the camera
    facing = np.sqrt(np.maximum(towards, 0))
    z = start[2] + along * (end[2] - start[2]) - radius * facing
    box = np.s_[top:bottom, left:right]
    visible = (towards > 0) & (z < depth[box])
    depth[box] = np.where(visible, z, depth[box])
    shade = 0.45 + 0.6 * np.maximum(dx * light[0] + dy * light[1] - facing * light[2], 0)
    image[box] = np.where(visible[..., None], shade[..., None] * colour, image[box])


def _draw_floor(body, view, centre, floor: float, size: int, distance: float):
    """Chequered floor with soft shadows under the joints, and an empty depth buffer."""
    axis = (np.arange(size) + 0.5 - size / 2) / (size / 2 * _FOCAL)
    rays = np.stack([*np.meshgrid(axis, -axis), np.ones((size, size))], -1) @ view  # to world space
    camera = centre - distance * view[2]
    below = rays[..., 1] < -1e-3
    reach = (floor - camera[1]) / np.where(below, rays[..., 1], -1)
    x, z = (camera[i] + reach * rays[..., i] for i in (0, 2))
    tiles = (np.floor(x) + np.floor(z)) % 2 == 0
    image = np.where(tiles[..., None], _FLOOR_LIGHT, _FLOOR_DARK)
    shadow = np.zeros((size, size))
    for joint in body:
        height = max(joint[1] - floor, 0)
        spread = 0.1 + 0.12 * height
        near = ((x - joint[0]) ** 2 + (z - joint[2]) ** 2) / spread**2
        shadow = np.maximum(shadow, np.maximum(1 - near, 0) * (0.5 / (1 + 1.5 * height)))
    image = image * (1 - shadow[..., None])
    haze = np.clip((reach - 6) / 14, 0, 1)[..., None]
    image = np.where(below[..., None], image * (1 - haze) + _SKY * haze, _SKY)
    return image, np.full((size, size), np.inf)


def _view_matrix(yaw: float, pitch: float) -> np.ndarray:
    """Rows are the camera's right, up and forward directions for a camera in front of a body that faces Z+."""
    forward = np.array([np.sin(yaw) * np.cos(pitch), -np.sin(pitch), -np.cos(yaw) * np.cos(pitch)])
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(right, forward), forward])


def _smooth(path: np.ndarray, radius: int = 10) -> np.ndarray:
    """Moving average of a path, so that the camera does not shake."""
    padded = np.pad(path, ((radius, radius), (0, 0)), mode="edge")
    kernel = np.ones(2 * radius + 1) / (2 * radius + 1)
    return np.stack([np.convolve(column, kernel, mode="valid") for column in padded.T], -1)
