"""Common parts of LaMP and of the paper's Q-Former: loading, the frozen motion encoder, and the reranking of pairs."""

from collections.abc import Callable

import torch
from transformers import PreTrainedModel

from .configuration_common import HUB_OPTIONS
from .modeling_common import FrozenPartsMixin, StrictLoadingMixin, full_mask


class LampBasePreTrainedModel(FrozenPartsMixin, StrictLoadingMixin, PreTrainedModel):
    """Base class that holds strict loading and freezing."""

    base_model_prefix = "lamp"
    main_input_name = "motion_values"
    input_modalities = ("text", "time")
    supports_gradient_checkpointing = True
    _supports_sdpa = True  # attention is always computed by scaled_dot_product_attention


class LampMotionMixin:
    """Motion side of an encoder, which a captioner reads. Loads from the folder of any model that contains it."""

    _frozen_parts = ("motion_encoder", "text_encoder")

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """Load from the folder or Hub id of the encoders, a generator or a captioner; what is frozen stays so.

        Raises:
            ValueError: If a weight is missing or of another shape, or if a file is damaged.
        """
        # A generator that shares the tokenizer stores the motion encoder only once, as part of the tokenizer.
        options = {name: kwargs[name] for name in HUB_OPTIONS if name in kwargs}
        saved, _ = cls.config_class.get_config_dict(pretrained_model_name_or_path, **options)
        if saved.get("lamp_config") and not saved.get("tokenizer_config"):
            kwargs["key_mapping"] = {r"^vqvae\.encoder\.": "motion_encoder."}
        return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)

    @torch.no_grad()
    def encode_latents(
        self, motion_values: torch.FloatTensor, motion_attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the frozen motion encoder's latents `(num_motions, num_tokens, codebook_dim)` and their mask."""
        return self.motion_encoder(motion_values, full_mask(motion_values, motion_attention_mask))

    def get_motion_queries(
        self, motion_values: torch.FloatTensor, motion_attention_mask: torch.Tensor | None = None
    ) -> torch.FloatTensor:
        """Return the queries after they read the motion, `(num_motions, num_query_tokens, hidden_size)`."""
        return self.encode_motion_parts(*self.encode_latents(motion_values, motion_attention_mask)).queries


def rerank_by_matching(
    logits: torch.Tensor, matching: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], k: int, batch_size: int
) -> torch.Tensor:
    """Score the best `k` motions of each text, and the best `k` texts of each motion, again by matching (as BLIP).

    Args:
        logits (`torch.FloatTensor` of shape `(num_texts, num_motions)`): Of all pairs.
        matching (`Callable`): Takes texts and motions, `torch.LongTensor` of shape `(num_pairs,)`, and returns the
            log-odds `(num_pairs,)` that they belong together.
        k (`int`): Number of candidates.
        batch_size (`int`): Pairs per batch.

    Returns:
        `torch.FloatTensor` of the same shape: for pairs scored again the logit plus the log-odds; all others have
        values below these, in their order.
    """
    again = torch.zeros_like(logits, dtype=torch.bool)
    again.scatter_(1, logits.topk(min(k, logits.shape[1]), 1).indices, True)
    again.scatter_(0, logits.topk(min(k, logits.shape[0]), 0).indices, True)
    odds = [matching(*pairs.unbind(1)) for pairs in again.nonzero().split(batch_size)]
    best = logits[again] + torch.cat(odds)
    result = logits - (logits.max() - best.min() + 1)
    result[again] = best
    return result


__all__ = ["LampBasePreTrainedModel", "LampMotionMixin", "rerank_by_matching"]
