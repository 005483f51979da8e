"""Fits a generated motion to constraints: first its path, then its poses, then its feet."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import nn

from .constraints import Constraint, check_constraints, nearest_frame, path_length
from .foot_placement import place_feet, standing_feet
from .key_poses import apply_key_poses
from .motion_representation import bone_directions, headings, joints_to_features, rotate_y, set_bone_lengths
from .path_following import RootTargets, follow
from .skeleton import Skeleton
from .smooth_curves import interpolation, smoothed


_FOLLOWED = 20.0  # weight of a path without times: the body sways about it as people do
_EXACT = 1e7
_WITHIN_REACH = 0.3  # metres over the floor by which a joint reaches out before the body moves
_AROUND, _LOW = 2, 0.07  # frames about a key pose, and metres above the floor within which its feet stand
_ROUNDS = 3  # of moving the body to where joints reach their points


class ConstraintFit:
    """Constraints of one motion as targets of its joints, frame by frame.

    Args:
        constraints (`Iterable[Constraint]`): all of the motion.
        num_frames (`list[int]`): frames of each text.
        fps (`float`): frames per second.
        skeleton ([`Skeleton`]): the joint tree.

    Raises:
        ValueError: when a duration is missing, or constraints cannot be met, see [`check_constraints`].
    """

    def __init__(
        self, constraints: Iterable[Constraint], num_frames: list[int | None], fps: float, skeleton: Skeleton
    ):
        if None in num_frames:
            raise ValueError("constraints need a duration: duration=6.0, for instance")
        constraints = check_constraints(constraints, sum(num_frames) / fps, fps, skeleton)
        self.constraints, self.num_frames, self.fps, self.skeleton = constraints, sum(num_frames), fps, skeleton
        self.path = next((one for one in constraints if one.kind == "path"), None)
        self.poses = [one for one in constraints if one.kind == "pose"]
        self.points = [one for one in constraints if one.kind == "point"]

    def __call__(self, joints: np.ndarray) -> dict:
        """Fit a motion.

        Args:
            joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres.

        Returns:
            A dictionary of `joints`, `features` and `constraint_error`, the metres by which each constraint is missed:
            of a path the mean distance of the root from its points at their times, or from the curve; of a pose the
            mean over its joints, which if it is not placed is that of the body from the pose at the same root.
        """
        original = torch.as_tensor(joints, dtype=torch.float64)
        lengths = bone_directions(original, self.skeleton)[1].mean(0)
        curve = self._curve(original)
        moved, played = self._move(original, curve)
        moved = set_bone_lengths(moved, moved[:, :1], self.skeleton, lengths)
        stands = standing_feet(original, self.skeleton, self.fps)[played.round().long()]
        heights = moved[:, self.skeleton.toes, 1]
        frames, targets, held = self._key_poses(moved, stands, lengths)
        result = apply_key_poses(moved, frames, targets, self.skeleton, self.fps)
        result = place_feet(result, heights, stands, held, self.skeleton, self.fps)
        error = self._errors(result, curve, frames, targets)
        units = result.float() / self.skeleton.metres
        features = joints_to_features(torch.cat([units, 2 * units[-1:] - units[-2:-1]]), self.skeleton)
        return {"joints": result.float().numpy(), "features": features.numpy(), "constraint_error": error}

    # The root.

    def _curve(self, joints: torch.Tensor) -> torch.Tensor | None:
        """Return where a path without times has the root, at each of its frames, `(n, 2)`."""
        if self.path is None or self.path.times is not None:
            return None
        points = torch.tensor(self.path.positions, dtype=torch.float64)
        line = smooth_line(points)
        gone = nn.functional.pad(line.diff(dim=0).norm(dim=-1).cumsum(0), (1, 0))
        if self.path.speed:
            wanted = torch.arange(self.num_frames, dtype=torch.float64) * self.path.speed / self.fps
            wanted = wanted[wanted < gone[-1] + self.path.speed / self.fps].clamp(max=float(gone[-1]))
        else:
            steps = smoothed(joints[:, 0, [0, 2]], 0.25 * self.fps).diff(dim=0).norm(dim=-1)
            wanted = nn.functional.pad((steps + 0.1 / self.fps).cumsum(0), (1, 0))
            wanted = wanted * gone[-1] / wanted[-1].clamp(min=1e-9)
        rows = [np.interp(wanted, gone, line[:, axis]) for axis in (0, 1)]
        return torch.from_numpy(np.stack(rows, 1))

    def _move(self, joints: torch.Tensor, curve: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Lead the root where constraints want it, and close enough to the points of other joints."""
        stops: dict[int, torch.Tensor] = {}
        for _ in range(_ROUNDS if self.points else 1):
            targets = self._root_targets(curve, stops)
            moved, played = follow(joints, targets, self.skeleton, self.fps)
            if self.path is not None:
                break
            for one in self.points:
                frame = self._frame(one)
                missing = self._xz(one.positions[0][::2]) - moved[frame, self._joint(one), [0, 2]]
                far = missing.norm()
                if far > _WITHIN_REACH or frame in stops:
                    stops[frame] = moved[frame, 0, [0, 2]] + missing * (1 - _WITHIN_REACH / far).clamp(min=0)
        return moved, played

    def _root_targets(self, curve: torch.Tensor | None, stops: dict[int, torch.Tensor]) -> RootTargets:
        frames: list[float] = []
        points, weights, turned, facings = [], [], [], []
        if self.path is not None:
            times = range(len(curve)) if curve is not None else [self._at(time) for time in self.path.times]
            frames, points = list(times), list(curve if curve is not None else self._xz(self.path.positions))
            weights = [_FOLLOWED if curve is not None else _EXACT] * len(frames)
            if self.path.facing is not None:
                turned = frames
                facings = np.radians(self._each_frame(self.path.facing, len(frames))).tolist()
        for one in self.poses:
            if one.place and self.path is None:
                stops = stops | {self._frame(one): self._xz(one.positions[0][::2])}
            if one.place and (self.path is None or self.path.facing is None):
                turned = [*turned, self._frame(one)]
                facings.append(float(headings(torch.tensor(one.positions, dtype=torch.float64), self.skeleton)))
        if stops and self.path is None and 0 not in stops:
            stops = stops | {0: torch.zeros(2, dtype=torch.float64)}
            turned, facings = [*turned, 0], [*facings, 0.0]
        for frame, place in stops.items():
            frames, points, weights = [*frames, frame], [*points, place], [*weights, _EXACT]
        order = np.argsort(turned, kind="stable").tolist()
        return RootTargets(
            torch.tensor(frames, dtype=torch.float64),
            torch.stack(points) if points else torch.zeros(0, 2, dtype=torch.float64),
            torch.tensor(weights, dtype=torch.float64),
            torch.tensor([turned[i] for i in order], dtype=torch.float64),
            torch.tensor([facings[i] for i in order], dtype=torch.float64),
        )

    def _each_frame(self, facing: Sequence[float], count: int) -> np.ndarray:
        """Return the facing at each of the path's frames."""
        if len(facing) in (1, count):
            return np.resize(facing, count)
        points = np.array(self.path.positions)
        gone = np.r_[0, np.linalg.norm(np.diff(points, axis=0), axis=-1).cumsum()]
        unwrapped = np.degrees(np.unwrap(np.radians(facing)))
        return np.interp(np.linspace(0, path_length(points), count), gone, unwrapped)

    # Key poses.

    def _key_poses(self, joints: torch.Tensor, stands: torch.Tensor, lengths: torch.Tensor):
        """Return key frames `(n,)`, their targets `(n, num_joints, 3)`, and where feet are held, `(num_frames, 2)`."""
        keys: dict[int, torch.Tensor] = {}
        for one in self.poses + self.points:
            frame = self._frame(one)
            rows = keys.setdefault(frame, torch.full_like(joints[0], torch.nan))
            if one.kind == "point":
                rows[self._joint(one)] = torch.tensor(one.positions[0], dtype=torch.float64)
            else:
                names = one.joints or self.skeleton.joint_names
                wanted = [self.skeleton.joint_names.index(name) for name in names]
                rows[wanted] = self._placed(one, joints[frame], lengths)[wanted]
        held = torch.zeros_like(stands)
        for side, foot in enumerate((self.skeleton.left_foot, self.skeleton.right_foot)):
            for frame, rows in keys.items():
                aimed = not rows[list(foot)].isnan().any(-1).all()
                held[frame, side] = aimed
                if aimed:  # the foot stands about then if it is low in the pose
                    around = slice(max(frame - _AROUND, 0), frame + _AROUND + 1)
                    stands[around, side] = rows[foot[1], 1] < joints[:, foot[1], 1].min() + _LOW
                elif stands[frame, side]:
                    rows[list(foot)] = joints[frame, list(foot)]
        frames = torch.tensor(sorted(keys), dtype=torch.long)
        targets = torch.stack([keys[frame] for frame in sorted(keys)]) if keys else joints[:0]
        return frames, targets, held

    def _placed(self, pose: Constraint, body: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return a pose `(num_joints, 3)` on bones of the body's lengths, where it stands or where the body is."""
        joints = torch.tensor(pose.positions, dtype=torch.float64)
        legs = list(self.skeleton.legs)
        scale = lengths[legs].sum() / bone_directions(joints, self.skeleton)[1][legs].sum()
        root = torch.stack([joints[0, 0], joints[0, 1] * scale, joints[0, 2]])
        if pose.place:
            return set_bone_lengths(joints[None], root[None, None], self.skeleton, lengths)[0]
        turn = headings(body, self.skeleton) - headings(joints, self.skeleton)
        root = torch.stack([body[0, 0], root[1], body[0, 2]])
        return set_bone_lengths(rotate_y(joints, turn)[None], root[None, None], self.skeleton, lengths)[0]

    def _errors(self, joints: torch.Tensor, curve, frames: torch.Tensor, targets: torch.Tensor) -> list[float]:
        errors, root = [], joints[:, 0, [0, 2]]
        for one in self.constraints:
            if one.kind == "path" and curve is None:
                times = torch.tensor([self._at(time) for time in one.times], dtype=torch.float64)
                distances = (interpolation(times, len(root)) @ root - self._xz(one.positions)).norm(dim=-1)
            elif one.kind == "path":
                line = smooth_line(self._xz(one.positions))
                distances = torch.cdist(root[: len(curve)], line).amin(1)
            else:
                row = int((frames == self._frame(one)).nonzero()[0, 0])
                names = one.joints or self.skeleton.joint_names
                wanted = [self.skeleton.joint_names.index(name) for name in names]
                distances = (joints[frames[row], wanted] - targets[row, wanted]).norm(dim=-1)
            errors.append(float(distances.mean()))
        return errors

    def _at(self, time: float) -> float:
        return min(time * self.fps, self.num_frames - 1)

    def _frame(self, one: Constraint) -> int:
        return nearest_frame(one.times[0], self.fps, self.num_frames)

    def _joint(self, one: Constraint) -> int:
        return self.skeleton.joint_names.index(one.joints[0])

    @staticmethod
    def _xz(values) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64)


def smooth_line(points: torch.Tensor) -> torch.Tensor:
    """Return points, about a centimetre apart, of a smooth curve through points `(n, 2)` (Catmull-Rom)."""
    gaps = points.diff(dim=0).norm(dim=-1, keepdim=True)
    keep = torch.cat([gaps.new_ones(1, dtype=torch.bool), gaps[:, 0] > 1e-6])
    points, gaps = points[keep], gaps[keep[1:]]
    if len(points) < 2:
        return points
    slopes = points.diff(dim=0) / gaps
    inner = (slopes[:-1] * gaps[1:] + slopes[1:] * gaps[:-1]) / (gaps[:-1] + gaps[1:])
    tangents = torch.cat([slopes[:1], inner, slopes[-1:]])
    pieces = min(max(math.ceil(float(gaps.max()) / 0.01), 1), 1000)
    share = torch.linspace(0, 1, pieces + 1, dtype=points.dtype)[:-1, None, None]
    square, cube = share**2, share**3
    rows = (2 * cube - 3 * square + 1) * points[:-1] + (3 * square - 2 * cube) * points[1:]
    rows = rows + gaps * ((cube - 2 * square + share) * tangents[:-1] + (cube - square) * tangents[1:])
    return torch.cat([rows.transpose(0, 1).flatten(0, 1), points[-1:]])


__all__ = ["ConstraintFit", "smooth_line"]
