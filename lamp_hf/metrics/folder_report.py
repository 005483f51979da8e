"""Evaluation of a folder of motions: physics, agreement with prompts, distance from real motions, by stratum."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from ..data.captions import clip_name, mirror_caption, read_caption_table
from ..data.prompts import Prompt, read_prompt_table
from ..evaluators.evaluator import Evaluator
from ..evaluators.motion_evaluator import MotionTextEvaluator
from ..fingerprint import fingerprint
from ..motion.clip import Motion, read_folder
from ..retrieval.embedder import Embedder
from .generation import diversity, frechet_distance
from .motion_bertscore import lamp_bertscore
from .physics import bone_length_variation, floating, foot_skating, jitter, penetration
from .retrieval import ranks, retrieval_metrics
from .strata import Strata, by_stratum, names_a_side


BATCH_SIZE = 32  # of R-precision, as in the literature
_BOOTSTRAP = 1000
_PHYSICS: dict[str, Callable[[Motion], float]] = {
    "foot_skating_m_s": lambda motion: foot_skating(motion.joints, motion.fps, motion.skeleton),
    "floating_share": lambda motion: floating(motion.joints, skeleton=motion.skeleton),
    "penetration_m": lambda motion: penetration(motion.joints),
    "jitter_m_s3": lambda motion: jitter(motion.joints, motion.fps),
    "bone_length_variation": lambda motion: bone_length_variation(motion.joints, motion.skeleton),
}


@dataclass
class _Judge:
    """An evaluator, how it reads a motion, and its name with its version."""

    evaluator: Evaluator
    read: Callable[[Motion, str], np.ndarray]
    fps: float
    name: str


def evaluate_folder(
    folder: Path,
    prompts: Path | None = None,
    real: Path | None = None,
    model: str | None = None,
    seed: int = 0,
    evaluator: MotionTextEvaluator | None = None,
    training_captions: list[str] | None = None,
) -> dict:
    """Evaluate motion files, of whatever system made them.

    Args:
        folder (`Path`): motion files, in subfolders too.
        prompts (`Path`, *optional*): csv, json or txt file, see [`read_prompt_table`]; by default `captions.csv` or
            `captions.json` in the folder, or else the captions in npz files.
        real (`Path`, *optional*): folder of real motions to compare with.
        model (`str`, *optional*): folder or Hub id of the LaMP that judges; the bundled one by default.
        seed (`int`): seed of the pairs of diversity and of bootstrap samples.
        evaluator ([`MotionTextEvaluator`], *optional*): judges in place of LaMP, which lamp-small reads its texts with
            and chooses its best motions by.
        training_captions (`list[str]`, *optional*): captions that the system was trained on, for strata of new
            captions and new words.

    Returns:
        `dict`: `motions`, `broken` (problems by name), `evaluator`, `physics` (means over motions; m/s, shares of
        frames, metres, m/s³, shares of bone lengths), each with `intervals` of 95 % over motions, and `samples`, a row
        for each motion. With prompts also `text`: matching distance, recalls in the whole `gallery`, R-precision
        in batches of 32 if there are as many, the share nearer to their own prompt than to its mirror image
        (`sides_right`), and, judged by LaMP, LaMP-BertScore; and the same by `strata`. With `real` also
        `distribution`: Fréchet distance, diversity and physics of both.

        Where prompts tell their family of action, an `evaluator` adds the share of motions that it recognises as of
        that family (`family_recognised`).

    Raises:
        ValueError: when no motion can be read, when no motion has a prompt in the given file, when the evaluator does
            not know the family of one, or when there are fewer than two motions to compare.
    """
    judge = _load_judge(model, evaluator)

    def read(motion: Motion, name: str) -> tuple[Motion, np.ndarray]:
        motion = motion.resample(judge.fps)
        return motion, judge.read(motion, name)

    motions, broken = read_folder(folder, read)
    names, clips = list(motions), [motion for motion, _ in motions.values()]
    features = [values for _, values in motions.values()]
    embeddings, rng = judge.evaluator.embed_motions(features), np.random.default_rng(seed)
    physics = _physics(clips)
    samples = [
        {"name": name, "seconds": clip.duration} | {key: float(values[i]) for key, values in physics.items()}
        for i, (name, clip) in enumerate(zip(names, clips))
    ]
    result: dict = {"motions": len(motions), "broken": broken, "evaluator": judge.name}
    result["physics"] = _means(physics, rng)
    given = _prompts_of(folder, prompts, names, clips)
    rows = [row for row, prompt in enumerate(given) if prompt]
    if rows:
        asked = [prompt for prompt in given if prompt]
        texts = [prompt.text for prompt in asked]
        strata = [[*prompt.strata, *rule] for prompt, rule in zip(asked, Strata(training_captions)(texts))]
        own = judge.evaluator.embed_texts(texts)
        scores = _score(judge.evaluator, texts, own, embeddings[rows])
        if evaluator is not None:
            scores |= _recognise(evaluator, asked, [features[row] for row in rows])
        result["text"] = _text(scores, own, embeddings[rows], rng) | {"captions": len(rows)}
        if evaluator is None:
            score = lamp_bertscore([features[row] for row in rows], texts)
            result["text"] |= {name: score[name] for name in ("lamp_bertscore", "hashcode")}
        result["strata"] = {
            name: {"motions": len(some), "gallery": len(rows)}
            | _means({key: values[some] for key, values in scores.items()}, rng)
            for name, some in by_stratum(strata).items()
        }
        for i, row in enumerate(rows):
            numbers = {key: float(values[i]) for key, values in scores.items() if np.isfinite(values[i])}
            samples[row] |= {"text": texts[i], "strata": strata[i]} | numbers
    elif prompts is not None:
        raise ValueError(f"{prompts} has no prompt of a motion in {folder}")
    if real is not None:
        real_motions, _ = read_folder(real, read)
        real_embeddings = judge.evaluator.embed_motions([values for _, values in real_motions.values()])
        result["distribution"] = _distribution(embeddings, real_embeddings, seed, rng)
        of_real = _means(_physics([motion for motion, _ in real_motions.values()]), rng)
        result["distribution"] |= {f"{name}_of_real": of_real[name] for name in physics}
    return result | {"samples": samples}


def _load_judge(model: str | None, evaluator: MotionTextEvaluator | None) -> _Judge:
    if evaluator is None:
        import lamp_hf

        lamp = Embedder(model or lamp_hf.bundled())
        return _Judge(lamp, lamp.read, lamp.fps, f"{lamp.name}@{lamp.fingerprint[:8]}")
    extractor = evaluator.extractor
    name = fingerprint(evaluator.model.name_or_path)
    return _Judge(evaluator, extractor.read, extractor.sampling_rate, name)


def _prompts_of(folder: Path, path: Path | None, names: list[str], clips: list[Motion]) -> list[Prompt | None]:
    """Return each motion's prompt in the file, or else its own text."""
    table = read_prompt_table(path) if path else {}
    if not path:
        captions = read_caption_table(folder)
        table = {name: Prompt(texts[0].text) for name, texts in captions.items()}
    own = [Prompt(clip.text) if clip.text else None for clip in clips]
    return [table.get(clip_name(str(Path(name).with_suffix("")))) or prompt for name, prompt in zip(names, own)]


def _physics(motions: list[Motion]) -> dict[str, np.ndarray]:
    """Return the numbers of each motion, `(num_motions,)`."""
    return {name: np.array([measure(motion) for motion in motions]) for name, measure in _PHYSICS.items()}


def _score(evaluator: Evaluator, texts: list[str], own: np.ndarray, motions: np.ndarray) -> dict[str, np.ndarray]:
    """Return numbers of each pair; NaN where a text names no side, and so has no mirror image.

    Args:
        evaluator ([`Evaluator`]): embeds the mirrored texts.
        texts (`list[str]`): the prompts.
        own, motions (`np.ndarray` of shape `(num_pairs, embedding_size)`): embeddings of prompts and motions.
    """
    ids = np.array(texts)
    rank = ranks(_similarity(own, motions), ids[:, None] == ids)
    distance = np.linalg.norm(own - motions, axis=1)
    sided = np.array([names_a_side(text) for text in texts])
    right = np.full(len(texts), np.nan)
    if sided.any():
        mirrored = evaluator.embed_texts([mirror_caption(text) for text, wanted in zip(texts, sided) if wanted])
        right[sided] = distance[sided] < np.linalg.norm(mirrored - motions[sided], axis=1)
    recalls = {f"R@{k}": 100.0 * (rank < k) for k in (1, 3, 10)}
    return {"matching_distance": distance, "rank": rank, **recalls, "sides_right": 100 * right}


def _recognise(
    evaluator: MotionTextEvaluator, prompts: list[Prompt], motions: list[np.ndarray]
) -> dict[str, np.ndarray]:
    """Tell which motions show the family of their prompts; NaN where none is told, and nothing where none is at all.

    Raises:
        ValueError: when the evaluator does not know a family.
    """
    families = [prompt.family for prompt in prompts]
    if unknown := sorted({*families} - {"", *(evaluator.model.config.actions or [])}):
        raise ValueError(f"the evaluator knows no family {unknown[0]!r}, which a prompt asks for")
    if not any(families):
        return {}
    right = 100.0 * (np.array(evaluator.recognise(motions)) == np.array(families))
    return {"family_recognised": np.where(np.array(families) == "", np.nan, right)}


def _similarity(texts: np.ndarray, motions: np.ndarray) -> np.ndarray:
    """Return negative squared Euclidean distances, `(num_texts, num_motions)`."""
    texts, motions = (np.asarray(values, np.float64) for values in (texts, motions))
    return 2 * texts @ motions.T - (texts**2).sum(1)[:, None] - (motions**2).sum(1)


def _means(values: dict[str, np.ndarray], rng: np.random.Generator) -> dict:
    """Return the mean of each number, without NaN, and its 95 % interval, in `intervals`."""
    finite = {name: some[np.isfinite(some)] for name, some in values.items()}
    finite = {name: some for name, some in finite.items() if len(some)}
    intervals = {name: _interval(some, rng) for name, some in finite.items()}
    return {name: float(some.mean()) for name, some in finite.items()} | {"intervals": intervals}


def _interval(values: np.ndarray, rng: np.random.Generator) -> list[float]:
    """Return the 95 % interval of a mean: by the bootstrap, or Wilson's where each value is either 0 or 100 percent.

    Five right ones of five say little about a share, while every sample of them has the same mean.
    """
    right = values == 100
    if (right | (values == 0)).all():
        share = binomtest(int(right.sum()), len(values)).proportion_ci(method="wilson")
        return [100 * share.low, 100 * share.high]
    draws = values[rng.integers(len(values), size=(_BOOTSTRAP, len(values)))].mean(1)
    return np.percentile(draws, [2.5, 97.5]).tolist()


def _text(scores: dict[str, np.ndarray], own: np.ndarray, motions: np.ndarray, rng: np.random.Generator) -> dict:
    """Return means over pairs, with the size of the gallery, and R-precision in batches if there is one."""
    numbers = _means(scores, rng) | {"gallery": len(own)}
    if len(own) >= BATCH_SIZE:
        similarity = _similarity(own, motions)
        batches = retrieval_metrics(similarity, bootstrap=_BOOTSTRAP)["small_batches"]["text_to_motion"]
        numbers["r_precision_gallery"] = BATCH_SIZE
        for k in (1, 2, 3):
            numbers[f"r_precision_{k}"] = batches[f"R@{k}"] / 100
            numbers["intervals"][f"r_precision_{k}"] = [edge / 100 for edge in batches["intervals"][f"R@{k}"]]
    return numbers


def _distribution(generated: np.ndarray, real: np.ndarray, seed: int, rng: np.random.Generator) -> dict:
    """Compare embeddings of generated motions with those of real ones."""
    if min(len(generated), len(real)) < 2:
        raise ValueError("to compare distributions, give at least two generated and two real motions")
    distance = frechet_distance(generated, real)
    # A resample repeats rows, which adds to the distance: percentiles would miss the estimate, the spread is sound.
    draws = [
        frechet_distance(*(some[rng.integers(len(some), size=len(some))] for some in (generated, real)))
        for _ in range(_BOOTSTRAP // 10)
    ]
    half = 1.96 * float(np.std(draws, ddof=1))
    interval = [max(distance - half, 0.0), distance + half]
    numbers: dict = {"frechet_distance": distance, "real_motions": len(real)}
    pairs = min(len(generated), len(real), 300)
    for name, values in (("diversity", generated), ("diversity_of_real", real)):
        numbers[name] = diversity(values, np.random.default_rng(seed), pairs)
    return numbers | {"intervals": {"frechet_distance": interval}}
