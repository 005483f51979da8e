"""Retrieval between text, motion and rendered videos, from the trained view and from unseen ones."""

import io
import struct
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import av
import numpy as np
import torch

from lamp_hf.evaluators.sentence_embeddings import sentence_embeddings
from lamp_hf.fingerprint import fingerprint
from lamp_hf.metrics.retrieval import ranks, retrieval_metrics, summarise
from lamp_hf.models.modeling_lavimo import LavimoModel
from lamp_hf.models.processing_lavimo import LavimoProcessor
from lamp_hf.motion.video import write_video
from lamp_hf.retrieval.embedder import Embedder

from ..data import Clips, load_clips
from ..text_encoder import resolve_text_encoder
from ..video.rendered_videos import FIXED, UNSEEN, video_features
from .options import add_seed, add_sentence_encoder
from .retrieval import labelled


VIEWS = {"fixed view": FIXED, "unseen views": UNSEEN}
DIRECTIONS = "forth", "back"  # from the first in a pair's name to the second, and the other way round


def add_arguments(parser: ArgumentParser) -> None:
    add_sentence_encoder(parser)
    parser.add_argument("--cache", type=Path, help="folder that keeps the encoded videos")
    note = "folder of videos by another renderer, see training.video.render_mitsuba"
    parser.add_argument("--videos", type=Path, help=note)
    add_seed(parser)


def evaluate(arguments: Namespace) -> dict:
    """Return the metrics of all protocols between first captions, clips, and videos from two kinds of view."""
    clips = load_clips(arguments)
    captions = [texts[0] for texts in clips.captions]
    sentences = sentence_embeddings(captions, resolve_text_encoder(arguments.sentence_encoder))
    numbers = {"sentence_encoder": arguments.sentence_encoder, "clips": len(clips), "pairs": {}}
    for (left, rows), (right, columns) in combinations(embed(arguments, clips, captions).items(), 2):
        if {left, right} <= set(VIEWS):
            continue
        scores = (rows @ columns.T).numpy()
        metrics = retrieval_metrics(
            scores,
            captions,
            sentence_similarity=(sentences @ sentences.T).numpy(),
            names=clips.names,
            directions=DIRECTIONS,
            seed=arguments.seed,
            model=fingerprint(arguments.model),
            data=f"{arguments.data.name}, {arguments.split}",
        )
        numbers["pairs"][f"{left} / {right}"] = metrics | labelled(
            scores, clips, arguments.seed, directions=DIRECTIONS
        )
    if arguments.videos:
        numbers["other_renderer"] = videos_of_another_renderer(arguments, clips)
    return numbers


@torch.no_grad()
def embed(arguments: Namespace, clips: Clips, captions: list[str]) -> dict[str, torch.Tensor]:
    """Return unit-norm embeddings of texts, of videos from each kind of view, and of motions."""
    model = LavimoModel.from_pretrained(arguments.model).eval()
    processor = LavimoProcessor.from_pretrained(arguments.model)
    parts: dict[str, list[torch.Tensor]] = {"text": [], **{view: [] for view in VIEWS}, "motion": []}
    videos = None
    if model.config.use_video:
        features, counts = video_features(model, processor, clips, list(VIEWS.values()), arguments.cache)
        videos = torch.from_numpy(np.asarray(features, np.float32)), torch.from_numpy(counts)
    for first in range(0, len(clips), 64):
        rows = slice(first, first + 64)
        motions = [motion[: model.config.max_frames] for motion in clips.motions[rows]]
        parts["text"].append(model.get_text_features(**processor(text=captions[rows])))
        parts["motion"].append(model.get_motion_features(**processor(motion=motions)))
        for i, view in enumerate(VIEWS if videos else ()):
            seen = torch.arange(videos[0].shape[2]) < videos[1][rows, i, None]
            parts[view].append(model.get_video_features(frame_features=videos[0][rows, i], video_mask=seen))
    return {name: torch.cat(values) for name, values in parts.items() if values}


@torch.no_grad()
def videos_of_another_renderer(arguments: Namespace, clips: Clips) -> dict:
    """Return video-to-motion metrics for videos by another renderer, as they are and degraded in several ways."""
    embedder = Embedder(arguments.model)
    files = {path.stem: path for path in sorted(arguments.videos.glob("*.mp4"))}
    rows = [row for row, name in enumerate(clips.names) if name.replace("/", "_") in files]
    if not rows:
        raise ValueError(f"{arguments.videos} has no video of a clip of this split")
    names = [clips.names[row] for row in rows]
    motions = embedder.embed_motions([motion[: embedder.max_frames] for motion in clips.motions])
    numbers = {"videos": len(rows), "motions": len(clips)}
    for kind, degrade in DEGRADATIONS.items():
        vectors = []
        for name in names:
            content = files[name.replace("/", "_")].read_bytes()
            vectors.append(embedder.embed_video(degrade(content))[0].mean(0))
        scores = np.stack(vectors) @ motions.T
        rank = ranks(scores, np.array(rows)[:, None] == np.arange(len(clips)))
        numbers[kind] = {"among_all": summarise([rank], np.random.default_rng(arguments.seed), 1000)}
        if len(rows) >= 32:
            among_rendered = retrieval_metrics(
                scores[:, rows], names=names, directions=DIRECTIONS, seed=arguments.seed
            )
            numbers[kind]["small_batches"] = among_rendered["small_batches"]["forth"]
    return numbers


def decode(content: bytes) -> tuple[list[np.ndarray], float]:
    """Return the frames of a video file and its frame rate."""
    with av.open(io.BytesIO(content)) as container:
        rate = float(container.streams.video[0].average_rate)
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)], rate


def encode(pictures: list[np.ndarray], rate: float, crf: int = 20) -> bytes:
    file = io.BytesIO()
    write_video(file, pictures, rate, crf)
    return file.getvalue()


def rotated(content: bytes) -> bytes:
    """Encode frames lying on their side and a header that turns them upright, as phones do in portrait."""
    pictures, rate = decode(content)
    result = bytearray(encode([np.rot90(picture) for picture in pictures], rate))
    place = result.index(b"tkhd") + 4 + 40  # the fixed-point matrix, here a quarter turn clockwise
    width = pictures[0].shape[1]
    result[place : place + 36] = struct.pack(">9I", 0, 1 << 16, 0, 2**32 - (1 << 16), 0, 0, width << 16, 0, 1 << 30)
    return bytes(result)


def cropped(content: bytes) -> bytes:
    """Keep the middle: seven tenths of the width and three quarters of the height."""
    pictures, rate = decode(content)
    height, width = pictures[0].shape[:2]
    rows, columns = 2 * (height * 3 // 8), 2 * (width * 7 // 20)
    top, left = (height - rows) // 2, (width - columns) // 2
    return encode([picture[top : top + rows, left : left + columns] for picture in pictures], rate)


DEGRADATIONS: dict[str, Callable[[bytes], bytes]] = {
    "as rendered": lambda content: content,
    "compressed": lambda content: encode(*decode(content), crf=38),
    "rotation tag": rotated,
    "cropped": cropped,
}
