"""Converts LaMP's pretrained Q-Former (`h3d-qformer.tar`, `kit-qformer.tar`).

The configuration makes it compute as released: no positions on motion latents, a temperature that is not
exponentiated, the first state of the text as its feature, and text embeddings from below the layers for grounding.
Two things are up to the caller. The released code pads motions with zeros to 196 frames and attends to all of them:
pass no motion mask to do the same. For text-grounded generation it replaces the text's first token with `[DEC]`.
"""

import torch

from ..models.configuration_lamp_qformer import LampQFormerConfig
from ..models.modeling_lamp_qformer_pretraining import LampQFormerForPreTraining
from ..models.modeling_motion_vqvae import MotionVQVAEModel
from .checkpoint import Checkpoint, Names, with_bias
from .tokenizers import convert_vqvae, encoder_config, encoder_names


_ATTENTION = {
    "self.query": "query", "self.key": "key", "self.value": "value",
    "output.dense": "output", "output.LayerNorm": "norm",
}  # fmt: skip
_HEADS = {"motion_proj": "lamp.motion_head", "text_proj": "lamp.text_head", "itm_head": "lamp.matching_head"}
_PROJECTIONS = ("motion_projection", "text_projection")  # transposed: they multiply from the right
_LAYER = r"Qformer\.bert\.encoder\.layer\.(\d+)\."
_WORDS = "Qformer.bert.embeddings.word_embeddings.weight"
_WORD_HEAD = "Qformer.cls.predictions."

AS_RELEASED = {
    "dropout": 0.1,
    "text_pooling": "cls",
    "contrastive_scoring": "max",
    "label_smoothing": 0.1,
    "released_quirks": {
        "position_motion": False,
        "grounding_text": "embeddings",
        "exponentiate_temperature": False,
        "mask_negatives": False,
    },
}
IGNORED = {r"Qformer\.bert\.embeddings\.position_ids": "the numbers 0, 1, 2, ..., not a weight"}


def transformer_names(checkpoint: Checkpoint, new: str) -> Names:
    """Return the names of queries, embeddings and layers; `new` is the prefix of our Q-Former."""
    old = "Qformer.bert."
    modules = {f"{old}embeddings.LayerNorm": f"{new}norm"}
    for i in range(len(checkpoint.numbers(_LAYER))):
        theirs, ours = f"{old}encoder.layer.{i}.", f"{new}layers.{i}."
        attentions = {"attention": "attention"}
        if checkpoint.has(f"{theirs}crossattention."):
            attentions["crossattention"] = "cross_attention"
        for kind, our_kind in attentions.items():
            modules |= {f"{theirs}{kind}.{a}": f"{ours}{our_kind}.{b}" for a, b in _ATTENTION.items()}
        for suffix, feed_forward in (("", "text_feed_forward"), ("_query", "query_feed_forward")):
            modules[f"{theirs}intermediate{suffix}.dense"] = f"{ours}{feed_forward}.intermediate"
            modules[f"{theirs}output{suffix}.dense"] = f"{ours}{feed_forward}.output"
            modules[f"{theirs}output{suffix}.LayerNorm"] = f"{ours}{feed_forward}.norm"
    return with_bias(modules) | {
        "query_tokens": f"{new}query_tokens.weight",
        _WORDS: f"{new}word_embeddings.weight",
        f"{old}embeddings.position_embeddings.weight": f"{new}position_embeddings.weight",
    }


def transformer_sizes(checkpoint: Checkpoint, head_size: int) -> dict:
    """Read the sizes in [`LampQFormerConfig`] off the Q-Former's shapes, given the size of an attention head."""
    first = "Qformer.bert.encoder.layer.0."
    vocab_size, hidden_size = checkpoint.shape(_WORDS, 2)
    if hidden_size % head_size:
        raise checkpoint.error(f"{hidden_size} channels are no whole number of attention heads of {head_size}")
    num_layers = len(checkpoint.numbers(_LAYER))
    crossing = checkpoint.numbers(rf"{_LAYER}crossattention\.")
    return {
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "num_hidden_layers": num_layers,
        "num_attention_heads": hidden_size // head_size,
        "intermediate_size": checkpoint.shape(f"{first}intermediate.dense.weight", 2)[0],
        "query_intermediate_size": checkpoint.shape(f"{first}intermediate_query.dense.weight", 2)[0],
        "max_position_embeddings": checkpoint.shape("Qformer.bert.embeddings.position_embeddings.weight", 2)[0],
        "num_query_tokens": checkpoint.shape("query_tokens", 3)[1],
        "cross_attention_frequency": crossing[1] if len(crossing) > 1 else num_layers,
        "cross_attention_width": checkpoint.shape(f"{first}crossattention.self.key.weight", 2)[1],
        "decoder_start_token_id": vocab_size - 1,  # `[DEC]` was added to BERT's vocabulary
    }


def convert_qformer(
    checkpoint: Checkpoint, head_size: int = 64
) -> tuple[LampQFormerForPreTraining, MotionVQVAEModel | None]:
    """Convert LaMP with its four heads, and the tokenizer that its targets come from, if the file has it.

    Args:
        checkpoint ([`Checkpoint`]): the opened file.
        head_size (`int`, defaults to 64): size of an attention head.
    """
    codebook_size = checkpoint.shape("motion_cls.weight", 2)[0]
    config = LampQFormerConfig(
        motion_config=encoder_config(checkpoint, "motion_encoder.", codebook_size=codebook_size, dropout=0.2),
        projection_dim=checkpoint.shape("text_proj.weight", 2)[0],
        **transformer_sizes(checkpoint, head_size),
        **AS_RELEASED,
    )
    names = transformer_names(checkpoint, "lamp.qformer.")
    names |= encoder_names(config.motion_config, "motion_encoder.", "lamp.motion_encoder.")
    names |= with_bias(_HEADS | {
        f"{_WORD_HEAD}transform.dense": "word_transform.0",
        f"{_WORD_HEAD}transform.LayerNorm": "word_transform.2",
        f"{_WORD_HEAD}decoder": "word_head",
    })  # fmt: skip
    names |= {"temp": "lamp.logit_scale", "motion_cls.weight": "motion_token_head.weight"}
    names |= {name: f"lamp.{name}.weight" for name in _PROJECTIONS}
    weights = checkpoint.take(names, {"query_tokens": squeeze_batch} | dict.fromkeys(_PROJECTIONS, torch.t))
    if not torch.equal(weights["word_head.weight"], weights["lamp.qformer.word_embeddings.weight"]):
        raise checkpoint.error(f"weight {_WORD_HEAD}decoder.weight differs from {_WORDS}, to which it is tied")
    model = checkpoint.fill(LampQFormerForPreTraining(config), weights)
    tokenizer = None
    if checkpoint.has("vq_model."):
        tokenizer = convert_vqvae(checkpoint, "vq_model.vqvae.")
    checkpoint.ignore(IGNORED | {r"Qformer\.cls\.predictions\.bias": "the bias in use is decoder.bias"})
    return model, tokenizer


def squeeze_batch(queries: torch.Tensor) -> torch.Tensor:
    """Drop the leading dimension of size one."""
    return queries[0]
