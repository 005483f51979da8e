"""Tokens of motions of any length from a model that makes ten seconds: window by window."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from .modeling_lamp_text_to_motion import LampForTextToMotion


OVERLAP = 8  # tokens of the motion so far that a window starts with
NEW_TEXT_OVERLAP = 4  # the same where another text starts: after more of them the motion ignores the new text


class MotionStream(Iterator[np.ndarray]):
    """Joints of a motion `(n, num_joints, 3)`, in metres, as they are ready.

    Attributes:
        familiarity (`float`, *optional*): how near the text is to what the model was trained on, from 0 to 1.
        nearest (`list[str]`): sentences that the model was trained on and that are nearest.
    """

    def __init__(self, joints: Iterator[np.ndarray], familiarity: float | None, nearest: list[str]):
        self._joints, self.familiarity, self.nearest = joints, familiarity, nearest

    def __next__(self) -> np.ndarray:
        return next(self._joints)


def generate_windows(
    model: LampForTextToMotion,
    conditions: list[torch.Tensor],
    lengths: list[int],
    generators: Iterator[torch.Generator],
    before: torch.LongTensor | None = None,
    after: torch.LongTensor | None = None,
    **sampling,
) -> Iterator[torch.LongTensor]:
    """Generate the tokens of one text after another, each window continuing the last tokens of the one before it.

    Args:
        model ([`LampForTextToMotion`]): the generator.
        conditions (`list[torch.FloatTensor]` of shape `(1, num_vectors, condition_size)`): one for each text.
        lengths (`list[int]`): tokens for each text.
        generators (`Iterator[torch.Generator]`): source of randomness of each window.
        before, after (`torch.LongTensor` of shape `(1, n, num_quantizers)`, *optional*): given tokens that the first
            window continues and that the last one leads to.
        sampling: see [`LampForTextToMotion.generate_codes`].

    Yields:
        New tokens, `(1, n, num_quantizers)`.
    """
    none = torch.zeros(1, 0, model.config.motion_config.num_quantizers, dtype=torch.long, device=model.device)
    generated, after = (none if given is None else given for given in (before, after))
    remaining, overlap = sum(lengths), OVERLAP
    for condition, length in zip(conditions, lengths, strict=True):
        while length:
            known = generated[:, -min(overlap, model.max_num_tokens // 3) :]
            room = model.max_num_tokens - known.shape[1] - after.shape[1]
            new = -(-length // -(-length // room))  # windows of similar length, none much shorter than the others
            length, remaining = length - new, remaining - new
            unknown = known.new_full((1, new, known.shape[-1]), -1)
            codes = torch.cat([known, unknown, none if remaining else after], 1)
            mask = torch.ones(codes.shape[:2], dtype=torch.bool, device=codes.device)
            codes = model.generate_codes(condition, mask, [next(generators)], codes, **sampling)
            generated, overlap = codes[:, : known.shape[1] + new], OVERLAP
            yield generated[:, -new:]
        overlap = NEW_TEXT_OVERLAP


def cut_at_tokens(num_frames: Sequence[int], frames_per_token: int) -> list[int]:
    """Return frames of texts that are shown one after another, each but the last of which ends with a token.

    It ends less than a token early, whatever came before it; the last one ends at its frame.

    Args:
        num_frames (`Sequence[int]`): frames that are asked for, at least a token for each text.
        frames_per_token (`int`): frames that a motion token stands for.
    """
    ends = list(itertools.accumulate(num_frames))
    ends[:-1] = [end - end % frames_per_token for end in ends[:-1]]
    return np.diff(ends, prepend=0).tolist()


def window_generator(seed: int, window: int) -> torch.Generator:
    """Return the source of randomness of one window; that of window 0 is seeded with `seed` itself."""
    return torch.Generator().manual_seed((seed + window * 0x9E3779B97F4A7C15) % 2**63)


__all__ = ["NEW_TEXT_OVERLAP", "OVERLAP", "MotionStream", "cut_at_tokens", "generate_windows", "window_generator"]
