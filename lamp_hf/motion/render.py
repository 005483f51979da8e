"""A small renderer: a body of shaded capsules over a chequered floor, on NumPy alone."""

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..models.motion_representation import Skeleton
from .body import BONE_RADII, bone_colour


CAMERAS = ("follow", "fixed", "orbit")
_DISTANCE = 3.7  # metres from the camera to what it looks at
_FOCAL = 2.6  # in units of the image's half height
_LIGHT = np.array([0.4, 0.75, 0.52])
_SKY, _FLOOR_DARK, _FLOOR_LIGHT = (
    np.array(colour, np.float32) for colour in ((235, 238, 243), (196, 202, 210), (222, 226, 232))
)


def render(
    joints: np.ndarray, skeleton: Skeleton, size: int = 224, camera: str = "follow", caption: str | None = None
) -> np.ndarray:
    """Draws a motion, see [`draw_frames`]; uint8 `(num_frames, size, size, 3)`."""
    return np.stack(list(draw_frames(joints, skeleton, size, camera, caption)))


def draw_frames(
    joints: np.ndarray, skeleton: Skeleton, size: int = 224, camera: str = "follow", caption: str | None = None
) -> Iterator[np.ndarray]:
    """Draws a motion frame by frame, from the front, a little to the body's left and above.

    Left limbs are orange, right limbs blue.

    Args:
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres, Y up.
        size (`int`): side of the square image, even.
        camera (`str`): `"follow"` goes along with the body, `"fixed"` stands where it sees all of the way, `"orbit"`
            goes along and once around.
        caption (`str`, *optional*): written at the top.

    Yields:
        `np.ndarray` of shape `(size, size, 3)`, uint8.

    Raises:
        ValueError: on another camera, or a size that is odd or out of 16 to 4096.
    """
    if camera not in CAMERAS:
        raise ValueError(f"unknown camera {camera!r}; known: {', '.join(CAMERAS)}")
    if not 16 <= size <= 4096 or size % 2:
        raise ValueError(f"size must be an even number of pixels from 16 to 4096, got {size}")
    joints = np.asarray(joints, dtype=np.float64)
    floor = min(0.0, joints[..., 1].min())
    yaws = np.full(len(joints), np.radians(-25))
    distance = _DISTANCE
    if camera == "orbit":
        yaws = yaws + np.linspace(0, 2 * np.pi, len(joints), endpoint=False)
    if camera == "fixed":
        low, high = joints.min((0, 1)), joints.max((0, 1))
        targets = np.tile((low + high) / 2 * [1, 0, 1] + [0, floor + 1.0, 0], (len(joints), 1))
        distance = max(distance, 1.5 * np.linalg.norm((high - low)[[0, 2]]) + 1)
    else:
        targets = _smooth(joints[:, 0] * [1, 0, 1]) + [0, floor + 1.0, 0]
    banner = _banner(caption, size)[: size // 2] if caption else None
    ground = None
    for body, target, yaw in zip(joints, targets, yaws):
        if ground is None or camera == "orbit":
            ground = _Ground(_view_matrix(yaw, pitch=np.radians(14)), distance, target[1] - floor, size)
        frame = _draw(body, skeleton, ground, target, floor)
        if banner is not None:
            frame[: len(banner)] = banner
        yield frame


def _banner(caption: str, size: int) -> np.ndarray:
    """A strip with the caption, wrapped to at most three lines, `(height, size, 3)`."""
    font = ImageFont.load_default(max(10, size // 22))
    lines = [""]
    for word in caption.split():
        longer = f"{lines[-1]} {word}".strip()
        lines[-1:] = [longer] if font.getlength(longer) < 0.94 * size or not lines[-1] else [lines[-1], word]
    if len(lines) > 3:
        lines = [*lines[:2], lines[2] + " ..."]
    height = int(1.25 * font.size)
    image = Image.new("RGB", (size, height * len(lines) + height // 2), tuple(_SKY.astype(int)))
    draw = ImageDraw.Draw(image)
    for i, line in enumerate(lines):
        draw.text((size / 2, height * (i + 0.75)), line, font=font, fill=(40, 44, 52), anchor="mm")
    return np.asarray(image)


def _draw(body: np.ndarray, skeleton: Skeleton, ground: "_Ground", centre: np.ndarray, floor: float) -> np.ndarray:
    points = (body - centre) @ ground.view.T + [0, 0, ground.distance]  # camera space: x right, y up, z away from it
    image = ground.draw(centre, body - [0, floor, 0])
    depth = np.full(image.shape[:2], np.inf, np.float32)
    light = ground.view @ (_LIGHT / np.linalg.norm(_LIGHT))
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            name = skeleton.joint_names[joint]
            radius, colour = BONE_RADII[name.rpartition("_")[2]], np.array(bone_colour(name), np.float32)
            _draw_capsule(image, depth, points[parent], points[joint], radius, colour, light)
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


class _Ground:
    """A chequered floor as a camera sees it that looks down on it at one angle from one height.

    Args:
        view (`np.ndarray` of shape `(3, 3)`): rows are the camera's right, up and forward directions.
        distance (`float`): metres from the camera to what it looks at.
        height (`float`): metres of what it looks at over the floor.
        size (`int`): side of the image.
    """

    def __init__(self, view: np.ndarray, distance: float, height: float, size: int):
        self.view, self.distance, self.size = view, distance, size
        axis = ((np.arange(size) + 0.5 - size / 2) / (size / 2 * _FOCAL)).astype(np.float32)
        rays = np.stack([*np.meshgrid(axis, -axis), np.ones((size, size), np.float32)], -1) @ view.astype(np.float32)
        below = rays[..., 1] < -1e-3
        self.top = int(np.argmax(below.any(1))) if below.any() else size  # the horizon's row
        rays, below = rays[self.top :], below[self.top :]
        camera_height = height - distance * view[2, 1]
        reach = camera_height / np.where(below, -rays[..., 1], np.inf)
        self.x, self.z = reach * rays[..., 0], reach * rays[..., 2]  # from the point under the camera
        haze = np.where(below, np.clip((reach - 6) / 14, 0, 1), 1)[..., None].astype(np.float32)
        self.dark, self.light = (tile * (1 - haze) + _SKY * haze for tile in (_FLOOR_DARK, _FLOOR_LIGHT))

    def draw(self, centre: np.ndarray, body: np.ndarray) -> np.ndarray:
        """The picture without the body, `(size, size, 3)`; `body` has heights over the floor, and gives the shadow."""
        camera = centre - self.distance * self.view[2]
        x, z = self.x + np.float32(camera[0]), self.z + np.float32(camera[2])
        image = np.empty((self.size, self.size, 3), np.float32)
        image[: self.top] = _SKY
        even = (np.floor(x) + np.floor(z)) % 2 == 0
        image[self.top :] = np.where(even[..., None], self.light, self.dark)
        near = (np.abs(x - body[0, 0]) < 1.3) & (np.abs(z - body[0, 2]) < 1.3)
        if near.any():
            rows, columns = (np.flatnonzero(near.any(axis)) for axis in (1, 0))
            box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            image[self.top :][box] *= 1 - _shadow(x[box], z[box], body)[..., None]
        return image


def _shadow(x: np.ndarray, z: np.ndarray, body: np.ndarray) -> np.ndarray:
    """How much darker the floor is at places `x`, `z`, under a body."""
    shadow = np.zeros_like(x)
    for joint in body.astype(np.float32):
        height = max(joint[1], np.float32(0))
        spread = 0.1 + 0.12 * height
        near = ((x - joint[0]) ** 2 + (z - joint[2]) ** 2) / spread**2
        shadow = np.maximum(shadow, np.maximum(1 - near, 0) * (0.5 / (1 + 1.5 * height)))
    return shadow


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
