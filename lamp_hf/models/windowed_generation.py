"""Motions of any length from a model of ten seconds: tokens window by window, decoded as they come."""

from collections.abc import Iterator

import torch

from .modeling_lamp_text_to_motion import LampForTextToMotion
from .modeling_motion_vqvae import MotionVQVAEModel
from .motion_representation import features_to_joints, rotate_y
from .skeleton import Skeleton


OVERLAP = 8  # tokens of what was made before that a window starts with
ANEW = 4  # the same where another text starts; with more it rather goes on as before than hears the text


def generate_windows(
    model: LampForTextToMotion,
    conditions: list[torch.Tensor],
    lengths: list[int],
    streams: Iterator[torch.Generator],
    before: torch.LongTensor | None = None,
    after: torch.LongTensor | None = None,
    **sampling,
) -> Iterator[torch.LongTensor]:
    """Tokens of one text after another, each going on from the last tokens of what was made before.

    Args:
        conditions (`list[torch.FloatTensor]` of shape `(1, num_prefix, lamp_hidden_size)`): one a text.
        lengths (`list[int]`): tokens for each text.
        streams (`Iterator[torch.Generator]`): the random stream of each window.
        before, after (`torch.LongTensor` of shape `(1, n, num_quantizers)`, *optional*): tokens that the first window
            goes on from and that the last one leads to.

    Yields:
        New tokens, `(1, n, num_quantizers)`.
    """
    none = torch.zeros(1, 0, model.config.motion_config.num_quantizers, dtype=torch.long, device=model.device)
    made, after = (none if part is None else part for part in (before, after))
    left, overlap = sum(lengths), OVERLAP
    for condition, length in zip(conditions, lengths, strict=True):
        while length:
            known = made[:, -min(overlap, model.max_num_tokens // 3) :]
            room = model.max_num_tokens - known.shape[1] - after.shape[1]
            new = -(-length // -(-length // room))  # windows of like length, none much shorter than the others
            length, left = length - new, left - new
            codes = torch.cat([known, known.new_full((1, new, known.shape[-1]), -1), none if left else after], 1)
            mask = torch.ones(codes.shape[:2], dtype=torch.bool, device=codes.device)
            codes = model.generate_codes(condition, mask, [next(streams)], codes, **sampling)
            made, overlap = codes[:, : known.shape[1] + new], OVERLAP
            yield made[:, -new:]
        overlap = ANEW


def window_stream(seed: int, window: int) -> torch.Generator:
    """A random stream of its own for each window; window 0 has the seed's."""
    return torch.Generator().manual_seed((seed + window * 0x9E3779B97F4A7C15) % 2**63)


@torch.no_grad()
def decode_stream(vqvae: MotionVQVAEModel, chunks: Iterator[torch.LongTensor]) -> Iterator[torch.Tensor]:
    """Normalised features `(n, feature_size)` of tokens as they come, equal to those of decoding all at once.

    A frame is decoded when all tokens that it depends on are there; no more than that is kept.
    """
    reach, factor = vqvae.config.decoder_reach, vqvae.config.downsampling_factor
    codes, done = None, 0  # tokens at hand, and how many of them are decoded already
    for chunk in chunks:
        codes = chunk if codes is None else torch.cat([codes, chunk], 1)
        if (ready := codes.shape[1] - reach) > done:
            yield vqvae.decode(codes)[0, done * factor : ready * factor]
            kept = max(ready - reach, 0)
            codes, done = codes[:, kept:], ready - kept
    if codes is not None:
        yield vqvae.decode(codes)[0, done * factor :]


class JointsStream:
    """Joints of features that come in parts: each part goes on where the one before it ended."""

    def __init__(self, skeleton: Skeleton):
        self.skeleton = skeleton
        self.last: torch.Tensor | None = None  # features of the last frame
        self.heading, self.place = 0.0, torch.zeros(3)  # of the last frame, in the first one's facing

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """`(n, feature_size)` features to `(n, num_joints, 3)` joints in the skeleton's units."""
        count = len(features)
        if self.last is not None:
            features = torch.cat([self.last[None], features])
        joints = features_to_joints(features, self.skeleton)
        joints = rotate_y(joints, torch.tensor(self.heading)) + self.place
        self.last = features[-1]
        self.heading -= 2 * float(features[:-1, self.skeleton.slices["root_yaw"]].double().sum())
        self.place = joints[-1, 0] * torch.tensor([1.0, 0.0, 1.0])
        return joints[-count:]


__all__ = ["OVERLAP", "JointsStream", "decode_stream", "generate_windows", "window_stream"]
