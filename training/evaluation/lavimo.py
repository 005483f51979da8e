"""Retrieval between text, motion and films of the motion, by views that were trained on and by others."""

import argparse
import io
import struct
from collections.abc import Callable
from itertools import combinations

import av
import numpy as np
import torch

from lamp_hf.evaluators.motion_evaluator import sentence_embeddings
from lamp_hf.fingerprint import fingerprint
from lamp_hf.metrics.retrieval import ranks, retrieval_metrics, summarise
from lamp_hf.models.modeling_lavimo import LavimoModel
from lamp_hf.models.processing_lavimo import LavimoProcessor
from lamp_hf.motion.video import write_video
from lamp_hf.retrieval.embedder import Embedder

from ..data import Clips, load_clips
from ..text_encoder import resolve_text_encoder
from ..video.rendered_videos import FIXED, UNSEEN, film_features
from .retrieval import labelled


VIEWS = {"fixed view": FIXED, "unseen views": UNSEEN}
WAYS = "forth", "back"  # from what comes first in a pair's name to what comes second


def evaluate_lavimo(arguments: argparse.Namespace) -> dict:
    """First captions, clips, and films of each by two kinds of view: all pairs of these under all protocols."""
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
            directions=WAYS,
            seed=arguments.seed,
            model=fingerprint(arguments.model),
            data=f"{arguments.data.name}, {arguments.split}",
        )
        numbers["pairs"][f"{left} / {right}"] = metrics | labelled(scores, clips, arguments.seed, directions=WAYS)
    if arguments.films:
        numbers["foreign_films"] = foreign_films(arguments, clips)
    return numbers


@torch.no_grad()
def embed(arguments: argparse.Namespace, clips: Clips, captions: list[str]) -> dict[str, torch.Tensor]:
    """Unit vectors of texts, of films by each kind of view, and of motions."""
    model = LavimoModel.from_pretrained(arguments.model).eval()
    processor = LavimoProcessor.from_pretrained(arguments.model)
    parts: dict[str, list[torch.Tensor]] = {"text": [], **{view: [] for view in VIEWS}, "motion": []}
    films = None
    if model.config.use_video:
        features, counts = film_features(model, processor, clips, list(VIEWS.values()), arguments.cache)
        films = torch.from_numpy(np.asarray(features, np.float32)), torch.from_numpy(counts)
    for first in range(0, len(clips), 64):
        rows = slice(first, first + 64)
        motions = [motion[: model.config.max_frames] for motion in clips.motions[rows]]
        parts["text"].append(model.get_text_features(**processor(text=captions[rows])))
        parts["motion"].append(model.get_motion_features(**processor(motion=motions)))
        for i, view in enumerate(VIEWS if films else ()):
            seen = torch.arange(films[0].shape[2]) < films[1][rows, i, None]
            parts[view].append(model.get_video_features(frame_features=films[0][rows, i], video_mask=seen))
    return {name: torch.cat(values) for name, values in parts.items() if values}


@torch.no_grad()
def foreign_films(arguments: argparse.Namespace, clips: Clips) -> dict:
    """Film to motion among the clips that another renderer made films of, as they are and as phones and people may
    spoil them."""
    embedder = Embedder(arguments.model)
    files = {path.stem: path for path in sorted(arguments.films.glob("*.mp4"))}
    rows = [row for row, name in enumerate(clips.names) if name.replace("/", "_") in files]
    if not rows:
        raise ValueError(f"{arguments.films}: no film of a clip of this split in it")
    names = [clips.names[row] for row in rows]
    motions = embedder.embed_motions([motion[: embedder.max_frames] for motion in clips.motions])
    numbers = {"films": len(rows), "motions": len(clips)}
    for kind, spoil in SPOILT.items():
        vectors = []
        for name in names:
            content = files[name.replace("/", "_")].read_bytes()
            vectors.append(embedder.embed_video(spoil(content))[0].mean(0))
        scores = np.stack(vectors) @ motions.T
        rank = ranks(scores, np.array(rows)[:, None] == np.arange(len(clips)))
        numbers[kind] = {"among_all": summarise([rank], (np.random.default_rng(arguments.seed), 1000))}
        if len(rows) >= 32:
            among_filmed = retrieval_metrics(scores[:, rows], names=names, directions=WAYS, seed=arguments.seed)
            numbers[kind]["small_batches"] = among_filmed["small_batches"]["forth"]
    return numbers


def decode(content: bytes) -> tuple[list[np.ndarray], float]:
    with av.open(io.BytesIO(content)) as container:
        rate = float(container.streams.video[0].average_rate)
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)], rate


def encode(pictures: list[np.ndarray], rate: float, crf: int = 20) -> bytes:
    file = io.BytesIO()
    write_video(file, pictures, rate, crf)
    return file.getvalue()


def lying(content: bytes) -> bytes:
    """As a phone held upright writes it: a lying picture, and in the header how to turn it."""
    pictures, rate = decode(content)
    result = bytearray(encode([np.rot90(picture) for picture in pictures], rate))
    place = result.index(b"tkhd") + 4 + 40  # the matrix, in fixed point; a quarter turn clockwise
    width = pictures[0].shape[1]
    result[place : place + 36] = struct.pack(">9I", 0, 1 << 16, 0, 2**32 - (1 << 16), 0, 0, width << 16, 0, 1 << 30)
    return bytes(result)


def cropped(content: bytes) -> bytes:
    """The middle: seven tenths of the width, three quarters of the height."""
    pictures, rate = decode(content)
    height, width = pictures[0].shape[:2]
    rows, columns = 2 * (height * 3 // 8), 2 * (width * 7 // 20)
    top, left = (height - rows) // 2, (width - columns) // 2
    return encode([picture[top : top + rows, left : left + columns] for picture in pictures], rate)


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "as rendered": lambda content: content,
    "compressed": lambda content: encode(*decode(content), crf=38),
    "rotation tag": lying,
    "cropped": cropped,
}
