"""`pipeline("text-to-motion")`."""

import itertools
import math
from collections.abc import Iterable, Iterator
from numbers import Integral

import numpy as np
import torch
from transformers import BatchFeature

from .motion_inbetweening import fill_gap, gaps_of
from .motion_representation import features_to_joints, fit_bone_lengths, joints_to_features
from .pipeline_motion import MotionPipeline
from .prompt_splitting import parts_in_order
from .scheduling_masked_motion import check_sampling
from .windowed_generation import JointsStream, decode_stream, generate_windows, window_stream


LONGEST = 600.0  # seconds that are returned whole; `stream` has no limit


class TextToMotionPipeline(MotionPipeline):
    """Turns sentences into motions.

        pipe = pipeline("text-to-motion", model=lamp_hf.bundled())
        motion = pipe("a person waves with the left hand", duration=4.0, seed=0)
        both = pipe(["a person walks forward", "waves with the right hand"], mode="sequence", duration=[4.0, 3.0])
        both = pipe("a person walks forward, then waves with the right hand", mode="sequence", duration=7.0)
        for joints in pipe.stream("a person walks in circles", duration=60.0): ...

    A text with its seed and duration gives the same motion alone, in any batch, at any position in it, and streamed.
    """

    model_types = ("lamp_text_to_motion",)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.max_duration = self.model.max_num_tokens * self.frames_per_token / self.fps  # made in one window
        self.min_duration = self.frames_per_token / self.fps

    def __call__(
        self,
        inputs: str | Iterable[str],
        duration: float | list[float | None] | None = None,
        seed: int | list[int] | None = None,
        num_return_sequences: int = 1,
        mode: str | None = None,
        prefix=None,
        suffix=None,
        motion=None,
        keep: list[tuple[float, float]] | np.ndarray | None = None,
        batch_size: int = 8,
        **kwargs,
    ):
        """
        Args:
            inputs (`str` or `list[str]`): sentences; any other iterable gives an iterator of results.
            duration (`float` or a list with one for each text, *optional*): seconds; None lets the model choose. Above
                `max_duration` a motion is made window by window, each going on from the last 1.6 s before it,
                of another text from the last 0.8 s.
            seed (`int` or a list with one for each text, *optional*): random if not given.
            num_return_sequences (`int`): motions for each text, with seeds `seed`, `seed + 1`, ...
            mode (`str`, *optional*): `"sequence"` makes one motion of all texts, one after another; each but the last
                ends with a token, so at most three frames late. A text that says itself what comes after what is split
                there, see [`parts_in_order`], and its parts share its duration.
            prefix, suffix (what `Motion.load` reads, a `Motion` or an array, *optional*): frames that come before or
                after what is made and stay as they are; `duration` counts what is made. A suffix is moved to where the
                made path ends. Joints are then where the prefix is.
            motion, keep (likewise, and ranges of seconds or a boolean mask of frames, *optional*): a motion to make
                anew outside of these ranges, which stay as and where they are. The first and last 4 made frames at a
                seam lead over to kept ones.
            num_inference_steps, guidance_scale, temperature, top_k (*optional*): of decoding, see
                [`LampTextToMotionConfig`].
            fit_bones (`bool`): give decoded bodies bones of constant length, true if not given; edits always have
                the bones of what is kept.

        Returns:
            For a text a dictionary, for a list a list of them; each is a list where several sequences are asked for:
            `joints` float32 [num_frames, num_joints, 3] (metres, Y up), `features` float32 [num_frames, num_features],
            `fps` and `text`.

        Raises:
            ValueError: on an empty or too long text, or a duration that the model cannot make.
        """
        if type(num_return_sequences) is not int or num_return_sequences < 1:
            raise ValueError(f"num_return_sequences must be a whole number from 1, got {num_return_sequences!r}")
        if prefix is not None or suffix is not None or motion is not None or keep is not None:
            if not isinstance(inputs, str) or mode or num_return_sequences != 1:
                raise ValueError("an edit takes one text and makes one motion")
            return self._edited(inputs, duration, seed, prefix, suffix, motion, keep, **kwargs)
        if mode is not None:
            inputs, duration = self._in_order(inputs, duration, mode)
            seeds = [None if seed is None else _one_seed(seed) + i for i in range(num_return_sequences)]
            results = [self._whole(inputs, duration, first, **kwargs) for first in seeds]
            return results if num_return_sequences > 1 else results[0]
        if not isinstance(inputs, (str, list, tuple)):
            if isinstance(duration, (list, tuple)) or isinstance(seed, (list, tuple)) or num_return_sequences != 1:
                raise ValueError(
                    "with a stream of texts, give one duration and one seed for all, and one sequence each"
                )
            if self._is_long(duration):
                return (self._whole(text, duration, seed, **kwargs) for text in inputs)
            requests = ({"text": text, "duration": duration, "seed": seed} for text in inputs)
            return super().__call__(requests, batch_size=batch_size, **kwargs)
        texts = [inputs] if isinstance(inputs, str) else list(inputs)
        durations, seeds = _one_for_each(duration, texts, "durations"), _one_for_each(seed, texts, "seeds")
        requests = [
            {"text": text, "duration": seconds, "seed": None if first is None else _one_seed(first) + offset}
            for text, seconds, first in zip(texts, durations, seeds)
            for offset in range(num_return_sequences)
        ]
        results = self._each(requests, batch_size, **kwargs)
        if num_return_sequences > 1:
            starts = range(0, len(results), num_return_sequences)
            results = [results[start : start + num_return_sequences] for start in starts]
        return results[0] if isinstance(inputs, str) else results

    def _each(self, requests: list[dict], batch_size: int, **kwargs) -> list[dict]:
        """A motion for each request: those that fit in one window in batches, longer ones by themselves."""
        long = [self._is_long(request["duration"]) for request in requests]  # all are checked before any work is done
        short = [request for request, is_long in zip(requests, long) if not is_long]
        order = sorted(range(len(short)), key=lambda i: short[i]["duration"] or math.inf)  # less padding
        sorted_requests = [short[i] for i in order]
        results = super().__call__(sorted_requests, batch_size=batch_size, **kwargs) if short else []
        made = (result for _, result in sorted(zip(order, results), key=lambda pair: pair[0]))
        return [
            self._whole(request["text"], request["duration"], request["seed"], **kwargs) if is_long else next(made)
            for request, is_long in zip(requests, long)
        ]

    def stream(
        self,
        inputs: str | list[str],
        duration: float | list[float | None] | None = None,
        seed: int | None = None,
        mode: str | None = None,
        **kwargs,
    ) -> Iterator[np.ndarray]:
        """Yields joints `(n, num_joints, 3)` of a motion of any length as they are ready; see `__call__`.

        Several texts are done one after another; with `mode="sequence"` also what each says is done in order. Memory
        does not grow with the duration.
        """
        if mode is not None:
            inputs, duration = self._in_order(inputs, duration, mode)
        texts, lengths, options = self._plan(inputs, duration, kwargs)
        return (joints for joints, _ in self._parts(texts, lengths, seed, *options))

    @torch.no_grad()
    def length_distribution(self, text: str) -> dict[str, np.ndarray]:
        """How long motions of a text last: `seconds` `(max_num_tokens,)` and their `probability`, which sums to 1."""
        inputs = self.processor(text=text).to(self.device)
        condition = self.model.encode_text(inputs["input_ids"], inputs["attention_mask"])
        probability = self.model.length_logits(condition).softmax(-1)[0].cpu().numpy()
        return {"seconds": np.arange(1, len(probability) + 1) * self.min_duration, "probability": probability}

    def _in_order(self, inputs: str | list[str], duration, mode: str) -> tuple[list[str], list[float | None]]:
        """The parts of all texts, one after another, and seconds for each."""
        if mode != "sequence":
            raise ValueError(f"unknown mode {mode!r}; known: 'sequence'")
        texts = [inputs] if isinstance(inputs, str) else list(inputs)
        parts: list[str] = []
        durations: list[float | None] = []
        for text, seconds in zip(texts, _one_for_each(duration, texts, "durations")):
            found, frames = parts_in_order(text), self._num_frames(seconds)
            parts += found
            if frames is None:
                durations += [None] * len(found)
                continue
            tokens = frames // self.frames_per_token
            if tokens < len(found):
                raise ValueError(f"{seconds:g} seconds are too short for {len(found)} parts of {text!r}")
            ends = [i * tokens // len(found) * self.frames_per_token for i in range(len(found))]  # whole tokens
            durations += [(end - start) / self.fps for start, end in itertools.pairwise([*ends, frames])]
        return parts, durations

    def _whole(self, inputs: str | list[str], duration, seed: int | None, **kwargs) -> dict:
        """What `stream` gives, in one piece."""
        texts, lengths, options = self._plan(inputs, duration, kwargs)
        self._check_whole(lengths)
        joints, features = (np.concatenate(part) for part in zip(*self._parts(texts, lengths, seed, *options)))
        return {"joints": joints, "features": features, "fps": self.fps, "text": ", then ".join(texts)}

    @torch.no_grad()
    def _edited(self, text: str, duration, seed: int | None, prefix, suffix, motion, keep, **kwargs) -> dict:
        """A motion of which frames are given."""
        _, (num_frames,), (sampling, _) = self._plan(text, duration, kwargs)
        self._check_whole([num_frames])
        if (motion is None) != (keep is None):
            raise ValueError("motion and keep belong together: keep=[(0, 1.5)] keeps the first 1.5 seconds of motion")
        if motion is not None and (prefix is not None or suffix is not None or duration is not None):
            raise ValueError("with motion and keep, prefix, suffix and duration say nothing: leave them out")
        generator = torch.Generator().manual_seed(_one_seed(seed))
        inputs = self.processor(text=text).to(self.device)
        condition = self.model.encode_text(inputs["input_ids"], inputs["attention_mask"])

        def fill(before, after, count: int, anchored: bool):
            return fill_gap(
                self.model, self.processor.feature_extractor, self.skeleton, condition, before, after, count, anchored,
                generator, **sampling,
            )  # fmt: skip

        if motion is not None:
            joints = self._read_joints(motion, "motion").clone()
            gaps = gaps_of(keep, len(joints), self.fps)
            ends = [first for first, _ in gaps[1:]] + [len(joints)]
            for (first, last), end in zip(gaps, ends):
                before, after = (part if len(part) else None for part in (joints[:first], joints[last:end]))
                joints[first:last], _ = fill(before, after, last - first, anchored=True)
        else:
            before, after = (
                None if part is None else self._read_joints(part, name)
                for part, name in ((prefix, "prefix"), (suffix, "suffix"))
            )
            if num_frames is None:
                num_frames = int(self.model.choose_lengths(condition, [None], [generator])[0]) * self.frames_per_token
            made, after = fill(before, after, num_frames, anchored=False)
            joints = torch.cat([part for part in (before, made, after) if part is not None])
        features = joints_to_features(torch.cat([joints, 2 * joints[-1:] - joints[-2:-1]]), self.skeleton)
        joints = (joints * self.skeleton.metres).numpy().astype(np.float32)
        return {"joints": joints, "features": features.numpy().astype(np.float32), "fps": self.fps, "text": text}

    def _read_joints(self, motion, name: str) -> torch.Tensor:
        joints = self.processor.feature_extractor.read_joints(motion, name)
        return torch.as_tensor(joints).float() / self.skeleton.metres

    def _plan(self, inputs, duration, kwargs: dict) -> tuple[list[str], list[int | None], tuple[dict, bool]]:
        """Texts, frames for each, and options of decoding, all of them checked."""
        texts = [inputs] if isinstance(inputs, str) else list(inputs)
        if not texts:
            raise ValueError("no text: describe a motion in a sentence, or several in a row")
        lengths = [self._num_frames(seconds) for seconds in _one_for_each(duration, texts, "durations")]
        _, sampling, after = self._sanitize_parameters(**kwargs)
        after = self._postprocess_params | after
        return texts, lengths, (self._forward_params | sampling, after.get("fit_bones", True))

    def _parts(
        self, texts: list[str], lengths: list[int | None], seed: int | None, sampling: dict, fit_bones: bool
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Joints and features of one text after another, in parts; what cannot be made is refused before the first."""
        inputs = self.processor(text=texts).to(self.device)
        return self._parts_of(inputs, lengths, _one_seed(seed), sampling, fit_bones)

    @torch.no_grad()
    def _parts_of(
        self, inputs: BatchFeature, lengths: list[int | None], seed: int, sampling: dict, fit_bones: bool
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        # Of the texts' lengths, the first also of the first window, so that a motion that fits in is the usual one.
        streams = [window_stream(seed, -text) for text in range(len(lengths))]
        conditions = self.model.encode_text(inputs["input_ids"], inputs["attention_mask"]).split(1)
        asked = [None if frames is None else -(-frames // self.frames_per_token) for frames in lengths]
        drawn = self.model.choose_lengths(torch.cat(conditions), asked, streams).tolist()
        # What is asked for ends where it was asked to; between texts a token is the finest step.
        left = sum(drawn[:-1]) * self.frames_per_token + (lengths[-1] or drawn[-1] * self.frames_per_token)
        to_joints = JointsStream(self.skeleton)
        further = (window_stream(seed, window) for window in itertools.count(1))
        windows = generate_windows(self.model, conditions, drawn, itertools.chain(streams[:1], further), **sampling)
        for values in decode_stream(self.model.vqvae, windows):
            if not left:
                return
            features = self._features(values[:left].float().cpu(), fit_bones)
            left -= len(features)
            joints = to_joints(features) * self.skeleton.metres
            yield joints.numpy().astype(np.float32), features.numpy().astype(np.float32)

    def _sanitize_parameters(self, fit_bones: bool | None = None, **kwargs):
        known = {"num_inference_steps", "guidance_scale", "temperature", "top_k"}
        if unknown := sorted(set(kwargs) - known):
            raise ValueError(f"unknown option {unknown[0]!r}; known: {', '.join(sorted(known | {'fit_bones'}))}")
        check_sampling(**kwargs)
        return {}, kwargs, {} if fit_bones is None else {"fit_bones": fit_bones}

    def preprocess(self, inputs: dict) -> dict:
        seed = _one_seed(inputs["seed"])
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
        features = self._features(outputs["motion_values"][0, : int(outputs["lengths"][0])].float(), fit_bones)
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

    def _features(self, values: torch.Tensor, fit_bones: bool) -> torch.Tensor:
        features = self.processor.feature_extractor.denormalise(values)
        return fit_bone_lengths(features, self.skeleton) if fit_bones else features

    def _check_whole(self, lengths: list[int | None]) -> None:
        if sum(length or 0 for length in lengths) > LONGEST * self.fps:
            raise ValueError(f"motions over {LONGEST:g} seconds are not returned in one piece: use pipe.stream")

    def _is_long(self, duration: float | None) -> bool:
        """Whether a motion takes several windows."""
        frames = self._num_frames(duration)
        self._check_whole([frames])
        return frames is not None and frames > round(self.max_duration * self.fps)

    def _num_frames(self, duration: float | None) -> int | None:
        if duration is None:
            return None
        if isinstance(duration, bool) or not isinstance(duration, (int, float, np.number)):
            raise ValueError(f"duration must be a number of seconds, got {duration!r}")
        if not self.min_duration <= duration < math.inf:
            raise ValueError(f"a duration of {duration:g} seconds: it must be a number from {self.min_duration:g} on")
        return round(float(duration) * self.fps)


def _one_seed(seed: int | None) -> int:
    if isinstance(seed, (list, tuple)):
        raise ValueError("one motion has one seed: give a number")
    if seed is None:
        return torch.randint(2**31, ()).item()
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= seed < 2**63:
        raise ValueError(f"a seed is a whole number from 0 to {2**63 - 1}, got {seed!r}")
    return int(seed)


def _one_for_each(value, texts: list[str], what: str) -> list:
    """A single value repeated for every text, or a list or array checked to have one for each."""
    value = value.tolist() if isinstance(value, (np.ndarray, torch.Tensor)) else value
    if not isinstance(value, (list, tuple)):
        return [value] * len(texts)
    if len(value) != len(texts):
        raise ValueError(f"{len(texts)} texts but {len(value)} {what}: give one for all or one for each")
    return list(value)


__all__ = ["TextToMotionPipeline"]
