"""A user's character: a joint tree in its reference pose, and which of its joints are the bones of a person."""

import dataclasses
import itertools
from dataclasses import dataclass

import numpy as np

from .animation import Animation, find_bodies, take
from .retarget import find_or_guess
from .rigs import PAIRS, index_joints, joint_of, required_joints


SIDES = ("left", "right")
# Each bone hangs on the one before it, with others between them or not.
_CHAINS = [("pelvis", "neck")] + [
    ("pelvis", *(f"{side}_{part}" for part in parts))
    for side in SIDES
    for parts in (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"))
]


@dataclass
class Character:
    """A joint tree in its reference pose: a T-pose, an A-pose, or any other in which the body stands.

    Args:
        names (`list[str]`): of the joints.
        parents (`list[int]`): -1 for a root; a joint comes behind its parent.
        positions (`np.ndarray` of shape `(num_joints, 3)`): in the world, in the file's unit and axes.
        world (`np.ndarray` of shape `(num_joints, 3, 3)`): rotation of each joint in the world, without its scale.
        local (`np.ndarray` of shape `(num_joints, 3, 3)`): rotation relative to the parent.
        bones (`dict[str, int]`): the joint of each bone, by HumanML3D's names: `"pelvis"`, `"left_knee"`, ...; of the
            spine `"spine1"` up to as many as there are.
    """

    names: list[str]
    parents: list[int]
    positions: np.ndarray
    world: np.ndarray
    local: np.ndarray
    bones: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def spine(self) -> list[str]:
        """Names of the bones between pelvis and neck, from below."""
        return [name for name in self.bones if name.startswith("spine")]

    def find_bones(self, joints: list[int], rig: dict | None = None) -> None:
        """Find out which joints are the bones of a person, by their names, or else by the tree.

        Args:
            joints (`list[int]`): among which they are.
            rig (`dict`, *optional*): bone map, see `rigs.yaml`.

        Raises:
            ValueError: when there is no person, or there are several.
        """
        tree, places = self._tree_of(joints)
        bodies = find_bodies(tree, rig)
        if len(bodies) > 1:
            raise ValueError(f"it holds {len(bodies)} characters ({', '.join(bodies)}); give a file of one")
        body = next(iter(bodies.values()))
        branch = take(tree, body)
        rig = find_or_guess(branch) if rig is None else rig
        known = index_joints(branch.names)
        missing = [name for name in required_joints(rig) if joint_of(known, name) is None]
        if missing:
            raise ValueError(f"these joints of the bone map are not in it: {', '.join(missing)}")
        found = {bone: joint_of(known, name) for bone, name in bone_names(rig).items()}
        self.set_bones({bone: places[body[row]] for bone, row in found.items() if row is not None})

    def set_bones(self, bones: dict[str, int]) -> None:
        """Set the bones.

        Raises:
            ValueError: when a bone is missing, or a limb does not hang together.
        """
        if missing := sorted({bone for chain in _CHAINS for bone in chain} - bones.keys()):
            raise ValueError(f"it has no bone for {', '.join(missing)}")
        for upper, lower in itertools.chain.from_iterable(map(itertools.pairwise, _CHAINS)):
            if bones[upper] not in self.ancestors(bones[lower]):
                raise ValueError(
                    f"{self.names[bones[lower]]!r} does not hang on {self.names[bones[upper]]!r}: limbs that a "
                    "control rig moves cannot be animated; export the deforming bones alone, or give a bone map"
                )
        above_pelvis = self.ancestors(bones["pelvis"])
        self.bones = {bone: joint for bone, joint in bones.items() if joint not in above_pelvis}

    def ancestors(self, joint: int) -> list[int]:
        """List a joint's parent, the parent's parent, and so on."""
        result = []
        while (joint := self.parents[joint]) >= 0:
            result.append(joint)
        return result

    def place(self, bone: str) -> np.ndarray:
        """Return the position of a bone's joint."""
        return self.positions[self.bones[bone]]

    def axes(self) -> np.ndarray:
        """Return the file's axes that point to the character's left, up and forward, as columns `(3, 3)`.

        They are a reflection where the toes point behind the body: the file's axes are left-handed.

        Raises:
            ValueError: when the character does not stand in its reference pose.
        """
        hips, shoulders = ([self.place(f"{side}_{part}") for side in SIDES] for part in ("hip", "shoulder"))
        across = hips[0] - hips[1] + shoulders[0] - shoulders[1]
        trunk = self.place("neck") - sum(hips) / 2
        legs = [self.place(f"{side}_ankle") - self.place(f"{side}_hip") for side in SIDES]
        if any(_cosine(leg, -trunk) < _STANDING for leg in legs) or abs(_cosine(across, trunk)) > 0.5:
            raise ValueError("it does not stand in its rest pose; give it a T-pose or an A-pose there")
        left, up = _nearest_axis(across), _nearest_axis(trunk)
        forward = np.cross(left, up)
        if all(f"{side}_foot" in self.bones for side in SIDES):
            toes = sum(self.place(f"{side}_foot") - self.place(f"{side}_ankle") for side in SIDES)
            forward *= -1 if _cosine(toes - (toes @ up) * up, forward) < -0.7 else 1
        return np.stack([left, up, forward], 1)

    def _tree_of(self, joints: list[int]) -> tuple[Animation, list[int]]:
        """Return the tree of some joints, and of those above them, under one root; and their places here."""
        wanted = sorted({joint for one in joints for joint in (one, *self.ancestors(one))})
        rows = {-1: 0} | {joint: row for row, joint in enumerate(wanted, start=1)}
        names = ["", *(self.names[joint] for joint in wanted)]
        parents = [-1, *(rows[self.parents[joint]] for joint in wanted)]
        positions = np.concatenate([np.zeros((1, 3)), self.positions[wanted]])[None]
        return Animation(names, parents, positions, fps=1.0), [-1, *wanted]


_STANDING = 0.8  # cosine between legs and trunk


def bone_names(rig: dict) -> dict[str, str]:
    """Return the joints of a bone map by the names of HumanML3D's."""
    names = {"pelvis": rig["pelvis"]}
    names |= {f"spine{i}": name for i, name in enumerate(rig.get("spine", []), start=1)}
    names |= {part: rig[part] for part in ("neck", "head") if part in rig}
    for part in PAIRS:
        names |= {f"{side}_{part}": name for side, name in zip(SIDES, rig.get(part, ()))}
    return names


def _nearest_axis(vector: np.ndarray) -> np.ndarray:
    axis = np.zeros(3)
    largest = int(np.abs(vector).argmax())
    axis[largest] = np.sign(vector[largest])
    return axis


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / max(np.linalg.norm(one) * np.linalg.norm(other), 1e-9))
