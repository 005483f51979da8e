"""Motion generated before, after or between frames that stay as they are."""

import itertools
import math

import numpy as np
import torch
from torch import nn

from .modeling_lamp_text_to_motion import LampForTextToMotion
from .motion_decoding import MotionDecoder
from .motion_representation import bone_directions, features_to_joints, joints_to_features, rotate_y, set_bone_lengths
from .skeleton import Skeleton
from .windowed_generation import generate_windows


CONTEXT = 6  # tokens on each side that the model sees; with more of them the motion ignores the text
BONE_TOLERANCE = 0.1  # share of the longest bone by which bones of the same body may differ
BLEND = 10  # generated frames at a transition that lead over from the kept ones


def gaps_between(kept: list[tuple[float, float]] | np.ndarray, num_frames: int, fps: float) -> list[tuple[int, int]]:
    """Find the gaps between the ranges of a motion that are kept.

    Args:
        kept (`list[tuple[float, float]]` or `np.ndarray` of shape `(num_frames,)`): ranges of seconds, or a boolean
            mask of frames.
        num_frames (`int`): frames of the motion.
        fps (`float`): frames per second.

    Returns:
        Frames `[first, last)` of each gap, in order.

    Raises:
        ValueError: when ranges are empty, overlap, lie outside of the motion, or leave nothing to generate or to keep,
            or when a mask has another length.
    """
    if getattr(kept, "dtype", None) in (np.dtype(bool), torch.bool):
        if len(kept) != num_frames:
            raise ValueError(f"a mask of {len(kept)} frames for a motion of {num_frames}")
        edges = np.flatnonzero(np.diff(np.pad(np.asarray(kept).astype(int), 1)))
        kept = [(first / fps, last / fps) for first, last in edges.reshape(-1, 2).tolist()]
    if not all(isinstance(span, (list, tuple)) and len(span) == 2 and all(map(_is_finite, span)) for span in kept):
        raise ValueError(f"keep takes ranges of seconds, e.g. [(0, 1.5)], not {kept!r}")
    end, gaps = 0, []
    for start, stop in sorted(kept):
        first, last = round(start * fps), round(stop * fps)
        if not 0 <= first < last <= num_frames:
            raise ValueError(
                f"cannot keep {start:g} to {stop:g} seconds of a motion of {num_frames / fps:g}: a range starts "
                "before it ends and lies inside"
            )
        if first < end:
            raise ValueError(f"ranges to keep overlap at {start:g} seconds: give each second once")
        if first > end:
            gaps.append((end, first))
        end = last
    if end < num_frames:
        gaps.append((end, num_frames))
    if not gaps:
        raise ValueError("everything is to be kept: leave a range out of keep for the text to fill")
    if gaps == [(0, num_frames)]:
        raise ValueError("nothing is to be kept: without keep, give the text alone")
    return gaps


def _is_finite(value) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


class MotionInbetweener:
    """Generates frames that continue, lead to or connect given ones.

    All joints are in the skeleton's units, of any body; generated frames have the body of the given ones.

    Args:
        model ([`LampForTextToMotion`]): the generator.
        decoder ([`MotionDecoder`]): turns its tokens into joints.
        condition (`torch.FloatTensor` of shape `(1, num_vectors, condition_size)`): the encoded text.
        generator (`torch.Generator`): source of randomness.
        sampling (`dict`): see [`LampForTextToMotion.generate_codes`].
    """

    def __init__(
        self,
        model: LampForTextToMotion,
        decoder: MotionDecoder,
        condition: torch.Tensor,
        generator: torch.Generator,
        sampling: dict,
    ):
        self.model, self.decoder, self.condition = model, decoder, condition
        self.generator, self.sampling = generator, sampling
        self.skeleton, self.motion_config = decoder.skeleton, model.config.motion_config

    def extend(self, prefix: torch.Tensor | None, suffix: torch.Tensor | None, num_frames: int) -> torch.Tensor:
        """Generate frames after a prefix, before a suffix, or between both.

        Args:
            prefix, suffix (`torch.FloatTensor` of shape `(any, num_joints, 3)`, *optional*): given joints. The suffix
                is moved to where the generated path ends.
            num_frames (`int`): frames to generate.

        Returns:
            Joints of the whole motion, `(len(prefix) + num_frames + len(suffix), num_joints, 3)`.
        """
        generated, suffix = self.fill(prefix, suffix, num_frames, anchored=False)
        return torch.cat([part for part in (prefix, generated, suffix) if part is not None])

    def fill_gaps(self, joints: torch.Tensor, gaps: list[tuple[int, int]]) -> torch.Tensor:
        """Generate the frames of gaps anew; all others stay as and where they are.

        Args:
            joints (`torch.FloatTensor` of shape `(num_frames, num_joints, 3)`): the motion.
            gaps (`list[tuple[int, int]]`): frames `[first, last)` of each, see [`gaps_between`].
        """
        joints = joints.clone()
        ends = [first for first, _ in gaps[1:]] + [len(joints)]
        for (first, last), end in zip(gaps, ends):
            before, after = (part if len(part) else None for part in (joints[:first], joints[last:end]))
            joints[first:last], _ = self.fill(before, after, last - first, anchored=True)
        return joints

    @torch.no_grad()
    def fill(
        self, before: torch.Tensor | None, after: torch.Tensor | None, num_frames: int, anchored: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Generate the frames between two pieces of motion, one of which may be missing.

        Args:
            before, after (`torch.FloatTensor` of shape `(any, num_joints, 3)`, *optional*): joints on both sides.
            num_frames (`int`): frames to generate, window by window where the model cannot make them in one.
            anchored (`bool`): leave `after` where it is, so that the generated path leads there; otherwise `after` is
                moved to where the path ends.

        Returns:
            Joints of the gap, `(num_frames, num_joints, 3)`, and `after` at its final place.

        Raises:
            ValueError: when the bodies of both sides differ.
        """
        factor = self.motion_config.downsampling_factor
        gap_tokens = -(-num_frames // factor)
        context = min(CONTEXT, self.model.max_num_tokens // 3) * factor + 1
        left = None if before is None else features_of_all_frames(before[-context:], self.skeleton)
        right = None if after is None else features_of_all_frames(after[:context], self.skeleton)
        left_codes, right_codes = self._encode(left, from_end=True), self._encode(right, from_end=False)
        generators = itertools.repeat(self.generator)
        windows = generate_windows(
            self.model, [self.condition], [gap_tokens], generators, left_codes, right_codes, **self.sampling
        )
        decoded = self.decoder.decode(torch.cat([left_codes, *windows, right_codes], 1))
        first, last = left_codes.shape[1] * factor, (left_codes.shape[1] + gap_tokens) * factor
        gap = _with_neighbours(decoded, first, last)
        gap = _fit_length(gap, num_frames, left, right, factor, self.skeleton)
        gap = _blend(gap, left, right, self.skeleton)
        joints = _to_joints(gap, before, after, left, right, self.skeleton)
        if before is None or after is None:
            return joints[:num_frames] if before is None else joints[1:], after
        return _connect(joints[1:-1], joints[-1], after, anchored, self.skeleton)

    def _encode(self, features: torch.Tensor | None, from_end: bool) -> torch.Tensor:
        """Encode features to the codes `(1, n, num_quantizers)` of their whole tokens, counted from either end."""
        none = torch.zeros(1, 0, self.motion_config.num_quantizers, dtype=torch.long, device=self.model.device)
        if features is None:
            return none
        rest = len(features) % self.motion_config.downsampling_factor
        features = features[rest:] if from_end else features[: len(features) - rest]
        if not len(features):
            return none
        values = self.decoder.feature_extractor.normalise(features)[None]
        codes, _ = self.model.vqvae.encode(values.to(self.model.device, self.model.vqvae.dtype))
        return codes.reshape(1, -1, none.shape[-1])


def features_of_all_frames(joints: torch.Tensor, skeleton: Skeleton) -> torch.Tensor:
    """Compute the features `(num_frames, num_features)` of joints `(num_frames, num_joints, 3)`.

    A frame needs the next one, and the very first one turns from its own facing to the smoothed facing, which is no
    motion. So the clip is extended by a frame at both ends, which moves as its neighbours do.
    """
    first, last = (2 * joints[:1] - joints[1:2], 2 * joints[-1:] - joints[-2:-1]) if len(joints) > 1 else [joints] * 2
    return joints_to_features(torch.cat([first, joints, last]), skeleton)[1:]


def _with_neighbours(decoded: torch.Tensor, first: int, last: int) -> torch.Tensor:
    """Return the decoded frames `[first, last)` and one on each side; beyond all, motion goes on evenly."""
    start, end = 2 * decoded[:1] - decoded[1:2], 2 * decoded[-1:] - decoded[-2:-1]
    return torch.cat([start, decoded, end])[first : last + 2]


def _fit_length(gap: torch.Tensor, num_frames: int, left, right, factor: int, skeleton: Skeleton) -> torch.Tensor:
    """Fit whole tokens to the frames asked for: cut at an open end, or played faster between two sides.

    A gap of five frames plays eight; longer ones hardly differ. One shorter than a token is interpolated from side to
    side. The gap comes and goes with a neighbour on each side, see [`_with_neighbours`].
    """
    wanted = num_frames + 2
    if len(gap) == wanted:
        return gap
    if right is None:
        return gap[:wanted]
    if left is None:
        return gap[-wanted:]
    if num_frames < factor:
        share = torch.linspace(0, 1, wanted, dtype=gap.dtype)[:, None]
        return (1 - share) * left[-1] + share * right[0]
    speed = (len(gap) - 1) / (wanted - 1)
    gap = nn.functional.interpolate(gap.T[None], size=wanted, mode="linear", align_corners=True)[0].T
    for name in ("root_yaw", "root_velocity", "velocities"):
        gap[:, skeleton.slices[name]] *= speed
    return gap


def _blend(gap: torch.Tensor, left, right, skeleton: Skeleton) -> torch.Tensor:
    """Return the gap's frames without its neighbours, led over from what the frames on both sides really are.

    At a transition the body goes on from the kept pose at the kept speed. Its difference from the decoded motion fades
    along a cubic within `BLEND` frames, with no jump of the speed at either end.
    """
    decoded, gap = gap, gap[1:-1].clone()
    count = min(BLEND, len(gap))
    if left is not None:
        gap[:count] += _fading(left.flip(0), decoded[:2], count, skeleton)
    if right is not None:
        gap[-count:] += _fading(right, decoded[-2:].flip(0), count, skeleton).flip(0)
    return gap


def _fading(kept: torch.Tensor, decoded: torch.Tensor, count: int, skeleton: Skeleton) -> torch.Tensor:
    """Return what to add to the `count` frames of a gap next to kept frames, nearest first.

    Args:
        kept (`torch.FloatTensor` of shape `(any, num_features)`): the kept frames, nearest first.
        decoded (`torch.FloatTensor` of shape `(2, num_features)`): the nearest kept frame as decoded, and the gap's
            frame next to it.
        count (`int`): frames.
        skeleton ([`Skeleton`]): names the features.
    """
    pose = torch.zeros_like(kept[0])  # features that say where the body is; the others say how fast it moves
    for name in ("root_height", "positions", "rotations"):
        pose[skeleton.slices[name]] = 1
    fading = torch.ones_like(pose)
    fading[skeleton.slices["contacts"]] = 0
    time = _shares(count, decoded)
    speed = kept[0] - kept[min(1, len(kept) - 1)] - (decoded[1] - decoded[0])
    value, slope = (1 - time) ** 2 * (1 + 2 * time), (1 - time) ** 2 * time * (count + 1)
    return fading * value * (kept[0] - decoded[0]) + pose * slope * speed


def _to_joints(gap: torch.Tensor, before, after, left, right, skeleton: Skeleton) -> torch.Tensor:
    """Turn the gap's features into joints on the body and at the place of its neighbour.

    Returns:
        Joints of the gap with a neighbour's frame on each side that has one.
    """
    rows = (None if left is None else left[-1:], gap, None if right is None else right[:1])
    joints = features_to_joints(torch.cat([part for part in rows if part is not None]), skeleton)
    neighbour = before[-1] if before is not None else after[0]
    directions, lengths = bone_directions(neighbour, skeleton)
    if after is not None:
        difference = (bone_directions(after[0], skeleton)[1] - lengths).abs().max()
        if difference > BONE_TOLERANCE * lengths.max():
            raise ValueError("bodies before and after the gap have different sizes: retarget one to the other first")
    legs = list(skeleton.legs)
    scale = lengths[legs].sum() / sum(skeleton.bone_lengths[leg] for leg in legs)
    joints = set_bone_lengths(joints, joints[:, :1] * scale, skeleton, lengths)
    meeting = 0 if before is not None else -1  # the row that is the neighbour's frame
    joints = rotate_y(joints, _turn(bone_directions(joints[meeting], skeleton)[0], directions))
    return joints + neighbour[0] - joints[meeting, 0]


def _connect(gap: torch.Tensor, end: torch.Tensor, after: torch.Tensor, anchored: bool, skeleton: Skeleton):
    """Lead the gap's joints to the frames after it, or move these to where the gap leads.

    Args:
        gap (`torch.FloatTensor` of shape `(num_frames, num_joints, 3)`): its joints, placed after the frames before.
        end (`torch.FloatTensor` of shape `(num_joints, 3)`): first frame of `after`, where the gap's path has it.
        after (`torch.FloatTensor` of shape `(any, num_joints, 3)`): joints after the gap.
        anchored (`bool`): see [`MotionInbetweener.fill`].

    Returns:
        Joints of the gap, and `after` at its final place.
    """
    turn = _turn(bone_directions(after[0], skeleton)[0], bone_directions(end, skeleton)[0])
    share = _shares(len(gap), gap)[:, 0]
    share = share * share * (3 - 2 * share)
    if not anchored:  # it keeps its height, which the gap's path is led to
        level = gap.new_tensor([1.0, 0.0, 1.0])
        moved = rotate_y(after - after[0, 0] * level, turn) + end[0] * level
        return gap + share[:, None, None] * (moved[0, 0] - end[0]), moved
    root = gap[:, :1]
    gap = root + rotate_y(gap - root, (-turn * share)[:, None])
    return gap + share[:, None, None] * (after[0, 0] - end[0]), after


def _shares(count: int, like: torch.Tensor) -> torch.Tensor:
    """Return `count` even steps between 0 and 1, both excluded, `(count, 1)`."""
    return torch.arange(1, count + 1, dtype=like.dtype)[:, None] / (count + 1)


def _turn(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Find the angle about Y that brings bone directions `(num_joints, 3)` closest to others."""
    sin = (source[:, 2] * target[:, 0] - source[:, 0] * target[:, 2]).sum()
    cos = (source[:, 0] * target[:, 0] + source[:, 2] * target[:, 2]).sum()
    return torch.atan2(sin, cos) if math.hypot(sin, cos) > 1e-6 else torch.zeros_like(sin)


__all__ = ["BLEND", "CONTEXT", "MotionInbetweener", "features_of_all_frames", "gaps_between"]
