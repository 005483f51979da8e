"""Evaluation of a folder of motions: physics, agreement with captions, distance from real motions."""

from pathlib import Path

import numpy as np

from ..data.captions import TimedCaption, clip_name, read_caption_table
from ..motion.clip import Motion, read_folder
from ..retrieval.embedder import Embedder
from .generation import diversity, frechet_distance, matching_distance, r_precision
from .motion_bertscore import lamp_bertscore
from .physics import bone_length_variation, floating, foot_skating, jitter, penetration


BATCH_SIZE = 32  # of R-precision, as in the literature


def evaluate_folder(
    folder: Path, captions: Path | None = None, real: Path | None = None, model: str | None = None, seed: int = 0
) -> dict:
    """Evaluate motion files.

    Args:
        folder (`Path`): motion files, in subfolders too.
        captions (`Path`, *optional*): csv (name, caption) or json; by default `captions.csv` or `captions.json` in the
            folder, or else the captions in npz files.
        real (`Path`, *optional*): folder of real motions to compare with.
        model (`str`, *optional*): folder or Hub id of the LaMP that judges; the bundled one by default.
        seed (`int`): seed of the batches of R-precision and of the pairs of diversity.

    Returns:
        `dict`: `motions`, `broken` (problems by name), `evaluator` and `physics` (means over motions; m/s, shares of
        frames, metres, m/s³, shares of bone lengths). With captions also `text`: LaMP-BertScore, matching distance,
        and R-precision if there are at least 32. With `real` also `distribution`: Fréchet distance, diversity of both.

    Raises:
        ValueError: when no motion can be read, when no motion has a caption in the given file, or when there are fewer
            than two motions to compare.
    """
    import lamp_hf

    judge = Embedder(model or lamp_hf.bundled())

    def read(motion: Motion, name: str) -> tuple[Motion, np.ndarray]:
        motion = motion.resample(judge.fps)
        return motion, judge.read(motion, name)

    motions, broken = read_folder(folder, read)
    result: dict = {"motions": len(motions), "broken": broken, "evaluator": f"{judge.name}@{judge.fingerprint[:8]}"}
    result["physics"] = _physics([motion for motion, _ in motions.values()])
    features = [values for _, values in motions.values()]
    embeddings = judge.embed_motions(features)
    table = read_caption_table(folder, captions)
    texts = [_caption(name, motion, table) for name, (motion, _) in motions.items()]
    captioned = {row: text for row, text in enumerate(texts) if text}
    if captioned:
        rows, prompts = list(captioned), list(captioned.values())
        score = lamp_bertscore([features[row] for row in rows], prompts)
        result["text"] = {
            **_text(judge.embed_texts(prompts), embeddings[rows], seed),
            "captions": len(captioned),
            "lamp_bertscore": score["lamp_bertscore"],
            "hashcode": score["hashcode"],
        }
    elif captions is not None:
        raise ValueError(f"{captions} has no caption of a motion in {folder}")
    if real is not None:
        real_motions, _ = read_folder(real, read)
        real_embeddings = judge.embed_motions([values for _, values in real_motions.values()])
        result["distribution"] = _distribution(embeddings, real_embeddings, seed)
    return result


def _caption(name: str, motion: Motion, table: dict[str, list[TimedCaption]]) -> str | None:
    """Return a motion's first caption in the table, or else its own text."""
    captions = table.get(clip_name(str(Path(name).with_suffix(""))))
    return captions[0].text if captions else motion.text


def _physics(motions: list[Motion]) -> dict[str, float]:
    """Return means over motions."""
    numbers = {
        "foot_skating_m_s": [foot_skating(motion.joints, motion.fps, motion.skeleton) for motion in motions],
        "floating_m": [floating(motion.joints, skeleton=motion.skeleton) for motion in motions],
        "penetration_m": [penetration(motion.joints) for motion in motions],
        "jitter_m_s3": [jitter(motion.joints, motion.fps) for motion in motions if motion.num_frames > 3],
        "bone_length_variation": [bone_length_variation(motion.joints, motion.skeleton) for motion in motions],
    }
    return {name: float(np.mean(values)) for name, values in numbers.items() if values}


def _text(texts: np.ndarray, motions: np.ndarray, seed: int) -> dict[str, float]:
    """Compare embeddings of texts with those of their motions."""
    numbers = {"matching_distance": matching_distance(texts, motions)}
    if len(texts) >= BATCH_SIZE:
        order = np.random.default_rng(seed).permutation(len(texts))
        precision = r_precision(texts[order], motions[order], BATCH_SIZE)
        numbers |= {f"r_precision_{k}": value for k, value in enumerate(precision, 1)}
    return numbers


def _distribution(generated: np.ndarray, real: np.ndarray, seed: int) -> dict[str, float]:
    """Compare embeddings of generated motions with those of real ones."""
    if min(len(generated), len(real)) < 2:
        raise ValueError("to compare distributions, give at least two generated and two real motions")
    numbers = {"frechet_distance": frechet_distance(generated, real), "real_motions": len(real)}
    pairs = min(len(generated), len(real), 300)
    for name, values in (("diversity", generated), ("diversity_of_real", real)):
        numbers[name] = diversity(values, np.random.default_rng(seed), pairs)
    return numbers
