"""`MotionIndex`: a gallery of motions, searched by text, by motion or by video.

One vector stands for each motion, or for each window of a motion that is longer than the model reads. The model's
vectors come from `embedder`, nearest neighbours from `rows`, files from `storage`.
"""

from __future__ import annotations

import copy
import itertools
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..models.motion_requests import check_count
from . import publish, storage
from .embedder import Embedder
from .entries import Entries, Hit
from .late_interaction import QueryVectors, WordScores
from .milvus_store import MilvusStore, check_uri
from .rows import Rows
from .vector_search import VectorStore
from .windows import windows_of


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
        late_interaction (`bool`): keep the vectors of LaMP's queries too, so that a search by text alone has a second
            stage, in which each word meets the queries of every candidate, see [`WordScores`].
        store (`str`): `"faiss"`, which keeps the vectors in this process, or `"milvus"`.
        uri (`str`, *optional*): where Milvus is: a file of milvus-lite, `"gallery.db"`, or the address of a server,
            see [`~lamp_hf.retrieval.milvus_store.check_uri`].

    Raises:
        ValueError: when there is no such store, `uri` does not go with it, or pymilvus is missing.
    """

    def __init__(
        self,
        model: str | Path = "bundled:text-to-motion",
        *,
        late_interaction: bool = False,
        store: str = "faiss",
        uri: str | None = None,
    ):
        self._model = storage.resolve_model(str(model))
        if store not in ("faiss", "milvus") or (store == "faiss" and uri is not None):
            raise ValueError(f"store must be 'faiss', or 'milvus' with its uri, got {store!r} and {uri!r}")
        self._uri = check_uri(uri) if store == "milvus" else None
        self._late_interaction = late_interaction
        self._embedder: Embedder | None = None
        self._fingerprint: str | None = None  # of the model that made the vectors
        # The store asked for, and queries if wanted, follow as soon as the model is known, and with it their sizes.
        self._rows = Rows(Entries(), VectorStore(np.zeros((0, 0), np.float32)))

    def __len__(self) -> int:
        return len(self._rows.entries)

    def __repr__(self) -> str:
        return f"MotionIndex({len(self)} motions, model {self._model!r})"

    @property
    def model_name(self) -> str:
        """Folder or Hub id of the model."""
        return self._model

    @property
    def late_interaction(self) -> bool:
        """True if a search by text has a second stage, by words and queries."""
        return self._late_interaction

    @property
    def embedder(self) -> Embedder:
        """The model, loaded when it is first needed.

        Raises:
            ValueError: when it is not the one that made the vectors, or is to compare words and is not LaMP.
        """
        if self._embedder is None:
            embedder = Embedder(self._model)
            if self._fingerprint not in (None, embedder.fingerprint):
                raise ValueError(
                    f"the index was made with {self._fingerprint}; {self._model} is {embedder.fingerprint}"
                )
            self._prepare_rows(embedder)
            self._embedder, self._fingerprint = embedder, embedder.fingerprint
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
        return list(self._rows.entries.ids)

    @property
    def sources(self) -> list[str]:
        """The file of each motion, in the order of `ids`; empty where it has none."""
        return list(self._rows.entries.sources)

    @property
    def states(self) -> list[dict[str, Any] | None]:
        """The state of each motion's file when it was read, in the order of `ids`; None where it is not known."""
        return list(self._rows.entries.states)

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
        self._rows.entries.check_new(names)
        clips = [embedder.read(motion, name) for motion, name in zip(motions, names)]
        windows = [windows_of(len(clip), embedder.max_frames, embedder.fps) for clip in clips]
        parts = [clip[start:end] for clip, ranges in zip(clips, windows) for start, end in ranges]
        queries = None
        if self._late_interaction:
            vectors, queries = embedder.embed_motions_and_queries(parts)
        else:
            vectors = embedder.embed_motions(parts)
        spans = np.array([span for ranges in windows for span in ranges], np.float32).reshape(-1, 2) / embedder.fps
        items = np.repeat(np.arange(len(clips)), [len(ranges) for ranges in windows])
        self._rows.append(Entries(names, files, items, spans, states), vectors, queries)

    def add_vectors(self, vectors: np.ndarray, ids: Sequence[str], queries: np.ndarray | None = None) -> None:
        """Add embeddings that the same model made elsewhere.

        Args:
            vectors (`np.ndarray` of shape `(num_items, dimension)`): normalised here if they are not.
            ids (`Sequence[str]`): a name for each.
            queries (`np.ndarray` of shape `(num_items, num_queries, size)`, *optional*): with late interaction only,
                what `get_motion_features(pool=False)` returns.

        Raises:
            ValueError: when shapes differ, a value is not finite, or an id is taken.
        """
        vectors, dimension, names = np.asarray(vectors, np.float32), self.embedder.dimension, list(map(str, ids))
        if vectors.shape != (len(names), dimension) or not np.isfinite(vectors).all():
            raise ValueError(
                f"{len(names)} finite vectors of {dimension} numbers wanted, got an array of {list(vectors.shape)}"
            )
        shape = (len(names), *self.embedder.query_shape) if self._late_interaction else None
        if (None if queries is None else queries.shape) != shape:
            wanted = f"queries {list(shape)} of these motions" if shape else "no queries, without late interaction"
            raise ValueError(f"{wanted} wanted, got {'none' if queries is None else list(queries.shape)}")
        self._rows.entries.check_new(names)
        spans = np.zeros((len(names), 2), np.float32)
        entries = Entries(names, [""] * len(names), np.arange(len(names)), spans)
        self._rows.append(entries, _unit(vectors), queries)

    def remove(self, ids: Iterable[str]) -> None:
        """Remove motions, all of them or, when one is not in the index, none.

        Raises:
            ValueError: when one is not in the index.
        """
        self._rows.remove(set(map(str, ids)))

    def search(
        self, text: str | None = None, motion=None, k: int = 10, moments: bool = False, *, video=None, boxes=None
    ) -> list[Hit]:
        """Find the motions most similar to a text, a motion, a video, or several of these.

        A search has one stage, by the vectors of whole motions, or two, see `late_interaction`, by a text alone.
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
        if self._late_interaction and text is not None and motion is None and video is None:
            vector, words = self.embedder.encode_words(text)
            found = self._rows.nearest(vector[None], k, moments, WordScores(self.embedder.model, words))
            return [self._rows.entries.hit(row, score) for row, score, _ in found]
        parts = []
        if text is not None:
            parts.append(self.embedder.embed_texts([text])[0])
        if motion is not None:
            parts.append(self.embedder.embed_motions([self.embedder.read(motion)])[0])
        if video is None:
            return self.search_vector(np.mean(parts, 0), k, moments)
        windows, spans = self.embedder.embed_video(video, boxes)
        queries = np.stack([np.mean([window, *parts], 0) for window in windows])
        hits = []
        for row, score, query in self._rows.nearest(_unit(queries), k, moments):
            start, end = map(float, spans[query])
            hits.append(replace(self._rows.entries.hit(row, score), video_start=start, video_end=end))
        return hits

    def search_vector(self, vector: np.ndarray, k: int = 10, moments: bool = False) -> list[Hit]:
        """Search by an embedding `(dimension,)` of the model, in one stage, see [`~MotionIndex.search`]."""
        check_count(k, "k")
        vector = np.asarray(vector, np.float32)
        if self._rows.store.dimension not in (0, *vector.shape) or vector.ndim != 1 or not np.isfinite(vector).all():
            raise ValueError(f"a finite vector of the model's size is wanted, got an array of {list(vector.shape)}")
        found = self._rows.nearest(_unit(vector[None]), k, moments)
        return [self._rows.entries.hit(row, score) for row, score, _ in found]

    def save(self, folder: str | Path) -> None:
        """Write the index; other processes that read the folder find the old index or the new one, never half."""
        fingerprint = self.fingerprint  # of a new index, loads the model, and so the dimension
        about = {"model": storage.model_reference(self._model), "origin": fingerprint} | self._rows.describe(folder)
        storage.save_gallery(folder, self._rows.to_tensors(), about)

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
        name, folder = str(folder), storage.fetch(folder)
        manifest, tensors = storage.load_gallery(folder)
        if manifest["milvus"] and folder != Path(name):
            raise ValueError(f"{name} is on the Hub and its vectors are not: push it with MotionIndex.push_to_hub")
        index = cls(model or manifest["model"])
        index._fingerprint = manifest["origin"]
        milvus = manifest["milvus"] and storage.find_milvus(manifest["milvus"], folder)
        try:
            index._rows = Rows.from_tensors(tensors, milvus)
        except ValueError as error:
            raise ValueError(f"{folder}: damaged: {error}; index the motions again") from None
        index._late_interaction = index._rows.queries is not None
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

    def new_like(self) -> MotionIndex:
        """Make an empty index of the same model, which is loaded once for both, with its vectors in this process."""
        index = MotionIndex(self._model, late_interaction=self._late_interaction)
        index._prepare_rows(self.embedder)
        index._embedder, index._fingerprint = self.embedder, self.fingerprint
        return index

    def join(self, other: MotionIndex) -> MotionIndex:
        """Add all motions of another index of the same model, and return this one.

        Raises:
            ValueError: when the models differ, only one has the queries for late interaction, or an id occurs twice.
        """
        if other.fingerprint != self.fingerprint:
            raise ValueError(
                f"vectors of different models ({self.fingerprint[:8]}, {other.fingerprint[:8]}) cannot be in one "
                "index: give the model that made the others, or index all motions again"
            )
        self._rows.join(other._rows)
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
        public._rows = self._rows.to_publish()
        public.save(folder)
        (Path(folder) / storage.LOCK).unlink()
        publish.write_card(folder, name, len(self))

    def _names_for(self, paths: list[str]) -> list[str]:
        """Name motions by their paths, and those without one by free numbers."""
        numbers = (name for name in map(str, itertools.count(len(self))) if name not in self._rows.entries)
        return [path or next(numbers) for path in paths]

    def _prepare_rows(self, embedder: Embedder) -> None:
        """Make what the rows of a model need, or check that those there are are of its sizes.

        Raises:
            ValueError: when they are not.
        """
        rows, made_again = self._rows, "index the motions again"
        if not rows.store.dimension:
            new = np.zeros((0, embedder.dimension), np.float32)
            rows.store = MilvusStore(self._uri, embedder.dimension) if self._uri else VectorStore(new)
        if rows.store.dimension != embedder.dimension:
            raise ValueError(
                f"the index has vectors of {rows.store.dimension} numbers, {self._model} makes "
                f"{embedder.dimension}: {made_again}"
            )
        if self._late_interaction and rows.queries is None:
            rows.queries = QueryVectors.empty(*embedder.query_shape)
        if rows.queries is not None and rows.queries.shape != embedder.query_shape:
            kept, made = (" x ".join(map(str, shape)) for shape in (rows.queries.shape, embedder.query_shape))
            raise ValueError(
                f"the index has {kept} numbers for late interaction, {self._model} makes {made}: {made_again}"
            )


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)).astype(np.float32)
