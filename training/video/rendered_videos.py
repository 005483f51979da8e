"""Render clips as videos, sample frames as from a file, and encode them by a frozen vision encoder."""

import hashlib
import io
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from lamp_hf.models.modeling_lavimo import LavimoModel
from lamp_hf.models.motion_representation import features_to_joints
from lamp_hf.models.processing_lavimo import LavimoProcessor
from lamp_hf.models.skeleton import Skeleton, get_skeleton
from lamp_hf.motion.render import draw_frames
from lamp_hf.motion.view import View, random_view

from ..data import Clips
from ..loop import save_atomically


FIXED = -1  # the seed that stands for the view of `Motion.render`, always the same
UNSEEN = 1000  # the first seed of the views that are never used in training
COMPRESSED = 0.3  # share of the training videos, fixed view excepted, that get compression artefacts


def sampled_frames(length: int, count: int) -> np.ndarray:
    """Return the frames that `Video.sample` would take from a video of the clip; fewer than `count` if it is short."""
    return np.unique(((np.arange(count) + 0.5) * length / count).astype(int))


def view_of(name: str, seed: int) -> View:
    """Return the fixed view, or the random view of a clip and a seed."""
    return View() if seed == FIXED else random_view(name, seed)


def joints_in_metres(features: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Return joints `(num_frames, num_joints, 3)` in metres."""
    return features_to_joints(features, skeleton) * skeleton.metres


def render_clip(features: np.ndarray, name: str, seed: int, skeleton: str, count: int, size: int) -> np.ndarray:
    """Render frames of a clip, uint8 of shape `(at most count, size, size, 3)`."""
    tree = get_skeleton(skeleton)
    joints, numbers = joints_in_metres(features, tree), sampled_frames(len(features), count)
    pictures = list(draw_frames(joints, tree, size, view_of(name, seed), frame_indices=numbers))
    if 0 <= seed < UNSEEN:
        rng = np.random.default_rng([zlib.crc32(name.encode()), seed, 1])  # independent of the view's random numbers
        pictures = maybe_compressed(pictures, rng)
    return np.stack(pictures)


def maybe_compressed(pictures: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Compress a random share of videos, all frames of a video in the same way."""
    if rng.random() < COMPRESSED:
        side, quality = int(len(pictures[0]) * rng.uniform(0.5, 1)), int(rng.integers(15, 60))
        return [compressed(picture, side, quality) for picture in pictures]
    return pictures


def compressed(picture: np.ndarray, side: int, quality: int) -> np.ndarray:
    """Reduce a picture to `side` pixels and JPEG quality, and scale it up again."""
    file, size = io.BytesIO(), (picture.shape[1], picture.shape[0])
    Image.fromarray(picture).resize((side, side)).save(file, "jpeg", quality=quality)
    return np.asarray(Image.open(file).resize(size))


def all_cores() -> ProcessPoolExecutor:
    """Return a pool of single-threaded processes, since waiting for OpenMP's threads after a fork would hang."""
    return ProcessPoolExecutor(initializer=torch.set_num_threads, initargs=(1,))


def render_clips(clips: Clips, skeleton: str, seeds: list[int], count: int, size: int) -> Iterator[np.ndarray]:
    """Render each clip from each view, views of a clip one after another, on all cores."""
    jobs = [
        (clips.motions[i], clips.names[i], seed, skeleton, count, size) for i in range(len(clips)) for seed in seeds
    ]
    with all_cores() as pool:
        for first in range(0, len(jobs), 512):  # rendering and encoding take turns, so that each has all cores
            yield from list(pool.map(render_clip, *zip(*jobs[first : first + 512]), chunksize=8))


def _digest(model: LavimoModel, processor: LavimoProcessor, clips: Clips, seeds: list[int]) -> str:
    """Hash everything that the features depend on; the videos of two clips stand for the renderer."""
    count, size, skeleton = processor.num_video_frames, processor.image_size, processor.feature_extractor.skeleton
    digest = hashlib.sha256(
        repr((seeds, count, size, clips.names, processor.image_mean, processor.image_std)).encode()
    )
    for motion in clips.motions:
        digest.update(np.ascontiguousarray(motion).tobytes())
    for row in {0, len(clips) - 1}:
        for seed in seeds:
            digest.update(render_clip(clips.motions[row], clips.names[row], seed, skeleton, count, size).tobytes())
    for values in model.vision_encoder.state_dict().values():
        digest.update(values.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def video_features(
    model: LavimoModel, processor: LavimoProcessor, clips: Clips, seeds: list[int], cache: Path | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Render videos of clips and encode their frames, or read the features from `cache`.

    Args:
        model ([`LavimoModel`]): with a frozen vision encoder.
        processor ([`LavimoProcessor`]): of the model.
        clips ([`Clips`]): the clips to render.
        seeds (`list[int]`): of the views.
        cache (`Path`, *optional*): folder that keeps the features.

    Returns:
        Features `(num_clips, num_views, num_video_frames, vision_size)` in float16, and the number of frames of each
        video, `(num_clips, num_views)`.
    """
    folder = cache / f"videos-{_digest(model, processor, clips, seeds)}" if cache else None
    if folder and folder.is_dir():
        return np.load(folder / "features.npy", mmap_mode="r"), np.load(folder / "counts.npy")
    features, counts = _encode(model, processor, clips, seeds)
    shape = len(clips), len(seeds)
    features, counts = features.reshape(*shape, *features.shape[1:]), counts.reshape(shape)
    if folder:

        def write(temporary: Path) -> None:
            np.save(temporary / "features.npy", features)
            np.save(temporary / "counts.npy", counts)

        save_atomically(write, folder)
    return features, counts


@torch.no_grad()
def _encode(
    model: LavimoModel, processor: LavimoProcessor, clips: Clips, seeds: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return features `(num_videos, num_video_frames, vision_size)` and numbers of frames, clip by clip."""
    count, size, skeleton = processor.num_video_frames, processor.image_size, processor.feature_extractor.skeleton
    model.vision_encoder.to(memory_format=torch.channels_last)  # a third faster for a ResNet on a CPU
    features = np.zeros((len(clips) * len(seeds), count, model.config.vision_size), np.float16)
    counts = np.zeros(len(features), int)
    videos = render_clips(clips, skeleton, seeds, count, size)
    batch: list[np.ndarray] = []
    done = 0
    for frames in tqdm(videos, total=len(features), unit=" videos", mininterval=5):
        batch.append(frames)
        if len(batch) == 8 or done + len(batch) == len(features):
            inputs = processor.pixels_to_inputs(np.concatenate(batch)).to(model.device)
            inputs = inputs.contiguous(memory_format=torch.channels_last)
            with torch.autocast(model.device.type, torch.bfloat16):
                encoded = model.encode_frames(inputs[None])[0].float().cpu().numpy()
            for values in np.split(encoded, np.cumsum([len(video) for video in batch])[:-1]):
                features[done, : len(values)], counts[done] = values, len(values)
                done += 1
            batch = []
    return features, counts
