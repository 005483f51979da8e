"""Motion tokenizers: T2M-GPT's VQ-VAE, LaMP's, which is the same network, and MoMask's residual one.

What the files do not say is taken as the published options have it: ReLU, dilations that are powers of 3, strides
of 2. Other activations would leave the same names; normalisation would add some, and is refused.
"""

import re

import torch

from ..models.configuration_motion_vqvae import MotionVQVAEConfig
from ..models.modeling_motion_vqvae import MotionVQVAEModel
from .checkpoint import Checkpoint, Names, with_bias


SKELETONS = {263: "humanml3d", 251: "kit"}


def encoder_names(config: MotionVQVAEConfig, old: str, new: str) -> Names:
    """Of an encoder whose official names begin with `old`."""
    levels, blocks = range(config.num_downsamplings), range(config.num_residual_blocks)
    names = {f"{old}model.0": f"{new}conv_in", f"{old}model.{len(levels) + 2}": f"{new}conv_out"}
    for level in levels:
        names[f"{old}model.{level + 2}.0"] = f"{new}downsample.{level}"
        names |= _block_names(blocks, f"{old}model.{level + 2}.1.model", f"{new}residual.{level}.blocks")
    return with_bias(names)


def _decoder_names(config: MotionVQVAEConfig, old: str, new: str) -> Names:
    levels, blocks = range(config.num_downsamplings), range(config.num_residual_blocks)
    names = {
        f"{old}model.0": f"{new}conv_in",
        f"{old}model.{len(levels) + 2}": f"{new}conv_hidden",
        f"{old}model.{len(levels) + 4}": f"{new}conv_out",
    }
    for level in levels:
        names |= _block_names(blocks, f"{old}model.{level + 2}.0.model", f"{new}residual.{level}.blocks")
        names[f"{old}model.{level + 2}.2"] = f"{new}upsample.{level}"
    return with_bias(names)


def _block_names(blocks: range, old: str, new: str) -> Names:
    """Both number residual blocks from the widest dilation."""
    convolutions = {"conv1": 1, "conv2": 3}
    return {f"{old}.{i}.{name}": f"{new}.{i}.{ours}" for i in blocks for name, ours in convolutions.items()}


def encoder_config(checkpoint: Checkpoint, encoder: str, **values) -> MotionVQVAEConfig:
    """The configuration of the tokenizer that an encoder is part of, read off the encoder's shapes."""
    width, feature_size, _ = checkpoint.shape(f"{encoder}model.0.weight", 3)
    if feature_size not in SKELETONS:
        raise checkpoint.error(f"weight {encoder}model.0.weight reads {feature_size} features, neither 263 nor 251")
    halvings = len(checkpoint.numbers(rf"{re.escape(encoder)}model\.(\d+)\.[01]\."))
    return MotionVQVAEConfig(
        skeleton=SKELETONS[feature_size],
        feature_size=feature_size,
        width=width,
        num_downsamplings=halvings,
        num_residual_blocks=len(checkpoint.numbers(rf"{re.escape(encoder)}model\.2\.1\.model\.(\d+)\.")),
        codebook_dim=checkpoint.shape(f"{encoder}model.{halvings + 2}.weight", 3)[0],
        **values,
    )


def convert_vqvae(checkpoint: Checkpoint, prefix: str = "vqvae.") -> MotionVQVAEModel:
    """T2M-GPT's or LaMP's tokenizer.

    Args:
        checkpoint ([`Checkpoint`]): opened.
        prefix (`str`): how its names begin; the Q-Former's file has a tokenizer too.
    """
    return _convert(checkpoint, prefix, [f"{prefix}quantizer.codebook"])


def convert_residual_vqvae(checkpoint: Checkpoint) -> MotionVQVAEModel:
    """MoMask's tokenizer; books that it shares are stored as copies, and so are ours."""
    books = checkpoint.numbers(r"quantizer\.layers\.(\d+)\.") or [0]
    return _convert(checkpoint, "", [f"quantizer.layers.{i}.codebook" for i in range(books[-1] + 1)])


def _convert(checkpoint: Checkpoint, prefix: str, codebooks: list[str]) -> MotionVQVAEModel:
    codebook_size = checkpoint.shape(codebooks[0], 2)[0]
    config = encoder_config(
        checkpoint,
        f"{prefix}encoder.",
        codebook_size=codebook_size,
        num_quantizers=len(codebooks),
        dropout=0.0 if "net" in checkpoint.values else 0.2,  # T2M-GPT has none; LaMP and MoMask have
    )
    quantizers = ["quantizer", *(f"residual_quantizers.{i}" for i in range(len(codebooks) - 1))]
    names = encoder_names(config, f"{prefix}encoder.", "encoder.")
    names |= _decoder_names(config, f"{prefix}decoder.", "decoder.")
    names |= {old: f"{new}.codebook" for old, new in zip(codebooks, quantizers)}
    weights = checkpoint.take(names)
    for quantizer in quantizers:
        # The moving averages were never saved. These are of codes just in use, so that training does not begin anew.
        weights[f"{quantizer}.code_sum"] = weights[f"{quantizer}.codebook"].clone()
        weights[f"{quantizer}.code_count"] = torch.ones(len(weights[f"{quantizer}.codebook"]))
        weights[f"{quantizer}.num_updates"] = torch.ones((), dtype=torch.long)
    return checkpoint.fill(MotionVQVAEModel(config), weights)
