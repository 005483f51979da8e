"""Video files by PyAV, animated pictures by Pillow."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image


def write_video(path: Path, frames: np.ndarray, fps: float) -> None:
    """Writes uint8 frames `(num_frames, height, width, 3)` with even sides as H.264."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.options = {"crf": "20", "preset": "veryfast"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def write_gif(path: Path, frames: np.ndarray, fps: float) -> None:
    """Writes uint8 frames `(num_frames, height, width, 3)` as a GIF that repeats.

    At more than 25 frames a second, which many viewers slow down, frames are left out.
    """
    step = max(1, round(fps / 25))
    images = [Image.fromarray(frame) for frame in frames[::step]]
    palette = images[len(images) // 2].quantize(128)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    images[0].save(
        path, format="GIF", save_all=True, append_images=images[1:], duration=round(1000 * step / fps), loop=0
    )
