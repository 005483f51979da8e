"""Video reading: files, bytes, folders of pictures and arrays to a few square frames at even times.

PyAV decodes, so neither torchvision nor a system ffmpeg is needed. Only the sampled frames are kept, already resized:
a minute of 4K video takes no more memory than a second.
"""

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from PIL import Image, ImageOps, UnidentifiedImageError


PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
VIDEOS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".gif", ".3gp", ".ts", ".mts", ".mpg", ".mpeg", ".wmv")
PADDING = (127, 127, 127)  # colour of the bars that make a frame square


@dataclass
class Frames:
    """Frames sampled from a video.

    Args:
        pixels (`np.ndarray` of shape `(num_frames, size, size, 3)`): uint8 frames. Where the video has fewer, its last
            frame is repeated.
        mask (`np.ndarray` of shape `(num_frames,)`): False for repeated frames.
        times (`np.ndarray` of shape `(num_frames,)`): Seconds from the start of the video.
    """

    pixels: np.ndarray
    mask: np.ndarray
    times: np.ndarray


def is_video(source) -> bool:
    """Tell a video from a motion.

    A video is a [`Video`], bytes, an open file, a folder, a path with the suffix of a video file, or an array
    `(num_frames, height, width, channels)`.
    """
    if isinstance(source, (str, Path)):
        return Path(source).suffix.lower() in VIDEOS or Path(source).is_dir()
    return isinstance(source, (Video, bytes, bytearray)) or hasattr(source, "read") or getattr(source, "ndim", 0) == 4


class Video:
    """Video from a file, bytes, pictures or an array. It is decoded when frames are sampled.

    Args:
        source (`str`, `Path`, `bytes`, file, `list` or array): A path (mp4, mov, mkv, webm, gif, ...), a folder of
            pictures, bytes, an open file, a list of pictures, or an array `(num_frames, height, width, channels)` or,
            for torch, `(num_frames, channels, height, width)`; integers up to 255 or floats up to 1; grey, RGB or
            RGBA.
        fps (`float`): Frames per second of pictures and arrays.

    Attributes:
        duration (`float`): Seconds, by the header of the file. Sampling corrects it if the file ends early.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the source is not a video, or has no pictures.
    """

    def __init__(self, source, fps: float = 20.0):
        if not 0 < fps < np.inf:
            raise ValueError(f"fps must be a positive number, got {fps}")
        self.name = str(source) if isinstance(source, (str, Path)) else "video"
        # Yields each picture's start, duration and loader: only the pictures that are sampled are loaded.
        self._open: Callable[[], Iterator[tuple[float, float, Callable[[], Image.Image]]]]
        if isinstance(source, (str, Path)):
            path = Path(source)
            if not path.exists():
                raise FileNotFoundError(f"no such file: {path}")
            if path.is_dir():
                files = sorted((file for file in path.iterdir() if file.suffix.lower() in PICTURES), key=_by_number)
                if not files:
                    raise ValueError(f"{path}: a folder must hold pictures ({', '.join(PICTURES)}); it has none")
                self._open = lambda: ((i / fps, 1 / fps, partial(_load_picture, file)) for i, file in enumerate(files))
                self.duration = len(files) / fps
            else:
                self._open = lambda: self._decode(str(path))
                self.duration = self._probe(str(path))
        elif isinstance(source, (bytes, bytearray)) or hasattr(source, "read"):
            content = bytes(source) if isinstance(source, (bytes, bytearray)) else source.read()
            self._open = lambda: self._decode(io.BytesIO(content))
            self.duration = self._probe(io.BytesIO(content))
        else:
            pictures = _pictures(source, self.name)
            self._open = lambda: (
                (i / fps, 1 / fps, partial(_as_picture, row, self.name)) for i, row in enumerate(pictures)
            )
            self.duration = len(pictures) / fps
        if self.duration <= 0:
            raise ValueError(f"{self.name}: the video has no pictures")

    def sample(
        self, num_frames: int = 16, size: int = 224, start: float = 0.0, end: float | None = None, boxes=None
    ) -> Frames:
        """Sample frames at even times between `start` and `end`.

        Args:
            num_frames (`int`): Number of frames. If the video has fewer, its last frame is repeated.
            size (`int`): Side of a frame in pixels. A picture is resized to fit and padded, never cropped.
            start, end (`float`, *optional*): Seconds; `end` is the end of the video by default.
            boxes (`np.ndarray` of shape `(4,)` or `(all_frames, 4)`, *optional*): Left, top, right and bottom of the
                person in pixels, to crop to: one box for the video, or one for each of its frames.

        Returns:
            [`Frames`].

        Raises:
            ValueError: If nothing lies between `start` and `end`, or the video is damaged before it.
        """
        end = self.duration if end is None else min(end, self.duration)
        if not 0 <= start < end:
            raise ValueError(f"{self.name}: nothing from {start:g} to {end:g} s; it lasts {self.duration:g} s")
        wanted = start + (np.arange(num_frames) + 0.5) * (end - start) / num_frames
        wanted += 1e-6  # rounding must not miss the start of a picture
        chosen: list[tuple[float, np.ndarray]] = []
        last: tuple[int, float, float, Callable[[], Image.Image]] | None = None

        def keep() -> None:
            number, time, _, load = last
            if not chosen or chosen[-1][0] != time:
                chosen.append((time, _square(_crop(load(), boxes, number), size)))

        place = 0
        for number, (time, lasts, load) in enumerate(self._open()):
            while last is not None and place < num_frames and wanted[place] < time:
                keep()  # the picture that is shown then
                place += 1
            last = number, time, lasts, load
            if place == num_frames:
                break
        if last is None:
            raise ValueError(f"{self.name}: the video has no pictures")
        if place < num_frames:
            number, time, lasts, _ = last
            shown = time + max(
                lasts, time / max(number, 1), 0.05
            )  # the last picture lasts at least as long as the others
            if shown + 0.5 < end:  # the file is shorter than its header says
                self.duration = shown
                return self.sample(num_frames, size, start, None, boxes)
            keep()
        times, pixels = zip(*chosen)
        missing = num_frames - len(chosen)
        return Frames(
            np.stack([*pixels, *[pixels[-1]] * missing]),
            np.arange(num_frames) < len(chosen),
            np.array([*times, *[times[-1]] * missing]),
        )

    def _probe(self, file) -> float:
        """Return the duration in seconds that the container states or, if it states none, that of decoding it."""
        with self._container(file) as container:
            stream = _video_stream(container)
            if stream.duration and stream.time_base:
                return float(stream.duration * stream.time_base)
            if container.duration:
                return container.duration / av.time_base
            if hasattr(file, "seek"):
                file.seek(0)
        times = [(time, lasts) for time, lasts, _ in self._decode(file)]
        if not times:
            return 0.0
        time, lasts = times[-1]
        return time + (lasts or time / max(len(times) - 1, 1) or 0.05)

    def _container(self, file):
        """Open a container that has a video stream."""
        try:
            container = av.open(file)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise ValueError(f"{self.name}: not a video that can be read: {error}") from None
        if _video_stream(container) is None:
            kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
            container.close()
            raise ValueError(f"{self.name}: the file has no video stream, only: {kinds}")
        return container

    def _decode(self, file) -> Iterator[tuple[float, float, Callable[[], Image.Image]]]:
        """Yield each picture's time from the first one, its stated duration and its loader, up to any damage."""
        first = None
        with self._container(file) as container:
            stream = _video_stream(container)
            stream.thread_type = "AUTO"
            try:
                for i, frame in enumerate(container.decode(stream)):
                    time = i / 20 if frame.time is None else frame.time
                    first = time if first is None else first
                    yield time - first, float((frame.duration or 0) * (frame.time_base or 0)), partial(_upright, frame)
            except av.error.FFmpegError as error:
                if first is None:
                    raise ValueError(f"{self.name}: damaged: {error}") from None


def _video_stream(container):
    """Return the first video stream that is not a song's cover; None if there is none."""
    return next(
        (stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic), None
    )


def _upright(frame: av.VideoFrame) -> Image.Image:
    """Convert a frame to a picture, rotated as its metadata says."""
    if any(component.is_alpha for component in frame.format.components):
        picture = _as_picture(Image.fromarray(frame.to_ndarray(format="rgba")), "video")
    else:
        picture = frame.to_image()
    return picture.rotate(frame.rotation, expand=True) if frame.rotation else picture


def _by_number(path: Path) -> list:
    """Return a key that sorts 2.png before 10.png."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", path.name)]


def _load_picture(path: Path) -> Image.Image:
    try:
        return _as_picture(ImageOps.exif_transpose(Image.open(path)), str(path))
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path}: not a picture that can be read: {error}") from None


def _pictures(source, name: str):
    """Return a sequence of pictures; a single picture becomes a sequence of one."""
    if isinstance(source, Image.Image):
        return [source]
    if not isinstance(source, (list, tuple)):
        return _channels_last(source, name)
    if any(isinstance(row, (str, Path, bytes)) for row in source):
        raise ValueError(f"{name}: a list of files is several videos; give one video, or a folder of pictures")
    return source


def _channels_last(values, name: str) -> np.ndarray:
    """Return an array `(num_frames, height, width, channels)`; torch has the channels second."""
    torch_like = hasattr(values, "detach")
    values = np.asarray(values.detach().cpu() if torch_like else values)
    if values.ndim == 3 and (values.shape[-1] in (3, 4) or (torch_like and values.shape[0] in (1, 3, 4))):
        raise ValueError(f"{name}: an array of shape {list(values.shape)} is one picture; give [picture]")
    if values.ndim == 3:
        values = values[..., None]
    if values.ndim != 4:
        raise ValueError(f"{name}: an array of shape {list(values.shape)}, not (frames, height, width, channels)")
    if values.shape[-1] not in (1, 3, 4) and values.shape[1] in (1, 3, 4):
        values = values.transpose(0, 2, 3, 1)
    return values


def _as_picture(value, name: str) -> Image.Image:
    """Convert to an RGB picture, with transparent parts grey."""
    if not isinstance(value, Image.Image):
        values = np.asarray(value)
        if values.dtype.kind == "f":
            if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
                raise ValueError(f"{name}: a picture of floats must hold numbers from 0 to 1")
            values = np.round(values * 255)
        elif values.dtype.kind not in "ui" or (values.size and (values.min() < 0 or values.max() > 255)):
            raise ValueError(f"{name}: a picture of {values.dtype} must hold numbers from 0 to 255")
        values = values.astype(np.uint8)
        values = values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values
        if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[-1] not in (3, 4)) or 0 in values.shape:
            raise ValueError(f"{name}: an array of shape {list(values.shape)} is not a picture")
        value = Image.fromarray(values)
    if value.mode.startswith("I"):  # 16 bits of grey
        value = Image.fromarray((np.asarray(value).clip(0, 65535) // 257).astype(np.uint8))
    if value.mode in ("RGBA", "LA", "PA") or "transparency" in value.info:
        value = value.convert("RGBA")
        background = Image.new("RGBA", value.size, (*PADDING, 255))
        value = Image.alpha_composite(background, value)
    return value.convert("RGB")


def _crop(picture: Image.Image, boxes, number: int) -> Image.Image:
    """Crop the picture of a given number to its box, if there are boxes."""
    if boxes is None:
        return picture
    box = np.asarray(boxes, float)
    if box.shape[-1:] != (4,) or box.ndim > 2 or not np.isfinite(box).all():
        raise ValueError(f"boxes are left, top, right and bottom, [4] or [all frames, 4]; got {list(box.shape)}")
    if box.ndim == 2:
        if number >= len(box):
            raise ValueError(f"{len(box)} boxes, but the video has more frames: give one for each, or one for all")
        box = box[number]
    left, top, right, bottom = np.round(box).astype(int)
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, picture.width), min(bottom, picture.height)
    if left >= right or top >= bottom:
        raise ValueError(f"the box {box.tolist()} lies outside a picture of {picture.width} x {picture.height} pixels")
    return picture.crop((left, top, right, bottom))


def _square(picture: Image.Image, size: int) -> np.ndarray:
    """Resize a picture to fit into a square, and pad it."""
    return np.asarray(ImageOps.pad(picture, (size, size), Image.Resampling.BILINEAR, color=PADDING))


__all__ = ["Frames", "Video", "is_video"]
