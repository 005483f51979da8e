"""Configuration of the motion tokenizer."""

import math

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class MotionVQVAEConfig(PreTrainedConfig):
    """Configuration of [`MotionVQVAEModel`]; the defaults are the paper's sizes (LaMP section 3, T2M-GPT's network).

    Args:
        skeleton (`str`): `"humanml3d"` or `"kit"`; says which columns of the features are which.
        feature_size (`int`): numbers a frame, 263 or 251.
        width (`int`): channels of the convolutions.
        num_downsamplings (`int`): halvings of time. The released scripts force 6; the paper, and everything that
            expects 49 tokens for 196 frames, needs 2.
        num_residual_blocks (`int`): residual blocks at each resolution.
        dilation_growth (`int`): the blocks' dilations are its powers, largest first.
        dropout (`float`): inside residual blocks. The released code uses 0.2 without a word in the paper.
        codebook_size, codebook_dim (`int`): number and length of the codes.
        num_quantizers (`int`): codebooks; each after the first refines what those before it leave. The paper has one.
        quantizer_dropout (`float`): share of training batches that stop after a random number of codebooks.
        ema_decay (`float`): decay of the codes' moving averages.
        reset_threshold (`float`): a code used less than this many times a batch, on average, is drawn anew.
        position_loss_weight (`float`): extra weight of the local joint positions (the released code calls it
        velocity).
        commitment_loss_weight (`float`): pull of the latents towards their codes.
    """

    model_type = "motion_vqvae"

    skeleton: str = "humanml3d"
    feature_size: int = 263
    width: int = 512
    num_downsamplings: int = 2
    num_residual_blocks: int = 3
    dilation_growth: int = 3
    dropout: float | int = 0.0
    codebook_size: int = 512
    codebook_dim: int = 512
    num_quantizers: int = 1
    quantizer_dropout: float | int = 0.2
    ema_decay: float = 0.99
    reset_threshold: float | int = 1.0
    position_loss_weight: float | int = 0.5
    commitment_loss_weight: float | int = 0.02

    @property
    def downsampling_factor(self) -> int:
        """Frames in a token."""
        return 2**self.num_downsamplings

    @property
    def decoder_reach(self) -> int:
        """Tokens before and after a frame's own that its decoding depends on."""
        blocks = sum(self.dilation_growth**i for i in range(self.num_residual_blocks))
        reach = 1 + sum((blocks + 0.5) / 2**level for level in range(self.num_downsamplings))
        return math.ceil(reach + 2 / self.downsampling_factor)


__all__ = ["MotionVQVAEConfig"]
