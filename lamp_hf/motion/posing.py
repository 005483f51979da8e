"""A motion on a character: rotations by the difference of rest poses, feet by inverse kinematics."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from ..models.motion_loops import Cycle, repeated
from ..models.motion_representation import shortest_rotation
from ..models.skeleton import Skeleton
from .character import SIDES, Character
from .limbs import Body, solve_body, spine_turns
from .rest_pose import trunk_axes


@dataclass
class Pose:
    """A character in each frame.

    Args:
        root (`np.ndarray` of shape `(num_frames, 3)`): the pelvis, in the character's unit and axes.
        local (`dict[int, np.ndarray]`): by joint, its rotation relative to its parent, `(num_frames, 3, 3)`; other
            joints keep that of the reference pose.
    """

    root: np.ndarray
    local: dict[int, np.ndarray]

    def part(self, start: int, end: int) -> "Pose":
        """Return the frames from `start` up to `end`."""
        return Pose(self.root[start:end], {joint: turns[start:end] for joint, turns in self.local.items()})


def pose_character(
    character: Character, joints: np.ndarray, fps: float, skeleton: Skeleton, cycle: Cycle | None = None
) -> Pose:
    """Pose a character as a body moves.

    Limbs and toes point where the body's do, and trunk, collars, neck and feet turn from the character's rest pose as
    the body's turn from its own, see [`lamp_hf.motion.rest_pose`]; the shoulders are then brought above the hips as
    the body's are. The path is scaled by the length of the legs. Ankles and toes come to where the body's are, scaled
    by the same, and as far beside them as the hips are wider, so that feet which stand do not slide.

    Args:
        character ([`Character`]): with its bones.
        joints (`np.ndarray` of shape `(num_frames, num_joints, 3)`): metres, Y up.
        fps (`float`): frames per second.
        skeleton ([`Skeleton`]): the joint tree.
        cycle ([`Cycle`], *optional*): of a motion that loops; the first frame of the next repetition then follows the
            last one.

    Raises:
        ValueError: when the character does not stand in its rest pose.
    """
    if cycle is not None:  # neighbours of both ends are those that they have in the loop
        several = repeated(joints, cycle, 3, first=-1)
        return pose_character(character, several, fps, skeleton).part(len(joints), 2 * len(joints) + 1)
    axes = character.axes()
    body = solve_body(joints, fps, skeleton)
    figure = _Figure(dataclasses.replace(character, positions=character.positions @ axes), body)
    root = figure.stand()
    turns = {character.bones[bone]: axes @ turn @ axes.T for bone, turn in figure.turns.items()}
    return Pose(root @ axes.T, _local_rotations(character, turns))


def _local_rotations(character: Character, turns: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Turn rotations from the reference pose, in the world, into rotations relative to the parent."""
    local = {}
    for joint, turn in turns.items():
        above = next((turns[other] for other in character.ancestors(joint) if other in turns), np.eye(3)[None])
        parent = character.parents[joint]
        frame = character.world[parent] if parent >= 0 else np.eye(3)
        local[joint] = frame.T @ above.swapaxes(-1, -2) @ turn @ frame @ character.local[joint]
    return local


_LIMBS = {  # bones that point where the body's do: from their own joint to the next
    f"{side}_{start}": f"{side}_{end}"
    for side in SIDES
    for start, end in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
}


class _Figure:
    """A character with its left at X+, Y up, facing Z+, and how a body turns its bones.

    Args:
        character ([`Character`]): in these axes, in its own unit.
        body ([`Body`]): the motion.
    """

    def __init__(self, character: Character, body: Body):
        self.character, self.body = character, body
        self.turns = self._turns()
        self._straighten()
        self._legs = {side: _leg_lengths(character.place, side) for side in SIDES}
        theirs = [_leg_lengths(body.places.__getitem__, side) for side in SIDES]
        self.scale = np.sum([*self._legs.values()]) / np.sum(theirs)

    def _turns(self) -> dict[str, np.ndarray]:
        """Return the rotation of each bone from the reference pose, `(num_frames, 3, 3)`."""
        bones, body = self.character.bones, self.body
        spine = self.character.spine
        turns = dict(zip(spine, spine_turns(body, len(spine)))) if spine else {}
        for bone in ("pelvis", "neck", *(f"{side}_collar" for side in SIDES)):
            if bone in bones and bone in body.turns:
                turns[bone] = body.turns[bone]
        for side in SIDES:
            turns[f"{side}_ankle"] = body.turns[self._heel(side)] @ self._toes_ahead(side)
        for bone, end in _LIMBS.items():
            rest = _unit(self.character.place(end) - self.character.place(bone))
            turns[bone] = body.turns[bone] @ _swing(rest, body.direction(bone, end))
        return turns

    def _straighten(self) -> None:
        """Bend the spine until the middle of the shoulders is in the body's direction from that of the hips.

        The spine's own rotations come near, but spines differ. Where the body is upright, it is as at rest.
        """
        spine = self.character.spine
        wanted = _unit(trunk_axes(self.body.places) @ self._trunk(self.character.place))
        for _ in range(_BENDS if spine else 0):
            bend = Rotation.from_matrix(_swing(_unit(self._trunk(self._from_pelvis)), wanted)).as_rotvec()
            for i, bone in enumerate(spine, start=1):
                self.turns[bone] = Rotation.from_rotvec(i / len(spine) * bend).as_matrix() @ self.turns[bone]

    def _trunk(self, place: Callable[[str], np.ndarray]) -> np.ndarray:
        """Return the way from the middle of the hips to that of the shoulders, twice as long."""
        left, right = (place(f"{side}_shoulder") - place(f"{side}_hip") for side in SIDES)
        return left + right

    def _heel(self, side: str) -> str:
        """Return the body's joint on which the toes hang."""
        return f"{side}_heel" if f"{side}_heel" in self.body.rest else f"{side}_ankle"

    def _toes_ahead(self, side: str) -> np.ndarray:
        """Return the rotation about the vertical that points the character's toes, at rest, where the body's do."""
        toes = f"{side}_foot"
        if toes not in self.character.bones:
            return np.eye(3)
        ours = self.character.place(toes) - self.character.place(f"{side}_ankle")
        theirs = self.body.rest[toes] - self.body.rest[self._heel(side)]
        level = np.array([1, 0, 1])
        if any(np.linalg.norm(foot * level) < _POINTED * np.linalg.norm(foot) for foot in (ours, theirs)):
            return np.eye(3)
        return _swing(_unit(ours * level), _unit(theirs * level))

    def stand(self) -> np.ndarray:
        """Bring the feet to where the body's are, scaled; return the path of the pelvis, `(num_frames, 3)`."""
        hips = [f"{side}_hip" for side in SIDES]
        rest = np.mean([self.character.place(hip) for hip in hips], 0)
        ground = {side: self._ground(side) for side in SIDES}
        middle = self._scaled(
            np.mean([self.body.places[hip] for hip in hips], 0), np.mean([*ground.values()], 0), rest
        )
        root = middle - sum(self._from_pelvis(hip) for hip in hips) / 2
        for side in SIDES:
            hip = root + self._from_pelvis(f"{side}_hip")
            self._reach(side, hip, self._ankle(side, ground[side], rest))
        return root

    def _ground(self, side: str) -> np.ndarray:
        """Return the heights at which the ankle stands on the floor: the body's and the character's."""
        below = [name for part in ("ankle", "heel", "foot") if (name := f"{side}_{part}") in self.body.rest]
        sole = min(self.body.rest[name][1] for name in below)
        lowest = np.min([place[:, 1] for place in self.body.places.values()], 0)
        floor = np.quantile(lowest, _SINKING)
        return np.array([
            floor + self.body.rest[f"{side}_ankle"][1] - sole, self.character.place(f"{side}_ankle")[1],
        ])  # fmt: skip

    def _scaled(self, path: np.ndarray, heights: np.ndarray, origin: np.ndarray) -> np.ndarray:
        """Bring a path to the character's size: on the floor from where it stands, upwards from its ankles."""
        start, end = np.array([0, heights[0], 0]), np.array([origin[0], heights[1], origin[2]])
        return end + self.scale * (path - start)

    def _from_pelvis(self, bone: str) -> np.ndarray:
        """Return the way from the pelvis to a bone's joint in each frame, `(num_frames, 3)`."""
        owner = {joint: name for name, joint in self.character.bones.items() if name in self.turns}
        joint, way = self.character.bones[bone], np.zeros(3)
        for other in self.character.ancestors(joint):
            if other in owner:
                offset = self.character.positions[joint] - self.character.positions[other]
                way, joint = way + self.turns[owner[other]] @ offset, other
        return way

    def _ankle(self, side: str, heights: np.ndarray, origin: np.ndarray) -> np.ndarray:
        """Return where an ankle belongs: where the body's is while the foot is flat, else where the toes let it be."""
        ankle, toes = f"{side}_ankle", f"{side}_foot"
        aside = self._aside(side, heights)
        place = self._scaled(self.body.places[ankle], heights, origin) + aside
        if toes in self.character.bones:
            foot = self._toes_ahead(side) @ (self.character.place(toes) - self.character.place(ankle))
            theirs = self.scale * (self.body.rest[toes] - self.body.rest[ankle])
            turn = self.body.turns[self._heel(side)]
            longer = (_heading(turn) @ (foot - theirs)[:, None])[..., 0]
            tip = self._scaled(self.body.places[toes], heights, origin) + longer + aside
            stands = heights[1] + foot[1]
            lifted, tip_lifted = (np.maximum(p[:, 1] - h, 0) for p, h in ((place, heights[1]), (tip, stands)))
            share = (lifted / (lifted + tip_lifted + _LIFTED * self.scale))[:, None]
            place = (1 - share) * place + share * (tip - turn @ foot)
            place[:, 1] = np.maximum(place[:, 1], stands - (turn @ foot)[:, 1])
        place[:, 1] = np.maximum(place[:, 1], heights[1])
        return place

    def _aside(self, side: str, heights: np.ndarray) -> np.ndarray:
        """Return how far a foot is beside the body's, scaled, because the hips are wider or narrower.

        It is to the side of the foot while that stands, so that it does not slide, and else to that of the pelvis.
        """
        ours, theirs = (place(f"{side}_hip")[0] for place in (self.character.place, self.body.rest.__getitem__))
        end = f"{side}_foot" if f"{side}_foot" in self.body.rest else f"{side}_ankle"
        floor = heights[0] - self.body.rest[f"{side}_ankle"][1] + self.body.rest[end][1]
        share = ((self.body.places[end][:, 1:2] - floor) / _STEP).clip(0, 1)
        foot, pelvis = (_heading(self.body.turns[bone])[..., 0] for bone in (self._heel(side), "pelvis"))
        return (ours - self.scale * theirs) * _unit((1 - share) * foot + share * pelvis)

    def _reach(self, side: str, hip: np.ndarray, ankle: np.ndarray) -> None:
        """Bend a leg so that its ankle comes to a place, or as near as the leg is long, with the knee on its side."""
        upper, lower = self._legs[side]
        way = ankle - hip
        direction = _unit(way)
        distance = np.linalg.norm(way, axis=-1, keepdims=True).clip(
            abs(upper - lower) * 1.001, (upper + lower) * 0.9999
        )
        theirs, thigh = (
            _unit(self.body.places[f"{side}_{end}"] - self.body.places[f"{side}_hip"]) for end in ("ankle", "knee")
        )
        hinge = self.body.turns[f"{side}_hip"] @ np.array([1.0, 0, 0])
        bent = thigh + _STRAIGHT * np.cross(theirs, hinge)  # a straight leg shows its side by the hinge alone
        forward = (_swing(theirs, direction) @ bent[..., None])[..., 0]
        forward = _unit(forward - (forward * direction).sum(-1, keepdims=True) * direction)
        along = (distance**2 + upper**2 - lower**2) / (2 * distance)
        knee = along * direction + np.sqrt((upper**2 - along**2).clip(min=0)) * forward
        folded = (2 - distance / (_FOLDED * (upper + lower))).clip(0, 1)  # then small ways turn the leg far
        knee = upper * _unit((1 - folded) * knee + folded * upper * thigh)
        for bone, aim in ((f"{side}_hip", knee), (f"{side}_knee", distance * direction - knee)):
            rest = _unit(self.character.place(_LIMBS[bone]) - self.character.place(bone))
            self.turns[bone] = _swing(self.turns[bone] @ rest, _unit(aim)) @ self.turns[bone]


_BENDS = 3  # times that the spine is bent by what is still missing
_SINKING = 0.2  # share of frames in which something is below the floor
_LIFTED, _STEP = 0.01, 0.1  # metres
_STRAIGHT = 0.1  # sine between thigh and leg; below it the hinge says where the knee is
_FOLDED = 0.15  # share of a leg's length from hip to ankle
_POINTED = 0.1  # share of a foot's length; a foot that is less long seen from above points nowhere


def _leg_lengths(place: Callable[[str], np.ndarray], side: str) -> list[float]:
    """Return the mean length of thigh and shin."""
    hip, knee, ankle = (place(f"{side}_{part}") for part in ("hip", "knee", "ankle"))
    return [float(np.linalg.norm(bone, axis=-1).mean()) for bone in (knee - hip, ankle - knee)]


def _swing(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the shortest rotations from unit vectors to others, `(..., 3, 3)`."""
    start, end = np.broadcast_arrays(start, end)
    return shortest_rotation(torch.from_numpy(start.copy()), torch.from_numpy(end.copy())).numpy()


def _heading(turns: np.ndarray) -> np.ndarray:
    """Return the part of rotations `(T, 3, 3)` that is about the vertical."""
    x, z = turns[:, 0, 2] - turns[:, 2, 0], turns[:, 0, 0] + turns[:, 2, 2]
    angle = np.arctan2(x, z)
    cos, sin, zero = np.cos(angle), np.sin(angle), np.zeros_like(angle)
    return np.stack([cos, zero, sin, zero, zero + 1, zero, -sin, zero, cos], -1).reshape(-1, 3, 3)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(min=1e-9)
