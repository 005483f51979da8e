"""A small renderer on NumPy alone: a body of shaded capsules, on a chequered floor or before a backdrop."""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..models.skeleton import Skeleton
from .body import Figure, bone_colour
from .scenery import Backdrop, Floor, Lens
from .view import View


_EXPOSURES = 3  # pictures whose mean is a blurred one

Flesh = tuple[int, int, float, float, np.ndarray]  # a part of the body: its two points, its two radii, its colour


def render(
    joints: np.ndarray, skeleton: Skeleton, size: int = 224, camera: str | View = "follow", caption: str | None = None
) -> np.ndarray:
    """Draw a motion, see [`draw_frames`].

    Returns:
        `np.ndarray` of shape `(num_frames, size, size, 3)`, uint8.
    """
    return np.stack(list(draw_frames(joints, skeleton, size, camera, caption)))


def draw_frames(
    joints: np.ndarray,
    skeleton: Skeleton,
    size: int = 224,
    camera: str | View = "follow",
    caption: str | None = None,
    frame_indices: Sequence[int] | None = None,
) -> Iterator[np.ndarray]:
    """Draw a motion frame by frame, by default from the front, slightly from the body's right and from above.

    Left limbs are orange, right limbs blue.

    Args:
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres, Y up.
        skeleton ([`Skeleton`]): the joint tree.
        size (`int`): side of the square picture in pixels, even.
        camera (`str` or [`View`]): a camera's name, or the whole view.
        caption (`str`, *optional*): text at the top.
        frame_indices (`Sequence[int]`, *optional*): the frames to draw; all by default.

    Yields:
        `np.ndarray` of shape `(size, size, 3)`, uint8.

    Raises:
        ValueError: on an unknown camera, or a size that is odd or not from 16 to 4096.
    """
    view = camera if isinstance(camera, View) else View(camera)
    if not 16 <= size <= 4096 or size % 2:
        raise ValueError(f"size must be an even number of pixels from 16 to 4096, got {size}")
    figure = Figure(skeleton)
    joints = np.asarray(joints, dtype=np.float64)
    if view.proportions:
        joints = figure.with_proportions(joints, view.proportions)
    points, flesh = figure.points(joints), _flesh(figure, view)
    floor = min(0.0, joints[..., 1].min())
    targets, distance = _camera_path(joints, view, floor)
    banner = _banner(caption, size, view)[: size // 2] if caption else None
    grain = np.random.default_rng(0).normal(0, view.grain, (size, size, 3)).astype(np.int16) if view.grain else None
    shifts = np.random.default_rng(int(1e6 * view.grain)).integers(size, size=(len(joints), 2))  # of the grain
    background: Backdrop | Floor | None = None
    for index in range(len(joints)) if frame_indices is None else frame_indices:
        if background is None or view.camera == "orbit":
            yaw = view.yaw + (360 * index / len(joints) if view.camera == "orbit" else 0)
            lens = Lens(view, np.radians(yaw), distance, size)
            if view.floor is None:
                background = Backdrop(view.backdrop, lens, targets[0])
            else:
                background = Floor(view.floor, lens, targets[0, 1] - floor)
        target = targets[index]
        frame = background.draw(target, joints[index] - [0, floor, 0])
        if view.exposure:
            frame = _draw_blurred(frame, points, index, view, flesh, lens, target)
        else:
            _draw_body(frame, points[index], flesh, lens, target, view)
        if grain is not None:
            frame = np.clip(frame + np.roll(grain, shifts[index], (0, 1)), 0, 255).astype(np.uint8)
        if banner is not None:
            frame[: len(banner)] = banner
        yield frame


def project_joints(joints: np.ndarray, skeleton: Skeleton, view: View, frame_indices: Sequence[int]) -> np.ndarray:
    """Return where [`draw_frames`] shows the joints, for a camera that does not orbit.

    Args:
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres, Y up.
        skeleton ([`Skeleton`]): the joint tree.
        view ([`View`]): the view.
        frame_indices (`Sequence[int]`): the frames.

    Returns:
        `np.ndarray` of shape `(len(frame_indices), num_joints, 3)`: offset from the middle of the picture, right and
        up, in half pictures; and metres behind the root joint.
    """
    joints = np.asarray(joints, dtype=np.float64)
    if view.proportions:
        joints = Figure(skeleton).with_proportions(joints, view.proportions)
    targets, distance = _camera_path(joints, view, min(0.0, joints[..., 1].min()))
    lens = Lens(view, np.radians(view.yaw), distance, size=2)  # a pixel is half a picture
    points = lens.to_camera(joints[frame_indices] - targets[frame_indices][:, None])
    depth = np.maximum(points[..., 2:], 0.1)
    return np.concatenate([lens.scale * points[..., :2] / depth + view.aim, depth - depth[:, :1]], -1)


def _camera_path(joints: np.ndarray, view: View, floor: float) -> tuple[np.ndarray, float]:
    """Return the camera's target in each frame, `(num_frames, 3)`, and its distance in metres."""
    if view.camera != "fixed":
        return _smooth(joints[:, 0] * [1, 0, 1]) + [0, floor + 1.0, 0], view.distance
    low, high = joints.min((0, 1)), joints.max((0, 1))
    target = (low + high) / 2 * [1, 0, 1] + [0, floor + 1.0, 0]
    span = float(np.linalg.norm((high - low)[[0, 2]]))
    return np.tile(target, (len(joints), 1)), max(view.distance, view.focal * span / 1.75 + 1)


def _smooth(path: np.ndarray, radius: int = 10) -> np.ndarray:
    """Return the moving average of a path, so that the camera does not shake."""
    padded = np.pad(path, ((radius, radius), (0, 0)), mode="edge")
    kernel = np.ones(2 * radius + 1) / (2 * radius + 1)
    return np.stack([np.convolve(column, kernel, mode="valid") for column in padded.T], -1)


def _flesh(figure: Figure, view: View) -> list[Flesh]:
    """Apply a view's girth and colours to the parts of the body."""
    result = []
    for part in figure.parts:
        kind = part.name.removeprefix("left_").removeprefix("right_")
        girth = view.girth.get(kind, 1.0)
        usual = (224, 186, 160) if kind == "face" else bone_colour(part.name)
        colour = next((view.colours[name] for name in (part.name, kind, "") if name in view.colours), usual)
        radii = girth * part.start_radius, girth * part.end_radius
        result.append((part.start, part.end, *radii, np.array(colour, np.float32)))
    return result


def _banner(caption: str, size: int, view: View) -> np.ndarray:
    """Draw a strip with the caption, wrapped to at most three lines, `(height, size, 3)`."""
    font_size = max(10, size // 22)
    font = ImageFont.load_default(font_size)
    lines = [""]
    for word in caption.split():
        longer = f"{lines[-1]} {word}".strip()
        lines[-1:] = [longer] if font.getlength(longer) < 0.94 * size or not lines[-1] else [lines[-1], word]
    if len(lines) > 3:
        lines = [*lines[:2], lines[2] + " ..."]
    height = int(1.25 * font_size)
    image = Image.new(
        "RGB", (size, height * len(lines) + height // 2), view.floor[0] if view.floor else (235, 238, 243)
    )
    draw = ImageDraw.Draw(image)
    for i, line in enumerate(lines):
        draw.text((size / 2, height * (i + 0.75)), line, font=font, fill=(40, 44, 52), anchor="mm")
    return np.asarray(image)


def _draw_blurred(
    background: np.ndarray,
    points: np.ndarray,
    index: int,
    view: View,
    flesh: list[Flesh],
    lens: Lens,
    target: np.ndarray,
) -> np.ndarray:
    """Return the mean of what is visible while the shutter is open, from this frame towards the next."""
    following = points[min(index + 1, len(points) - 1)]
    total = np.zeros(background.shape, np.uint16)
    for share in np.linspace(0, view.exposure, _EXPOSURES):
        picture = background.copy()
        _draw_body(picture, (1 - share) * points[index] + share * following, flesh, lens, target, view)
        total += picture
    return (total // _EXPOSURES).astype(np.uint8)


def _draw_body(
    image: np.ndarray, points: np.ndarray, flesh: list[Flesh], lens: Lens, target: np.ndarray, view: View
) -> None:
    points = lens.to_camera(points - target)
    depth = np.full(image.shape[:2], np.inf, np.float32)
    light = lens.axes @ (np.array(view.light) / np.linalg.norm(view.light))
    for start, end, *radii, colour in flesh:
        _draw_capsule(image, depth, points[start], points[end], radii, colour, light, view.ambient, lens)


def _draw_capsule(
    image: np.ndarray,
    depth: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    radii: Sequence[float],
    colour: np.ndarray,
    light: np.ndarray,
    ambient: float,
    lens: Lens,
) -> None:
    """Shade the visible part of a capsule, projected as a rounded line whose width shrinks with distance."""
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
