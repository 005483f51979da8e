"""Input of strangers: checked here, whatever a page checks, since other clients send requests too."""

import html
import re
import secrets
import textwrap
import zipfile
from pathlib import Path

import av

from ..models.video_frames import Video
from ..motion.clip import READABLE, Motion
from .limits import MAX_CHARACTERS, MAX_SECONDS, MAX_TEXTS
from .reading import ReaderPool, check_duration


MAX_VIDEO_SIDE, MAX_VIDEO_RATE = 4096, 120  # pixels, and frames a second: all of them are decoded
MAX_VIDEO_PIXELS = 4e9  # of all frames: a minute in full HD at 30 frames per second, decoded within seconds
MAX_UNPACKED = 200e6  # bytes of an npz
_READERS = ReaderPool()
MOTIONS = tuple(suffix for suffix in READABLE if suffix != ".amc")  # which needs its .asf beside it
CHARACTERS = (".glb", ".vrm", ".bvh")
VIDEOS = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".gif")


def read_sentences(text: str | None) -> list[str]:
    """Split a text into its lines, without empty ones.

    Raises:
        ValueError: when there is none, or there are too many lines or characters.
    """
    text = text or ""
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"the text has {len(text)} characters; at most {MAX_CHARACTERS} are read")
    sentences = [line.strip() for line in text.splitlines() if line.strip()]
    if not sentences:
        raise ValueError("describe what the person does, in a sentence")
    if len(sentences) > MAX_TEXTS:
        raise ValueError(f"the text has {len(sentences)} lines; at most {MAX_TEXTS} can follow one another")
    return sentences


def read_motion(path: str | Path, max_seconds: float = MAX_SECONDS, fps: float | None = 20.0) -> Motion:
    """Read an uploaded motion file, with the file's name as its text where it has none.

    Args:
        path (`str` or `Path`): the file.
        max_seconds (`float`): length of the longest motion.
        fps (`float`, *optional*): frames per second to resample to; None keeps those of the file.

    Raises:
        ValueError: when it is of another kind, damaged, too long, or takes too much time or memory.
    """
    path = Path(path)
    _check_suffix(path, MOTIONS)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_UNPACKED:
            raise ValueError(f"{path.name} unpacks to {size / 1e6:.0f} MB; at most {MAX_UNPACKED / 1e6:.0f} are read")
    motion = _READERS.read(path, max_seconds, fps)
    motion.text = motion.text or path.name
    return motion


def put_on_character(motion: Motion, character: str | Path, output: Path) -> None:
    """Write an uploaded character that moves as a motion does.

    Raises:
        ValueError: when it is of another kind, damaged, no person's, or takes too much time or memory.
    """
    character = Path(character)
    _check_suffix(character, CHARACTERS)
    _READERS.retarget(motion, character, output)


def read_seed(seed: int | None) -> int:
    """Return a seed, a random one for None.

    Raises:
        ValueError: when it is negative, or too large.
    """
    if seed is not None and not 0 <= seed < 2**31:
        raise ValueError(f"the seed must be a whole number from 0 to {2**31 - 1}")
    return secrets.randbelow(2**31) if seed is None else int(seed)


def read_video(path: str | Path) -> Video:
    """Open an uploaded video.

    Raises:
        ValueError: when it is of another kind, damaged, too long, or too large.
    """
    path = Path(path)
    _check_suffix(path, VIDEOS)
    video = Video(path)
    check_duration(path, video.duration, MAX_SECONDS)
    with av.open(str(path)) as container:
        for stream in container.streams.video:
            rate = float(stream.average_rate or MAX_VIDEO_RATE)
            if max(stream.width, stream.height) > MAX_VIDEO_SIDE or rate > MAX_VIDEO_RATE:
                raise ValueError(
                    f"{path.name} has over {MAX_VIDEO_SIDE} pixels a side or {MAX_VIDEO_RATE} frames a second"
                )
            if stream.width * stream.height * rate * video.duration > MAX_VIDEO_PIXELS:
                raise ValueError(f"{path.name} is too much to decode: give a smaller picture, or a shorter video")
    return video


def plain_line(error: Exception) -> str:
    """Format an error as one line of text, without the server's folders."""
    message = re.sub(r"(?<![\w.])(?:~|[A-Za-z]:)?(?:[/\\][^\s/\\:'\"]+)*[/\\](?=[^\s/\\])", "", str(error))
    return textwrap.shorten(message, 300, placeholder=" ...")


def error_line(error: Exception) -> str:
    """Format an error as one line of HTML text, without the server's folders."""
    return html.escape(plain_line(error), quote=False)


def _check_suffix(path: Path, known: tuple[str, ...]) -> None:
    if path.suffix.lower() not in known:
        raise ValueError(f"cannot read {path.name}: give a file that ends in {', '.join(known)}")
