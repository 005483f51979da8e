"""Checks what a caller asks for: texts, durations in seconds, seeds and options of decoding.

Every way to generate a motion (a call, a stream, an edit, the diffusers pipeline) checks its arguments here.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
import torch


LONGEST = 600.0  # seconds that are returned in one piece; a stream has no limit
_SAMPLING_OPTIONS = ("guidance_scale", "num_inference_steps", "temperature", "top_k")


@dataclass
class MotionRequest:
    """One motion to generate, checked.

    Args:
        texts (`list[str]`): what happens, one after another.
        num_frames (`list[int]`): frames for each text; None lets the model choose.
        seed (`int`): of its random stream.
        num_candidates (`int`): motions to generate, with this seed and those that follow; the best is kept.
    """

    texts: list[str]
    num_frames: list[int | None]
    seed: int
    num_candidates: int = 1

    @property
    def text(self) -> str:
        """All texts as one sentence."""
        return ", then ".join(self.texts)


def as_texts(texts: str | list[str], what: str = "a text") -> list[str]:
    """Return one text or several as a list.

    Args:
        texts (`str` or a sequence of them): any length of each; the processor refuses empty and long ones.
        what (`str`): name of one of them in errors.

    Raises:
        ValueError: when something else is given, or a text holds half a character, which no file could store.
    """
    texts = [texts] if isinstance(texts, str) else texts
    if isinstance(texts, (bytes, Mapping)) or not isinstance(texts, Iterable):
        raise ValueError(f"{what} must be a string, or a list of strings, got {type(texts).__name__}")
    texts = list(texts)
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"{what} must be a string, got {type(text).__name__}")
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise ValueError(f"{what} holds half a character (a lone surrogate): {text[:40]!a}")
    return texts


def check_options(fit_bones: bool | None = None, **sampling) -> None:
    """Check options that a pipeline takes by name; those of decoding as [`check_sampling`] does.

    Raises:
        ValueError: when one is unknown, or no motion can be generated with it.
    """
    if unknown := sorted(set(sampling) - set(_SAMPLING_OPTIONS)):
        known = ", ".join(sorted({*_SAMPLING_OPTIONS, "fit_bones"}))
        raise ValueError(f"unknown option {unknown[0]!r}; known: {known}")
    if fit_bones not in (None, True, False):
        raise ValueError(f"fit_bones must be true or false, got {fit_bones!r}")
    check_sampling(**sampling)


def check_sampling(
    num_inference_steps: int | None = None,
    guidance_scale: float | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
) -> None:
    """Check options of decoding; None stands for the configuration's own value.

    Raises:
        ValueError: when no motion can be generated with one of them.
    """
    for name, value in (("num_inference_steps", num_inference_steps), ("top_k", top_k)):
        if value is not None:
            check_count(value, name)
    for name, value in (("temperature", temperature), ("guidance_scale", guidance_scale)):
        if value is not None and not (isinstance(value, Real) and 0 <= value < math.inf):
            raise ValueError(f"{name} must be a number from 0, got {value!r}")


def check_edit(inputs, mode: str | None, num_return_sequences: int, num_candidates: int, loop: bool, constraints):
    """Refuse what an edit of a motion cannot be combined with.

    Raises:
        ValueError: with the first reason.
    """
    if not isinstance(inputs, str) or mode or num_return_sequences != 1:
        raise ValueError("an edit takes one text and makes one motion")
    if num_candidates != 1:
        raise ValueError("LaMP compares whole motions, not edits: leave out num_candidates")
    if loop:
        raise ValueError("an edit does not loop: leave out loop")
    if constraints:
        raise ValueError("constraints are those of one text or one sequence, and not of an edit")


def check_constrained(inputs, mode: str | None, loop: bool) -> None:
    """Refuse what constraints cannot be combined with.

    Raises:
        ValueError: with the first reason.
    """
    if not (isinstance(inputs, str) or mode):
        raise ValueError("constraints are those of one text or one sequence")
    if loop:
        raise ValueError("a motion with constraints does not loop: leave out loop")


def check_count(value: int, name: str) -> None:
    """Refuse an option that is not a whole number from 1.

    Raises:
        ValueError: when it is not; the error calls it `name`.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} must be a whole number from 1, got {value!r}")


def check_seed(seed: int | None) -> int:
    """Return a seed as an `int`, a random one for None.

    Raises:
        ValueError: when it is not a whole number from 0 to 2**63 - 1.
    """
    if isinstance(seed, (list, tuple)):
        raise ValueError("one motion has one seed: give a number")
    if seed is None:
        return torch.randint(2**31, ()).item()
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= seed < 2**63:
        raise ValueError(f"a seed is a whole number from 0 to {2**63 - 1}, got {seed!r}")
    return int(seed)


def first_seed(seed: int | None, offset: int, count: int) -> int:
    """Return the first of `count` successive seeds, `offset` after a given one or a random one.

    Raises:
        ValueError: when one of them is no seed.
    """
    first = check_seed(None if seed is None else check_seed(seed) + offset)
    return check_seed(first + count - 1) - (count - 1)


def seconds_to_frames(duration: float | None, fps: float, shortest: float, longest: float = math.inf) -> int | None:
    """Round a duration to frames; None stays None.

    Args:
        duration (`float`, *optional*): seconds.
        fps (`float`): frames per second.
        shortest, longest (`float`): seconds that can be generated.

    Raises:
        ValueError: when the duration is no number, or out of bounds.
    """
    if duration is None:
        return None
    if isinstance(duration, bool) or not isinstance(duration, (int, float, np.number)):
        raise ValueError(f"duration must be a number of seconds, got {duration!r}")
    if not shortest <= duration < math.inf:
        raise ValueError(f"a duration of {duration:g} seconds: it must be a number from {shortest:g} on")
    if duration > longest + 1e-6:
        raise ValueError(f"a duration of {duration:g} seconds: it must be at most {longest:g}")
    return round(float(duration) * fps)


def check_whole(num_frames: Iterable[int | None], fps: float, longest_choice: float) -> None:
    """Refuse a motion that may be too long to be returned in one piece.

    Args:
        num_frames (`Iterable[int]`): frames of its texts; None where the model chooses.
        fps (`float`): frames per second.
        longest_choice (`float`): seconds that the model chooses at most.

    Raises:
        ValueError: when it may last more than ten minutes.
    """
    if sum(frames or longest_choice * fps for frames in num_frames) > LONGEST * fps:
        raise ValueError(f"what may last over {LONGEST:g} seconds is not returned in one piece: use pipe.stream")


def one_for_each(value, texts: list[str], what: str) -> list:
    """Repeat a single value for every text, or check that a list or an array has one for each.

    Raises:
        ValueError: when there are more or fewer values than texts; the error calls them `what`.
    """
    value = value.tolist() if isinstance(value, (np.ndarray, torch.Tensor)) else value
    if not isinstance(value, (list, tuple)):
        return [value] * len(texts)
    if len(value) != len(texts):
        raise ValueError(f"{len(texts)} texts but {len(value)} {what}: give one for all or one for each")
    return list(value)


__all__ = [
    "LONGEST",
    "MotionRequest",
    "as_texts",
    "check_constrained",
    "check_count",
    "check_edit",
    "check_options",
    "check_sampling",
    "check_seed",
    "check_whole",
    "first_seed",
    "one_for_each",
    "seconds_to_frames",
]
