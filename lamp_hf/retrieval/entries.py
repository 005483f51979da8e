"""The motions of a gallery, and the window of a motion that each row stands for."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Hit:
    """A motion that was found.

    Args:
        id (`str`): the motion's name in the gallery.
        score (`float`): cosine similarity of query and motion; with late interaction, the mean of that of the whole
            text and motion and that of words and queries, weighted by the model's temperatures.
        start, end (`float`): the part of the motion that matches, in seconds.
        source (`str`, *optional*): the motion's file.
        video_start, video_end (`float`, *optional*): the part of the query video that it matches, in seconds.
    """

    id: str
    score: float
    start: float
    end: float
    source: str | None = None
    video_start: float | None = None
    video_end: float | None = None


@dataclass
class Entries:
    """A table of motions with the rows of their windows.

    Args:
        ids (`list[str]`): names of the motions.
        sources (`list[str]`): the file of each motion; empty where it has none.
        items (`np.ndarray` of shape `(num_rows,)`): for each row, the position of its motion in `ids`.
        spans (`np.ndarray` of shape `(num_rows, 2)`): float32, start and end of each row in its motion, in seconds.
        states (`list[dict | None]`): of the files, see [`describe_source`]; None where it is not known.
    """

    ids: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    items: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    spans: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    states: list[dict | None] = field(default_factory=list)

    def __post_init__(self):
        self.states = self.states or [None] * len(self.ids)
        self._known = set(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def check_new(self, ids: Sequence[str]) -> None:
        """Check that no id is taken or given twice.

        Raises:
            ValueError: when one is.
        """
        for name in ids:
            if name in self:
                raise ValueError(f"the index has a motion {name!r} already")
        if len(set(ids)) != len(ids):
            raise ValueError("an id is given twice")

    def hit(self, row: int, score: float) -> Hit:
        """Return a row as what was found."""
        item, (start, end) = self.items[row], map(float, self.spans[row])
        return Hit(self.ids[item], score, start, end, self.sources[item] or None)

    def append(self, other: Entries) -> None:
        """Append the motions and rows of another table."""
        self.items = np.concatenate([self.items, other.items + len(self)])
        self.spans = np.concatenate([self.spans, other.spans])
        self.ids = self.ids + other.ids
        self.sources = self.sources + other.sources
        self.states = self.states + other.states
        self._known |= other._known

    def remove(self, ids: Collection[str]) -> np.ndarray:
        """Remove motions and their rows.

        Returns:
            `np.ndarray` of shape `(num_rows,)`: bool, the rows that stay.

        Raises:
            ValueError: when an id is unknown; then none is removed.
        """
        removed = set(ids)
        if unknown := sorted(removed - self._known):
            raise ValueError(f"no motion {unknown[0]!r} in the index")
        kept = np.array([name not in removed for name in self.ids], bool)
        kept_rows = kept[self.items]
        self.items = (np.cumsum(kept) - 1)[self.items[kept_rows]]
        self.spans = self.spans[kept_rows]
        self.sources = [source for source, keep in zip(self.sources, kept) if keep]
        self.states = [state for state, keep in zip(self.states, kept) if keep]
        self.ids = [name for name, keep in zip(self.ids, kept) if keep]
        self._known -= removed
        return kept_rows

    def to_tensors(self) -> dict[str, np.ndarray]:
        """Return the table as arrays to save."""
        tensors = {"items": self.items.astype(np.int32), "spans": np.ascontiguousarray(self.spans)}
        lists: dict[str, list] = {"ids": self.ids, "sources": self.sources}
        if any(self.states):  # galleries that are not of files stay as earlier versions wrote them
            lists["states"] = self.states
        for name, values in lists.items():
            # JSON marks where each string ends, whatever is in it; plain text would not.
            tensors[name] = np.frombuffer(json.dumps(values).encode(), np.uint8)
        return tensors

    @classmethod
    def from_tensors(cls, tensors: dict[str, np.ndarray]) -> Entries:
        """Restore a table from what [`~Entries.to_tensors`] returned.

        Raises:
            ValueError: when it is not such a table.
        """
        try:
            ids, sources = (json.loads(tensors[name].tobytes()) for name in ("ids", "sources"))
            states = json.loads(tensors["states"].tobytes()) if "states" in tensors else [None] * len(ids)
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"names of motions cannot be read: {error!r:.200}") from None
        for names in (ids, sources):
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ValueError("names of motions are not a list of texts")
        if not isinstance(states, list) or not all(state is None or isinstance(state, dict) for state in states):
            raise ValueError("states of files are not a list of dictionaries")
        items, spans = tensors["items"].astype(np.int64), tensors["spans"]
        if not len(set(ids)) == len(ids) == len(sources) == len(states):
            counts = f"{len(set(ids))} names, {len(sources)} files and {len(states)} states"
            raise ValueError(f"{len(ids)} motions of {counts}")
        if len(items) and not 0 <= items.min() <= items.max() < len(ids):
            raise ValueError(f"vectors of motions {items.min()} to {items.max()}, of {len(ids)} motions")
        if not np.isfinite(spans).all():
            raise ValueError("spans hold NaN or infinity")
        if (spans[:, 0] < 0).any() or (spans[:, 1] < spans[:, 0]).any():
            raise ValueError("spans do not begin from 0 and end after they begin")
        return cls(ids, sources, items, spans, states)
