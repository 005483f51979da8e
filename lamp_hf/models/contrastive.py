"""Contrastive alignment of pairs, over the rows of all training processes, with or without false negatives."""

import torch
from torch import nn

from .modeling_common import masked_mean


FALSE_NEGATIVES = ("none", "filter", "soft")


def gather_with_gradient(values: torch.Tensor) -> torch.Tensor:
    """Concatenates the rows of all training processes; gradients find their way back to each."""
    if not _several_train():
        return values
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(values))


def _several_train() -> bool:
    """Only the first process evaluates, and without gradients: it must not wait for the others then."""
    return torch.distributed.is_available() and torch.distributed.is_initialized() and torch.is_grad_enabled()


def same(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """`(N,)` and `(M,)` ids to `(N, M)`: where they are equal."""
    return left[:, None] == right[None, :]


def row_numbers(rows: torch.Tensor) -> torch.Tensor:
    """Numbers of this process's rows among those of all training processes, `(batch_size,)`."""
    numbers = torch.arange(len(rows), device=rows.device)
    return numbers + len(rows) * torch.distributed.get_rank() if _several_train() else numbers


def cosines(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Products `(N, M)` of unit vectors `(N, size)` and `(M, size)`, in single precision under autocast too.

    In bfloat16 cosines over a half come in steps of 0.004, which a temperature makes steps of a tenth and more.
    """
    with torch.autocast(left.device.type, enabled=False):
        return left.float() @ right.float().T


def contrastive_targets(
    rows: torch.Tensor,
    ids: list[torch.Tensor] | None = None,
    sentence_embeds: torch.Tensor | None = None,
    false_negatives: str = "none",
    threshold: float = 0.6,
    soft_weight: float = 1.0,
    present: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What this process's rows ought to score among those of all processes.

    Args:
        rows (`torch.Tensor` of shape `(batch_size, ...)`): this process's; their number and device count.
        ids (`list[torch.LongTensor]` of shape `(batch_size,)`, *optional*): rows that share a number in any of them
            are no negatives: the same clip, the same caption.
        sentence_embeds (`torch.FloatTensor` of shape `(batch_size, size)`, *optional*): unit vectors of the captions
            by a frozen sentence encoder, without which only `"none"` is possible.
        false_negatives (`str`): what to do with pairs of like captions: `"none"`; `"filter"` leaves them out (TMR);
            `"soft"` wants them in the proportion of their cosine (LAVIMO).
        threshold (`float`): the cosine from which captions are alike; TMR writes 0.8 for 0.6, on (cosine + 1) / 2.
        soft_weight (`float`): share of the target that is soft, the rest is the pair's own.
        present (`torch.BoolTensor` of shape `(batch_size,)`, *optional*): false for rows that are fillers, which no
            row is compared with.

    Returns:
        Targets `(batch_size, all_rows)`, rows of sum 1, and what is left out, of the same shape.

    Raises:
        ValueError: on an unknown way, or when it needs sentence embeddings and there are none.
    """
    if false_negatives not in FALSE_NEGATIVES:
        raise ValueError(f"unknown false_negatives {false_negatives!r}; known: {', '.join(FALSE_NEGATIVES)}")
    if false_negatives != "none" and sentence_embeds is None:
        raise ValueError(f"false_negatives {false_negatives!r} needs sentence_embeds")
    numbers = row_numbers(rows)
    own = same(numbers, gather_with_gradient(numbers)).float()
    left_out = torch.zeros_like(own, dtype=torch.bool)
    for values in ids or []:
        left_out = left_out | same(values, gather_with_gradient(values))
    if present is not None:
        absent = ~gather_with_gradient(present)[None] & (own == 0)
        left_out = left_out | absent
    if false_negatives == "none":
        return own, left_out & (own == 0)
    cosine = cosines(sentence_embeds, gather_with_gradient(sentence_embeds.float()))
    if false_negatives == "filter":
        return own, (left_out | (cosine > threshold)) & (own == 0)
    alike = torch.where(cosine >= threshold, cosine, 0.0).maximum(own)
    if present is not None:
        alike = alike.masked_fill(absent, 0)
    left_out = left_out & (alike == 0)  # another caption of the same clip, which reads unlike this one
    return (1 - soft_weight) * own + soft_weight * alike / alike.sum(1, keepdim=True), left_out


def contrastive_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    left_out: torch.Tensor,
    label_smoothing: float = 0.0,
    present: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy of `(batch_size, all_rows)` logits, over the rows that are there; 0 if none is.

    Smoothing is spread over what is not left out.
    """
    allowed = (~left_out).to(targets.dtype)
    targets = (1 - label_smoothing) * targets + label_smoothing * allowed / allowed.sum(1, keepdim=True)
    # A large negative number, not -inf: a target of zero multiplies it.
    losses = nn.functional.cross_entropy(logits.masked_fill(left_out, -1e4), targets, reduction="none")
    return losses.mean() if present is None else masked_mean(losses, present)


__all__ = ["contrastive_loss", "contrastive_targets", "cosines", "gather_with_gradient", "row_numbers", "same"]
