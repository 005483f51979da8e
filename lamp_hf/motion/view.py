"""Views: the camera, body, light and background with which a motion is drawn."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw


CAMERAS = ("follow", "fixed", "orbit")
Colour = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class View:
    """The view in which a motion is drawn.

    Args:
        camera (`str`): `"follow"` moves with the body, `"fixed"` stands where it sees the whole path, `"orbit"` moves
            with the body and once around it.
        yaw, pitch, roll (`float`): degrees. Yaw 0 looks from Z+, at the front of a body that faces Z+; 90 from X+, at
            its left side. A positive pitch looks from above; roll rotates the picture.
        distance (`float`): metres from the camera to its target; a fixed camera moves back as far as needed.
        focal (`float`): focal length in half heights of the picture.
        aim (`tuple[float, float]`): offset of the body from the middle, right and up, in half pictures.
        light (`tuple[float, float, float]`): direction to the light.
        ambient (`float`): brightness in the shade, up to 1.
        girth (`Mapping[str, float]`): factors of radii, by a part's name without its side (`"thigh"`, ...).
        proportions (`Mapping[str, float]`): factors of bone lengths, see [`Figure.with_proportions`].
        colours (`Mapping[str, Colour]`): by a part's name, with or without its side, and by `""` for all others; parts
            without an entry are orange on the left, blue on the right and grey in the middle.
        floor (`tuple[Colour, Colour, Colour]`, *optional*): sky, dark and light tiles; `None` for no floor.
        backdrop (`np.ndarray` of shape `(side, side, 3)`, *optional*): uint8 picture behind the body if there is no
            floor; two thirds of it are visible at a time.
        exposure (`float`): motion blur, as the share of the time between frames in which the shutter is open.
        grain (`float`): standard deviation of the noise in each picture, out of 255.
    """

    camera: str = "follow"
    yaw: float = -25.0
    pitch: float = 14.0
    roll: float = 0.0
    distance: float = 3.7
    focal: float = 2.6
    aim: tuple[float, float] = (0.0, 0.0)
    light: tuple[float, float, float] = (0.4, 0.75, 0.52)
    ambient: float = 0.45
    girth: Mapping[str, float] = field(default_factory=dict)
    proportions: Mapping[str, float] = field(default_factory=dict)
    colours: Mapping[str, Colour] = field(default_factory=dict)
    floor: tuple[Colour, Colour, Colour] | None = ((235, 238, 243), (196, 202, 210), (222, 226, 232))
    backdrop: np.ndarray | None = None
    exposure: float = 0.0
    grain: float = 0.0

    def __post_init__(self):
        if self.camera not in CAMERAS:
            raise ValueError(f"unknown camera {self.camera!r}; known: {', '.join(CAMERAS)}")


def random_view(name: str, seed: int) -> View:
    """Draw a view at random: body, clothes, camera, light and background; it is the same for the same name and seed.

    Args:
        name (`str`): name of the clip.
        seed (`int`): random seed.
    """
    rng = np.random.default_rng([zlib.crc32(name.encode()), seed])
    focal, fill = rng.uniform(1.6, 4.5), rng.uniform(0.4, 0.85)
    floor = backdrop = None
    if rng.random() < 0.35:
        sky, tile = _colour(rng), _colour(rng)
        floor = sky, tile, _rgb(np.array(tile) + rng.normal(0, 40, 3))
    else:
        backdrop = _random_backdrop(rng)
    parts = ("trunk", "neck", "thigh", "shin", "foot", "upper_arm", "forearm", "hand", "hair", "face")
    girth, legs, arms = rng.uniform(0.8, 1.3), rng.uniform(0.92, 1.08), rng.uniform(0.92, 1.08)
    return View(
        camera="fixed" if rng.random() < 0.25 else "follow",
        yaw=rng.uniform(-180, 180),
        pitch=rng.uniform(-5, 25),
        roll=rng.normal(0, 2),
        distance=1.85 * focal / 2 / fill,
        focal=focal,
        aim=tuple(rng.uniform(-0.12, 0.12, 2)),
        light=tuple(rng.normal(0, 0.6, 3) + [0, 0.8, 0]),
        ambient=rng.uniform(0.3, 0.7),
        girth={part: girth * rng.uniform(0.85, 1.15) for part in parts},
        proportions={"knee": legs, "ankle": legs, "elbow": arms, "wrist": arms, "spine1": rng.uniform(0.92, 1.08)},
        colours=_random_clothes(rng),
        floor=floor,
        backdrop=backdrop,
        exposure=rng.uniform(0.2, 0.7) if rng.random() < 0.25 else 0.0,
        grain=rng.uniform(2, 10) if rng.random() < 0.4 else 0.0,
    )


def _rgb(values: np.ndarray) -> Colour:
    red, green, blue = (int(value) for value in np.clip(values, 0, 255))
    return red, green, blue


def _colour(rng: np.random.Generator) -> Colour:
    """Draw a colour: mostly grey or brown, sometimes bright."""
    value, tint = rng.uniform(15, 240), rng.normal(0, rng.choice([6, 50]), 3)
    return _rgb(value + tint)


def _random_clothes(rng: np.random.Generator) -> dict[str, Colour]:
    if rng.random() < 0.15:
        return {"": _colour(rng)}
    if rng.random() < 0.15:
        return {}  # the usual colours
    skin = _rgb(np.array([215, 170, 140]) * rng.uniform(0.35, 1.1) + rng.normal(0, 8, 3))
    shirt, trousers, shoes, hair = (_colour(rng) for _ in range(4))
    return {
        "": skin,
        "hair": hair,
        "trunk": shirt,
        "upper_arm": shirt,
        "forearm": shirt if rng.random() < 0.5 else skin,
        "thigh": trousers,
        "shin": trousers if rng.random() < 0.75 else skin,
        "foot": shoes,
    }


def _random_backdrop(rng: np.random.Generator, side: int = 336) -> np.ndarray:
    """Draw a plain wall, a gradient, or a room with things in it."""
    kind = rng.random()
    if kind < 0.25:
        return np.full((side, side, 3), _colour(rng), np.uint8)
    cells = 2 if kind < 0.45 else rng.integers(3, 24)
    noise = np.clip(np.array(_colour(rng)) + rng.normal(0, rng.uniform(5, 50), (cells, cells, 3)), 0, 255)
    picture = Image.fromarray(noise.astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(0, 14) if kind > 0.6 else 0):
        left, top = rng.uniform(-0.2, 1, 2) * side
        width, height = rng.uniform(0.03, 0.5, 2) * side
        shape = draw.rectangle if rng.random() < 0.7 else draw.ellipse
        shape((left, top, left + width, top + height), fill=_colour(rng))
    return np.asarray(picture)
