"""LaMP's matching on hard negatives that it was not trained on."""

import math

import numpy as np
import torch
from scipy.stats import mannwhitneyu

from lamp_hf.models.modeling_lamp import LampModel

from .lamp_pairs import LampPairs


PRIOR = math.log(1 / 2)  # log-odds of a pair in training, where each true pair has two wrong ones


BATCH = 48  # clips that negatives are drawn from, as in training


@torch.no_grad()
def matching_numbers(
    model: LampModel, pairs: LampPairs, scores: torch.Tensor, similar: np.ndarray, seed: int = 0
) -> dict:
    """Judge true pairs, and each text with a wrong motion and each motion with a wrong text.

    Args:
        model ([`LampModel`]): the model.
        pairs ([`LampPairs`]): a split as it sees it.
        scores (`torch.FloatTensor` of shape `(num_texts, num_motions)`): what decides which wrong pairs are hard.
        similar (`np.ndarray` of shape `(num_texts, num_texts)`): true for captions that are equal or alike, whose
            clips are not wrong.
        seed (`int`): decides which clips make a batch, and what is drawn.

    Returns:
        `dict`: numbers of [`judged`] for wrong pairs that are `drawn` within batches of 48 clips, the more often the
        higher their score, as in training, and for the `hardest`, which have the best score in the whole split. Empty
        where no pair is wrong.
    """
    similar = torch.from_numpy(similar).to(scores.device)
    similar = similar | torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    if similar.all():
        return {}
    generator = torch.Generator().manual_seed(seed)
    batch = torch.randperm(len(scores), generator=generator).to(scores.device) // BATCH
    other = similar | (batch[:, None] != batch)
    return {
        "drawn": _judge(model, pairs, other, lambda wrong: _draw(wrong / 2, generator), scores),
        "hardest": _judge(model, pairs, similar, lambda wrong: wrong.argmax(1), scores),
    }


def _judge(model: LampModel, pairs: LampPairs, excluded: torch.Tensor, choose, scores: torch.Tensor) -> dict:
    """Judge true pairs and those that `choose` takes from what is not excluded, which is symmetric."""
    wrong, rows = scores.masked_fill(excluded, -torch.inf), torch.arange(len(scores), device=scores.device)
    usable = ~excluded.all(1)
    texts = torch.cat([rows, rows[usable], choose(wrong.T[usable])])
    motions = torch.cat([rows, choose(wrong[usable]), rows[usable]])
    logits = [
        model.match(pairs.states, pairs.mask, pairs.text, pairs.motion, *part)
        for part in zip(texts.split(256), motions.split(256))
    ]
    return judged(torch.cat(logits).diff(dim=1)[:, 0].double().cpu().numpy(), len(rows))


def _draw(scores: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw a column of each row with probability softmax(scores)."""
    return torch.multinomial(scores.softmax(1).cpu(), 1, generator=generator)[:, 0].to(scores.device)


def judged(odds: np.ndarray, num_true: int) -> dict:
    """Return how well the log-odds of all pairs, the true ones first, tell them apart.

    Returns:
        `dict`: `pairs`; `balanced_accuracy`, in percent, where log-odds above 0 mean a pair, and
        `balanced_accuracy_at_prior`, where those above log(1/2) do; `loss`, the mean cross-entropy; and `auc`, the
        probability that a true pair has higher log-odds than a wrong one.
    """
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
