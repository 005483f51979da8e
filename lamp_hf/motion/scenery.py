"""The camera's lens, and the background behind a drawn body: a chequered floor or a backdrop."""

import numpy as np
from PIL import Image

from .view import Colour, View


class Lens:
    """The camera's axes, and its projection from metres to pixels.

    Args:
        view ([`View`]): gives pitch, roll, focal length and aim.
        yaw (`float`): radians.
        distance (`float`): metres from the camera to its target.
        size (`int`): side of the picture in pixels.
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

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """Turn points relative to the camera's target, `(..., 3)`, into camera space: right, up and away."""
        return points @ self.axes.T + [0, 0, self.distance]

    def project(self, point: np.ndarray) -> tuple[float, float]:
        """Return the column and row of a point in camera space."""
        return self.centre[0] + self.scale * point[0] / point[2], self.centre[1] - self.scale * point[1] / point[2]


class Backdrop:
    """A picture far behind the body; a camera that follows the body pans over it.

    Args:
        picture (`np.ndarray` of shape `(side, side, 3)`, *optional*): uint8; black if `None`.
        lens ([`Lens`]): the lens.
        origin (`np.ndarray` of shape `(3,)`): the camera's target in the first frame.
    """

    def __init__(self, picture: np.ndarray | None, lens: Lens, origin: np.ndarray):
        self.lens, self.origin = lens, origin
        picture = np.zeros((1, 1, 3), np.uint8) if picture is None else picture
        side = lens.size * 3 // 2
        self.picture = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR))

    def draw(self, target: np.ndarray, body: np.ndarray) -> np.ndarray:
        """Return the background of a frame, `(size, size, 3)`, seen by a camera that looks at `target`."""
        size = self.lens.size
        room = np.array(self.picture.shape[:2]) - size
        pixels = self.lens.scale / (2 * self.lens.distance)  # per metre, twice as far away as the body
        right, up, _ = self.lens.axes @ (target - self.origin) * pixels
        row, column = np.clip(room / 2 + [-up, right], 0, room).astype(int)
        return self.picture[row : row + size, column : column + size].copy()


class Floor:
    """A chequered floor under the body, with its shadow.

    Args:
        colours (`tuple[Colour, Colour, Colour]`): sky, dark and light tiles.
        lens ([`Lens`]): the lens.
        height (`float`): metres from the floor to the camera's target.
    """

    def __init__(self, colours: tuple[Colour, Colour, Colour], lens: Lens, height: float):
        self.lens = lens
        self.sky = np.array(colours[0], np.float32)
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
            (np.array(tile, np.float32) * (1 - haze) + self.sky * haze).astype(np.uint8) for tile in colours[1:]
        )
        self._cached: tuple[np.ndarray, tuple] | None = None  # a target, and the floor without a shadow

    def draw(self, target: np.ndarray, body: np.ndarray) -> np.ndarray:
        """Return the background of a frame, `(size, size, 3)`.

        Args:
            target (`np.ndarray` of shape `(3,)`): the point that the camera looks at, metres.
            body (`np.ndarray` of shape `(num_joints, 3)`): joints with their heights above the floor; cast the shadow.
        """
        if self._cached is None or not np.array_equal(self._cached[0], target):
            self._cached = target, self._draw_tiles(target)
        tiles, x, z = self._cached[1]
        image = tiles.copy()
        near = (np.abs(x - np.float32(body[0, 0])) < 1.3) & (np.abs(z - np.float32(body[0, 2])) < 1.3)
        if near.any():
            rows, columns = (np.flatnonzero(near.any(axis)) for axis in (1, 0))
            box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            lit = 1 - _shadow(x[box][::2, ::2], z[box][::2, ::2], body)  # soft, so that every other pixel suffices
            lit = lit.repeat(2, 0).repeat(2, 1)[: rows[-1] + 1 - rows[0], : columns[-1] + 1 - columns[0], None]
            image[self.top :][box] = image[self.top :][box] * lit
        return image

    def _draw_tiles(self, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw the floor without a shadow; return it with the places of its pixels, x and z in metres."""
        camera = (target - self.lens.distance * self.lens.axes[2]).astype(np.float32)
        x, z = self.x + camera[0], self.z + camera[2]
        image = np.empty((self.lens.size, self.lens.size, 3), np.uint8)
        image[: self.top] = self.sky
        image[self.top :] = self.light
        odd = ((np.floor(x).astype(np.int32) ^ np.floor(z).astype(np.int32)) & 1).astype(bool)
        np.copyto(image[self.top :], self.dark, where=odd[..., None])
        return image, x, z


def _shadow(x: np.ndarray, z: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Return how much darker the floor is under a body, 0 to 0.5, at places `x`, `z`."""
    shadow = np.zeros_like(x)
    for joint in body.astype(np.float32):
        height = max(joint[1], np.float32(0))
        spread = 0.1 + 0.12 * height
        near = ((x - joint[0]) ** 2 + (z - joint[2]) ** 2) / spread**2
        shadow = np.maximum(shadow, np.maximum(1 - near, 0) * (0.5 / (1 + 1.5 * height)))
    return shadow
