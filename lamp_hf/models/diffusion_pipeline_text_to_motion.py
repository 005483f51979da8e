"""The generator as a diffusers pipeline, with the same networks and the same scheduler."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput
from huggingface_hub import snapshot_download

from .modeling_lamp_text_to_motion import LampForTextToMotion
from .motion_decoding import MotionDecoder
from .motion_requests import check_sampling, one_for_each, seconds_to_frames
from .processing_lamp import LampProcessor
from .scheduling_masked_motion import MaskedMotionScheduler


@dataclass
class LampTextToMotionDiffusionOutput(BaseOutput):
    """Generated motions.

    Args:
        joints (`list[np.ndarray]` of shape `(num_frames, num_joints, 3)`): metres, Y up.
        features (`list[np.ndarray]` of shape `(num_frames, num_features)`): not normalised.
    """

    joints: list[np.ndarray]
    features: list[np.ndarray]


class LampTextToMotionDiffusionPipeline(DiffusionPipeline):
    """Generates motions from text, in diffusers' idiom.

        pipe = LampTextToMotionDiffusionPipeline.from_pretrained("user/name")
        motion = pipe("a person bows", duration=3.0, generator=torch.Generator().manual_seed(0)).joints[0]

    Args:
        model ([`LampForTextToMotion`]): LaMP, masked transformer and tokenizer.
        processor ([`LampProcessor`]): tokenizes the text and holds the features' statistics.
        scheduler ([`MaskedMotionScheduler`]): decides which tokens are settled at each step.
    """

    def __init__(self, model: LampForTextToMotion, processor: LampProcessor, scheduler: MaskedMotionScheduler):
        super().__init__()
        self.register_modules(model=model, processor=processor, scheduler=scheduler)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs):
        """Load a folder or a Hub id, as written by this pipeline or by the transformers pipeline.

        A Hub id is downloaded first: diffusers itself finds classes of other packages in local folders only.

        Raises:
            ValueError: when an option is not known for a folder that diffusers did not write.
        """
        folder = Path(pretrained_model_name_or_path)
        known = ("revision", "token", "cache_dir", "local_files_only", "force_download")
        options = {name: kwargs.pop(name) for name in known if name in kwargs}
        if not folder.is_dir():
            folder = snapshot_download(str(pretrained_model_name_or_path), **options)
        if not (Path(folder) / "model_index.json").is_file():  # written by the transformers pipeline
            dtype = kwargs.pop("torch_dtype", None)
            if kwargs:
                raise ValueError(f"unknown option {next(iter(kwargs))!r} for a folder that diffusers did not write")
            model = LampForTextToMotion.from_pretrained(folder, dtype=dtype)
            scheduler = MaskedMotionScheduler(model.transformer.mask_token_id)
            return cls(model, LampProcessor.from_pretrained(folder), scheduler)
        return super().from_pretrained(folder, **kwargs)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str],
        duration: float | list[float | None] | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
    ) -> LampTextToMotionDiffusionOutput:
        """Generate motions, each of which fits in one window of the model (9.8 s for HumanML3D).

        Args:
            prompt (`str` or `list[str]`): texts.
            duration (`float` or a list with one for each prompt, *optional*): seconds; None lets the model choose.
            num_inference_steps, guidance_scale (*optional*): the model configuration's if not given.
            generator (`torch.Generator` or a list with one for each prompt, *optional*): source of randomness; a
                single one gives each of several prompts a stream of its own.

        Raises:
            ValueError: when a text is empty or too long, a duration or an option cannot be met, or a list has another
                length than the prompts.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        check_sampling(num_inference_steps, guidance_scale)
        num_frames = self._num_frames(duration, prompts)
        generators = self._generators(generator, prompts)

        condition = self.model.encode_text(**self.processor(text=prompts).to(self.model.device))

        factor = self.model.config.motion_config.downsampling_factor
        asked = [None if count is None else -(-count // factor) for count in num_frames]
        num_tokens = self.model.choose_lengths(condition, asked, generators)
        token_mask = torch.arange(int(num_tokens.max()), device=self.model.device) < num_tokens[:, None]
        codes = self.model.generate_codes(
            condition,
            token_mask,
            generators,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            scheduler=self.scheduler,
        )

        decoder = MotionDecoder(self.model.vqvae, self.processor.feature_extractor)
        counts = [count or tokens * factor for count, tokens in zip(num_frames, num_tokens.tolist())]
        values = self.model.vqvae.decode(codes, token_mask)
        clips = [decoder.clip(row[:count]) for row, count in zip(values, counts)]
        return LampTextToMotionDiffusionOutput(*map(list, zip(*clips)))

    def _num_frames(self, duration, prompts: list[str]) -> list[int | None]:
        """Return the frames of each prompt, None where the model chooses."""
        fps, factor = (
            self.processor.feature_extractor.sampling_rate,
            self.model.config.motion_config.downsampling_factor,
        )
        bounds = factor / fps, self.model.max_num_tokens * factor / fps
        return [seconds_to_frames(seconds, fps, *bounds) for seconds in one_for_each(duration, prompts, "durations")]

    @staticmethod
    def _generators(generator, prompts: list[str]) -> list[torch.Generator]:
        """Return a source of randomness for each prompt, on the CPU, so that all devices give the same motions."""
        if isinstance(generator, list):
            given = [(one, 1) for one in one_for_each(generator, prompts, "generators")]
        else:
            given = [(generator, len(prompts))]
        return [stream for one, count in given for stream in _spawn(one, count)]


def _spawn(generator: torch.Generator | None, count: int) -> list[torch.Generator]:
    """Return `count` generators on the CPU that are seeded from one, or that one itself if it will do."""
    if generator is not None and count == 1 and generator.device.type == "cpu":
        return [generator]
    device = "cpu" if generator is None else generator.device
    seeds = torch.randint(2**31, (count,), generator=generator, device=device).tolist()
    return [torch.Generator().manual_seed(seed) for seed in seeds]


__all__ = ["LampTextToMotionDiffusionOutput", "LampTextToMotionDiffusionPipeline"]
