r"""Render clips with the path tracer Mitsuba, to test a model on another style than the one it was trained on.

    pip install mitsuba
    python -m training.video.render_mitsuba --data mocap.parquet --clips 64 --output runs/mitsuba

The videos show soft shadows, a tiled floor, patterned walls and a person with round limbs and clothes, in portrait,
from the height of a hand-held camera. Each clip gives one file of 16 frames, spread over its whole length.
"""

import argparse
from functools import partial
from pathlib import Path

import mitsuba as mi
import numpy as np
from tqdm import tqdm

from lamp_hf.models.skeleton import HUMANML3D
from lamp_hf.motion.files import write_atomically
from lamp_hf.motion.video import write_video

from ..data import Clips
from .rendered_videos import joints_in_metres, sampled_frames


WIDTH, HEIGHT, SAMPLES, PICTURES = 126, 224, 6, 16
# Outer joint: radius of the limb that ends there, metres.
RADII = {
    "hip": 0.1, "knee": 0.08, "ankle": 0.055, "foot": 0.045, "spine1": 0.13, "spine2": 0.14, "spine3": 0.14,
    "neck": 0.06, "collar": 0.1, "shoulder": 0.075, "elbow": 0.05, "wrist": 0.036,
}  # fmt: skip
WORN = {"hip": "trousers", "knee": "trousers", "ankle": "trousers", "foot": "shoes", "wrist": "skin", "neck": "skin"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--split", default="test", choices=["val", "test"])
    parser.add_argument("--clips", default=64, type=int, help="number of clips, spread over the split")
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args()
    mi.set_variant("scalar_rgb")
    mi.set_log_level(mi.LogLevel.Error)
    arguments.output.mkdir(parents=True, exist_ok=True)
    clips = Clips(arguments.data, arguments.split, {"skeleton": "humanml3d", "mirrored": False})
    for row in tqdm(np.linspace(0, len(clips) - 1, arguments.clips).round().astype(int), unit=" videos"):
        path = arguments.output / f"{clips.names[row].replace('/', '_')}.mp4"
        if not path.exists():
            joints = joints_in_metres(clips.motions[row], HUMANML3D)
            write = partial(write_video, frames=pictures(joints, np.random.default_rng(row)), crf=12)
            write_atomically(path, partial(write, fps=PICTURES * HUMANML3D.fps / len(joints)))


def pictures(joints: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Render a clip as filmed by somebody who stands a few metres away and turns to follow the person."""
    room, clothes, yaw = surroundings(rng), outfit(rng), rng.uniform(-np.pi, np.pi)
    middle = joints[:, 0].mean(0) * [1, 0, 1]
    reach = np.linalg.norm((joints[:, 0] - middle)[:, [0, 2]], axis=-1).max()
    distance = max(3.6, 2.2 + 1.3 * reach)
    stand = middle + [distance * np.sin(yaw), rng.uniform(1.2, 1.7), distance * np.cos(yaw)]
    result = []
    for number in sampled_frames(len(joints), PICTURES):
        target = joints[number, 0] * [1, 0, 1] + [0, 0.95, 0]
        scene = {
            "type": "scene",
            "integrator": {"type": "path", "max_depth": 3},
            **room,
            **person(joints[number], clothes),
        }
        scene["camera"] = {
            "type": "perspective",
            "fov": 30.0,
            "fov_axis": "smaller",
            "to_world": mi.ScalarTransform4f().look_at(origin=list(stand), target=list(target), up=[0, 1, 0]),
            "film": {"type": "hdrfilm", "width": WIDTH, "height": HEIGHT},
            "sampler": {"type": "independent", "sample_count": SAMPLES},
        }
        image = mi.render(mi.load_dict(scene))
        result.append(np.array(mi.Bitmap(image).convert(mi.Bitmap.PixelFormat.RGB, mi.Struct.Type.UInt8, True)))
    return result


def surroundings(rng: np.random.Generator) -> dict:
    """Return the scene: a tiled floor, four patterned walls, a lamp above and daylight from all sides."""

    def tiles(scale: float) -> dict:
        colours = rng.uniform(0.1, 0.8, (2, 3))
        return {
            "type": "diffuse",
            "reflectance": {
                "type": "checkerboard",
                "color0": {"type": "rgb", "value": colours[0].tolist()},
                "color1": {"type": "rgb", "value": (0.75 * colours[0] + 0.25 * colours[1]).tolist()},
                "to_uv": mi.ScalarTransform4f().scale([scale, scale, 1]),
            },
        }

    place, half = mi.ScalarTransform4f(), 14.0
    parts = {
        "floor": {
            "type": "rectangle",
            "to_world": place.rotate([1, 0, 0], -90).scale([half, half, 1]),
            "bsdf": tiles(half),
        },
        "sky": {"type": "constant", "radiance": {"type": "rgb", "value": rng.uniform(0.3, 0.6, 3).tolist()}},
        "lamp": {
            "type": "sphere",
            "center": [*rng.uniform(-4, 4, 1), 6.0, *rng.uniform(-4, 4, 1)],
            "radius": 0.8,
            "emitter": {"type": "area", "radiance": {"type": "rgb", "value": rng.uniform(12, 25, 3).tolist()}},
        },
    }
    for i in range(4):
        turn = place.rotate([0, 1, 0], 90 * i).translate([0, 3, -half]).scale([half, 3, 1])
        parts[f"wall_{i}"] = {"type": "rectangle", "to_world": turn, "bsdf": {"type": "twosided", "bsdf": tiles(6.0)}}
    return parts


def outfit(rng: np.random.Generator) -> dict[str, dict]:
    """Return random materials of skin, clothes and hair."""

    def cloth(colour) -> dict:
        return {"type": "diffuse", "reflectance": {"type": "rgb", "value": np.clip(colour, 0.02, 0.9).tolist()}}

    skin = np.array([0.62, 0.42, 0.3]) * rng.uniform(0.4, 1.2)
    names = ("shirt", "trousers", "shoes", "hair")
    return {"skin": cloth(skin)} | {name: cloth(rng.uniform(0.03, 0.7, 3)) for name in names}


def person(joints: np.ndarray, clothes: dict[str, dict]) -> dict:
    """Return the shapes of a body: round limbs, hands, and a head with hair and a nose."""
    names = HUMANML3D.joint_names
    parts = {}
    for joint, parent in enumerate(HUMANML3D.parents):
        kind = names[joint].rpartition("_")[2]
        if kind in RADII:
            parts |= limb(names[joint], joints[parent], joints[joint], RADII[kind], clothes[WORN.get(kind, "shirt")])
    of = {name: joints[i] for i, name in enumerate(names)}
    up = unit(of["head"] - of["neck"])
    forward = unit(np.cross(of["left_shoulder"] - of["right_shoulder"], up))
    skull = of["head"] + 0.07 * up
    for name, centre, radius, worn in (
        ("face", skull + 0.02 * forward, 0.1, "skin"),
        ("hair", skull + 0.03 * up - 0.025 * forward, 0.108, "hair"),
        ("nose", skull + 0.12 * forward - 0.01 * up, 0.022, "skin"),
        *((f"{side}_hand", of[f"{side}_wrist"] + 0.06 * unit(of[f"{side}_wrist"] - of[f"{side}_elbow"]), 0.055, "skin")
          for side in ("left", "right")),
    ):  # fmt: skip
        parts[name] = {"type": "sphere", "center": centre.tolist(), "radius": radius, "bsdf": clothes[worn]}
    return parts


def limb(name: str, start: np.ndarray, end: np.ndarray, radius: float, cloth: dict) -> dict:
    """Return a cylinder with round ends."""
    ball = {"type": "sphere", "radius": radius, "bsdf": cloth}
    return {
        name: {"type": "cylinder", "p0": start.tolist(), "p1": (end + 1e-4).tolist(), "radius": radius, "bsdf": cloth},
        f"{name}_start": ball | {"center": start.tolist()},
        f"{name}_end": ball | {"center": end.tolist()},
    }


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


if __name__ == "__main__":
    main()
