"""Clips as films: rendered, sampled as a video is, and seen by a frozen vision encoder."""

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
UNSEEN = 1000  # the first seed of views that are never trained on
COMPRESSED = 0.3  # share of the films to train on, other than the fixed view, that are


def sampled_frames(length: int, count: int) -> np.ndarray:
    """The frames of a clip that `Video.sample` would take from a film of it; fewer than `count` of a short one."""
    return np.unique(((np.arange(count) + 0.5) * length / count).astype(int))


def view_of(name: str, seed: int) -> View:
    """How a clip is filmed."""
    return View() if seed == FIXED else random_view(name, seed)


def joints_in_metres(features: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """`(num_frames, num_joints, 3)`."""
    return features_to_joints(features, skeleton) * skeleton.metres


def film(features: np.ndarray, name: str, seed: int, skeleton: str, count: int, size: int) -> np.ndarray:
    """`(at most count, size, size, 3)` pictures of a clip."""
    tree = get_skeleton(skeleton)
    joints, numbers = joints_in_metres(features, tree), sampled_frames(len(features), count)
    pictures = list(draw_frames(joints, tree, size, view_of(name, seed), frame_indices=numbers))
    if 0 <= seed < UNSEEN:
        rng = np.random.default_rng([zlib.crc32(name.encode()), seed, 1])  # other numbers than the view's
        pictures = maybe_compressed(pictures, rng)
    return np.stack(pictures)


def maybe_compressed(pictures: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    if rng.random() < COMPRESSED:
        side, quality = int(len(pictures[0]) * rng.uniform(0.5, 1)), int(rng.integers(15, 60))
        return [compressed(picture, side, quality) for picture in pictures]
    return pictures


def compressed(picture: np.ndarray, side: int, quality: int) -> np.ndarray:
    """What a phone on a bad line leaves of a picture: fewer pixels, and JPEG's blocks."""
    file, size = io.BytesIO(), (picture.shape[1], picture.shape[0])
    Image.fromarray(picture).resize((side, side)).save(file, "jpeg", quality=quality)
    return np.asarray(Image.open(file).resize(size))


def all_cores() -> ProcessPoolExecutor:
    """Processes of one thread each: those of OpenMP do not survive a fork, and who asks for them waits for ever."""
    return ProcessPoolExecutor(initializer=torch.set_num_threads, initargs=(1,))


def films(clips: Clips, skeleton: str, seeds: list[int], count: int, size: int) -> Iterator[np.ndarray]:
    """Each clip by each view, in this order, on all cores."""
    jobs = [
        (clips.motions[i], clips.names[i], seed, skeleton, count, size) for i in range(len(clips)) for seed in seeds
    ]
    with all_cores() as pool:
        for first in range(0, len(jobs), 512):  # then all cores look at what all cores have rendered
            yield from list(pool.map(film, *zip(*jobs[first : first + 512]), chunksize=8))


def _digest(model: LavimoModel, processor: LavimoProcessor, clips: Clips, seeds: list[int]) -> str:
    """Of all that features depend on; what the renderer does is told by the films of two clips."""
    count, size, skeleton = processor.num_video_frames, processor.image_size, processor.feature_extractor.skeleton
    digest = hashlib.sha256(
        repr((seeds, count, size, clips.names, processor.image_mean, processor.image_std)).encode()
    )
    for motion in clips.motions:
        digest.update(np.ascontiguousarray(motion).tobytes())
    for row in {0, len(clips) - 1}:
        for seed in seeds:
            digest.update(film(clips.motions[row], clips.names[row], seed, skeleton, count, size).tobytes())
    for values in model.vision_encoder.state_dict().values():
        digest.update(values.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


@torch.no_grad()
def film_features(
    model: LavimoModel, processor: LavimoProcessor, clips: Clips, seeds: list[int], cache: Path | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What the model's vision encoder makes of films.

    Args:
        model ([`LavimoModel`]): with a frozen vision encoder.
        processor ([`LavimoProcessor`]): of the model.
        clips ([`Clips`]): to film.
        seeds (`list[int]`): of the views.
        cache (`Path`, *optional*): a folder where features stay for the next time.

    Returns:
        Features `(num_clips, num_views, num_video_frames, vision_size)`, float16, and how many frames there are,
        `(num_clips, num_views)`.
    """
    count, size, skeleton = processor.num_video_frames, processor.image_size, processor.feature_extractor.skeleton
    folder = cache / f"films-{_digest(model, processor, clips, seeds)}" if cache else None
    if folder and folder.is_dir():
        return np.load(folder / "features.npy", mmap_mode="r"), np.load(folder / "counts.npy")
    shape = len(clips), len(seeds)
    model.vision_encoder.to(memory_format=torch.channels_last)  # a third faster on CPU, of a ResNet
    features = np.zeros((len(clips) * len(seeds), count, model.config.vision_size), np.float16)
    counts = np.zeros(len(features), int)
    batch: list[np.ndarray] = []
    done = 0
    for pictures in tqdm(
        films(clips, skeleton, seeds, count, size), total=len(features), unit=" films", mininterval=5
    ):
        batch.append(pictures)
        if len(batch) == 8 or done + len(batch) == len(features):
            inputs = processor.pixels_to_inputs(np.concatenate(batch)).to(model.device)
            inputs = inputs.contiguous(memory_format=torch.channels_last)
            with torch.autocast(model.device.type, torch.bfloat16):
                seen = model.encode_frames(inputs[None])[0].float().cpu().numpy()
            for values in np.split(seen, np.cumsum([len(film) for film in batch])[:-1]):
                features[done, : len(values)], counts[done] = values, len(values)
                done += 1
            batch = []
    features, counts = features.reshape(*shape, *features.shape[1:]), counts.reshape(shape)
    if folder:

        def write(temporary: Path) -> None:
            np.save(temporary / "features.npy", features)
            np.save(temporary / "counts.npy", counts)

        save_atomically(write, folder)
    return features, counts
