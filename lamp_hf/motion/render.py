"""A small renderer: a body of shaded capsules, on a chequered floor or before a backdrop, on NumPy alone."""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..models.skeleton import Skeleton
from .body import Figure, bone_colour
from .view import View


_EXPOSURES = 3  # pictures that a blurred one is the mean of


def render(
    joints: np.ndarray, skeleton: Skeleton, size: int = 224, camera: str | View = "follow", caption: str | None = None
) -> np.ndarray:
    """Draws a motion, see [`draw_frames`]; uint8 `(num_frames, size, size, 3)`."""
    return np.stack(list(draw_frames(joints, skeleton, size, camera, caption)))


def draw_frames(
    joints: np.ndarray,
    skeleton: Skeleton,
    size: int = 224,
    camera: str | View = "follow",
    caption: str | None = None,
    numbers: Sequence[int] | None = None,
) -> Iterator[np.ndarray]:
    """Draws a motion frame by frame, from the front, a little to the body's right and above.

    Left limbs are orange, right limbs blue.

    Args:
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres, Y up.
        size (`int`): side of the square image, even.
        camera (`str` or [`View`]): a camera's name, or all of how it is filmed.
        caption (`str`, *optional*): written at the top.
        numbers (`Sequence[int]`, *optional*): frames to draw; all if not given.

    Yields:
        `np.ndarray` of shape `(size, size, 3)`, uint8.

    Raises:
        ValueError: on another camera, or a size that is odd or out of 16 to 4096.
    """
    view = camera if isinstance(camera, View) else View(camera)
    if not 16 <= size <= 4096 or size % 2:
        raise ValueError(f"size must be an even number of pixels from 16 to 4096, got {size}")
    figure = Figure(skeleton)
    joints = np.asarray(joints, dtype=np.float64)
    if view.proportions:
        joints = figure.proportioned(joints, view.proportions)
    points, flesh = figure.points(joints), _flesh(figure, view)
    floor = min(0.0, joints[..., 1].min())
    targets, distance = _camera_path(joints, view, floor)
    banner = _banner(caption, size, view)[: size // 2] if caption else None
    grain = np.random.default_rng(0).normal(0, view.grain, (size, size, 3)).astype(np.int16) if view.grain else None
    shifts = np.random.default_rng(int(1e6 * view.grain)).integers(size, size=(len(joints), 2))  # another each frame
    place = None
    for number in range(len(joints)) if numbers is None else numbers:
        yaw = view.yaw + (360 * number / len(joints) if view.camera == "orbit" else 0)
        if place is None or view.camera == "orbit":
            lens = _Lens(view, np.radians(yaw), distance, size)
            place = (
                _Backdrop(view, lens, targets[0]) if view.floor is None else _Floor(view, lens, targets[0, 1] - floor)
            )
        target = targets[number]
        frame = place.draw(target, joints[number] - [0, floor, 0])
        if view.exposure:
            frame = _blurred(frame, points, number, view, flesh, lens, target)
        else:
            _draw_body(frame, points[number], flesh, lens, target, view)
        if view.grain:
            frame = np.clip(frame + np.roll(grain, shifts[number], (0, 1)), 0, 255).astype(np.uint8)
        if banner is not None:
            frame[: len(banner)] = banner
        yield frame


def seen_joints(joints: np.ndarray, skeleton: Skeleton, view: View, numbers: Sequence[int]) -> np.ndarray:
    """Where a film shows the joints in some of its frames, `(len(numbers), num_joints, 3)`, unless its camera orbits.

    Columns to the right and rows up from the picture's middle, in half pictures, and metres behind the root joint.
    """
    joints = np.asarray(joints, dtype=np.float64)
    if view.proportions:
        joints = Figure(skeleton).proportioned(joints, view.proportions)
    targets, distance = _camera_path(joints, view, min(0.0, joints[..., 1].min()))
    lens = _Lens(view, np.radians(view.yaw), distance, size=2)  # of half a picture
    points = (joints[numbers] - targets[numbers][:, None]) @ lens.axes.T + [0, 0, distance]
    depth = np.maximum(points[..., 2:], 0.1)
    return np.concatenate([lens.scale * points[..., :2] / depth + view.aim, depth - depth[:, :1]], -1)


def _camera_path(joints: np.ndarray, view: View, floor: float) -> tuple[np.ndarray, float]:
    """What the camera looks at in each frame, `(num_frames, 3)`, and from how many metres."""
    if view.camera != "fixed":
        return _smooth(joints[:, 0] * [1, 0, 1]) + [0, floor + 1.0, 0], view.distance
    low, high = joints.min((0, 1)), joints.max((0, 1))
    target = (low + high) / 2 * [1, 0, 1] + [0, floor + 1.0, 0]
    way = np.linalg.norm((high - low)[[0, 2]])
    return np.tile(target, (len(joints), 1)), max(view.distance, view.focal * way / 1.75 + 1)


def _flesh(figure: Figure, view: View) -> list[tuple]:
    """Of each part of the body its two points, its two radii, the colour."""
    result = []
    for part in figure.parts:
        kind = part.name.removeprefix("left_").removeprefix("right_")
        girth = view.girth.get(kind, 1.0)
        usual = (224, 186, 160) if kind == "face" else bone_colour(part.name)
        colour = next((view.colours[name] for name in (part.name, kind, "") if name in view.colours), usual)
        radii = girth * part.start_radius, girth * part.end_radius
        result.append((part.start, part.end, *radii, np.array(colour, np.float32)))
    return result


def _blurred(frame, points, number: int, view: View, flesh, lens: "_Lens", target) -> np.ndarray:
    """The mean of what is seen while the film is exposed, from this frame towards the next."""
    following = points[min(number + 1, len(points) - 1)]
    total = np.zeros(frame.shape, np.uint16)
    for share in np.linspace(0, view.exposure, _EXPOSURES):
        picture = frame.copy()
        _draw_body(picture, (1 - share) * points[number] + share * following, flesh, lens, target, view)
        total += picture
    return (total // _EXPOSURES).astype(np.uint8)


def _banner(caption: str, size: int, view: View) -> np.ndarray:
    """A strip with the caption, wrapped to at most three lines, `(height, size, 3)`."""
    font = ImageFont.load_default(max(10, size // 22))
    lines = [""]
    for word in caption.split():
        longer = f"{lines[-1]} {word}".strip()
        lines[-1:] = [longer] if font.getlength(longer) < 0.94 * size or not lines[-1] else [lines[-1], word]
    if len(lines) > 3:
        lines = [*lines[:2], lines[2] + " ..."]
    height = int(1.25 * font.size)
    image = Image.new(
        "RGB", (size, height * len(lines) + height // 2), view.floor[0] if view.floor else (235, 238, 243)
    )
    draw = ImageDraw.Draw(image)
    for i, line in enumerate(lines):
        draw.text((size / 2, height * (i + 0.75)), line, font=font, fill=(40, 44, 52), anchor="mm")
    return np.asarray(image)


def _draw_body(image: np.ndarray, points: np.ndarray, flesh, lens: "_Lens", target: np.ndarray, view: View) -> None:
    points = (points - target) @ lens.axes.T + [0, 0, lens.distance]  # x right, y up, z away from the camera
    depth = np.full(image.shape[:2], np.inf, np.float32)
    light = lens.axes @ (np.array(view.light) / np.linalg.norm(view.light))
    for start, end, *radii, colour in flesh:
        _draw_capsule(image, depth, points[start], points[end], radii, colour, light, view.ambient, lens)


def _draw_capsule(image, depth, start, end, radii, colour, light, ambient: float, lens: "_Lens") -> None:
    """Shades the visible part of a capsule, projected as a rounded line whose width shrinks with distance."""
    if min(start[2], end[2]) < max(radii) + 0.1:
        return  # behind the camera, or so near that it would fill the picture
    size, scale = len(image), lens.scale
    (x0, y0), (x1, y1) = lens.project(start), lens.project(end)
    r0, r1 = scale * radii[0] / start[2], scale * radii[1] / end[2]
    left, right = int(max(min(x0 - r0, x1 - r1), 0)), int(min(max(x0 + r0, x1 + r1) + 1, size))
    top, bottom = int(max(min(y0 - r0, y1 - r1), 0)), int(min(max(y0 + r0, y1 + r1) + 1, size))
    if left >= right or top >= bottom:
        return
    x = np.arange(left + 0.5 - x0, right - x0, dtype=np.float32)[: right - left]
    y = np.arange(top + 0.5 - y0, bottom - y0, dtype=np.float32)[: bottom - top, None]
    across, down = np.float32(x1 - x0), np.float32(y1 - y0)
    length = max(across**2 + down**2, np.float32(1e-6))
    along = np.clip(x * (across / length) + y * (down / length), 0, 1)
    width = np.float32(r0) + along * np.float32(r1 - r0)
    dx, dy = (x - along * across) / width, (y - along * down) / width
    towards = 1 - dx * dx - dy * dy  # squared component of the normal that points at the camera
    facing = np.sqrt(np.maximum(towards, 0))
    metres = np.float32(radii[0]) + along * np.float32(radii[1] - radii[0])
    z = np.float32(start[2]) + along * np.float32(end[2] - start[2]) - metres * facing
    box = np.s_[top:bottom, left:right]
    visible = (towards > 0) & (z < depth[box])
    depth[box][visible] = z[visible]
    lit = dx[visible] * np.float32(light[0]) - dy[visible] * np.float32(light[1])
    lit -= facing[visible] * np.float32(light[2])
    shade = np.float32(ambient) + np.float32(1.05 - ambient) * np.maximum(lit, 0)
    image[box][visible] = np.minimum(shade[:, None] * colour, 255)


class _Lens:
    """A camera's directions and the way from metres to pixels.

    Args:
        view ([`View`]): with its angles.
        yaw (`float`): radians.
        distance (`float`): metres from the camera to what it looks at.
        size (`int`): side of the picture.
    """

    def __init__(self, view: View, yaw: float, distance: float, size: int):
        pitch, roll = np.radians([view.pitch, view.roll])
        forward = np.array([-np.sin(yaw) * np.cos(pitch), -np.sin(pitch), -np.cos(yaw) * np.cos(pitch)])
        right = np.cross(forward, [0.0, 1.0, 0.0])
        right /= np.linalg.norm(right)
        up = np.cross(right, forward)
        right, up = right * np.cos(roll) + up * np.sin(roll), up * np.cos(roll) - right * np.sin(roll)
        self.axes = np.stack([right, up, forward])
        self.size, self.scale, self.distance = size, size / 2 * view.focal, distance
        self.centre = size / 2 * (1 + view.aim[0]), size / 2 * (1 - view.aim[1])

    def project(self, point: np.ndarray) -> tuple[float, float]:
        """Of a point in camera space its column and row."""
        return self.centre[0] + self.scale * point[0] / point[2], self.centre[1] - self.scale * point[1] / point[2]


class _Backdrop:
    """A picture far behind the body, of which a camera that goes along sees other parts."""

    def __init__(self, view: View, lens: _Lens, origin: np.ndarray):
        self.lens, self.origin = lens, origin
        backdrop = np.zeros((1, 1, 3), np.uint8) if view.backdrop is None else view.backdrop
        side = lens.size * 3 // 2
        self.picture = np.asarray(Image.fromarray(backdrop).resize((side, side), Image.Resampling.BILINEAR))

    def draw(self, target: np.ndarray, body: np.ndarray) -> np.ndarray:
        size = self.lens.size
        room = np.array(self.picture.shape[:2]) - size
        pixels = self.lens.scale / (2 * self.lens.distance)  # a metre, twice as far away as the body
        right, up, _ = self.lens.axes @ (target - self.origin) * pixels
        row, column = np.clip(room / 2 + [-up, right], 0, room).astype(int)
        return self.picture[row : row + size, column : column + size].copy()


class _Floor:
    """A chequered floor under the body, with its shadow.

    Args:
        height (`float`): metres of what the camera looks at over the floor.
    """

    def __init__(self, view: View, lens: _Lens, height: float):
        self.lens = lens
        self.sky = np.array(view.floor[0], np.float32)
        columns, rows = (
            (np.arange(lens.size, dtype=np.float32) + 0.5 - centre) / lens.scale for centre in lens.centre
        )
        rays = np.stack([*np.meshgrid(columns, -rows), np.ones((lens.size, lens.size), np.float32)], -1)
        rays = rays @ lens.axes.astype(np.float32)
        below = rays[..., 1] < -1e-3
        self.top = int(np.argmax(below.any(1))) if below.any() else lens.size  # the horizon's row
        rays, below = rays[self.top :], below[self.top :]
        camera_height = max(height - lens.distance * lens.axes[2, 1], 0.05)
        reach = camera_height / np.where(below, -rays[..., 1], np.inf)
        self.x, self.z = reach * rays[..., 0], reach * rays[..., 2]  # from the point under the camera
        haze = np.where(below, np.clip((reach - 6) / 14, 0, 1), 1)[..., None].astype(np.float32)
        self.dark, self.light = (
            (np.array(tile, np.float32) * (1 - haze) + self.sky * haze).astype(np.uint8) for tile in view.floor[1:]
        )
        self._bare: tuple[np.ndarray, tuple] | None = None

    def draw(self, target: np.ndarray, body: np.ndarray) -> np.ndarray:
        """The picture without the body, `(size, size, 3)`; `body` has heights over the floor, and gives the shadow."""
        if self._bare is None or not np.array_equal(self._bare[0], target):
            self._bare = target, self._draw_bare(target)
        picture, x, z = self._bare[1]
        image = picture.copy()
        near = (np.abs(x - np.float32(body[0, 0])) < 1.3) & (np.abs(z - np.float32(body[0, 2])) < 1.3)
        if near.any():
            rows, columns = (np.flatnonzero(near.any(axis)) for axis in (1, 0))
            box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            lit = 1 - _shadow(x[box][::2, ::2], z[box][::2, ::2], body)  # it is soft: every other pixel will do
            lit = lit.repeat(2, 0).repeat(2, 1)[: rows[-1] + 1 - rows[0], : columns[-1] + 1 - columns[0], None]
            image[self.top :][box] = image[self.top :][box] * lit
        return image

    def _draw_bare(self, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The floor without a shadow, and where each of its pixels lies."""
        camera = (target - self.lens.distance * self.lens.axes[2]).astype(np.float32)
        x, z = self.x + camera[0], self.z + camera[2]
        image = np.empty((self.lens.size, self.lens.size, 3), np.uint8)
        image[: self.top] = self.sky
        image[self.top :] = self.light
        odd = ((np.floor(x).astype(np.int32) ^ np.floor(z).astype(np.int32)) & 1).astype(bool)
        np.copyto(image[self.top :], self.dark, where=odd[..., None])
        return image, x, z


def _shadow(x: np.ndarray, z: np.ndarray, body: np.ndarray) -> np.ndarray:
    """How much darker the floor is at places `x`, `z`, under a body."""
    shadow = np.zeros_like(x)
    for joint in body.astype(np.float32):
        height = max(joint[1], np.float32(0))
        spread = 0.1 + 0.12 * height
        near = ((x - joint[0]) ** 2 + (z - joint[2]) ** 2) / spread**2
        shadow = np.maximum(shadow, np.maximum(1 - near, 0) * (0.5 / (1 + 1.5 * height)))
    return shadow


def _smooth(path: np.ndarray, radius: int = 10) -> np.ndarray:
    """Moving average of a path, so that the camera does not shake."""
    padded = np.pad(path, ((radius, radius), (0, 0)), mode="edge")
    kernel = np.ones(2 * radius + 1) / (2 * radius + 1)
    return np.stack([np.convolve(column, kernel, mode="valid") for column in padded.T], -1)
