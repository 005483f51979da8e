"""The generator as a diffusers pipeline, over the same networks and the same scheduler."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput
from huggingface_hub import snapshot_download

from .modeling_lamp_text_to_motion import LampForTextToMotion
from .motion_representation import features_to_joints, fit_bone_lengths
from .processing_lamp import LampProcessor
from .scheduling_masked_motion import MaskedMotionScheduler
from .skeleton import get_skeleton


@dataclass
class LampTextToMotionDiffusionOutput(BaseOutput):
    """
    Args:
        joints (`list[np.ndarray]` of shape `(num_frames, num_joints, 3)`): metres, Y up.
        features (`list[np.ndarray]` of shape `(num_frames, num_features)`): not normalised.
    """

    joints: list[np.ndarray]
    features: list[np.ndarray]


class LampTextToMotionDiffusionPipeline(DiffusionPipeline):
    """Turns sentences into motions, in diffusers' idiom.

        pipe = LampTextToMotionDiffusionPipeline.from_pretrained("user/name")
        motion = pipe("a person bows", duration=3.0, generator=torch.Generator().manual_seed(0)).joints[0]

    Args:
        model ([`LampForTextToMotion`]): LaMP, masked transformer and tokenizer.
        processor ([`LampProcessor`]): of the text, and the features' statistics.
        scheduler ([`MaskedMotionScheduler`]): of masked decoding.
    """

    def __init__(self, model: LampForTextToMotion, processor: LampProcessor, scheduler: MaskedMotionScheduler):
        super().__init__()
        self.register_modules(model=model, processor=processor, scheduler=scheduler)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs):
        """From a folder or a Hub id; diffusers itself finds classes of other packages in folders alone."""
        folder = Path(pretrained_model_name_or_path)
        known = ("revision", "token", "cache_dir", "local_files_only", "force_download")
        options = {name: kwargs.pop(name) for name in known if name in kwargs}
        if not folder.is_dir():
            folder = snapshot_download(str(pretrained_model_name_or_path), **options)
        if not (Path(folder) / "model_index.json").is_file():  # a folder of the transformers pipeline
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
        """
        Args:
            prompt (`str` or `list[str]`): sentences.
            duration (`float` or a list with one for each prompt, *optional*): seconds; None lets the model choose.
            num_inference_steps, guidance_scale (*optional*): the model configuration's if not given.
            generator (`torch.Generator` or a list with one for each prompt, *optional*): source of randomness; one
                for all gives each prompt a stream of its own from it.

        Raises:
            ValueError: on an empty or too long text, a duration that the model cannot make, or lists of other lengths.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        durations = duration if isinstance(duration, (list, tuple)) else [duration] * len(prompts)
        generators = self._streams(generator, len(prompts))
        if not len(prompts) == len(durations) == len(generators):
            raise ValueError("give a duration and a generator for all prompts, or one for each")
        extractor, model = self.processor.feature_extractor, self.model
        skeleton, factor = get_skeleton(extractor.skeleton), model.config.motion_config.downsampling_factor
        longest = model.max_num_tokens * factor / extractor.sampling_rate
        if any(seconds is not None and not 0 < seconds <= longest + 1e-6 for seconds in durations):
            raise ValueError(f"a duration must be over 0 and at most {longest:g} seconds")
        frames = [seconds and max(round(seconds * extractor.sampling_rate), 1) for seconds in durations]

        inputs = self.processor(text=prompts).to(model.device)
        condition = model.encode_text(**inputs)
        lengths = model.choose_lengths(condition, [count and -(-count // factor) for count in frames], generators)
        token_mask = torch.arange(int(lengths.max()), device=model.device) < lengths[:, None]
        codes = model.generate_codes(
            condition,
            token_mask,
            generators,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            scheduler=self.scheduler,
        )
        values = model.vqvae.decode(codes, token_mask).float().cpu()
        counts = [asked or tokens * factor for asked, tokens in zip(frames, lengths.tolist())]
        features = [
            fit_bone_lengths(extractor.denormalise(row[:count]), skeleton) for row, count in zip(values, counts)
        ]
        joints = [(features_to_joints(clip, skeleton) * skeleton.metres).numpy() for clip in features]
        return LampTextToMotionDiffusionOutput(joints=joints, features=[clip.numpy() for clip in features])

    @classmethod
    def _streams(cls, generator, count: int) -> list[torch.Generator]:
        """Streams on the CPU, where tokens are drawn, so that devices make the same motions."""
        if isinstance(generator, list):
            return [stream for one in generator for stream in cls._streams(one, 1)]
        if generator is not None and count == 1 and generator.device.type == "cpu":
            return [generator]
        device = "cpu" if generator is None else generator.device
        seeds = torch.randint(2**31, (count,), generator=generator, device=device).tolist()
        return [torch.Generator().manual_seed(seed) for seed in seeds]


__all__ = ["LampTextToMotionDiffusionOutput", "LampTextToMotionDiffusionPipeline"]
