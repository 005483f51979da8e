"""`MotionIndex`: a gallery of motions, searched by text, by motion or by video.

One vector stands for each motion, or for each window of a motion that is longer than the model reads. The model's
vectors come from `embedder`, nearest neighbours from `vector_search`, files from `storage`.
"""

from __future__ import annotations

import copy
import itertools
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..models.motion_requests import check_count
from . import publish, storage
from .embedder import Embedder
from .entries import Entries
from .vector_search import VectorStore
from .windows import choose_windows, windows_of


@dataclass(frozen=True)
class Hit:
    """A motion that was found.

    Args:
        id (`str`): the motion's name in the gallery.
        score (`float`): cosine similarity of query and motion.
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


class MotionIndex:
    """A searchable gallery of motions.

        index = lamp_hf.MotionIndex()
        index.add([motion, "walk.bvh"], ids=["a", "b"])
        index.search(text="someone waves", k=10)  # [Hit(id, score, ...), ...]
        index.save("gallery/")

    Args:
        model (`str` or `Path`): folder or Hub id of a LaMP or LAVIMO model, or a bundled one:
            `"bundled:text-to-motion"` (LaMP) or `"bundled:video"` (LAVIMO, which reads videos too, and texts a little
            less well).
    """

    def __init__(self, model: str | Path = "bundled:text-to-motion"):
        self._model = storage.resolve_model(str(model))
        self._embedder: Embedder | None = None
        self._fingerprint: str | None = None  # of the model that made the vectors
        self._entries = Entries()
        self._store = VectorStore(np.zeros((0, 0), np.float32))  # its dimension is known when the model is

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"MotionIndex({len(self)} motions, model {self._model!r})"

    @property
    def model_name(self) -> str:
        """Folder or Hub id of the model."""
        return self._model

    @property
    def embedder(self) -> Embedder:
        """The model, loaded when it is first needed.

        Raises:
            ValueError: when it is not the one that made the vectors.
        """
        if self._embedder is None:
            embedder = Embedder(self._model)
            if self._fingerprint not in (None, embedder.fingerprint):
                raise ValueError(
                    f"the index was made with {self._fingerprint}; {self._model} is {embedder.fingerprint}"
                )
            if self._store.dimension not in (0, embedder.dimension):
                raise ValueError(
                    f"the index has vectors of {self._store.dimension} numbers, {self._model} makes "
                    f"{embedder.dimension}: index the motions again"
                )
            self._embedder, self._fingerprint = embedder, embedder.fingerprint
            if not self._store.dimension:
                self._store = VectorStore(np.zeros((0, embedder.dimension), np.float32))
        return self._embedder

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the model, see [`~lamp_hf.fingerprint.content_digest`]."""
        return self._fingerprint or self.embedder.fingerprint

    @property
    def origin(self) -> str:
        """The former name of `fingerprint`."""
        return self.fingerprint

    @property
    def ids(self) -> list[str]:
        """Names of all motions, in the order in which they were added."""
        return list(self._entries.ids)

    @property
    def sources(self) -> list[str]:
        """The file of each motion, in the order of `ids`; empty where it has none."""
        return list(self._entries.sources)

    @property
    def states(self) -> list[dict[str, Any] | None]:
        """The state of each motion's file when it was read, in the order of `ids`; None where it is not known."""
        return list(self._entries.states)

    def add(
        self,
        motions: Sequence,
        ids: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
        states: Sequence[dict[str, Any] | None] | None = None,
    ) -> None:
        """Add motions, all of them or, when one is refused, none.

        Args:
            motions (`Sequence`): [`Motion`]s, paths or arrays, see [`MotionFeatureExtractor.read`].
            ids (`Sequence[str]`, *optional*): their names; if not given, paths for paths and free numbers for others.
            sources (`Sequence[str]`, *optional*): their files, returned with hits; if not given, the paths among
                `motions`.
            states (`Sequence[dict]`, *optional*): the states of these files, see
                [`~lamp_hf.motion.source_state.describe_source`].

        Raises:
            ValueError: when a motion is invalid or too short, or an id is taken.
        """
        embedder = self.embedder
        paths = [str(motion) if isinstance(motion, (str, Path)) else "" for motion in motions]
        names = self._names_for(paths) if ids is None else list(map(str, ids))
        files = paths if sources is None else list(map(str, sources))
        states = [None] * len(names) if states is None else list(states)
        if not len(motions) == len(names) == len(files) == len(states):
            raise ValueError(f"{len(motions)} motions, {len(names)} ids, {len(files)} sources, {len(states)} states")
        self._entries.check_new(names)
        clips = [embedder.read(motion, name) for motion, name in zip(motions, names)]
        windows = [windows_of(len(clip), embedder.max_frames, embedder.fps) for clip in clips]
        parts = [clip[start:end] for clip, ranges in zip(clips, windows) for start, end in ranges]
        vectors = embedder.embed_motions(parts) if parts else np.zeros((0, embedder.dimension), np.float32)
        spans = np.array([span for ranges in windows for span in ranges], np.float32).reshape(-1, 2) / embedder.fps
        items = np.repeat(np.arange(len(clips)), [len(ranges) for ranges in windows])
        self._append(vectors, Entries(names, files, items, spans, states))

    def add_vectors(self, vectors: np.ndarray, ids: Sequence[str]) -> None:
        """Add embeddings that the same model made elsewhere.

        Args:
            vectors (`np.ndarray` of shape `(num_items, dimension)`): normalised here if they are not.
            ids (`Sequence[str]`): a name for each.

        Raises:
            ValueError: when shapes differ, a value is not finite, or an id is taken.
        """
        vectors, dimension, names = np.asarray(vectors, np.float32), self.embedder.dimension, list(map(str, ids))
        if vectors.shape != (len(names), dimension) or not np.isfinite(vectors).all():
            raise ValueError(
                f"{len(names)} finite vectors of {dimension} numbers wanted, got an array of {list(vectors.shape)}"
            )
        self._entries.check_new(names)
        spans = np.zeros((len(names), 2), np.float32)
        self._append(_unit(vectors), Entries(names, [""] * len(names), np.arange(len(names)), spans))

    def remove(self, ids: Iterable[str]) -> None:
        """Remove motions, all of them or, when one is not in the index, none.

        Raises:
            ValueError: when one is not in the index.
        """
        kept = self._entries.remove(set(map(str, ids)))
        if not kept.all():
            self._store.keep(kept)

    def search(
        self, text: str | None = None, motion=None, k: int = 10, moments: bool = False, *, video=None, boxes=None
    ) -> list[Hit]:
        """Find the motions most similar to a text, a motion, a video, or several of these.

        A video that is longer than the model reads is searched for window by window; hits say which window.

        Args:
            text (`str`, *optional*): a sentence.
            motion (`Motion`, `str`, `Path` or `np.ndarray`, *optional*): an example.
            k (`int`): number of hits; fewer when the gallery has no more.
            moments (`bool`): localise the query in time: return every part of a long motion that matches, instead of
                its best part only.
            video ([`Video`] or what it takes, *optional*): a video of an example, for a model with a video tower.
            boxes (`np.ndarray`, *optional*): where the person is in the video, see [`Video.sample`].

        Returns:
            `list[Hit]`: best first.

        Raises:
            ValueError: when there is no query, it cannot be read, or the model has no video tower.
        """
        if text is None and motion is None and video is None:
            raise ValueError("nothing to search for: give a text, a motion or a video")
        check_count(k, "k")
        if text is not None and not isinstance(text, str):
            raise ValueError(f"a search is for one text, got {text!r}")
        if boxes is not None and video is None:
            raise ValueError("boxes are of a video, and there is none")
        parts = []
        if text is not None:
            parts.append(self.embedder.embed_texts([text])[0])
        if motion is not None:
            parts.append(self.embedder.embed_motions([self.embedder.read(motion)])[0])
        if video is None:
            return self.search_vector(np.mean(parts, 0), k, moments)
        windows, spans = self.embedder.embed_video(video, boxes)
        queries = np.stack([np.mean([window, *parts], 0) for window in windows])
        return [
            replace(self._hit(row, score), video_start=float(spans[query, 0]), video_end=float(spans[query, 1]))
            for row, score, query in self._nearest(queries, k, moments)
        ]

    def search_vector(self, vector: np.ndarray, k: int = 10, moments: bool = False) -> list[Hit]:
        """Search by an embedding `(dimension,)` of the model, see [`~MotionIndex.search`]."""
        check_count(k, "k")
        vector = np.asarray(vector, np.float32)
        if self._store.dimension not in (0, *vector.shape) or vector.ndim != 1 or not np.isfinite(vector).all():
            raise ValueError(f"a finite vector of the model's size is wanted, got an array of {list(vector.shape)}")
        return [self._hit(row, score) for row, score, _ in self._nearest(vector[None], k, moments)]

    def save(self, folder: str | Path) -> None:
        """Write the index; other processes that read the folder find the old index or the new one, never half."""
        fingerprint = self.fingerprint  # of a new index, loads the model, and so the dimension
        tensors = self._store.to_tensors() | self._entries.to_tensors()
        storage.save_gallery(folder, tensors, storage.model_reference(self._model), fingerprint, len(self))

    @classmethod
    def load(cls, folder: str | Path, model: str | Path | None = None) -> MotionIndex:
        """Read an index; its vectors stay on disk until they are needed.

        Args:
            folder (`str` or `Path`): what `save` wrote, or the name of what `push_to_hub` uploaded.
            model (`str` or `Path`, *optional*): folder or Hub id of the model, loaded and checked here; if not given,
                the one that made the index, loaded and checked when it is first needed.

        Raises:
            FileNotFoundError: when there is no index.
            ValueError: when it is damaged, of another version, or was made with another model.
        """
        folder = storage.fetch(folder)
        manifest, tensors = storage.load_gallery(folder)
        index = cls(model or manifest["model"])
        index._fingerprint = manifest["origin"]
        try:
            index._store, index._entries = VectorStore.from_tensors(tensors), Entries.from_tensors(tensors)
        except ValueError as error:
            raise ValueError(f"{folder}: damaged: {error}; index the motions again") from None
        if model is not None:
            index.embedder  # noqa: B018 - loads the model, and refuses another one
        return index

    @classmethod
    def merge(cls, folders: Sequence[str | Path], model: str | Path | None = None) -> MotionIndex:
        """Load indices that were made with the same model, on different machines for instance, as one.

        Raises:
            ValueError: when there is none, models differ, or an id occurs twice.
        """
        if not folders:
            raise ValueError("no index to merge")
        merged = cls.load(folders[0], model)
        for folder in folders[1:]:
            merged.join(cls.load(folder))
        return merged

    def join(self, other: MotionIndex) -> MotionIndex:
        """Add all motions of another index of the same model, and return this one.

        Raises:
            ValueError: when the models differ, or an id occurs twice.
        """
        if other.fingerprint != self.fingerprint:
            raise ValueError(
                f"vectors of different models ({self.fingerprint[:8]}, {other.fingerprint[:8]}) cannot be in one "
                "index: give the model that made the others, or index all motions again"
            )
        self._entries.check_new(other.ids)
        self._append(other._store.vectors, other._entries)
        return self

    def push_to_hub(self, name: str, **options: Any) -> str:
        """Upload the index, without paths of this machine, as a data set of the Hub, and return its address.

        Args:
            name (`str`): the data set, `user/name`; made if it is missing.
            options (*optional*): options of [`huggingface_hub.HfApi.create_repo`], `private=True` for instance.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.write_repository(folder, name)
            return publish.upload(folder, name, **options)

    def write_repository(self, folder: str | Path, name: str) -> None:
        """Write the files of a data set `name` of the Hub: the index without paths of this machine, and a card.

        Raises:
            ValueError: when the model is a folder of this machine, where nobody else finds it.
        """
        if Path(storage.model_reference(self._model)).is_dir():
            raise ValueError(
                f"others do not have {self._model}: push the model, then load the index with its name on the Hub, "
                "MotionIndex.load(folder, model)"
            )
        public = copy.copy(self)
        public._entries = replace(self._entries, sources=[""] * len(self), states=[])
        public.save(folder)
        (Path(folder) / storage.LOCK).unlink()
        publish.write_card(folder, name, len(self))

    def _names_for(self, paths: list[str]) -> list[str]:
        """Name motions by their paths, and those without one by free numbers."""
        numbers = (name for name in map(str, itertools.count(len(self))) if name not in self._entries)
        return [path or next(numbers) for path in paths]

    def _append(self, vectors: np.ndarray, entries: Entries) -> None:
        self._store.add(vectors)
        self._entries.append(entries)

    def _nearest(self, queries: np.ndarray, k: int, moments: bool) -> list[tuple[int, float, int]]:
        """Find the rows most similar to any of the queries `(num_queries, dimension)`.

        Returns:
            `list[tuple[int, float, int]]`: row, its cosine, and the query that it is most similar to; best first.
        """
        count = 4 * k
        while True:
            best: dict[int, tuple[float, int]] = {}
            for query, vector in enumerate(_unit(queries)):
                for row, score in zip(*self._store.search(vector, count)):
                    if row not in best or score > best[row][0]:
                        best[row] = float(score), query
            ranked = sorted(best, key=lambda row: -best[row][0])
            chosen = choose_windows(ranked, self._entries.items, self._entries.spans, k, every_match=moments)
            if len(chosen) == k or count >= len(self._store):
                return [(row, *best[row]) for row in chosen]
            count *= 4  # the windows of a few motions took all places

    def _hit(self, row: int, score: float) -> Hit:
        item = self._entries.items[row]
        start, end = map(float, self._entries.spans[row])
        return Hit(self._entries.ids[item], score, start, end, self._entries.sources[item] or None)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)).astype(np.float32)
