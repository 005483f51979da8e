"""Similarities of embeddings, and their contrastive loss over the batches of all training processes."""

import torch
from torch import nn

from .modeling_common import gather_with_gradient, in_distributed_training, masked_mean


FALSE_NEGATIVES = ("none", "filter", "soft")


def equal_pairs(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Compare ids `(N,)` and `(M,)` pairwise; `(N, M)`, true where they are equal."""
    return left[:, None] == right[None, :]


def global_row_indices(rows: torch.Tensor) -> torch.Tensor:
    """Return the indices `(batch_size,)` of this process's rows among those of all training processes."""
    indices = torch.arange(len(rows), device=rows.device)
    return indices + len(rows) * torch.distributed.get_rank() if in_distributed_training() else indices


def cosines(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return the cosines `(N, M)` of unit vectors `(N, size)` and `(M, size)`, in single precision even in autocast.

    In bfloat16 cosines above a half come in steps of 0.004, which a temperature turns into steps of a tenth and more.
    """
    with torch.autocast(left.device.type, enabled=False):
        return left.float() @ right.float().T


def similarity(text: torch.Tensor, motion: torch.Tensor, scoring: str = "max") -> torch.Tensor:
    """Score texts against motions; higher is more similar.

    Args:
        text (`torch.FloatTensor` of shape `(num_texts, projection_dim)`): Text embeddings.
        motion (`torch.FloatTensor` of shape `(num_motions, num_query_tokens, projection_dim)`): Query embeddings.
        scoring (`str`): `"max"`, the cosine of the best query (LaMP section 3); `"mean"`, the cosine of the mean over
            queries; `"euclidean"`, as released, the negative distance to the mean over queries without unit norm.

    Returns:
        `torch.FloatTensor` of shape `(num_texts, num_motions)`.

    Raises:
        ValueError: If the scoring is unknown.
    """
    text, motion = text.float(), motion.float()
    with torch.autocast(text.device.type, enabled=False):
        if scoring == "max":
            return torch.einsum("np,mqp->nmq", text, motion).amax(-1)
        if scoring == "mean":
            return text @ nn.functional.normalize(motion.mean(1), dim=-1).T
        if scoring == "euclidean":
            return -torch.cdist(text, motion.mean(1))
    raise ValueError(f"unknown scoring {scoring!r}; known: max, mean, euclidean")


def contrastive_targets(
    rows: torch.Tensor,
    ids: list[torch.Tensor] | None = None,
    sentence_embeds: torch.Tensor | None = None,
    false_negatives: str = "none",
    threshold: float = 0.6,
    soft_weight: float = 1.0,
    present: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute which rows of all processes each row of this process should match, and which it is not compared with.

    Args:
        rows (`torch.Tensor` of shape `(batch_size, ...)`): Rows of this process; only their number and device matter.
        ids (`list[torch.LongTensor]` of shape `(batch_size,)`, *optional*): Rows that share a number in any of these
            are not negatives of each other: the same clip, the same caption.
        sentence_embeds (`torch.FloatTensor` of shape `(batch_size, size)`, *optional*): Unit vectors of the captions
            by a frozen sentence encoder. Required unless `false_negatives` is `"none"`.
        false_negatives (`str`): Treatment of pairs with similar captions: `"none"` counts them as negatives,
            `"filter"` excludes them (TMR), `"soft"` makes them targets in proportion to their cosine (LAVIMO).
        threshold (`float`): Cosine from which captions are similar. TMR's 0.8 is on (cosine + 1) / 2, that is 0.6.
        soft_weight (`float`): Share of the target that `"soft"` spreads; the rest is the pair's own.
        present (`torch.BoolTensor` of shape `(batch_size,)`, *optional*): False for filler rows, which no other row
            is compared with.

    Returns:
        Targets `(batch_size, all_rows)`, whose rows sum to 1, and the boolean mask of excluded pairs, of the same
        shape.

    Raises:
        ValueError: If `false_negatives` is unknown, or needs sentence embeddings that are not given.
    """
    if false_negatives not in FALSE_NEGATIVES:
        raise ValueError(f"unknown false_negatives {false_negatives!r}; known: {', '.join(FALSE_NEGATIVES)}")
    if false_negatives != "none" and sentence_embeds is None:
        raise ValueError(f"false_negatives {false_negatives!r} needs sentence_embeds")
    indices = global_row_indices(rows)
    own = equal_pairs(indices, gather_with_gradient(indices)).float()
    excluded = torch.zeros_like(own, dtype=torch.bool)
    for values in ids or []:
        excluded = excluded | equal_pairs(values, gather_with_gradient(values))
    if present is not None:
        absent = ~gather_with_gradient(present)[None] & (own == 0)
        excluded = excluded | absent
    if false_negatives == "none":
        return own, excluded & (own == 0)
    cosine = cosines(sentence_embeds, gather_with_gradient(sentence_embeds.float()))
    if false_negatives == "filter":
        return own, (excluded | (cosine > threshold)) & (own == 0)
    similar = torch.where(cosine >= threshold, cosine, 0.0).maximum(own)
    if present is not None:
        similar = similar.masked_fill(absent, 0)
    excluded = excluded & (similar == 0)  # such as another caption of the same clip that reads differently
    return (1 - soft_weight) * own + soft_weight * similar / similar.sum(1, keepdim=True), excluded


def caption_targets(
    sentence_embeds: torch.Tensor, clip_ids: torch.Tensor, caption_ids: torch.Tensor, threshold: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute what texts and motions should match where each clip of a batch has as many captions.

    A text has its clip as the one right motion, and a motion has all its texts as right ones. Neither is compared with
    what shows the same clip or has the same caption or an alike one.

    Args:
        sentence_embeds (`torch.FloatTensor` of shape `(batch_size * num_captions, size)`): Unit vectors of the
            captions by a frozen sentence encoder; those of a clip follow each other.
        clip_ids (`torch.LongTensor` of shape `(batch_size,)`): Equal numbers for the same clip.
        caption_ids (`torch.LongTensor` of shape `(batch_size * num_captions,)`): Equal numbers for the same caption.
        threshold (`float`): Cosine above which captions are alike.

    Returns:
        Targets `(num_texts, all_motions)`, whose rows sum to 1, and the boolean mask of excluded pairs; then the same
        from motions to texts, `(num_motions, all_texts)`.
    """
    captions = len(sentence_embeds) // len(clip_ids)
    owners = global_row_indices(clip_ids)
    own = equal_pairs(owners, gather_with_gradient(owners))
    same_clip = equal_pairs(clip_ids, gather_with_gradient(clip_ids))
    alike = cosines(sentence_embeds, gather_with_gradient(sentence_embeds)) > threshold  # [texts here, all texts]
    alike = alike | equal_pairs(caption_ids, gather_with_gradient(caption_ids))

    right = own.repeat_interleave(captions, 0)
    excluded = alike.unflatten(1, (-1, captions)).any(-1) | same_clip.repeat_interleave(captions, 0)
    back = own.repeat_interleave(captions, 1)
    excluded_back = alike.unflatten(0, (-1, captions)).any(1) | same_clip.repeat_interleave(captions, 1)
    return right.float(), excluded & ~right, back.float() / captions, excluded_back & ~back


def contrastive_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    excluded: torch.Tensor,
    label_smoothing: float = 0.0,
    present: torch.Tensor | None = None,
) -> torch.Tensor:
    """Average the cross-entropy of `(batch_size, all_rows)` logits over the rows that are present.

    Args:
        logits (`torch.FloatTensor` of shape `(batch_size, all_rows)`): Scaled similarities.
        targets (`torch.FloatTensor` of shape `(batch_size, all_rows)`): From [`contrastive_targets`].
        excluded (`torch.BoolTensor` of shape `(batch_size, all_rows)`): From [`contrastive_targets`].
        label_smoothing (`float`): Share of the target that is spread over all pairs that are not excluded.
        present (`torch.BoolTensor` of shape `(batch_size,)`, *optional*): False for rows to skip.

    Returns:
        `torch.FloatTensor` of shape `()`; 0 if no row is present.
    """
    allowed = (~excluded).to(targets.dtype)
    targets = (1 - label_smoothing) * targets + label_smoothing * allowed / allowed.sum(1, keepdim=True)
    # A large negative number, not -inf: a target of zero multiplies it.
    losses = nn.functional.cross_entropy(logits.masked_fill(excluded, -1e4), targets, reduction="none")
    return losses.mean() if present is None else masked_mean(losses, present)


def draw_negatives(similarity: torch.Tensor, excluded: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw a column for each row with probability softmax(similarity), never an excluded one.

    Returns:
        Columns, and 1 for rows that had a column to draw from, 0 for others; both of shape `(rows,)`.
    """
    usable = ~excluded.all(1)
    weights = similarity.masked_fill(excluded, -torch.inf).softmax(1)
    weights = torch.where(usable[:, None], weights, torch.ones_like(weights))
    return torch.multinomial(weights, 1)[:, 0], usable.float()


__all__ = [
    "caption_targets",
    "contrastive_loss",
    "contrastive_targets",
    "cosines",
    "draw_negatives",
    "equal_pairs",
    "global_row_indices",
    "similarity",
]
