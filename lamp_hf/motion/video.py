"""Video files by PyAV and animated GIFs by Pillow."""

import itertools
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from PIL import Image


def write_video(file: str | Path | BinaryIO, frames: Iterable[np.ndarray], fps: float, crf: int = 20) -> None:
    """Write frames as H.264 in MP4, each as soon as it arrives.

    Args:
        file (`str`, `Path` or `BinaryIO`): where to write.
        frames (`Iterable[np.ndarray]`): uint8 `(height, width, 3)`, both sides even.
        fps (`float`): frames per second.
        crf (`int`): constant rate factor, from 0 (lossless) to 51 (worst).
    """
    with av.open(str(file) if isinstance(file, Path) else file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.options = {"crf": str(crf), "preset": "veryfast"}
        for i, frame in enumerate(frames):
            if i == 0:
                stream.height, stream.width, stream.pix_fmt = *frame.shape[:2], "yuv420p"
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def write_gif(path: Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """Write frames as a GIF that repeats, dropping some to come near 25 per second.

    GIF counts hundredths of a second, so that durations of frames alternate to keep the total right.

    Args:
        path (`Path`): the file.
        frames (`Iterable[np.ndarray]`): uint8 `(height, width, 3)`.
        fps (`float`): frames per second.
    """
    step = max(1, round(fps / 25))
    images = [Image.fromarray(frame) for frame in itertools.islice(frames, 0, None, step)]
    ends = np.round(100 * np.arange(len(images) + 1) * step / fps)
    palette = images[len(images) // 2].quantize(128)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    images[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=(10 * np.diff(ends)).astype(int).tolist(),
        loop=0,
    )
