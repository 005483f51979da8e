"""LaMP's matching on hard negatives that it was not trained on."""

import math

import numpy as np
import torch
from scipy.stats import mannwhitneyu

from lamp_hf.models.modeling_lamp import LampModel

from .lamp_pairs import LampPairs


PRIOR = math.log(1 / 2)  # log-odds of a pair in training, where each true pair has two wrong ones


@torch.no_grad()
def matching_numbers(
    model: LampModel, pairs: LampPairs, scores: torch.Tensor, similar: np.ndarray, batch_size: int = 256
) -> dict:
    """Judge true pairs, each text with the best-scored wrong motion, and each motion with the best-scored wrong text.

    Args:
        model ([`LampModel`]): the model.
        pairs ([`LampPairs`]): a split as it sees it.
        scores (`torch.FloatTensor` of shape `(num_texts, num_motions)`): what decides which wrong pairs are hard.
        similar (`np.ndarray` of shape `(num_texts, num_texts)`): true for captions that are equal or alike, whose
            clips are not wrong.

    Returns:
        `dict`: `pairs`; `balanced_accuracy`, in percent, where log-odds above 0 mean a pair, and
        `balanced_accuracy_at_prior`, where those above log(1/2) do; `loss`, the mean cross-entropy; and `auc`, the
        probability that a true pair has higher log-odds than a wrong one. Empty where no pair is wrong.
    """
    similar = torch.from_numpy(similar).to(scores.device)
    similar = similar | torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    rows = torch.arange(len(scores), device=scores.device)
    has_wrong = ~similar.all(1)  # alike is symmetric: the same for texts and motions
    if not has_wrong.any():
        return {}
    wrong = scores.masked_fill(similar, -torch.inf)
    texts = torch.cat([rows, rows[has_wrong], wrong.argmax(0)[has_wrong]])
    motions = torch.cat([rows, wrong.argmax(1)[has_wrong], rows[has_wrong]])
    logits = [
        model.match(pairs.states, pairs.mask, pairs.text, pairs.motion, *part)
        for part in zip(texts.split(batch_size), motions.split(batch_size))
    ]
    return judged(torch.cat(logits).diff(dim=1)[:, 0].double().cpu().numpy(), len(rows))


def judged(odds: np.ndarray, num_true: int) -> dict:
    """Return the numbers of [`matching_numbers`] from the log-odds of all pairs, the true ones first."""
    true, wrong = odds[:num_true], odds[num_true:]
    losses = np.concatenate([np.logaddexp(0, -true), np.logaddexp(0, wrong)])

    def balanced(threshold: float) -> float:
        return 50 * float((true > threshold).mean() + (wrong <= threshold).mean())

    return {
        "pairs": len(odds),
        "balanced_accuracy": balanced(0),
        "balanced_accuracy_at_prior": balanced(PRIOR),
        "loss": float(losses.mean()),
        "auc": float(mannwhitneyu(true, wrong).statistic / (len(true) * len(wrong))),
    }
