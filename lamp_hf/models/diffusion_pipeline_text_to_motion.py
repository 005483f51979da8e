"""The generator as a diffusers pipeline, with the same networks and the same scheduler."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput
from huggingface_hub import snapshot_download

from .familiarity import recognise
from .modeling_lamp_text_to_motion import LampForTextToMotion
from .motion_decoding import MotionDecoder
from .motion_requests import as_texts, check_count, check_sampling, one_for_each, seconds_to_frames
from .processing_lamp import LampProcessor
from .scheduling_masked_motion import MaskedMotionScheduler


@dataclass
class LampTextToMotionDiffusionOutput(BaseOutput):
    """Generated motions.

    Args:
        joints (`list[np.ndarray]` of shape `(num_frames, num_joints, 3)`): metres, Y up.
        features (`list[np.ndarray]` of shape `(num_frames, num_features)`): not normalised.
        familiarity (`list[float]`): how near each text is to what the model was trained on, from 0 to 1, see
            [`Familiarity`]; None where the model does not know.
        nearest (`list[list[str]]`): sentences that the model was trained on and that are nearest to each text.
    """

    joints: list[np.ndarray]
    features: list[np.ndarray]
    familiarity: list[float | None]
    nearest: list[list[str]]


class LampTextToMotionDiffusionPipeline(DiffusionPipeline):
    """Generates motions from text, in diffusers' idiom.

        pipe = LampTextToMotionDiffusionPipeline.from_pretrained("user/name")
        motion = pipe("a person bows", duration=3.0, generator=torch.Generator().manual_seed(0)).joints[0]

    Args:
        model ([`LampForTextToMotion`]): LaMP, masked transformer and tokenizer.
        processor ([`LampProcessor`]): tokenizes the text and holds the features' statistics.
        scheduler ([`MaskedMotionScheduler`]): decides which tokens are settled at each step.
    """

    _callback_tensor_inputs = ("codes",)

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
            dtype = kwargs.pop("dtype", kwargs.pop("torch_dtype", None))
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
        negative_prompt: str | list[str | None] | None = None,
        num_motions_per_prompt: int = 1,
        callback_on_step_end: Callable | None = None,
        callback_on_step_end_tensor_inputs: list[str] | tuple[str, ...] = ("codes",),
    ) -> LampTextToMotionDiffusionOutput:
        """Generate motions, each of which fits in one window of the model (9.8 s for HumanML3D).

        Args:
            prompt (`str` or `list[str]`): texts.
            duration (`float` or a list with one for each prompt, *optional*): seconds; None lets the model choose.
            num_inference_steps, guidance_scale (*optional*): the model configuration's if not given.
            generator (`torch.Generator` or a list with one for each motion, *optional*): source of randomness; a
                single one gives each of several motions a stream of its own.
            negative_prompt (`str` or a list with one for each prompt, *optional*): what guidance leads away from; no
                text if not given. Without guidance, at a scale of 1, it has no effect.
            num_motions_per_prompt (`int`): motions of each prompt, one after another in the result.
            callback_on_step_end (`Callable`, *optional*): called after each step as `callback(pipe, step, timestep,
                tensors)`; returns a dictionary, whose `codes` replace those of the step. Tokens that it masks are
                settled by later steps; after the last one it may mask none.
            callback_on_step_end_tensor_inputs (`list[str]`): names of the tensors that it is given. There is one,
                `codes` `(batch_size, num_tokens)`: indices, the mask's where a token is not settled yet.

        Raises:
            ValueError: when a text is empty or too long, a duration or an option cannot be met, or a list has another
                length than the prompts.
        """
        check_sampling(num_inference_steps, guidance_scale)
        check_count(num_motions_per_prompt, "num_motions_per_prompt")
        if callback_on_step_end is not None and not callable(callback_on_step_end):
            raise ValueError(f"callback_on_step_end must be a function, got {callback_on_step_end!r}")
        wanted = as_texts(callback_on_step_end_tensor_inputs, "callback_on_step_end_tensor_inputs")
        if unknown := set(wanted) - set(self._callback_tensor_inputs):
            raise ValueError(
                f"the callback asks for {min(unknown)!r}; known: {', '.join(self._callback_tensor_inputs)}"
            )
        texts = as_texts(prompt, "a prompt")
        if not texts:
            raise ValueError("no prompt: describe a motion in a sentence")
        negatives = self._repeat(one_for_each(negative_prompt, texts, "negative prompts"), num_motions_per_prompt)
        num_frames = self._repeat(self._num_frames(duration, texts), num_motions_per_prompt)
        prompts = self._repeat(texts, num_motions_per_prompt)
        generators = self._generators(generator, prompts)
        known = self._repeat(recognise(self.model.lamp, self.processor, texts), num_motions_per_prompt)

        condition, negative = self._encode(prompts), self._encode(negatives)
        factor = self.model.config.motion_config.downsampling_factor
        asked = [None if count is None else -(-count // factor) for count in num_frames]
        num_tokens = self.model.choose_lengths(condition, asked, generators)
        token_mask = torch.arange(int(num_tokens.max()), device=self.model.device) < num_tokens[:, None]

        def on_step_end(step: int, codes: torch.LongTensor) -> torch.LongTensor:
            given = {"codes": codes} if "codes" in wanted else {}
            changed = callback_on_step_end(self, step, self.scheduler.timesteps[step], given)
            return self._changed_codes(changed or {}, codes)

        codes = self.model.generate_codes(
            condition,
            token_mask,
            generators,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            scheduler=self.scheduler,
            negative_condition=negative,
            on_step_end=None if callback_on_step_end is None else on_step_end,
        )
        counts = [count or tokens * factor for count, tokens in zip(num_frames, num_tokens.tolist())]
        return LampTextToMotionDiffusionOutput(
            *self._decode(codes, token_mask, counts),
            *([told[name] for told in known] for name in ("familiarity", "nearest")),
        )

    def _encode(self, texts: list[str | None]) -> torch.FloatTensor | None:
        """Encode texts into conditions; that of no text is zero, and None is returned if there is none at all."""
        rows = [row for row, text in enumerate(texts) if text is not None]
        if not rows:
            return None
        inputs = self.processor(text=[texts[row] for row in rows]).to(self.model.device)
        encoded = self.model.encode_text(**inputs)
        condition = encoded.new_zeros(len(texts), *encoded.shape[1:])
        condition[rows] = encoded
        return condition

    def _decode(
        self, codes: torch.LongTensor, token_mask: torch.Tensor, counts: list[int]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Decode tokens into joints and features of motions with `counts` frames each."""
        decoder = MotionDecoder(self.model.vqvae, self.processor.feature_extractor)
        values = self.model.vqvae.decode(codes, token_mask)
        clips = [decoder.clip(row[:count]) for row, count in zip(values, counts)]
        return [joints for joints, _ in clips], [features for _, features in clips]

    def _changed_codes(self, changed: dict, codes: torch.LongTensor) -> torch.LongTensor:
        """Return the codes that a callback gives in place of those of a step, if any."""
        new = changed.get("codes", codes) if isinstance(changed, dict) else None
        fits = isinstance(new, torch.Tensor) and new.shape == codes.shape and new.dtype == codes.dtype
        if not fits or not 0 <= new.min() <= new.max() <= self.model.transformer.mask_token_id:
            raise ValueError(
                "callback_on_step_end must return a dictionary; codes in it are whole numbers, as many as it was "
                f"given, from 0 to {self.model.transformer.mask_token_id}, which masks"
            )
        return new

    @staticmethod
    def _repeat(values: list, count: int) -> list:
        return [value for value in values for _ in range(count)]

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
        for one in generator if isinstance(generator, (list, tuple)) else [generator]:
            if one is not None and not isinstance(one, torch.Generator):
                raise ValueError(f"generator must be a torch.Generator or a list of them, got {one!r:.40}")
        if isinstance(generator, (list, tuple)):
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
