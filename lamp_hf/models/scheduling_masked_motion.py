"""Masked-token decoding as a diffusers scheduler (MaskGIT; LaMP section 4)."""

from dataclasses import dataclass

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.utils import BaseOutput


@dataclass
class MaskedMotionSchedulerOutput(BaseOutput):
    """Tokens after a step.

    Args:
        prev_sample (`torch.LongTensor` of shape `(batch_size, num_tokens)`): indices, the least certain masked again.
        pred_original_sample (`torch.LongTensor` of shape `(batch_size, num_tokens)`): indices without any mask.
    """

    prev_sample: torch.LongTensor
    pred_original_sample: torch.LongTensor


class MaskedMotionScheduler(SchedulerMixin, ConfigMixin):
    """Draws all masked tokens, keeps the most certain, masks the rest again; the share of masks falls as a cosine.

    Args:
        mask_token_id (`int`): index after the last code.
    """

    order = 1

    @register_to_config
    def __init__(self, mask_token_id: int = 512):
        self.num_inference_steps: int | None = None
        self.timesteps: torch.Tensor | None = None

    @staticmethod
    def mask_ratio(progress: torch.Tensor) -> torch.Tensor:
        """Return the share of masked tokens after a share `progress` of the steps: cos(progress pi / 2)."""
        return torch.cos(progress * torch.pi / 2)

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Set the number of steps; call this before decoding."""
        self.num_inference_steps = num_inference_steps
        self.timesteps = torch.arange(num_inference_steps, device=device)

    def guidance(self, timestep: int, scale: float, interval: tuple[float, float] = (0.0, 1.0)) -> float:
        """Return the scale of classifier-free guidance at a step: `scale` inside the interval, 1 (none) outside.

        Args:
            timestep (`int`): index of the step.
            scale (`float`): of guided steps.
            interval (`tuple[float, float]`): shares of the steps from and before which steps are guided.
        """
        start, end = interval
        return scale if start <= timestep / self.num_inference_steps < end else 1.0

    def still_masked(self, steps: int, num_masked: torch.LongTensor) -> torch.LongTensor:
        """Return the number of tokens that are still masked after `steps`, for each sample `(batch_size,)`.

        Args:
            steps (`int`): steps that are done.
            num_masked (`torch.LongTensor` of shape `(batch_size,)`): tokens that were masked before the first step.
        """
        progress = torch.tensor(steps / self.num_inference_steps, dtype=torch.float32)
        return (self.mask_ratio(progress) * num_masked).round().long()

    def settles(self, timestep: int, masked: torch.LongTensor, num_masked: torch.LongTensor) -> torch.BoolTensor:
        """Tell for each sample `(batch_size,)` if a step settles any token: if more are masked than it leaves.

        Many steps settle none of a short clip, and can be left out.

        Args:
            timestep (`int`): index of the step.
            masked (`torch.LongTensor` of shape `(batch_size,)`): tokens that are masked before the step.
            num_masked (`torch.LongTensor` of shape `(batch_size,)`): tokens that were masked before the first step.
        """
        return masked > self.still_masked(timestep + 1, num_masked)

    def add_noise(self, codes: torch.LongTensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Corrupt one clip for training: mask a random share, of which 10 % become a random code and 10 % stay.

        Args:
            codes (`torch.LongTensor` of shape `(num_tokens,)`): indices.
            generator (`torch.Generator`): source of randomness.

        Returns:
            Corrupted indices, and labels that are -100 where nothing is to be predicted.
        """
        ratio = self.mask_ratio(torch.rand((), generator=generator, dtype=torch.float32))
        count = (ratio * len(codes)).round().clamp(min=1).long()
        masked = torch.rand(len(codes), generator=generator, dtype=torch.float32).argsort().argsort() < count
        kind = torch.rand(len(codes), generator=generator, dtype=torch.float32)
        replacement = torch.randint(self.config.mask_token_id, codes.shape, generator=generator)
        replacement = torch.where(kind < 0.8, self.config.mask_token_id, torch.where(kind < 0.9, replacement, codes))
        return torch.where(masked, replacement, codes), codes.masked_fill(~masked, -100)

    def step(
        self,
        logits: torch.FloatTensor,
        timestep: int,
        sample: torch.LongTensor,
        token_mask: torch.BoolTensor,
        generators: list[torch.Generator],
        temperature: float = 1.0,
        top_k: int | None = None,
        choice_temperature: float = 0.0,
        num_masked: torch.LongTensor | None = None,
    ) -> MaskedMotionSchedulerOutput:
        """Draw the masked tokens and mask the least certain of them again.

        Args:
            logits (`torch.FloatTensor` of shape `(batch_size, num_tokens, codebook_size)`): codes of every position.
            timestep (`int`): index of the step.
            sample (`torch.LongTensor` of shape `(batch_size, num_tokens)`): indices so far, `mask_token_id` where
                masked.
            token_mask (`torch.BoolTensor` of shape `(batch_size, num_tokens)`): false at padding.
            generators (`list[torch.Generator]`): source of randomness of each sample. Its seed alone counts, not what
                was drawn from it: the random numbers of a token depend on the seed, the step and the token's position,
                not on the length of the motion or on the sample's neighbours in the batch.
            temperature (`float`): temperature of sampling; 0 takes the most likely token.
            top_k (`int`, *optional*): candidates for each token.
            choice_temperature (`float`): scale of Gumbel noise on the log-probability that decides which tokens stay;
                it falls to 0 over the steps (MaskGIT). At 0, as released, the most certain tokens come first, which
                are those of a body at rest: motion slows down. Large values settle tokens in random order.
            num_masked (`torch.LongTensor` of shape `(batch_size,)`, *optional*): tokens that were masked before the
                first step; all if not given.

        Returns:
            [`MaskedMotionSchedulerOutput`].
        """
        candidates, (code_noise, order_noise) = logits, _gumbel_noise(logits, token_mask, generators, timestep)
        if top_k is not None and top_k < logits.shape[-1]:
            threshold = logits.topk(top_k, -1).values[..., -1:]
            candidates = logits.masked_fill(logits < threshold, -torch.inf)
        if temperature > 0:
            candidates = candidates / temperature + code_noise
        masked = sample == self.config.mask_token_id
        drawn = torch.where(masked, candidates.argmax(-1), sample)
        progress = torch.tensor((timestep + 1) / self.num_inference_steps, dtype=torch.float32)
        certainty = logits.log_softmax(-1).gather(-1, drawn.clamp(max=logits.shape[-1] - 1)[..., None])
        if choice_temperature > 0:
            certainty = certainty + choice_temperature * (1 - progress) * order_noise
        certainty = certainty[..., 0].masked_fill(~masked | ~token_mask, torch.inf)
        if num_masked is None:
            num_masked = token_mask.sum(1)
        count = self.still_masked(timestep + 1, num_masked)[:, None]
        again = certainty.argsort(dim=1, stable=True).argsort(dim=1) < count
        again &= masked & (timestep + 1 < self.num_inference_steps)
        return MaskedMotionSchedulerOutput(drawn.masked_fill(again, self.config.mask_token_id), drawn)


def _gumbel_noise(
    logits: torch.Tensor, token_mask: torch.Tensor, generators: list[torch.Generator], timestep: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw noise that makes the arg-max of logits a sample of their softmax.

    Each step has a stream of its own, of which every token takes as much, one after another: a longer motion only
    draws on. A short one, for which steps are left out, has the same noise in the others.

    Returns:
        Noise of codes, of the shape of the logits, and of the order of tokens, `(batch_size, num_tokens, 1)`.
    """
    noise = torch.zeros(*logits.shape[:2], logits.shape[-1] + 1, dtype=torch.float32)
    for row, length, generator in zip(noise, token_mask.sum(1).tolist(), generators, strict=True):
        stream = torch.Generator().manual_seed((generator.initial_seed() + timestep * 0x9E3779B97F4A7C15) % 2**63)
        uniform = torch.rand(length, row.shape[-1], generator=stream, dtype=torch.float32).clamp(min=1e-20)
        row[:length] = -torch.log(-torch.log(uniform))
    return noise.to(logits.device).tensor_split([logits.shape[-1]], -1)


__all__ = ["MaskedMotionScheduler", "MaskedMotionSchedulerOutput"]
