"""`pipeline("text-to-motion")`."""

import math
from collections.abc import Iterable

import numpy as np
import torch

from .motion_representation import features_to_joints, fit_bone_lengths
from .pipeline_motion import MotionPipeline


class TextToMotionPipeline(MotionPipeline):
    """Turns sentences into motions.

        pipe = pipeline("text-to-motion", model=lamp_hf.bundled())
        motion = pipe("a person waves with the left hand", duration=4.0, seed=0)

    A text with its seed and duration gives the same motion alone, in any batch and at any position in it.
    """

    model_types = ("lamp_text_to_motion",)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.max_duration = self.model.max_num_tokens * self.frames_per_token / self.fps
        self.min_duration = self.frames_per_token / self.fps

    def __call__(
        self,
        inputs: str | Iterable[str],
        duration: float | list[float | None] | None = None,
        seed: int | list[int] | None = None,
        num_return_sequences: int = 1,
        batch_size: int = 8,
        **kwargs,
    ):
        """
        Args:
            inputs (`str` or `list[str]`): sentences; any other iterable gives an iterator of results.
            duration (`float` or a list with one for each text, *optional*): seconds; None lets the model choose.
            seed (`int` or a list with one for each text, *optional*): random if not given.
            num_return_sequences (`int`): motions for each text, with seeds `seed`, `seed + 1`, ...
            num_inference_steps, guidance_scale, temperature, top_k (*optional*): of decoding, see
                [`LampTextToMotionConfig`].
            fit_bones (`bool`): give decoded bodies bones of constant length, true if not given.

        Returns:
            For a text a dictionary, for a list a list of them; each is a list where several sequences are asked for:
            `joints` float32 [num_frames, num_joints, 3] (metres, Y up), `features` float32 [num_frames, num_features],
            `fps` and `text`.

        Raises:
            ValueError: on an empty or too long text, or a duration that the model cannot make.
        """
        if (
            isinstance(num_return_sequences, bool)
            or not isinstance(num_return_sequences, int)
            or num_return_sequences < 1
        ):
            raise ValueError(f"num_return_sequences must be a whole number from 1, got {num_return_sequences!r}")
        single = isinstance(inputs, str)
        if not single and not isinstance(inputs, (list, tuple)):
            if isinstance(duration, (list, tuple)) or isinstance(seed, (list, tuple)) or num_return_sequences != 1:
                raise ValueError(
                    "with a stream of texts, give one duration and one seed for all, and one sequence each"
                )
            requests = ({"text": text, "duration": duration, "seed": seed} for text in inputs)
            return super().__call__(requests, batch_size=batch_size, **kwargs)
        texts = [inputs] if single else list(inputs)
        durations = _one_for_each(duration, texts, "durations")
        seeds = _one_for_each(seed, texts, "seeds")
        requests = [
            {"text": text, "duration": seconds, "seed": None if first is None else first + offset}
            for text, seconds, first in zip(texts, durations, seeds)
            for offset in range(num_return_sequences)
        ]
        for request in requests:  # all are checked before any work is done
            self._num_frames(request["duration"])
        results = super().__call__(requests, batch_size=batch_size, **kwargs) if requests else []
        if num_return_sequences > 1:
            starts = range(0, len(results), num_return_sequences)
            results = [results[start : start + num_return_sequences] for start in starts]
        return results[0] if single else results

    def _sanitize_parameters(self, fit_bones: bool | None = None, **kwargs):
        known = {"num_inference_steps", "guidance_scale", "temperature", "top_k"}
        if unknown := sorted(set(kwargs) - known):
            raise ValueError(f"unknown option {unknown[0]!r}; known: {', '.join(sorted(known | {'fit_bones'}))}")
        for name in ("num_inference_steps", "top_k"):
            if kwargs.get(name) is not None and kwargs[name] < 1:
                raise ValueError(f"{name} must be at least 1, got {kwargs[name]}")
        for name in ("temperature", "guidance_scale"):
            if kwargs.get(name) is not None and not 0 <= kwargs[name] < math.inf:
                raise ValueError(f"{name} must be a number from 0, got {kwargs[name]}")
        return {}, kwargs, {} if fit_bones is None else {"fit_bones": fit_bones}

    def preprocess(self, inputs: dict) -> dict:
        seed = torch.randint(2**31, ()).item() if inputs["seed"] is None else int(inputs["seed"])
        tokens = self.processor(text=inputs["text"])
        num_frames = torch.tensor([self._num_frames(inputs["duration"]) or 0])
        return dict(tokens) | {"num_frames": num_frames, "seed": torch.tensor([seed]), "text": [inputs["text"]]}

    def _forward(self, inputs: dict, **sampling) -> dict:
        num_frames = inputs["num_frames"].tolist()
        output = self.model.generate(
            inputs["input_ids"],
            inputs["attention_mask"],
            num_tokens=[-(-frames // self.frames_per_token) or None for frames in num_frames],
            seeds=inputs["seed"].tolist(),
            **sampling,
        )
        predicted = (output.token_mask.sum(1) * self.frames_per_token).tolist()
        lengths = torch.tensor([frames or made for frames, made in zip(num_frames, predicted)])
        return {"motion_values": output.motion_values, "lengths": lengths, "text": inputs["text"]}

    def postprocess(self, outputs: dict, fit_bones: bool = True) -> dict:
        values = outputs["motion_values"][0, : int(outputs["lengths"][0])].float()
        features = self.processor.feature_extractor.denormalise(values)
        if fit_bones:
            features = fit_bone_lengths(features, self.skeleton)
        joints = features_to_joints(features, self.skeleton) * self.skeleton.metres
        text = outputs["text"]
        while not isinstance(text, str):  # the base class wraps it once more when it batches
            text = text[0]
        return {
            "joints": joints.numpy().astype(np.float32),
            "features": features.numpy().astype(np.float32),
            "fps": self.fps,
            "text": text,
        }

    def _num_frames(self, duration: float | None) -> int | None:
        if duration is None:
            return None
        possible = f"motions of {self.min_duration:.1f} to {self.max_duration:.1f} seconds"
        if isinstance(duration, bool) or not isinstance(duration, (int, float, np.number)):
            raise ValueError(f"duration must be a number of seconds, got {duration!r}")
        if not self.min_duration <= duration <= self.max_duration + 1e-6:
            raise ValueError(f"a duration of {duration:g} seconds is out of range: this model makes {possible}")
        return round(float(duration) * self.fps)


def _one_for_each(value, texts: list[str], what: str) -> list:
    """A single value repeated for every text, or a list checked to have one for each."""
    if not isinstance(value, (list, tuple)):
        return [value] * len(texts)
    if len(value) != len(texts):
        raise ValueError(f"{len(texts)} texts but {len(value)} {what}: give one for all or one for each")
    return list(value)


__all__ = ["TextToMotionPipeline"]
