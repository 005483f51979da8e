"""Converts LaMP's generator (`t2m.tar`): the masked transformer, and the Q-Former that reads the text for it.

The file has no motion encoder, heads or tokenizer: they come from the Q-Former's file and, if given, the tokenizer's.
It has no length predictor either (the released demo borrows MoMask's, which reads CLIP features): the converted model
always predicts the longest duration. The embedding of padding is left out. Padding is not attended to, so logits equal
those of the released code in a batch of one. Motions are drawn by [`MaskedMotionScheduler`]: its steps mask as many
tokens as those of the released code with one step more, which draws a single token again.
"""

import math

import torch

from ..models.configuration_lamp_text_to_motion import LampTextToMotionConfig
from ..models.modeling_lamp_qformer_pretraining import LampQFormerForPreTraining
from ..models.modeling_lamp_text_to_motion import LampForTextToMotion
from ..models.modeling_motion_vqvae import MotionVQVAEModel
from .checkpoint import Checkpoint, Names, with_bias
from .qformer import IGNORED, squeeze_batch, transformer_names


AS_RELEASED = {
    "condition_mode": "query_mean",
    "attention_mask_mode": "soft_tril",
    "pre_norm": False,
    "dropout": 0.2,
    "num_inference_steps": 10,
    "sample_length": False,
    "released_quirks": {
        "new_text_projection": True,
        "prefix_position": False,
        "padded_text_length": 49,
        "head_norm_eps": 1e-12,
        "mask_padding": True,
    },
}
_GUIDANCE = {"humanml3d": 4.0, "kit": 2.0}
_LAYER = r"seqTransEncoder\.layers\.(\d+)\."
_IGNORED = IGNORED | {
    r"Qformer\.cls\..*": "the generator predicts no words",
    r"position_enc\.pe": "sinusoids, which are computed",
    r"clip2qformer\..*": "created by the released code and never used",
}


def convert_generator(
    checkpoint: Checkpoint, lamp: LampQFormerForPreTraining, tokenizer: MotionVQVAEModel, head_size: int = 64
) -> LampForTextToMotion:
    """Convert the generator.

    Args:
        checkpoint ([`Checkpoint`]): the opened file.
        lamp ([`LampQFormerForPreTraining`]): the converted Q-Former, for its motion side and heads.
        tokenizer ([`MotionVQVAEModel`]): the converted tokenizer.
        head_size (`int`, defaults to 64): size of an attention head.
    """
    config = _config(checkpoint, lamp, tokenizer, head_size)
    names = _transformer_names(config.num_hidden_layers) | transformer_names(checkpoint, "lamp.qformer.")
    names["token_emb.weight"] = "transformer.token_embeddings.weight"
    projection = {"input_process.poseEmbedding.weight": "weight", "input_process.poseEmbedding.bias": "bias"}
    linear = checkpoint.take(projection)

    def embed(tokens: torch.Tensor) -> torch.Tensor:
        """Merge the projection of the embeddings and our scale into them, and drop the row of padding."""
        projected = tokens.double()[:-1] @ linear["weight"].double().T + linear["bias"].double()
        return (projected / config.hidden_size**0.5).float()

    weights = checkpoint.take(names, {"query_tokens": squeeze_batch, "token_emb.weight": embed})
    for name, tensor in lamp.lamp.state_dict().items():
        weights.setdefault(f"lamp.{name}", tensor)
    weights |= {f"vqvae.{name}": tensor for name, tensor in tokenizer.state_dict().items()}
    model = LampForTextToMotion(config)
    weights |= {f"length_predictor.{k}": torch.zeros_like(v) for k, v in model.length_predictor.state_dict().items()}
    weights["length_predictor.3.bias"][-1] = 10.0
    checkpoint.ignore(_IGNORED)
    return checkpoint.fill(model, weights)


def _config(checkpoint, lamp, tokenizer, head_size) -> LampTextToMotionConfig:
    hidden_size, _ = checkpoint.shape("cond_emb.weight", 2)
    if hidden_size % head_size:
        raise checkpoint.error(f"{hidden_size} channels are no whole number of attention heads of {head_size}")
    return LampTextToMotionConfig(
        lamp_config=lamp.config,
        tokenizer_config=tokenizer.config,  # may differ from LaMP's own encoder, which was never trained as released
        hidden_size=hidden_size,
        num_hidden_layers=len(checkpoint.numbers(_LAYER)),
        num_attention_heads=hidden_size // head_size,
        intermediate_size=checkpoint.shape("seqTransEncoder.layers.0.linear1.weight", 2)[0],
        guidance_scale=_GUIDANCE[tokenizer.config.skeleton],
        top_k=math.ceil(0.1 * tokenizer.config.codebook_size),
        **AS_RELEASED,
    )


def _transformer_names(num_layers: int) -> Names:
    modules = {
        "cond_emb": "transformer.condition_projection",
        "output_process.dense": "transformer.head.0",
        "output_process.LayerNorm": "transformer.head.2",
        "output_process.poseFinal": "transformer.head.3",
        "text2former": "text_projection",
    }
    names = {}
    for i in range(num_layers):
        theirs, ours = f"seqTransEncoder.layers.{i}", f"transformer.layers.layers.{i}"
        for module in ("self_attn.out_proj", "linear1", "linear2", "norm1", "norm2"):
            modules[f"{theirs}.{module}"] = f"{ours}.{module}"
        names |= {f"{theirs}.self_attn.in_proj_{k}": f"{ours}.self_attn.in_proj_{k}" for k in ("weight", "bias")}
    return names | with_bias(modules)
