"""Text to motion under the literature's protocol: 20 repeats, batches of 32, 95 % intervals (Guo et al., 2022)."""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lamp_hf.evaluators.evaluator import Evaluator
from lamp_hf.evaluators.guo import GuoEvaluator
from lamp_hf.fingerprint import fingerprint
from lamp_hf.metrics.generation import (
    diversity,
    frechet_distance,
    matching_distance,
    mean_and_interval,
    multimodality,
    r_precision,
)
from lamp_hf.models.pipeline_text_to_motion import TextToMotionPipeline
from lamp_hf.retrieval.embedder import Embedder

from ..data import load_clips, shortened
from ..train_evaluator import load_evaluator
from .options import DECODING, add_decoding, add_evaluator, add_lamp, add_seed
from .text_to_motion import load_generator


def add_arguments(parser: ArgumentParser) -> None:
    add_evaluator(parser)
    add_lamp(parser)
    parser.add_argument("--guo", type=Path, help="folder of Guo et al.'s evaluator, see lamp_hf.import_checkpoint.guo")
    parser.add_argument("--repeats", default=20, type=int, help="motions generated for each text")
    parser.add_argument("--cache", type=Path, help="folder that keeps the generated motions")
    add_seed(parser)
    add_decoding(parser)


def evaluate(arguments: Namespace) -> dict:
    """Return FID, R-precision, MM-Dist, diversity and multimodality of generated and of real motion, by evaluator.

    Each clip's caption is drawn once, so that the repeats of a text also give its multimodality; motions are as long
    as the clips.
    """
    clips = load_clips(arguments)
    if len(clips) < 100:
        raise ValueError(f"{len(clips)} clips are too few: the protocol draws 100 pairs")
    rng = np.random.default_rng(arguments.seed)
    pipe = load_generator(arguments)
    captions = shortened([texts[rng.integers(len(texts))] for texts in clips.captions], pipe.processor.tokenizer)
    seeds = range(arguments.seed, arguments.seed + arguments.repeats)
    generated = generate_cached(pipe, captions, clips.lengths, seeds, arguments.cache)
    evaluators: list[Evaluator] = [Embedder(arguments.lamp)]
    if arguments.evaluator:
        evaluators.append(load_evaluator(arguments.evaluator))
    if arguments.guo:
        evaluators.append(GuoEvaluator(arguments.guo, arguments.data / "texts"))
    numbers = {"repeats": len(generated)}
    for evaluator in evaluators:
        text, real = evaluator.embed_texts(captions), evaluator.embed_motions(clips.motions)
        embedded = [evaluator.embed_motions(motions) for motions in generated]
        numbers[evaluator.name] = {
            "real": over_repeats(text, [real] * len(generated), real, arguments.seed),
            "generated": over_repeats(text, embedded, real, arguments.seed),
        }
    return numbers


def over_repeats(text: np.ndarray, embedded: list[np.ndarray], real: np.ndarray, seed: int) -> dict[str, tuple]:
    """Compute each metric for every repeat and return its mean and the half-width of its 95 % interval.

    Args:
        text, real (`np.ndarray` of shape `(num_clips, size)`): embeddings of captions and of real motions.
        embedded (`list[np.ndarray]` of shape `(num_clips, size)`): embeddings of the motions of each repeat.
        seed (`int`): of the batches and pairs that are drawn.
    """
    rows: dict[str, list[float]] = {}
    for repeat, motion in enumerate(embedded):
        rng = np.random.default_rng((seed, repeat))
        order = rng.permutation(len(text))
        values = {f"r_precision_{k}": share for k, share in enumerate(r_precision(text[order], motion[order]), 1)}
        values |= {
            "mm_dist": matching_distance(text, motion),
            "fid": frechet_distance(real, motion),
            "diversity": diversity(motion, rng),
        }
        if motion is not real and len(embedded) >= 10:
            values["multimodality"] = multimodality(np.stack(embedded, 1), rng)
        for name, value in values.items():
            rows.setdefault(name, []).append(value)
    return {name: mean_and_interval(values) for name, values in rows.items()}


def generate_cached(
    pipe: TextToMotionPipeline, captions: list[str], lengths: np.ndarray, seeds: range, cache: Path | None
) -> list[list[np.ndarray]]:
    """Generate features `(num_frames, num_features)` of each caption for each seed, or read them from `cache`.

    A cache belongs to one model and its settings of decoding, and to one list of captions and lengths.

    Raises:
        ValueError: if the cache belongs to another model, settings, captions or lengths.
    """
    decoding = [getattr(pipe.model.config, name) for name in DECODING.values()]
    owner = json.dumps([fingerprint(pipe.model.name_or_path), decoding, captions, np.asarray(lengths).tolist()])
    longest = round(pipe.max_duration * pipe.fps)
    durations = [float(min(length, longest)) / pipe.fps for length in lengths]
    repeats = []
    for seed in tqdm(seeds, unit=" repeats", disable=None):
        path = cache / f"seed_{seed}.npz" if cache else None
        if path and path.is_file():
            with np.load(path) as stored:
                if str(stored["owner"]) != owner:
                    raise ValueError(f"{path} is of another model or way of decoding, or of other captions or lengths")
                repeats.append([stored[f"motion_{i}"] for i in range(len(captions))])
            continue
        outputs = pipe(captions, duration=durations, seed=seed, batch_size=32)
        repeats.append([output["features"] for output in outputs])
        if path:
            cache.mkdir(parents=True, exist_ok=True)
            arrays = {f"motion_{i}": motion.astype(np.float32) for i, motion in enumerate(repeats[-1])}
            with open(path.with_suffix(".tmp"), "wb") as file:
                np.savez(file, owner=owner, **arrays)
            path.with_suffix(".tmp").replace(path)
    return repeats
