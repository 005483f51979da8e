"""`pipeline("text-to-motion")`."""

import functools
import itertools
import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch

from .best_of import candidates, keep_best, match_scores, score_parts
from .constraint_fitting import ConstraintFit
from .constraints import Constraint
from .familiarity import least_familiar, recognise
from .motion_decoding import MotionDecoder
from .motion_inbetweening import MotionInbetweener, gaps_between
from .motion_loops import generate_loops
from .motion_representation import joints_to_features
from .motion_requests import (
    LONGEST,
    MotionRequest,
    as_texts,
    check_constrained,
    check_count,
    check_edit,
    check_options,
    check_seed,
    check_whole,
    first_seed,
    one_for_each,
    seconds_to_frames,
)
from .pipeline_motion import MotionPipeline
from .prompt_splitting import timed_parts
from .windowed_generation import MotionStream, cut_at_tokens, generate_windows, window_generator


class TextToMotionPipeline(MotionPipeline):
    """Generates motions from text.

        pipe = pipeline("text-to-motion", model=lamp_hf.bundled())
        motion = pipe("a person waves with the left hand", duration=4.0, seed=0)
        both = pipe(["a person walks forward", "waves with the right hand"], mode="sequence", duration=[4.0, 3.0])
        both = pipe("a person walks forward, then waves with the right hand", mode="sequence", duration=7.0)
        for joints in pipe.stream("a person walks in circles", duration=60.0): ...

    A text with its seed and duration gives the same motion alone, in any batch, at any position in it, and streamed.
    This holds in single precision: in half precision, the rounding of a batch may choose other tokens.
    """

    model_types = ("lamp_text_to_motion",)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.decoder = MotionDecoder(self.model.vqvae, self.processor.feature_extractor)
        self.max_duration = self.model.max_num_tokens * self.frames_per_token / self.fps  # of one window
        self.min_duration = self.frames_per_token / self.fps

    def __call__(
        self,
        inputs: str | Iterable[str],
        duration: float | list[float | None] | None = None,
        seed: int | list[int] | None = None,
        num_return_sequences: int = 1,
        num_candidates: int = 1,
        mode: str | None = None,
        loop: bool = False,
        prefix=None,
        suffix=None,
        motion=None,
        keep: list[tuple[float, float]] | np.ndarray | None = None,
        constraints: Iterable[Constraint] | None = None,
        batch_size: int | None = None,
        **options,
    ):
        """Generate motions.

        Args:
            inputs (`str` or `list[str]`): texts; any other iterable gives an iterator of results.
            duration (`float` or a list with one for each text, *optional*): seconds; None lets the model choose. A
                motion longer than `max_duration` is generated window by window, each continuing the last 1.6 s before
                it, or the last 0.8 s where another text starts.
            seed (`int` or a list with one for each text, *optional*): random if not given.
            num_return_sequences (`int`): motions for each text, with seeds `seed`, `seed + 1`, ...
            num_candidates (`int`): motions to generate for each that is returned, with successive seeds: the one that
                LaMP likes best is kept. The next sequence has the next `num_candidates` seeds.
            mode (`str`, *optional*): `"sequence"` makes one motion of all texts, one after another; each but the last
                ends with a token, less than one early. A text that itself says an order is split there, see
                [`timed_parts`], and its parts share its duration.
            loop (`bool`): the last frame leads into the first, see [`generate_loops`]; `duration` says about how long
                a loop lasts, 0.5 to 30 seconds. Where a motion has no cycle, further seeds are tried, eight in all.
            prefix, suffix (what `Motion.load` reads, a `Motion` or an array, *optional*): frames before or after the
                generated ones, which stay as they are; `duration` counts the generated ones. The suffix is moved to
                where the generated path ends. Joints are then where the prefix is.
            motion, keep (the same, and ranges of seconds or a boolean mask of frames, *optional*): a motion to
                generate anew outside of these ranges, which stay as and where they are. At each transition ten
                generated frames lead over from the kept ones.
            constraints (`Iterable[Constraint]`, *optional*): paths, poses and places of joints that each motion of one
                text, or of one sequence, is fitted to; `duration` must be given.
            batch_size (`int`, defaults to 8): motions that are generated at the same time, candidates among them.
            num_inference_steps, guidance_scale, temperature, top_k (*optional*): of decoding, see
                [`LampTextToMotionConfig`].
            fit_bones (`bool`): give bodies bones of constant length, true if not given; edits always have the bones
                of the given frames.

        Returns:
            A dictionary for one text, for an edit and for a sequence; a list of them for a list of texts. Where
            several sequences are asked for, a list of dictionaries takes the place of each. A dictionary has `joints`
            float32 `(num_frames, num_joints, 3)` (metres, Y up), `features` float32 `(num_frames, num_features)`,
            `fps`, `skeleton`, `text`, `seed`, `familiarity` (from 0 to 1, of a sequence the lowest of its texts) and
            `nearest`, what the model was trained on that is most like the text; None and an empty list if it does not
            know. A loop has a `cycle`, and with constraints there is `constraint_error`, see [`ConstraintFit`].
            `lamp_hf.Motion(**result)` takes it. Each unfamiliar text gives an [`UnfamiliarPromptWarning`].

        Raises:
            ValueError: when a text is empty or too long, or an option, a seed or a duration cannot be met; before
                anything is generated.
        """
        self._sanitize_parameters(**options)
        batch_size = self.choose_batch_size(batch_size, 8)
        given = {"prefix": prefix, "suffix": suffix, "motion": motion, "keep": keep}
        is_edit = any(part is not None for part in given.values())
        check_count(num_return_sequences, "num_return_sequences")
        check_count(num_candidates, "num_candidates")
        if is_edit:
            check_edit(inputs, mode, num_return_sequences, num_candidates, loop, constraints)
        elif constraints:
            check_constrained(inputs, mode, loop)
        if mode is None and isinstance(inputs, Iterable) and not isinstance(inputs, (str, bytes, list, tuple, dict)):
            if loop:
                raise ValueError("a stream of texts does not loop: give a list of texts")
            return self._iterate(inputs, duration, seed, num_return_sequences, num_candidates, batch_size, **options)

        requests = self._requests(inputs, duration, seed, num_return_sequences, mode, num_candidates)
        if is_edit:
            return self._edit(requests[0], **given, **options)
        fit = None
        if constraints:
            fit = ConstraintFit(constraints, requests[0].num_frames, self.fps, self.skeleton)
        generate = functools.partial(self._generate, batch_size=batch_size, **options)
        if loop:
            stride = num_return_sequences * num_candidates
            results = generate_loops(generate, requests, stride, self.skeleton, LONGEST)
        else:
            results = generate(requests)
        results = results if fit is None else [result | fit(result["joints"]) for result in results]
        if num_return_sequences > 1:
            starts = range(0, len(results), num_return_sequences)
            results = [results[start : start + num_return_sequences] for start in starts]
        return results[0] if mode is not None or isinstance(inputs, str) else results

    def stream(
        self,
        inputs: str | list[str],
        duration: float | list[float | None] | None = None,
        seed: int | None = None,
        mode: str | None = None,
        **options,
    ) -> MotionStream:
        """Generate a motion of any length and yield its joints `(n, num_joints, 3)`, in metres, as they are ready.

        Several texts are shown one after another; with `mode="sequence"` so is what each text says in order. Memory
        does not grow with the duration. Arguments are those of `__call__`, and are checked before the first frame. The
        stream has the attributes `familiarity` and `nearest`.
        """
        if wrong := {"num_candidates", "constraints"} & options.keys():
            raise ValueError(
                f"a stream shows frames before there are whole motions to compare or fit: no {min(wrong)}"
            )
        request = self._sequence(inputs, duration, seed, mode)
        windows, _ = self._windows(request, **options)
        return MotionStream((joints for joints, _ in windows), **self._recognise([request])[0])

    @torch.no_grad()
    def length_distribution(self, text: str) -> dict[str, np.ndarray]:
        """Return how long motions of a text last whose duration is not given: `seconds` and their `probability`."""
        probability = self.model.length_probabilities(self._encode([text]))[0].numpy()
        return {"seconds": np.arange(1, len(probability) + 1) * self.min_duration, "probability": probability}

    # Check.

    def _requests(
        self, inputs, duration, seed, count: int, mode: str | None, num_candidates: int = 1
    ) -> list[MotionRequest]:
        """Return the motions to generate: of each text or of all together, `count` of each."""
        if mode is not None:
            whole = self._sequence(inputs, duration, 0 if seed is None else seed, mode)
            wanted = [(whole.texts, whole.num_frames, seed)]
        else:
            texts = as_texts(inputs)
            lengths = [self._num_frames(seconds) for seconds in one_for_each(duration, texts, "durations")]
            seeds = one_for_each(seed, texts, "seeds")
            wanted = [([text], [frames], first) for text, frames, first in zip(texts, lengths, seeds)]
        for _, lengths, _ in wanted:
            check_whole(lengths, self.fps, self.max_duration)
        offsets = range(0, count * num_candidates, num_candidates)
        return [
            MotionRequest(texts, lengths, first_seed(first, offset, num_candidates), num_candidates)
            for texts, lengths, first in wanted
            for offset in offsets
        ]

    def _sequence(self, inputs: str | list[str], duration, seed: int | None, mode: str | None) -> MotionRequest:
        """Return one motion of several texts; `mode="sequence"` splits those that say an order."""
        if mode not in (None, "sequence"):
            raise ValueError(f"unknown mode {mode!r}; known: 'sequence'")
        texts = as_texts(inputs)
        if not texts:
            raise ValueError("no text: describe a motion in a sentence, or in several")
        lengths = [self._num_frames(seconds) for seconds in one_for_each(duration, texts, "durations")]
        if mode == "sequence":
            timing = self.frames_per_token, self.fps
            parts = [part for one in zip(texts, lengths) for part in timed_parts(*one, *timing)]
            texts, lengths = [text for text, _ in parts], [frames for _, frames in parts]
        return MotionRequest(texts, lengths, check_seed(seed))

    def _num_frames(self, duration: float | None) -> int | None:
        return seconds_to_frames(duration, self.fps, self.min_duration)

    def _fits_in_window(self, num_frames: list[int | None]) -> bool:
        return len(num_frames) == 1 and (num_frames[0] or 0) <= round(self.max_duration * self.fps)

    def _sanitize_parameters(self, fit_bones: bool | None = None, **sampling):
        check_options(fit_bones, **sampling)
        return {}, sampling, {} if fit_bones is None else {"fit_bones": fit_bones}

    def _with_defaults(self, options: dict) -> tuple[dict, bool]:
        """Return the options of decoding, and whether to fit bones, with the defaults given to `pipeline(...)`."""
        _, sampling, decoding = self._sanitize_parameters(**options)
        return self._forward_params | sampling, (self._postprocess_params | decoding).get("fit_bones", True)

    # Generate: in batches what fits in one window, window by window what does not.

    def _generate(self, requests: list[MotionRequest], batch_size: int, **options) -> list[dict]:
        fits = [self._fits_in_window(request.num_frames) for request in requests]
        short = [request for request, is_short in zip(requests, fits) if is_short]
        order = sorted(range(len(short)), key=lambda i: short[i].num_frames[0] or math.inf)  # less padding
        known = self._recognise(requests)
        batched = (
            self._batched((short[i] for i in order), short[0].num_candidates, batch_size, **options) if short else []
        )
        results = iter([result for _, result in sorted(zip(order, batched), key=lambda pair: pair[0])])
        made = [
            next(results) if is_short else self._whole(request, **options) for request, is_short in zip(requests, fits)
        ]
        return [result | told for result, told in zip(made, known)]

    def _batched(
        self, requests: Iterable[MotionRequest], num_candidates: int, batch_size: int, **options
    ) -> Iterator[dict]:
        """Generate what fits in one window; candidates that lose are dropped as soon as their text is done."""
        return keep_best(super().__call__(candidates(requests), batch_size=batch_size, **options), num_candidates)

    def _iterate(
        self, inputs: Iterable[str], duration, seed, count: int, num_candidates: int, batch_size: int, **options
    ) -> Iterator[dict]:
        """Generate a motion for each text of an iterable as it comes."""
        if isinstance(duration, (list, tuple)) or isinstance(seed, (list, tuple)) or count != 1:
            raise ValueError("with a stream of texts, give one duration and one seed for all, and one sequence each")
        num_frames = [self._num_frames(duration)]
        check_whole(num_frames, self.fps, self.max_duration)
        requests = (
            MotionRequest([text], num_frames, first_seed(seed, 0, num_candidates), num_candidates) for text in inputs
        )
        if self._fits_in_window(num_frames):
            results = self._batched(requests, num_candidates, batch_size, **options)
        else:
            results = (self._whole(request, **options) for request in requests)
        return (result | recognise(self.model.lamp, self.processor, [result["text"]])[0] for result in results)

    def preprocess(self, request: MotionRequest) -> dict:
        """Tokenise the text of a request."""
        num_frames, seed = torch.tensor([request.num_frames[0] or 0]), torch.tensor([request.seed])
        tokens = dict(self.processor(text=request.texts)) | {"num_frames": num_frames, "seed": seed}
        return tokens | {"num_candidates": torch.tensor([request.num_candidates]), "text": [request.text]}

    def _forward(self, inputs: dict, **sampling) -> dict:
        asked = inputs["num_frames"].tolist()
        output = self.model.generate(
            inputs["input_ids"],
            inputs["attention_mask"],
            num_tokens=[self._num_tokens(frames or None) for frames in asked],
            seeds=inputs["seed"].tolist(),
            **sampling,
        )
        predicted = (output.token_mask.sum(1) * self.frames_per_token).tolist()
        num_frames = torch.tensor([frames or chosen for frames, chosen in zip(asked, predicted)])
        made = {"motion_values": output.motion_values, "num_frames": num_frames}
        if int(inputs["num_candidates"][0]) > 1:
            made["score"] = match_scores(self.model.lamp, inputs["input_ids"], inputs["attention_mask"], **made)
        return made | {"text": inputs["text"], "seed": inputs["seed"]}

    def postprocess(self, outputs: dict, fit_bones: bool = True) -> dict:
        """Turn the features of one motion into joints."""
        values, text = outputs["motion_values"][0, : int(outputs["num_frames"][0])], outputs["text"]
        while not isinstance(text, str):  # the base class wraps it once more when it batches
            text = text[0]
        result = self._result(*self.decoder.clip(values, fit_bones), text, int(outputs["seed"][0]))
        return result | ({"score": float(outputs["score"][0])} if "score" in outputs else {})

    def _whole(self, request: MotionRequest, **options) -> dict:
        """Generate in one piece what `stream` yields; of several candidates the best."""
        made = (self._candidate(candidate, **options) for candidate in candidates([request]))
        return next(keep_best(made, request.num_candidates))

    def _candidate(self, request: MotionRequest, **options) -> dict:
        windows, num_frames = self._windows(request, **options)
        joints, features = (np.concatenate(part) for part in zip(*windows))
        result = self._result(joints, features, request.text, request.seed)
        if request.num_candidates > 1:
            result["score"] = score_parts(self.model.lamp, self.processor, request.texts, features, num_frames)
        return result

    @torch.no_grad()
    def _windows(self, request: MotionRequest, **options) -> tuple[Iterator[tuple[np.ndarray, np.ndarray]], list[int]]:
        """Return an iterator of joints and features, window by window, and the frames of each text."""
        sampling, fit_bones = self._with_defaults(options)
        conditions = self._encode(request.texts)
        # A stream of its own for the length of each text; the first is also that of the first window, so that a motion
        # that fits in one window is the same as in a batch.
        generators = [window_generator(request.seed, -i) for i in range(len(request.texts))]
        asked = [self._num_tokens(frames) for frames in request.num_frames]
        chosen = self.model.choose_lengths(conditions, asked, generators).tolist()
        wanted = [frames or tokens * self.frames_per_token for frames, tokens in zip(request.num_frames, chosen)]
        num_frames = cut_at_tokens(wanted, self.frames_per_token)
        num_tokens = [self._num_tokens(frames) for frames in num_frames]
        others = (window_generator(request.seed, window) for window in itertools.count(1))
        generators = itertools.chain(generators[:1], others)
        windows = generate_windows(self.model, conditions.split(1), num_tokens, generators, **sampling)
        return self.decoder.stream(windows, sum(num_frames), fit_bones), num_frames

    @torch.no_grad()
    def _edit(self, request: MotionRequest, prefix, suffix, motion, keep, **options) -> dict:
        """Generate frames after a prefix, before a suffix, or where a motion is not kept."""
        if (motion is None) != (keep is None):
            raise ValueError("motion and keep belong together: keep=[(0, 1.5)] keeps the first 1.5 seconds of motion")
        (num_frames,) = request.num_frames
        if motion is not None and (prefix is not None or suffix is not None or num_frames is not None):
            raise ValueError("with motion and keep, prefix, suffix and duration say nothing: leave them out")
        (sampling, _), generator = self._with_defaults(options), torch.Generator().manual_seed(request.seed)
        condition = self._encode(request.texts)
        inbetweener = MotionInbetweener(self.model, self.decoder, condition, generator, sampling)
        if motion is not None:
            joints = self._read_joints(motion, "motion")
            joints = inbetweener.fill_gaps(joints, gaps_between(keep, len(joints), self.fps))
        else:
            prefix, suffix = self._read_joints(prefix, "prefix"), self._read_joints(suffix, "suffix")
            if num_frames is None:
                (num_tokens,) = self.model.choose_lengths(condition, [None], [generator]).tolist()
                num_frames = num_tokens * self.frames_per_token
            joints = inbetweener.extend(prefix, suffix, num_frames)
        features = joints_to_features(torch.cat([joints, 2 * joints[-1:] - joints[-2:-1]]), self.skeleton)
        features = features.numpy().astype(np.float32)
        result = self._result(self.decoder.to_metres(joints), features, request.text, request.seed)
        return result | self._recognise([request])[0]

    # Shared by all ways to generate.

    def _recognise(self, requests: list[MotionRequest]) -> list[dict]:
        """Tell how familiar requests are, of several texts the least familiar, and warn of unfamiliar ones."""
        told = iter(recognise(self.model.lamp, self.processor, [text for one in requests for text in one.texts]))
        return [least_familiar([next(told) for _ in request.texts]) for request in requests]

    def _encode(self, texts: list[str]) -> torch.Tensor:
        inputs = self.processor(text=texts).to(self.device)
        return self.model.encode_text(inputs["input_ids"], inputs["attention_mask"])

    def _num_tokens(self, num_frames: int | None) -> int | None:
        return None if num_frames is None else -(-num_frames // self.frames_per_token)

    def _read_joints(self, motion, name: str) -> torch.Tensor | None:
        """Read a given motion, in the skeleton's units."""
        if motion is None:
            return None
        joints = self.processor.feature_extractor.read_joints(motion, name)
        return torch.as_tensor(joints).float() / self.skeleton.metres

    def _result(self, joints: np.ndarray, features: np.ndarray, text: str, seed: int) -> dict:
        return {
            "joints": joints,
            "features": features,
            "fps": self.fps,
            "skeleton": self.skeleton.name,
            "text": text,
            "seed": seed,
        }


__all__ = ["TextToMotionPipeline"]
