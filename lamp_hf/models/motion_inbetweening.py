"""Motion made between, before or behind frames that stay as they are."""

import itertools
import math

import numpy as np
import torch
from torch import nn

from .feature_extraction_motion import MotionFeatureExtractor
from .modeling_lamp_text_to_motion import LampForTextToMotion
from .motion_representation import bone_directions, features_to_joints, joints_to_features, rotate_y, set_bone_lengths
from .skeleton import Skeleton
from .windowed_generation import generate_windows


CONTEXT = 6  # tokens on each side that the model sees; with more it goes on as before and does not hear the text
ANOTHER = 0.1  # share of the longest bone by which bones of one body may differ
BLEND = 4  # made frames at a seam that lead over to the frames that stay


def gaps_of(kept: list[tuple[float, float]] | np.ndarray, num_frames: int, fps: float) -> list[tuple[int, int]]:
    """Frames `[first, last)` of each gap between ranges of seconds that are kept, or where a mask `(num_frames,)` is
    false.

    Raises:
        ValueError: on ranges that are empty, overlap, lie outside of the motion, or leave nothing to make or to keep,
            or a mask of another length.
    """
    end, gaps = 0, []
    if getattr(kept, "dtype", None) in (np.dtype(bool), torch.bool):
        if len(kept) != num_frames:
            raise ValueError(f"a mask of {len(kept)} frames for a motion of {num_frames}")
        edges = np.flatnonzero(np.diff(np.pad(np.asarray(kept).astype(int), 1)))
        kept = [(first / fps, last / fps) for first, last in edges.reshape(-1, 2).tolist()]
    if not all(isinstance(span, (list, tuple)) and len(span) == 2 and all(map(_is_finite, span)) for span in kept):
        raise ValueError(f"keep takes ranges of seconds, e.g. [(0, 1.5)], not {kept!r}")
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


@torch.no_grad()
def fill_gap(
    model: LampForTextToMotion,
    extractor: MotionFeatureExtractor,
    skeleton: Skeleton,
    condition: torch.Tensor,
    before: torch.Tensor | None,
    after: torch.Tensor | None,
    num_frames: int,
    anchored: bool,
    generator: torch.Generator,
    **sampling,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Makes the frames between two pieces of motion, one of which may be missing.

    Args:
        condition (`torch.FloatTensor` of shape `(1, num_prefix, lamp_hidden_size)`): what the frames show.
        before, after (`torch.FloatTensor` of shape `(any, num_joints, 3)`, *optional*): joints of any body of the
            skeleton, in its units.
        num_frames (`int`): to make, window by window where they are more than the model reads at once.
        anchored (`bool`): whether `after` stays where it is, so that the made path must lead there; else it is moved
            to where the path ends.

    Returns:
        Joints of the gap, `(num_frames, num_joints, 3)`, of the body that `before` or `after` has, and `after` where
        it lies then.
    """
    factor = model.config.motion_config.downsampling_factor
    gap_tokens = -(-num_frames // factor)
    context = min(CONTEXT, model.max_num_tokens // 3) * factor + 1
    left = None if before is None else _features(before[-context:], skeleton)
    right = None if after is None else _features(after[:context], skeleton)
    left_codes, right_codes = (_encode(model, extractor, side, keep_end) for side, keep_end in ((left, 1), (right, 0)))
    streams = itertools.repeat(generator)
    made = generate_windows(model, [condition], [gap_tokens], streams, left_codes, right_codes, **sampling)
    codes = torch.cat([left_codes, *made, right_codes], 1)
    decoded = extractor.denormalise(model.vqvae.decode(codes)[0].float().cpu())
    first, last = left_codes.shape[1] * factor, (left_codes.shape[1] + gap_tokens) * factor
    gap = _blended(decoded, first, last, left, right, skeleton)
    gap = _fitted(gap, num_frames, left, right, factor, skeleton)
    return _placed(gap, before, after, left, right, anchored, skeleton)


def _features(joints: torch.Tensor, skeleton: Skeleton) -> torch.Tensor:
    """Features of every frame.

    A frame needs the next one, and the very first turns from its own facing to the smoothed one, which is no motion:
    so the first and the last are thought to move on as their neighbours do.
    """
    first, last = (2 * joints[:1] - joints[1:2], 2 * joints[-1:] - joints[-2:-1]) if len(joints) > 1 else [joints] * 2
    return joints_to_features(torch.cat([first, joints, last]), skeleton)[1:]


def _encode(model, extractor, features: torch.Tensor | None, keep_end: int) -> torch.Tensor:
    """Codes `(1, n, num_quantizers)` of the whole tokens in features, counted from their end or from their start."""
    motion = model.config.motion_config
    if features is None:
        return torch.zeros(1, 0, motion.num_quantizers, dtype=torch.long, device=model.device)
    rest = len(features) % motion.downsampling_factor
    features = features[rest:] if keep_end else features[: len(features) - rest]
    if not len(features):
        return torch.zeros(1, 0, motion.num_quantizers, dtype=torch.long, device=model.device)
    codes, _ = model.vqvae.encode(extractor.normalise(features)[None].to(model.device, model.vqvae.dtype))
    return codes.reshape(1, -1, motion.num_quantizers)


def _blended(decoded: torch.Tensor, first: int, last: int, left, right, skeleton: Skeleton) -> torch.Tensor:
    """The gap's frames, led over to what the frames on both sides really are, not what their codes say."""
    gap = decoded[first:last].clone()
    moving = torch.ones(gap.shape[-1])
    moving[skeleton.slices["contacts"]] = 0
    count = min(BLEND, len(gap))
    weights = torch.arange(1, count + 1)[:, None] / (count + 1)
    if left is not None:  # a side of fewer frames than a token has has no code
        gap[:count] += weights.flip(0) * moving * (left[-1] - decoded[max(first - 1, 0)])
    if right is not None:
        gap[-count:] += weights * moving * (right[0] - decoded[min(last, len(decoded) - 1)])
    return gap


def _fitted(gap: torch.Tensor, num_frames: int, left, right, factor: int, skeleton: Skeleton) -> torch.Tensor:
    """Whole tokens fitted to the frames asked for: cut at an open end, else played faster.

    A gap of five frames plays eight, longer ones hardly differ; one below a token goes straight from side to side.
    """
    if len(gap) == num_frames:
        return gap
    if right is None:
        return gap[:num_frames]
    if left is None:
        return gap[-num_frames:]
    if num_frames < factor:
        share = torch.arange(1, num_frames + 1)[:, None] / (num_frames + 1)
        return (1 - share) * left[-1] + share * right[0]
    speed = len(gap) / num_frames
    gap = nn.functional.interpolate(gap.T[None], size=num_frames, mode="linear", align_corners=True)[0].T
    for name in ("root_yaw", "root_velocity", "velocities"):
        gap[:, skeleton.slices[name]] *= speed
    return gap


def _placed(gap, before, after, left, right, anchored: bool, skeleton: Skeleton):
    """Joints of the gap on the body and at the place of its neighbours."""
    count = len(gap)
    rows = (None if left is None else left[-1:], gap, None if right is None else right[:1])
    joints = features_to_joints(torch.cat([part for part in rows if part is not None]), skeleton)
    neighbour = before[-1] if before is not None else after[0]
    directions, lengths = bone_directions(neighbour, skeleton)
    if after is not None and (bone_directions(after[0], skeleton)[1] - lengths).abs().max() > ANOTHER * lengths.max():
        raise ValueError("bodies before and after the gap have different sizes: retarget one to the other first")
    legs = list(skeleton.legs)
    scale = lengths[legs].sum() / sum(skeleton.bone_lengths[leg] for leg in legs)
    joints = set_bone_lengths(joints, joints[:, :1] * scale, skeleton, lengths)

    meeting = 0 if before is not None else -1  # the row that is a neighbour's frame
    turn = _turn(bone_directions(joints[meeting], skeleton)[0], directions)
    joints = rotate_y(joints, turn)
    joints = joints + neighbour[0] - joints[meeting, 0]
    made = joints[1 : count + 1] if before is not None else joints[:count]
    if before is None or after is None:
        return made, after
    turn = _turn(bone_directions(after[0], skeleton)[0], bone_directions(joints[-1], skeleton)[0])
    share = torch.arange(1, count + 1) / (count + 1)
    share = share * share * (3 - 2 * share)
    if not anchored:  # it keeps its height, which the made path leads to
        level = torch.tensor([1.0, 0.0, 1.0])
        moved = rotate_y(after - after[0, 0] * level, turn) + joints[-1, 0] * level
        return made + share[:, None, None] * (moved[0, 0] - joints[-1, 0]), moved
    root = made[:, :1]
    made = root + rotate_y(made - root, (-turn * share)[:, None])
    return made + share[:, None, None] * (after[0, 0] - joints[-1, 0]), after


def _turn(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Angle about Y that brings bone directions `(num_joints, 3)` closest to others."""
    sin = (source[:, 2] * target[:, 0] - source[:, 0] * target[:, 2]).sum()
    cos = (source[:, 0] * target[:, 0] + source[:, 2] * target[:, 2]).sum()
    return torch.atan2(sin, cos) if math.hypot(sin, cos) > 1e-6 else torch.zeros(())


__all__ = ["BLEND", "CONTEXT", "fill_gap", "gaps_of"]
