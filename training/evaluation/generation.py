"""Text to motion under the literature's protocol: 20 repeats, batches of 32, 95 % intervals (Guo et al., 2022)."""

import hashlib
import json
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lamp_hf.data.captions import are_new
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
from lamp_hf.motion.files import write_atomically
from lamp_hf.retrieval.embedder import Embedder

from ..data import Clips, load_clips, shortened
from ..train_evaluator import load_evaluator
from .options import DECODING, add_decoding, add_evaluator, add_lamp, add_seed
from .text_to_motion import load_generator


BATCH = 32
UNIT = 4  # frames of a token; clips are cut to multiples of it
MOTIONS_PER_TEXT = 30  # of which ten pairs give the multimodality


def add_arguments(parser: ArgumentParser) -> None:
    add_evaluator(parser)
    add_lamp(parser)
    parser.add_argument("--guo", type=Path, help="folder of Guo et al.'s evaluator, see lamp_hf.import_checkpoint.guo")
    parser.add_argument("--repeats", default=20, type=int, help="each with captions and crops of its own")
    note = f"texts of each repeat that {MOTIONS_PER_TEXT} motions are generated for; 0 for no multimodality"
    parser.add_argument("--multimodality-texts", default=3 * BATCH, type=int, help=note)
    parser.add_argument("--cache", type=Path, help="folder that keeps the numbers of each repeat, to resume from")
    add_seed(parser)
    add_decoding(parser)


def evaluate(arguments: Namespace) -> dict:
    """Return FID, R-precision, MM-Dist, diversity and multimodality of generated and of real motion, by evaluator.

    As in the literature, clips of other lengths than published are left out. Each repeat draws a caption of every
    clip, cuts the clip to a multiple of four frames (one token less in a third of cases), shuffles, and drops an
    incomplete last batch; motions are as long as their clips. Each kind is also measured over the pairs whose caption
    does not stand in the training split.

    Raises:
        ValueError: when there are too few clips.
    """
    arguments.published_lengths = True
    clips = load_clips(arguments)
    if len(clips) < 4 * BATCH:
        raise ValueError(f"{len(clips)} clips are too few: the protocol draws 100 pairs of whole batches, from 128 on")
    training = load_clips(arguments, "train").distinct_captions()
    protocol = Protocol(clips, training, load_generator(arguments), load_evaluators(arguments), arguments)
    rows = [
        cached(arguments.cache, number, protocol.owner, protocol.measure)
        for number in tqdm(range(arguments.repeats), unit=" repeats", disable=None)
    ]
    new = are_new(clips.distinct_captions(), training)
    return {
        "repeats": len(rows),
        "clips": len(clips),
        "gallery": BATCH,
        "captions_that_training_has_percent": 100 * float(1 - new.mean()),
        **over_repeats(rows),
    }


def load_evaluators(arguments: Namespace) -> dict[str, Evaluator]:
    """Load LaMP and the evaluators that the command line names, by their fingerprints."""
    evaluators: dict[str, Evaluator] = {fingerprint(arguments.lamp): Embedder(arguments.lamp)}
    if arguments.evaluator:
        evaluators[fingerprint(arguments.evaluator)] = load_evaluator(arguments.evaluator)
    if arguments.guo:
        evaluators[fingerprint(arguments.guo)] = GuoEvaluator(arguments.guo, arguments.data / "texts")
    return evaluators


@dataclass(frozen=True)
class Pairs:
    """The pairs of a repeat, in whole batches.

    Args:
        captions (`list[str]`): a caption of each clip.
        motions (`list[np.ndarray]` of shape `(num_frames, num_features)`): the clips, cut to multiples of four.
        rows (`np.ndarray` of shape `(num_pairs,)`): the clip of each pair.
    """

    captions: list[str]
    motions: list[np.ndarray]
    rows: np.ndarray


def draw_pairs(clips: Clips, rng: np.random.Generator) -> Pairs:
    """Draw the pairs of a repeat, see [`evaluate`]."""
    captions, motions = [], []
    rows = rng.permutation(len(clips))[: len(clips) // BATCH * BATCH]
    for row in rows:
        motion = clips.motions[row]
        tokens = len(motion) // UNIT - int(rng.integers(3) == 0)
        start = rng.integers(len(motion) - UNIT * tokens + 1)
        motions.append(motion[start : start + UNIT * tokens])
        captions.append(clips.captions[row][rng.integers(len(clips.captions[row]))])
    return Pairs(captions, motions, rows)


class Protocol:
    """Measures repeats: generates motions and compares embeddings, by every evaluator.

    Args:
        clips ([`Clips`]): the split.
        training (`list[str]`): captions of the training split.
        pipe ([`TextToMotionPipeline`]): the generator.
        evaluators (`dict[str, Evaluator]`): by fingerprint.
        arguments (`argparse.Namespace`): `seed` and `multimodality_texts`.
    """

    def __init__(
        self,
        clips: Clips,
        training: list[str],
        pipe: TextToMotionPipeline,
        evaluators: dict[str, Evaluator],
        arguments: Namespace,
    ):
        self.clips, self.training, self.pipe, self.evaluators = clips, training, pipe, evaluators
        self.seed, self.num_texts = arguments.seed, arguments.multimodality_texts
        decoding = [getattr(pipe.model.config, name) for name in DECODING.values()]
        model = fingerprint(pipe.model.name_or_path)
        owner = [model, decoding, *evaluators, self.seed, self.num_texts, clips.names, clips.captions]
        self.owner = hashlib.sha256(json.dumps(owner).encode()).hexdigest()

    def measure(self, number: int) -> dict[str, dict[str, dict[str, float]]]:
        """Return the metrics of a repeat by evaluator and kind."""
        pairs, other = (draw_pairs(self.clips, np.random.default_rng((self.seed, number, i))) for i in range(2))
        lengths = [len(motion) for motion in pairs.motions]
        first_seed = (self.seed + number) * 1_000_000
        motions = self.generate(pairs.captions, lengths, first_seed)
        several = self.several_of_each(pairs, first_seed + len(motions))
        new, result = are_new(pairs.captions, self.training), {}
        for evaluator in self.evaluators.values():
            text, real, generated = (
                evaluator.embed_texts(pairs.captions),
                evaluator.embed_motions(pairs.motions),
                evaluator.embed_motions(motions),
            )
            # Real motion is compared with another draw of crops, generated motion with the crops it is as long as.
            again = evaluator.embed_motions(other.motions)
            rng = np.random.default_rng((self.seed, number, 2))
            kinds = {"real": metrics(text, real, again, rng), "generated": metrics(text, generated, real, rng)}
            if new.sum() >= BATCH and not new.all():
                same_clips = np.isin(other.rows, pairs.rows[new])
                kinds["real, new captions"] = metrics(text[new], real[new], again[same_clips], rng)
                kinds["generated, new captions"] = metrics(text[new], generated[new], real[new], rng)
            if several:
                embedded = np.stack([evaluator.embed_motions(row) for row in several])
                kinds["generated"]["multimodality"] = multimodality(embedded, rng)
            result[evaluator.name] = kinds
        return result

    def generate(self, captions: list[str], lengths: list[int], first_seed: int) -> list[np.ndarray]:
        """Generate features `(num_frames, num_features)` of captions, each with a seed of its own."""
        texts = shortened(captions, self.pipe.processor.tokenizer)
        longest = round(self.pipe.max_duration * self.pipe.fps)
        durations = [min(length, longest) / self.pipe.fps for length in lengths]
        seeds = [first_seed + i for i in range(len(texts))]
        return [output["features"] for output in self.pipe(texts, duration=durations, seed=seeds, batch_size=BATCH)]

    def several_of_each(self, pairs: Pairs, first_seed: int) -> list[list[np.ndarray]]:
        """Generate thirty motions for each of the first texts."""
        return [
            self.generate(
                [pairs.captions[i]] * MOTIONS_PER_TEXT,
                [len(pairs.motions[i])] * MOTIONS_PER_TEXT,
                first_seed + i * MOTIONS_PER_TEXT,
            )
            for i in range(min(self.num_texts, len(pairs.captions)))
        ]


def metrics(text: np.ndarray, motion: np.ndarray, real: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """Return the metrics of pairs of embeddings, whose rows are in batches; diversity where there are 100 motions."""
    values = {f"r_precision_{k}": share for k, share in enumerate(r_precision(text, motion, BATCH), 1)}
    values |= {"mm_dist": matching_distance(text, motion), "fid": frechet_distance(real, motion)}
    return values | ({"diversity": diversity(motion, rng)} if len(motion) >= 100 else {})


def over_repeats(rows: list[dict]) -> dict[str, dict[str, dict[str, tuple[float, float]]]]:
    """Return each metric's mean over repeats and the half-width of its 95 % interval, by evaluator and kind.

    A kind, and a metric, that some repeats lack is left out.
    """
    return {
        evaluator: {
            kind: {
                name: mean_and_interval([row[evaluator][kind][name] for row in rows])
                for name in values
                if all(name in row[evaluator].get(kind, ()) for row in rows)
            }
            for kind, values in kinds.items()
            if all(kind in row[evaluator] for row in rows)
        }
        for evaluator, kinds in rows[0].items()
    }


def cached(folder: Path | None, number: int, owner: str, measure: Callable[[int], dict]) -> dict:
    """Measure a repeat, or read its numbers from a folder.

    Raises:
        ValueError: when the numbers there are of another model, way of decoding, evaluator or data.
    """
    if folder is None:
        return measure(number)
    path = folder / f"repeat_{number}.json"
    if path.is_file():
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["owner"] != owner:
            raise ValueError(f"{path} is of another model, way of decoding, evaluator or data: name another --cache")
        return stored["numbers"]
    numbers = measure(number)
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"owner": owner, "numbers": numbers})
    write_atomically(path, lambda temporary: temporary.write_text(content, encoding="utf-8"))
    return numbers
