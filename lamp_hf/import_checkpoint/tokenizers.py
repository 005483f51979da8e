"""Converts motion tokenizers: T2M-GPT's VQ-VAE, LaMP's, which is the same network, and MoMask's residual one.

The files do not state the activation (ReLU), the dilations (powers of 3) and the strides (2), which are taken from the
published options. Another activation would go unnoticed; normalisation layers would add weights, and are refused.
"""

import re

import torch

from ..models.configuration_motion_vqvae import MotionVQVAEConfig
from ..models.modeling_motion_vqvae import MotionVQVAEModel
from .checkpoint import Checkpoint, Names, with_bias


SKELETONS = {263: "humanml3d", 251: "kit"}


def encoder_names(config: MotionVQVAEConfig, old: str, new: str) -> Names:
    """Return the names of an encoder's weights; `old` and `new` are the prefixes."""
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
    """Return the names in residual blocks, which both sides number from the widest dilation."""
    convolutions = {"conv1": 1, "conv2": 3}
    return {f"{old}.{i}.{name}": f"{new}.{i}.{ours}" for i in blocks for name, ours in convolutions.items()}


def encoder_config(checkpoint: Checkpoint, encoder: str, **values) -> MotionVQVAEConfig:
    """Read the configuration of a tokenizer off the shapes of its encoder."""
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
    """Convert T2M-GPT's or LaMP's tokenizer.

    Args:
        checkpoint ([`Checkpoint`]): the opened file.
        prefix (`str`, defaults to `"vqvae."`): beginning of its names; another one in the Q-Former's file.
    """
    return _convert(checkpoint, prefix, [f"{prefix}quantizer.codebook"])


def convert_residual_vqvae(checkpoint: Checkpoint) -> MotionVQVAEModel:
    """Convert MoMask's tokenizer; shared codebooks are stored as copies, here as in the file."""
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
        # The moving averages were never saved. With these, training resumes from the codes as they are.
        weights[f"{quantizer}.code_sum"] = weights[f"{quantizer}.codebook"].clone()
        weights[f"{quantizer}.code_count"] = torch.ones(len(weights[f"{quantizer}.codebook"]))
        weights[f"{quantizer}.num_updates"] = torch.ones((), dtype=torch.long)
    return checkpoint.fill(MotionVQVAEModel(config), weights)
