"""Guess which joints of an unknown rig are which, from its tree: two legs, two arms and a head."""

import re
from itertools import combinations, product
from typing import NamedTuple

import numpy as np


class _Limb(NamedTuple):
    """Joints of a leg or an arm; `start` is the first joint below the trunk, a collar for instance."""

    start: int
    root: int  # hip or shoulder
    middle: int  # knee or elbow
    end: int  # ankle or wrist


class _Body(NamedTuple):
    pelvis: int
    legs: tuple[_Limb, _Limb]
    chest: int
    arms: tuple[_Limb, _Limb]
    head: list[int]  # neck and what is above it
    size: float  # length of a leg and an arm


def guess_rig(names: list[str], parents: list[int], positions: np.ndarray) -> dict:
    """Return a bone map for joints whose names are not known.

    Two branches alike that leave one joint are the legs, two others the arms; from the joint of the arms, the chest, a
    further one goes to the head. The pelvis is where the ways to the legs and to the chest part. In a limb the two
    longest neighbouring bones meet at the knee or the elbow. Left and right are told by the names, or else by the
    toes. The neck is told by its name, or else it is the first joint above the chest.

    Args:
        names (`list[str]`): of the joints.
        parents (`list[int]`): of the joints, each behind its parent.
        positions (`np.ndarray` of shape `(num_frames, num_joints, 3)`): world positions.

    Raises:
        ValueError: when the joints are not arranged like that.
    """
    bodies = _Tree(parents, positions).bodies() if len(names) <= _MOST_JOINTS else []
    body = max(bodies, key=lambda body: body.size, default=None)
    if body is None:
        raise ValueError("its joints are not those of two legs, two arms and a head")
    tree = _Tree(parents, positions)
    legs = _left_first(body, names, tree)
    between = positions[:, legs[0].root] - positions[:, legs[1].root]
    shoulders = positions[:, body.arms[0].root] - positions[:, body.arms[1].root]
    arms = body.arms if (between * shoulders).sum(-1).mean() >= 0 else body.arms[::-1]
    neck = next((i for i, joint in enumerate(body.head) if "neck" in names[joint].lower()), 0)
    rig = {
        "pelvis": names[body.pelvis],
        "spine": [names[joint] for joint in tree.path(body.pelvis, body.chest)],
        "neck": names[body.head[neck]],
        "head": names[body.head[min(neck + 1, len(body.head) - 1)]],
    }
    for (root, middle, end), limbs in {("hip", "knee", "ankle"): legs, ("shoulder", "elbow", "wrist"): arms}.items():
        rig |= {
            root: [names[limb.root] for limb in limbs],
            middle: [names[limb.middle] for limb in limbs],
            end: [names[limb.end] for limb in limbs],
        }
    if all(arm.start != arm.root for arm in arms):
        rig["collar"] = [names[arm.start] for arm in arms]
    return rig


def _left_first(body: _Body, names: list[str], tree: "_Tree") -> tuple[_Limb, _Limb]:
    """Return the left leg and the right leg, by their names or else by the toes, which point forward."""
    one, other = body.legs
    sides = [_side(names[leg.root]) or _side(names[leg.middle]) for leg in body.legs]
    if set(sides) == {"left", "right"}:
        return (one, other) if sides[0] == "left" else (other, one)
    places = tree.positions
    toes = sum(places[:, tree.chain(leg.end)[-1]] - places[:, leg.end] for leg in body.legs)
    left = np.cross(places[:, body.chest] - places[:, body.pelvis], toes)
    across = places[:, one.root] - places[:, other.root]
    return (one, other) if (left * across).sum(-1).mean() >= 0 else (other, one)


def _side(name: str) -> str | None:
    """Return the side that a joint's name tells."""
    found = re.search(r"(?i:left|right)|(?<![a-z])[lr](?![a-z])|(?<![A-Za-z])[LR](?![a-z])", name)
    return None if found is None else {"l": "left", "r": "right"}[found[0][0].lower()]


class _Tree:
    """A joint tree with the mean lengths of its bones."""

    def __init__(self, parents: list[int], positions: np.ndarray):
        self.parents, self.positions = parents, positions
        self.children: list[list[int]] = [[] for _ in parents]
        for joint, parent in enumerate(parents):
            if parent >= 0:
                self.children[parent].append(joint)
        bones = positions - positions[:, [max(parent, 0) for parent in parents]]
        self.length = np.linalg.norm(bones, axis=-1).mean(0)
        self.reach = self.length.copy()  # from the parent through the joint to the farthest end
        for joint in reversed(range(1, len(parents))):
            parent = parents[joint]
            self.reach[parent] = max(self.reach[parent], self.length[parent] + self.reach[joint])

    def chain(self, joint: int) -> list[int]:
        """Return the joints from one to the farthest end below it."""
        result = [joint]
        while self.children[result[-1]]:
            result.append(max(self.children[result[-1]], key=lambda child: self.reach[child]))
        return result

    def path(self, start: int, end: int) -> list[int]:
        """Return the joints below `start` down to `end`; none where `end` is not below it."""
        result = [end]
        while result[-1] != start:
            if self.parents[result[-1]] < 0:
                return []
            result.append(self.parents[result[-1]])
        return result[-2::-1]

    def bodies(self) -> list[_Body]:
        """List all choices of pelvis, legs, chest, arms and head."""
        forks = [(joint, pair) for joint in range(len(self.parents)) for pair in self._pairs(joint)]
        result = []
        for (hips, legs), (chest, arms) in product(forks[:_MOST_FORKS], repeat=2):
            pelvis = self.meeting(hips, chest)
            spine = self.path(pelvis, chest)
            rest = [child for child in self.children[chest] if child not in (arms[0].start, arms[1].start)]
            if not spine or spine[0] in (legs[0].start, legs[1].start) or not rest:
                continue
            leg, arm = self.reach[legs[0].start], self.reach[arms[0].start]
            if min(leg, arm) > _LIKE_LIMBS * max(leg, arm):
                head = self.chain(max(rest, key=lambda child: self.reach[child]))
                result.append(_Body(pelvis, legs, chest, arms, head, float(leg + arm)))
        return result

    def meeting(self, one: int, other: int) -> int:
        """Return the last joint that the ways from the root to two joints share."""
        while one != other:
            one, other = (self.parents[one], other) if one > other else (one, self.parents[other])
        return one

    def _pairs(self, joint: int) -> list[tuple[_Limb, _Limb]]:
        """List pairs of branches of the same reach, each with two bones or more."""
        pairs = []
        for one, other in combinations(self.children[joint][:_MOST_BRANCHES], 2):
            shorter, longer = sorted((self.reach[one], self.reach[other]))
            limbs = self._limb(one), self._limb(other)
            if shorter > _ALIKE * longer and limbs[0] is not None and limbs[1] is not None:
                pairs.append((limbs[0], limbs[1]))
        return pairs

    def _limb(self, start: int) -> _Limb | None:
        """Return the joints of a limb: its longest two bones that follow one another."""
        chain = self.chain(start)
        triples = list(zip(chain, chain[1:], chain[2:]))
        if not triples:
            return None
        return _Limb(start, *max(triples, key=lambda joints: self.length[joints[1]] + self.length[joints[2]]))


_LIKE_LIMBS = 0.3  # reach of the shorter of an arm and a leg as a share of the longer
_ALIKE = 0.85  # reach of the shorter of two limbs as a share of the longer
_MOST_JOINTS, _MOST_FORKS, _MOST_BRANCHES = 500, 60, 12  # a person has fewer
