"""Numbers of a folder of motions: their physics, whether they show their captions, how far they are from real ones."""

from pathlib import Path

import numpy as np

from ..data.captions import clip_name, read_caption_table
from ..motion.clip import Motion, read_folder
from ..retrieval.embedder import Embedder
from .generation import diversity, frechet_distance, matching_distance, r_precision
from .motion_bertscore import lamp_bertscore
from .physics import bone_length_variation, floating, foot_skating, jitter, penetration


BATCH = 32  # of R-precision, the literature's


def evaluate_folder(
    folder: Path, captions: Path | None = None, real: Path | None = None, model: str | None = None, seed: int = 0
) -> dict:
    """
    Args:
        folder (`Path`): motion files, searched with those below it.
        captions (`Path`, *optional*): csv (name, caption) or json; `captions.csv` or `captions.json` in the folder, or
            the captions that npz files hold, if not given.
        real (`Path`, *optional*): folder of real motions to compare with.
        model (`str`, *optional*): LaMP, which judges; the bundled one if not given.
        seed (`int`): of the order in which batches of 32 are drawn.

    Returns:
        `motions`, `broken` (name: problem), `physics` (means over motions; m/s, metres, m/s^3, share of a bone's
        length); with captions `text` (R-precision and distance by `evaluator`, where 32 have one, and
        LaMP-BertScore); with `real` `distribution` (Fréchet distance and diversity of both).

    Raises:
        ValueError: when no motion can be read, or an option asks for more than there is.
    """
    import lamp_hf

    model = model or lamp_hf.bundled()
    judge = Embedder(model)

    def read(motion: Motion, name: str) -> tuple[Motion, np.ndarray]:
        motion = motion.resample(judge.fps)
        return motion, judge.read(motion, name)

    motions, broken = read_folder(folder, read)
    result = {"motions": len(motions), "broken": broken, "evaluator": f"{judge.name}@{judge.fingerprint[:8]}"}
    result["physics"] = _physics([motion for motion, _ in motions.values()])
    features = [values for _, values in motions.values()]
    embedded = judge.embed_motions(features)
    told = read_caption_table(folder, captions)
    texts = [_caption(name, motion, told) for name, (motion, _) in motions.items()]
    captioned = [row for row, text in enumerate(texts) if text]
    if captioned:
        wanted = [texts[row] for row in captioned]
        result["text"] = _text(judge.embed_texts(wanted), embedded[captioned], seed) | {"captions": len(captioned)}
        score = lamp_bertscore([features[row] for row in captioned], wanted)
        result["text"] |= {name: score[name] for name in ("lamp_bertscore", "hashcode")}
    elif captions is not None:
        raise ValueError(f"{captions} has no caption of a motion in {folder}")
    if real is not None:
        others, _ = read_folder(real, read)
        result["distribution"] = _distribution(
            embedded, judge.embed_motions([one for _, one in others.values()]), seed
        )
    return result


def _caption(name: str, motion: Motion, told: dict) -> str | None:
    rows = told.get(clip_name(str(Path(name).with_suffix(""))))
    return rows[0][0] if rows else motion.text


def _physics(motions: list[Motion]) -> dict[str, float]:
    numbers = {
        "foot_skating_m_s": [foot_skating(motion.joints, motion.fps, motion.skeleton) for motion in motions],
        "floating_m": [floating(motion.joints, skeleton=motion.skeleton) for motion in motions],
        "penetration_m": [penetration(motion.joints) for motion in motions],
        "jitter_m_s3": [jitter(motion.joints, motion.fps) for motion in motions if motion.num_frames > 3],
        "bone_length_variation": [bone_length_variation(motion.joints, motion.skeleton) for motion in motions],
    }
    return {name: float(np.mean(values)) for name, values in numbers.items() if values}


def _text(texts: np.ndarray, motions: np.ndarray, seed: int) -> dict[str, float]:
    numbers = {"matching_distance": matching_distance(texts, motions)}
    if len(texts) >= BATCH:
        order = np.random.default_rng(seed).permutation(len(texts))
        precision = r_precision(texts[order], motions[order], BATCH)
        numbers |= {f"r_precision_{k}": value for k, value in enumerate(precision, 1)}
    return numbers


def _distribution(made: np.ndarray, real: np.ndarray, seed: int) -> dict[str, float]:
    if min(len(made), len(real)) < 2:
        raise ValueError("a distribution needs two motions on either side")
    numbers = {"frechet_distance": frechet_distance(made, real), "real_motions": len(real)}
    pairs = min(len(made), len(real), 300)
    for name, values in (("diversity", made), ("diversity_of_real", real)):
        numbers[name] = diversity(values, np.random.default_rng(seed), pairs)
    return numbers
