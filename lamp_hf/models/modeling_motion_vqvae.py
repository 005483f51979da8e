"""Motion tokenizer: a convolutional VQ-VAE whose codes are moving averages (LaMP section 3, T2M-GPT).

The paper has one codebook. Optional further codebooks quantise what the first leaves (residual quantisation, MoMask).
"""

import re
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import ModelOutput

from .configuration_motion_vqvae import MotionVQVAEConfig
from .modeling_common import StrictLoadingMixin, full_mask, gather_processes, masked_mean
from .skeleton import get_skeleton


_FILE_NAME, _NAME = "refinements.", "residual_quantizers."  # files keep the name of the first release
register_checkpoint_conversion_mapping(  # renames on loading and on saving, also inside a generator
    "motion_vqvae", [WeightRenaming(rf"^{re.escape(_FILE_NAME)}", _NAME)], overwrite=True
)


@dataclass
class MotionVQVAEOutput(ModelOutput):
    """Reconstruction, codes and losses of [`MotionVQVAEModel`].

    Args:
        loss (`torch.FloatTensor` of shape `()`): Weighted sum of reconstruction, position and commitment loss.
        reconstruction (`torch.FloatTensor` of shape `(batch_size, num_frames, feature_size)`): Normalised features.
        codes (`torch.LongTensor` of shape `(batch_size, num_tokens)`): Code indices, arbitrary at padding. With
            several codebooks the shape is `(batch_size, num_tokens, num_quantizers)`.
        token_mask (`torch.BoolTensor` of shape `(batch_size, num_tokens)`): False at padding.
        reconstruction_loss, commitment_loss (`torch.FloatTensor` of shape `()`): Parts of the loss.
        perplexity (`torch.FloatTensor` of shape `()`): Exponential of the entropy of the batch's first codes.
    """

    loss: torch.FloatTensor | None = None
    reconstruction: torch.FloatTensor | None = None
    codes: torch.LongTensor | None = None
    token_mask: torch.BoolTensor | None = None
    reconstruction_loss: torch.FloatTensor | None = None
    commitment_loss: torch.FloatTensor | None = None
    perplexity: torch.FloatTensor | None = None


class MotionResidualBlocks(GradientCheckpointingLayer):
    """Pre-activation residual convolutions, widest dilation first."""

    def __init__(self, config: MotionVQVAEConfig):
        super().__init__()
        width = config.width
        dilations = [config.dilation_growth**i for i in reversed(range(config.num_residual_blocks))]
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation),
                nn.ReLU(),
                nn.Conv1d(width, width, 1),
                nn.Dropout(config.dropout),
            )
            for dilation in dilations
        )

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Transform `(B, C, L)` values; `mask` `(B, 1, L)` keeps padding at zero."""
        for block in self.blocks:
            hidden = (hidden + block(hidden)) * mask
        return hidden


class MotionEncoder(nn.Module):
    """Encoder of features to latents, one per `downsampling_factor` frames.

    Padding is set to zero before every convolution, as a convolution pads its input. A clip therefore has the same
    latents alone and padded in a batch.
    """

    def __init__(self, config: MotionVQVAEConfig):
        super().__init__()
        width = config.width
        self.factor = config.downsampling_factor
        self.conv_in = nn.Conv1d(config.feature_size, width, 3, padding=1)
        self.downsample = nn.ModuleList(
            nn.Conv1d(width, width, 4, stride=2, padding=1) for _ in range(config.num_downsamplings)
        )
        self.residual = nn.ModuleList(MotionResidualBlocks(config) for _ in range(config.num_downsamplings))
        self.conv_out = nn.Conv1d(width, config.codebook_dim, 3, padding=1)

    def forward(self, motion: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode `(B, T, D)` features with a `(B, T)` mask to `(B, T // factor, C)` latents and their mask.

        Last frames that do not fill a token are dropped.
        """
        motion, num_tokens = motion.to(self.conv_in.weight.dtype), motion.shape[1] // self.factor
        token_mask = mask.sum(1, keepdim=True) // self.factor > torch.arange(num_tokens, device=motion.device)
        frame_mask = token_mask.repeat_interleave(self.factor, 1)[:, None].to(motion.dtype)  # [B, 1, T]
        hidden = motion[:, : num_tokens * self.factor].transpose(1, 2) * frame_mask
        hidden = torch.relu(self.conv_in(hidden)) * frame_mask
        for downsample, residual in zip(self.downsample, self.residual):
            frame_mask = frame_mask[..., ::2]
            hidden = residual(downsample(hidden) * frame_mask, frame_mask)
        return self.conv_out(hidden).transpose(1, 2), token_mask


class MotionDecoder(nn.Module):
    """Decoder of quantised latents to features: the mirror image of [`MotionEncoder`], masked in the same way."""

    def __init__(self, config: MotionVQVAEConfig):
        super().__init__()
        width = config.width
        self.conv_in = nn.Conv1d(config.codebook_dim, width, 3, padding=1)
        self.residual = nn.ModuleList(MotionResidualBlocks(config) for _ in range(config.num_downsamplings))
        self.upsample = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(config.num_downsamplings))
        self.conv_hidden = nn.Conv1d(width, width, 3, padding=1)
        self.conv_out = nn.Conv1d(width, config.feature_size, 3, padding=1)

    def forward(self, latents: torch.Tensor, token_mask: torch.Tensor) -> torch.Tensor:
        """Decode `(B, L, C)` latents with a `(B, L)` mask to `(B, L * factor, D)` features, zero at padding."""
        mask = token_mask[:, None].to(latents.dtype)
        hidden = torch.relu(self.conv_in(latents.transpose(1, 2) * mask)) * mask
        for residual, upsample in zip(self.residual, self.upsample):
            hidden = residual(hidden, mask).repeat_interleave(2, -1)
            mask = mask.repeat_interleave(2, -1)
            hidden = upsample(hidden) * mask
        hidden = torch.relu(self.conv_hidden(hidden)) * mask
        return (self.conv_out(hidden) * mask).transpose(1, 2)


class MotionQuantizer(nn.Module):
    """Quantiser to the nearest code; codes are exponential moving averages, and unused ones are replaced.

    All state is in buffers, so that it is saved with the weights and training resumes where it stopped.
    """

    def __init__(self, config: MotionVQVAEConfig):
        super().__init__()
        self.decay = config.ema_decay
        self.reset_threshold = config.reset_threshold
        self.register_buffer("codebook", torch.zeros(config.codebook_size, config.codebook_dim))
        self.register_buffer("code_sum", torch.zeros(config.codebook_size, config.codebook_dim))
        self.register_buffer("code_count", torch.zeros(config.codebook_size))
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.long))

    def nearest(self, latents: torch.Tensor) -> torch.LongTensor:
        """Return the indices `(...)` of the codes nearest to `(..., C)` latents."""
        codebook = self.codebook.float()
        latents = latents.float()
        return (codebook.square().sum(-1) - 2 * latents @ codebook.T).argmin(-1)

    def forward(
        self, latents: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.LongTensor, torch.Tensor]:
        """Quantise `(B, L, C)` latents with a `(B, L)` mask: constant vectors, indices and the commitment loss."""
        latents = latents.float()
        if self.training:
            self._update(gather_processes(latents.detach()), gather_processes(mask.byte()).bool())
        codes = self.nearest(latents)
        quantised = nn.functional.embedding(codes, self.codebook.float())
        return quantised, codes, masked_mean((latents - quantised).square(), mask)

    @torch.no_grad()
    @torch.autocast("cpu", enabled=False)
    def _update(self, latents: torch.Tensor, mask: torch.Tensor) -> None:
        """Take one step of the moving averages, the same in every process."""
        latents = latents[mask]  # [N, C]
        # Seeded by the step, so that every process and a resumed run draw the same vectors.
        generator = torch.Generator().manual_seed(int(self.num_updates))
        draw = torch.randint(len(latents), (len(self.codebook),), generator=generator).to(latents.device)
        candidates = latents[draw]
        if self.num_updates == 0:
            self._replace(torch.ones_like(self.code_count, dtype=torch.bool), candidates)
        one_hot = nn.functional.one_hot(self.nearest(latents), len(self.codebook)).to(latents.dtype)
        self.code_count.lerp_(one_hot.sum(0), 1 - self.decay)
        self.code_sum.lerp_(one_hot.T @ latents, 1 - self.decay)
        self._replace(self.code_count < self.reset_threshold, candidates)
        self.codebook.copy_(self.code_sum / self.code_count[:, None])
        self.num_updates += 1

    def _replace(self, which: torch.Tensor, candidates: torch.Tensor) -> None:
        """Restart the codes in `which` at candidate vectors, with the lowest count of a code in use."""
        self.code_count.masked_fill_(which, max(self.reset_threshold, 1.0))
        self.code_sum.copy_(torch.where(which[:, None], candidates * self.code_count[:, None], self.code_sum))
        self.codebook.copy_(self.code_sum / self.code_count[:, None])


class MotionVQVAEPreTrainedModel(StrictLoadingMixin, PreTrainedModel):
    """Base class: initialises weights and refuses files that do not fit."""

    config: MotionVQVAEConfig
    base_model_prefix = "motion_vqvae"
    main_input_name = "motion_values"
    input_modalities = ("time",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True  # it has no attention

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, nn.Conv1d):
            init.kaiming_uniform_(module.weight, a=5**0.5)
            bound = (module.in_channels * module.kernel_size[0]) ** -0.5
            init.uniform_(module.bias, -bound, bound)


class MotionVQVAEModel(MotionVQVAEPreTrainedModel):
    """Motion tokenizer: `encode` turns normalised features into code indices, `decode` turns them back.

    Args:
        config ([`MotionVQVAEConfig`]): Configuration of the tokenizer.
    """

    _auto_class = "AutoModel"

    def __init__(self, config: MotionVQVAEConfig):
        super().__init__(config)
        self.encoder = MotionEncoder(config)
        self.quantizer = MotionQuantizer(config)
        self.residual_quantizers = nn.ModuleList(MotionQuantizer(config) for _ in range(config.num_quantizers - 1))
        self.decoder = MotionDecoder(config)
        self.register_load_state_dict_pre_hook(_rename_loaded_weights)
        self.post_init()

    def encode(
        self, motion_values: torch.FloatTensor, motion_attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.LongTensor, torch.BoolTensor]:
        """Turn motions into codes.

        Args:
            motion_values (`torch.FloatTensor` of shape `(batch_size, num_frames, feature_size)`): Normalised features.
            motion_attention_mask (`torch.Tensor` of shape `(batch_size, num_frames)`, *optional*): 0 at padding.

        Returns:
            Code indices of shape `(batch_size, num_frames // downsampling_factor)`, with a last dimension
            `num_quantizers` if there are several codebooks, and their boolean mask.
        """
        latents, token_mask = self.encoder(motion_values, full_mask(motion_values, motion_attention_mask))
        residual, codes = latents.float(), []
        for quantizer in (self.quantizer, *self.residual_quantizers):
            codes.append(quantizer.nearest(residual))
            residual = residual - nn.functional.embedding(codes[-1], quantizer.codebook.float())
        return torch.stack(codes, -1) if self.residual_quantizers else codes[0], token_mask

    def decode(self, codes: torch.LongTensor, token_mask: torch.Tensor | None = None) -> torch.FloatTensor:
        """Turn codes into motions.

        Args:
            codes (`torch.LongTensor` of shape `(batch_size, num_tokens)` or `(batch_size, num_tokens, n)`): Indices
                into the first codebook, or the first n; any value at padding.
            token_mask (`torch.Tensor` of shape `(batch_size, num_tokens)`, *optional*): 0 at padding.

        Returns:
            Normalised features of shape `(batch_size, num_tokens * downsampling_factor, feature_size)`.
        """
        token_mask = full_mask(codes, token_mask)
        codes = codes[..., None] if codes.ndim == 2 else codes
        codes = codes.masked_fill(~token_mask[..., None], 0)
        latents = sum(
            nn.functional.embedding(level, quantizer.codebook)
            for level, quantizer in zip(codes.unbind(-1), (self.quantizer, *self.residual_quantizers))
        )
        return self.decoder(latents.to(self.dtype), token_mask)

    def quantise(self, latents: torch.Tensor, token_mask: torch.Tensor):
        """Quantise `(B, L, C)` latents: vectors with straight-through gradients, indices and commitment loss.

        In training a share of the batches uses only a random number of codebooks, so that the first ones carry most
        of the motion.
        """
        quantizers = [self.quantizer, *self.residual_quantizers]
        used = len(quantizers)
        if self.training and self.residual_quantizers:
            generator = torch.Generator().manual_seed(int(self.quantizer.num_updates))  # the same in every process
            if torch.rand((), generator=generator, dtype=torch.float32) < self.config.quantizer_dropout:
                used = int(torch.randint(1, used + 1, (), generator=generator))
        residual, quantised, codes, commitments = latents.float(), 0, [], []
        for quantizer in quantizers[:used]:
            vectors, indices, commitment = quantizer(residual, token_mask)
            residual = residual - vectors
            quantised = quantised + vectors
            codes.append(indices)
            commitments.append(commitment)
        codes = torch.stack(codes, -1) if self.residual_quantizers else codes[0]
        return latents + (quantised - latents).detach(), codes, sum(commitments)

    def forward(
        self, motion_values: torch.FloatTensor, motion_attention_mask: torch.Tensor | None = None, **kwargs
    ) -> MotionVQVAEOutput:
        """Reconstruct motions and compute the training losses.

        Args:
            motion_values (`torch.FloatTensor` of shape `(batch_size, num_frames, feature_size)`): Normalised features.
            motion_attention_mask (`torch.Tensor` of shape `(batch_size, num_frames)`, *optional*): 0 at padding.
        """
        mask = full_mask(motion_values, motion_attention_mask)
        latents, token_mask = self.encoder(motion_values, mask)
        quantised, codes, commitment = self.quantise(latents, token_mask)
        reconstruction = self.decoder(quantised, token_mask)

        frames = reconstruction.shape[1]
        frame_mask = token_mask.repeat_interleave(self.config.downsampling_factor, 1)
        error = nn.functional.smooth_l1_loss(reconstruction, motion_values[:, :frames], reduction="none")
        positions = get_skeleton(self.config.skeleton).slices["positions"]
        reconstruction_loss = masked_mean(error, frame_mask)
        position_loss = masked_mean(error[..., positions], frame_mask)
        loss = (
            reconstruction_loss
            + self.config.position_loss_weight * position_loss
            + self.config.commitment_loss_weight * commitment
        )
        first = codes if codes.ndim == 2 else codes[..., 0]
        usage = torch.bincount(first[token_mask], minlength=self.config.codebook_size).float()
        usage = usage / usage.sum().clamp(min=1)
        return MotionVQVAEOutput(
            loss=loss,
            reconstruction=reconstruction,
            codes=codes,
            token_mask=token_mask,
            reconstruction_loss=reconstruction_loss,
            commitment_loss=commitment,
            perplexity=torch.exp(-(usage * (usage + 1e-10).log()).sum()),
        )


def _rename_loaded_weights(model: nn.Module, state_dict: dict, prefix: str, *args) -> None:
    """Rename the weights of a training checkpoint, which is read without transformers' renaming."""
    for name in [name for name in state_dict if name.startswith(prefix + _FILE_NAME)]:
        state_dict[prefix + _NAME + name.removeprefix(prefix + _FILE_NAME)] = state_dict.pop(name)


__all__ = ["MotionVQVAEModel", "MotionVQVAEOutput", "MotionVQVAEPreTrainedModel"]
