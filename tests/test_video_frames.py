"""Videos: the many things that people call one, and what is refused."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from av.stream import Disposition
from PIL import Image

from lamp_hf.models.video_frames import PADDING, Video


def counting(frames: int, height: int = 48, width: int = 32) -> np.ndarray:
    """Make frames whose grey is 4 times their number, with a bright bar at the left edge and a dark one at the top."""
    pictures = np.repeat(np.arange(frames, dtype=np.uint8)[:, None, None, None] * 4, height, 1).repeat(width, 2)
    pictures = pictures.repeat(3, 3)
    pictures[:, : height // 8] = 0
    pictures[:, :, :6] = 250
    return pictures


def write(path, frames: np.ndarray, codec: str = "libx264", fps: int = 20, times=None, **options):
    with av.open(str(path), "w", **options) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for i, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(1000 * (i / fps if times is None else times[i])), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbers(pixels: np.ndarray) -> np.ndarray:
    """Return the numbers of frames made by `counting`."""
    side = pixels.shape[1]
    return np.round(pixels[:, side // 2, side // 2, 0] / 4).astype(int)


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mp4", "libx264"), ("mov", "mpeg4"), ("mkv", "libx264"), ("webm", "libvpx-vp9")]
)
def test_files_of_every_kind_are_sampled_by_the_clock(tmp_path, suffix, codec):
    video = Video(write(tmp_path / f"clip.{suffix}", counting(40), codec))
    assert video.duration == pytest.approx(2, abs=0.06)
    frames = video.sample(num_frames=8, size=32)
    assert frames.pixels.shape == (8, 32, 32, 3) and frames.pixels.dtype == np.uint8 and frames.mask.all()
    np.testing.assert_allclose(frames.times, np.arange(8) * 0.25 + 0.125, atol=0.051)
    np.testing.assert_allclose(numbers(frames.pixels), frames.times * 20, atol=1)


def test_bytes_an_open_file_a_gif_a_folder_and_arrays_are_the_same(tmp_path):
    pictures = counting(20)
    path = write(tmp_path / "clip.mp4", pictures)
    expected = Video(path).sample(4, 32).pixels
    np.testing.assert_array_equal(Video(path.read_bytes()).sample(4, 32).pixels, expected)
    with open(path, "rb") as file:
        np.testing.assert_array_equal(Video(file).sample(4, 32).pixels, expected)
    folder = tmp_path / "folder"
    folder.mkdir()
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{i + 1}.png")  # 2 comes before 10
    images = [Image.fromarray(picture) for picture in pictures]
    images[0].save(tmp_path / "clip.gif", save_all=True, append_images=images[1:], duration=50)
    grey = pictures[..., :1]
    sources = [tmp_path / "clip.gif", folder, pictures, images, list(pictures), grey, grey[..., 0]]
    sources += [pictures / 255, torch.from_numpy(pictures).permute(0, 3, 1, 2), torch.from_numpy(pictures) / 255]
    for source in sources:
        frames = Video(source).sample(4, 32)
        np.testing.assert_allclose(frames.pixels, expected, atol=16)
        np.testing.assert_allclose(numbers(frames.pixels), [2, 7, 12, 17], atol=1)  # compression blurs them


def test_frames_that_come_irregularly_are_taken_when_they_are_shown(tmp_path):
    times = np.concatenate([np.arange(10) * 0.02, 0.2 + np.arange(10) * 0.18])
    frames = Video(write(tmp_path / "clip.mkv", counting(20), times=times)).sample(6, 32)
    shown = [int(np.flatnonzero(times <= time)[-1]) for time in (np.arange(6) + 0.5) * 1.82 / 6]
    np.testing.assert_allclose(numbers(frames.pixels), shown, atol=1)


def test_the_rotation_of_a_phone_is_applied(tmp_path):
    """A phone held upright writes a lying picture, and how to turn it."""
    upright = counting(40, height=64, width=32)
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.height, stream.width, stream.pix_fmt = 32, 64, "yuv420p"
        for picture in upright:
            lying = np.ascontiguousarray(np.rot90(picture, 1))
            frame = av.VideoFrame.from_ndarray(lying, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40  # its matrix, in fixed point; a quarter turn clockwise
    turned = [0, 1 << 16, 0, (-1) & 0xFFFFFFFF, 0, 0, 32 << 16, 0, 1 << 30]
    content[place : place + 36] = b"".join(number.to_bytes(4, "big") for number in turned)
    frames = Video(bytes(content)).sample(2, 64).pixels
    np.testing.assert_allclose(frames, Video(upright).sample(2, 64).pixels, atol=40)
    assert (frames[0, :, 17:20] > 200).mean() > 0.9  # the bar is on the left again
    assert (frames[1, 1:6, 26:44] < 40).mean() > 0.9 and (frames[1, 12:, 26:44] > 80).mean() > 0.9


def test_a_minute_and_pictures_of_4k(tmp_path):
    minute = Video(write(tmp_path / "minute.mp4", counting(60), fps=1))
    assert minute.duration == pytest.approx(60, abs=1)
    assert numbers(minute.sample(4, 16).pixels).tolist() == pytest.approx([7, 22, 37, 52], abs=1)
    large = Video(write(tmp_path / "large.mp4", counting(3, height=2160, width=3840)))
    assert large.sample(2, 32).pixels.shape == (2, 32, 32, 3)


def test_a_short_clip_is_repeated_and_masked():
    frames = Video(counting(3)).sample(num_frames=8, size=16)
    assert frames.mask.tolist() == [True] * 3 + [False] * 5
    assert numbers(frames.pixels).tolist() == [0, 1, 2, 2, 2, 2, 2, 2]
    assert Video(counting(1)).sample(4, 16).mask.tolist() == [True, False, False, False]


def test_a_part_of_a_video():
    frames = Video(counting(60)).sample(num_frames=5, size=16, start=1.0, end=2.0)
    assert numbers(frames.pixels).tolist() == [22, 26, 30, 34, 38]
    with pytest.raises(ValueError, match="nothing from 4 to 3 s"):
        Video(counting(60)).sample(start=4.0)


def test_a_portrait_picture_is_padded_not_cut():
    pixels = Video(counting(1, height=64, width=32)).sample(1, 64).pixels[0]
    assert (pixels[:, :15] == PADDING).all() and (pixels[:, 49:] == PADDING).all()
    assert (pixels[:, 16:22] > 200).all()


def test_a_person_is_cut_out():
    pictures = counting(4, height=64, width=64)
    boxes = np.array([[0, 0, 12, 12]] * 2 + [[32, 32, 99, 99]] * 2)
    pixels = Video(pictures).sample(4, 16, boxes=boxes).pixels
    assert (pixels[:2, :, :4] > 200).all() and (pixels[2:] < 20).all()
    with pytest.raises(ValueError, match="lies outside a picture"):
        Video(pictures).sample(4, 16, boxes=[70, 0, 80, 9])
    with pytest.raises(ValueError, match="3 boxes, but the video has more frames"):
        Video(pictures).sample(4, 16, boxes=boxes[:3])
    with pytest.raises(ValueError, match="left, top, right and bottom"):
        Video(pictures).sample(4, 16, boxes=[[0, 0, 9, 9, 0.8]] * 4)


def test_transparent_parts_are_grey(tmp_path):
    picture = np.zeros((8, 8, 4), np.uint8)
    assert (Video([picture]).sample(1, 8).pixels == PADDING).all()
    images = []
    for row in range(3):
        picture[row] = (9, 9, 9, 255)
        images.append(Image.fromarray(picture.copy()))
    images[0].save(tmp_path / "clip.gif", save_all=True, append_images=images[1:], duration=50, disposal=2)
    assert (Video(tmp_path / "clip.gif").sample(3, 8).pixels[:, 4:] == PADDING).all()


def test_sixteen_bits_of_grey(tmp_path):
    Image.fromarray(np.full((8, 8), 25700, np.uint16)).save(tmp_path / "0.png")
    assert (Video(tmp_path).sample(1, 8).pixels == 100).all()


def test_a_picture_that_is_held_for_long_is_a_part_of_the_video(tmp_path):
    images = [Image.fromarray(picture) for picture in counting(10)]
    images[0].save(tmp_path / "clip.gif", save_all=True, append_images=images[1:], duration=[50] * 9 + [4000])
    video = Video(tmp_path / "clip.gif")
    frames = video.sample(10, 16)
    assert video.duration == pytest.approx(4.45, abs=0.02) and numbers(frames.pixels)[0] == 4
    assert frames.mask.sum() == 2 and numbers(frames.pixels)[1] == 9


def audio_only(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_a_truncated_file_gives_what_it_has_or_a_clear_error(tmp_path):
    whole = write(tmp_path / "clip.mkv", counting(60)).read_bytes()
    frames = Video(whole[: len(whole) // 2]).sample(4, 32)
    assert frames.pixels.shape == (4, 32, 32, 3) and frames.mask.any()
    with pytest.raises(ValueError, match=r"not a video|damaged|no picture"):
        Video(write(tmp_path / "clip.mp4", counting(60)).read_bytes()[:200]).sample(4, 32)


def test_what_the_header_promises_does_not_count_where_the_file_ends(tmp_path):
    """An mkv cut to a third still says how long it was."""
    whole = write(tmp_path / "clip.mkv", counting(60)).read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole[: len(whole) // 2])
    video = Video(cut)
    promised = video.duration
    frames = video.sample(8, 32)
    assert video.duration < promised - 0.5 and frames.times[frames.mask][-1] < video.duration
    assert frames.mask.sum() == 8 and (np.diff(numbers(frames.pixels)) > 0).all()


def test_the_cover_of_a_song_is_no_video(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=16000)
        cover = container.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame(32, 32, "yuvj420p")))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        samples.sample_rate = 16000
        for stream, frames in ((sound, [samples, None]), (cover, [None])):
            for frame in frames:
                container.mux(stream.encode(frame))
    with pytest.raises(ValueError, match="no video stream"):
        Video(path)


def test_one_picture_is_a_video_of_one_picture_and_an_array_of_it_is_refused():
    picture = counting(1)[0]
    assert Video(Image.fromarray(picture)).sample(4, 16).mask.tolist() == [True, False, False, False]
    for one in (picture, torch.from_numpy(picture).permute(2, 0, 1)):
        with pytest.raises(ValueError, match="one picture"):
            Video(one)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda folder: audio_only(folder / "sound.mp4"), "the file has no video stream, only: audio"),
        (lambda folder: b"", "not a video"),
        (lambda folder: b"this is a text", "not a video"),
        (lambda folder: folder, "it has none"),
        (lambda folder: np.zeros((0, 8, 8, 3), np.uint8), "the video has no pictures"),
        (lambda folder: [], "the video has no pictures"),
        (lambda folder: np.zeros((8, 8), np.uint8), "an array of shape"),
        (lambda folder: np.full((2, 8, 8, 3), 7.0), "numbers from 0 to 1"),
        (lambda folder: np.full((2, 8, 8, 3), np.nan), "numbers from 0 to 1"),
        (lambda folder: np.full((2, 8, 8, 3), 999), "numbers from 0 to 255"),
        (lambda folder: np.zeros((2, 8, 8, 5), np.uint8), "is not a picture"),
        (lambda folder: io.BytesIO(b"nothing"), "not a video"),
    ],
)
def test_what_is_no_video_is_refused_in_a_line(tmp_path, source, message):
    with pytest.raises(ValueError, match=message):
        Video(source(tmp_path)).sample(4, 16)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        Video(tmp_path / "none.mp4")
