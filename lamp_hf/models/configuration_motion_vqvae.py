"""Configuration of the motion tokenizer."""

import math

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .configuration_common import CheckedConfigMixin


MAX_DILATION = 10_000  # frames


@strict
class MotionVQVAEConfig(CheckedConfigMixin, PreTrainedConfig):
    """Configuration of [`MotionVQVAEModel`]; the defaults are the paper's sizes (LaMP section 3, T2M-GPT's network).

    Args:
        skeleton (`str`): `"humanml3d"` or `"kit"`; determines the layout of the features.
        feature_size (`int`): Features per frame, 263 or 251.
        width (`int`): Channels of the convolutions.
        num_downsamplings (`int`): Halvings of the time resolution. The released scripts force 6; the paper, and
            everything that expects 49 tokens for 196 frames, needs 2.
        num_residual_blocks (`int`): Residual blocks at each resolution.
        dilation_growth (`int`): Base whose powers are the dilations of the blocks, largest first.
        dropout (`float`): Dropout in residual blocks. The released code uses 0.2, which the paper does not mention.
        codebook_size, codebook_dim (`int`): Number and size of the codes.
        num_quantizers (`int`): Codebooks, each after the first for the residual of those before it; 1 in the paper.
        quantizer_dropout (`float`): Share of training batches that use only a random number of the codebooks.
        ema_decay (`float`): Decay of the codes' moving averages.
        reset_threshold (`float`): Codes used less often than this per batch, on average, are replaced.
        position_loss_weight (`float`): Additional weight of the local joint positions in the reconstruction loss (the
            released code calls it velocity).
        commitment_loss_weight (`float`): Weight of the distance between latents and their codes.
    """

    model_type = "motion_vqvae"
    _auto_class = "AutoConfig"

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

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.dilation_growth**self.num_residual_blocks > MAX_DILATION or self.num_downsamplings > 16:
            raise ValueError(
                f"{self.num_residual_blocks} blocks of dilation_growth {self.dilation_growth} and "
                f"{self.num_downsamplings} downsamplings reach further than any motion"
            )

    @property
    def downsampling_factor(self) -> int:
        """Frames per token."""
        return 2**self.num_downsamplings

    @property
    def decoder_reach(self) -> int:
        """Number of tokens, on each side of a frame's own, that the decoded frame depends on."""
        blocks = sum(self.dilation_growth**i for i in range(self.num_residual_blocks))
        reach = 1 + sum((blocks + 0.5) / 2**level for level in range(self.num_downsamplings))
        return math.ceil(reach + 2 / self.downsampling_factor)


__all__ = ["MotionVQVAEConfig"]
