"""Characters in BVH files: skeletons that are read with their bones, and written with other frames."""

from pathlib import Path

import numpy as np

from .bvh import channels_of, euler_angles, local_transforms, read_skeleton
from .character import Character
from .posing import Pose
from .rotations import forward_kinematics


class BvhCharacter:
    """The skeleton of a BVH.

    Its reference pose is that of the hierarchy, or the first frame where the body does not stand in the former.

    Args:
        path (`Path`): the file, with or without frames.
        rig (`dict`, *optional*): bone map, see `rigs.yaml`; by default one chosen by the names of the joints.

    Raises:
        ValueError: when the file is damaged or does not hold one person's body.
    """

    def __init__(self, path: Path, rig: dict | None = None):
        self._hierarchy, self._tree, frame = read_skeleton(path)
        rest = np.zeros((1, frame.shape[1]))
        column = 0
        for joint in self._tree:
            columns, axes = channels_of(joint, "position", column)
            rest[0, columns] = np.array(joint.offset)[axes]
            column += len(joint.channels)
        problem = None
        for reference in (rest, frame)[: 1 + len(frame)]:
            self._reference = reference
            try:
                self.character = self._pose(self._reference)
                self.character.find_bones(list(range(len(self._tree))), rig)
                self.character.axes()
                self._check_channels()
                return
            except ValueError as error:
                problem = problem or error
        raise ValueError(f"{path}: {problem}")

    def _pose(self, frame: np.ndarray) -> Character:
        local, offsets = local_transforms(self._tree, frame)
        parents = [joint.parent for joint in self._tree]
        world = local.copy()
        for joint, parent in enumerate(parents):
            if parent >= 0:
                world[:, joint] = world[:, parent] @ local[:, joint]
        positions = forward_kinematics(offsets[:, 0], local, offsets, tuple(parents))
        return Character([joint.name for joint in self._tree], parents, positions[0], world[0], local[0])

    def _check_channels(self) -> None:
        """Refuse skeletons whose bones cannot turn freely, or that cannot move.

        Raises:
            ValueError: naming the joint.
        """
        bones = self.character.bones
        for joint in bones.values():
            name, turns = self._tree[joint].name, len(channels_of(self._tree[joint], "rotation", 0)[0])
            if turns != 3 and self._tree[joint].channels:
                raise ValueError(f"{name!r} has {turns} rotation channels; three are needed")
        self._mover = next(
            (joint for joint in (bones["pelvis"], *self.character.ancestors(bones["pelvis"]))
             if len(channels_of(self._tree[joint], "position", 0)[0]) == 3), None
        )  # fmt: skip
        if self._mover is None:
            raise ValueError("it cannot move: neither its pelvis nor a joint above has position channels")

    def write(self, path: Path, pose: Pose, fps: float, name: str, extras: dict) -> None:
        """Write the hierarchy as it is, with the frames of a pose.

        Args:
            path (`Path`): the file.
            pose ([`Pose`]): of this character.
            fps (`float`): frames per second.
            name (`str`), extras (`dict`): of the animation, for which BVH has no place.
        """
        character, column = self.character, 0
        rows = np.repeat(self._reference, len(pose.root), 0)
        for i, joint in enumerate(self._tree):
            turns, axes = channels_of(joint, "rotation", column)
            if i in pose.local and turns:
                rows[:, turns] = euler_angles(pose.local[i], "".join("XYZ"[axis] for axis in axes))
            if i == self._mover:
                moves, axes = channels_of(joint, "position", column)
                parent = joint.parent
                frame, origin = (
                    (character.world[parent], character.positions[parent]) if parent >= 0 else (np.eye(3), 0)
                )
                place = character.positions[i] + pose.root - character.place("pelvis")
                rows[:, moves] = ((place - origin) @ frame)[:, axes]
            column += len(joint.channels)
        row_format = " ".join(["%.6f"] * rows.shape[1])
        lines = ["MOTION", f"Frames: {len(rows)}", f"Frame Time: {1 / fps:.8f}"]
        lines += [row_format % tuple(row) for row in rows.tolist()]
        path.write_text(self._hierarchy.rstrip() + "\n" + "\n".join(lines) + "\n", encoding="utf-8")
