"""Contact sheets: eight poses of a motion for each of sixty prompts, to be looked at."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
import yaml
from PIL import Image, ImageDraw, ImageFont

from lamp_hf.metrics.geometry import measure
from lamp_hf.models.skeleton import get_skeleton
from lamp_hf.motion.render import draw_frames

from ..data import batched
from .options import add_decoding, add_seed
from .text_to_motion import load_generator


POSES, SIZE, LABEL = 8, 160, 28  # poses of a strip, their side and the height of the label in pixels
STRIPS = 10  # of a sheet


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--sheets", required=True, type=Path, help="folder for the pictures")
    add_seed(parser)
    add_decoding(parser)


def evaluate(arguments: Namespace) -> dict:
    """Draw the motions of all prompts, as long as the model chooses, and return the pictures' names."""
    prompts = yaml.safe_load(Path(__file__).with_name("family_prompts.yaml").read_text())["contact_sheets"]
    outputs = load_generator(arguments)(prompts, seed=arguments.seed, batch_size=32)
    arguments.sheets.mkdir(parents=True, exist_ok=True)
    sheets = []
    for number, motions in enumerate(batched(outputs, STRIPS), 1):
        path = arguments.sheets / f"sheet_{number}.png"
        Image.fromarray(np.concatenate([strip(motion) for motion in motions])).save(path)
        sheets.append(path.name)
    return {"prompts": len(prompts), "sheets": sheets}


def strip(motion: dict) -> np.ndarray:
    """Draw poses at even times under a label with the text and the geometry, `(SIZE + LABEL, POSES * SIZE, 3)`."""
    joints = motion["joints"]
    rows = np.linspace(0, len(joints) - 1, POSES).round().astype(int)
    poses = draw_frames(joints, get_skeleton(motion["skeleton"]), SIZE, frame_indices=rows)
    m = measure(joints, motion["fps"])
    went = f"forward {m.forward:+.1f} m, left {m.left:+.1f} m, turned {m.turn:+.0f}°"
    banner = Image.new("RGB", (POSES * SIZE, LABEL), "white")
    note = f"{motion['text']}   [{len(joints) / motion['fps']:.1f} s, {went}]"
    ImageDraw.Draw(banner).text((8, 5), note, fill="black", font=ImageFont.load_default(16))
    return np.concatenate([np.asarray(banner), np.concatenate(list(poses), axis=1)])
