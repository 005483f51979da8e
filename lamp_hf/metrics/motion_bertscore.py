"""LaMP-BertScore (LaMP, ICLR 2025): how well the captions of generated motions match their prompts.

A captioner describes each motion, by beam search, and BERTScore compares the description with the prompt. The paper
gives no settings; the published convention of BERTScore in this field is `encoder="roberta-large", idf=True,
rescale=True`.
"""

import functools

import numpy as np

from ..fingerprint import identify
from ..models.motion_representation import features_to_joints
from ..models.skeleton import HUMANML3D
from .bertscore import BertScorer
from .captions import check_references
from .claims import check_claims


def lamp_bertscore(
    predictions: list,
    references: list[str] | list[list[str]],
    captioner: str | None = None,
    encoder: str | None = None,
    layer: int | None = None,
    idf: bool = False,
    rescale: bool | tuple[float, float, float] = False,
    calibrate: bool = False,
    real: list | None = None,
    batch_size: int = 16,
    seed: int = 0,
) -> dict:
    """Score motions by the BERTScore between their captions and the references.

    Args:
        predictions (`list`): motions: joints `(num_frames, num_joints, 3)` or features `(num_frames, num_features)`.
        references (`list[str]` or `list[list[str]]`): one or several captions per motion.
        captioner (`str`, *optional*): folder or Hub id of a captioner; the bundled one by default.
        encoder, layer, idf, rescale (*optional*): options of [`BertScorer`].
        calibrate (`bool`): also score `real`, the upper bound, and `real` in another order, the lower bound. A score
            alone says little, because the captioner may be related to the generator.
        real (`list`, *optional*): real motions of the same captions, for `calibrate`.
        batch_size (`int`): motions per batch of the captioner; it changes the result by rounding alone.
        seed (`int`): seed of the other order.

    Returns:
        `dict`: `lamp_bertscore` (mean F1), `precision`, `recall`, `f1` and `captions` (one per motion) and `hashcode`;
        `claims`: for each motion of HumanML3D's skeleton the claims of its caption that geometry can check, and
        whether they hold, see [`check_claims`]; `claims_right`: the share of all claims that hold, None without
        claims; with `calibrate` also `real` and `shuffled` (mean F1), `real_f1` and `shuffled_f1` (one per motion).

    Raises:
        ValueError: when counts differ, a reference is empty, or a motion is broken or too short.
    """
    references = check_references(predictions, references)
    if calibrate and (real is None or len(real) != len(predictions) or len(real) < 2):
        raise ValueError("to calibrate give as many real motions as predictions, at least two: real=[...]")
    scorer = BertScorer(encoder, layer, idf, rescale)  # first, so that a wrong option fails before any work
    caption, identity = _load_captioner(captioner)
    real = real if calibrate and real is not None else []
    captions = caption([np.asarray(motion, np.float32) for motion in [*predictions, *real]], batch_size)
    captions, real_captions = captions[: len(predictions)], captions[len(predictions) :]
    scores = scorer(captions, references)
    claims = [_check(text, motion) for text, motion in zip(captions, predictions)]
    checked = [right for found in claims for right in found.values()]
    result = {
        "lamp_bertscore": float(scores.f1.mean()),
        "precision": scores.precision.tolist(),
        "recall": scores.recall.tolist(),
        "f1": scores.f1.tolist(),
        "captions": captions,
        "claims": claims,
        "claims_right": sum(checked) / len(checked) if checked else None,
        "hashcode": f"lamp_bertscore(captioner={identity}, bertscore={scorer.hashcode})",
    }
    if calibrate:
        order = derangement(len(real), np.random.default_rng(seed))
        bounds = {"real": real_captions, "shuffled": [real_captions[i] for i in order]}
        f1 = {name: scorer(texts, references).f1 for name, texts in bounds.items()}
        result |= {name: float(values.mean()) for name, values in f1.items()}
        result |= {f"{name}_f1": values.tolist() for name, values in f1.items()}
    return result


def _check(caption: str, motion: np.ndarray) -> dict[str, bool]:
    """Check the claims of a caption; none can be for another skeleton than HumanML3D's."""
    joints = np.asarray(motion, np.float32)
    if joints.shape[1:] == (HUMANML3D.num_features,):
        joints = features_to_joints(joints)
    return check_claims(caption, joints) if joints.shape[1:] == (HUMANML3D.num_joints, 3) else {}


@functools.lru_cache(maxsize=2)
def _load_captioner(name: str | None):
    """Return a function from motions and a batch size to captions, and the name and fingerprint of the captioner."""
    from transformers import pipeline

    import lamp_hf

    name = name or lamp_hf.bundled("captioning")
    pipe = pipeline("motion-to-text", model=name)

    def caption(motions: list[np.ndarray], batch_size: int) -> list[str]:
        return [answer[0]["generated_text"] for answer in pipe(motions, batch_size=batch_size)]

    return caption, identify(name, pipe.model.config)


def derangement(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return a random permutation of `count` indices that leaves none in its place."""
    cycle = rng.permutation(count)
    order = np.empty(count, int)
    order[cycle] = np.roll(cycle, 1)
    return order
