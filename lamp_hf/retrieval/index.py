"""`MotionIndex`: a gallery of motions, searched by text, by motion or by video, of any size.

One vector stands for each clip, or for each window of a clip that is longer than the model reads at once. A small
gallery is searched exactly. A large one (100,000 vectors and more) is scanned in full as 4-bit product-quantised codes
in registers (FAISS's fast scan), and the best are scored exactly. Cells (IVF) would look at less of it, but lose
neighbours where vectors do not cluster; the scan loses none and takes milliseconds (`docs/retrieval.md` has the
numbers).
"""

import copy
import hashlib
import itertools
import json
import tempfile
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import faiss
import numpy as np
from filelock import FileLock
from huggingface_hub import HfApi
from safetensors import safe_open
from safetensors.numpy import save_file

from .. import BUNDLED, bundled
from ..motion.files import write_atomically
from .embedder import Embedder, windows_of
from .storage import FORMAT, VECTORS, VERSION, Rows, fetch, memory_map, read_about


QUANTISED_FROM = 100_000  # vectors
CANDIDATES = 10_000  # that a scan leaves to be scored exactly, at least


@dataclass(frozen=True)
class Hit:
    """
    Args:
        id (`str`): of the motion.
        score (`float`): cosine of query and motion.
        start, end (`float`): seconds; the part of the motion that was found.
        source (`str`, *optional*): the file that it came from.
        video_start, video_end (`float`, *optional*): seconds; the part of the video that was searched for.
    """

    id: str
    score: float
    start: float
    end: float
    source: str | None = None
    video_start: float | None = None
    video_end: float | None = None


class MotionIndex:
    """A searchable gallery.

        index = lamp_hf.MotionIndex()
        index.add([motion, "walk.bvh"], ids=["a", "b"])
        index.search(text="someone waves", k=10)  # [Hit(id, score, ...), ...]
        index.save("gallery/")

    Args:
        model (`str` or `Path`): folder or Hub id of a model whose encoders make the vectors, or a bundled one,
            `"bundled:text-to-motion"` (LaMP) or `"bundled:video"` (LAVIMO, which reads films too, and words a little
            less well).
    """

    def __init__(self, model: str | Path = "bundled:text-to-motion"):
        self._model = _locate(str(model))
        self._embedder: Embedder | None = None
        self._origin: str | None = None  # of the model that made the vectors
        self._rows: Rows | None = None
        self._ids: list[str] = []  # of the items that rows point to
        self._known: set[str] = set()
        self._sources: list[str] = []
        self._quantised: faiss.Index | None = None

    @property
    def embedder(self) -> Embedder:
        """The model, loaded when it is first needed.

        Raises:
            ValueError: when it is not the one that made the vectors.
        """
        if self._embedder is None:
            embedder = Embedder(self._model)
            if self._origin not in (None, embedder.origin):
                raise ValueError(f"the index was made with {self._origin}; {self._model} is {embedder.origin}")
            self._embedder, self._origin = embedder, embedder.origin
            if self._rows is None:
                self._rows = Rows.empty(embedder.dimension)
        return self._embedder

    @property
    def origin(self) -> str:
        """Fingerprint of the model."""
        return self._origin or self.embedder.origin

    @property
    def ids(self) -> list[str]:
        """Of all motions, in the order in which they came."""
        return list(self._ids)

    @property
    def sources(self) -> list[str]:
        """The file that each motion came from, in the order of `ids`; empty where none was told."""
        return list(self._sources)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def model_name(self) -> str:
        """Folder or Hub id of the model."""
        return self._model

    def __repr__(self) -> str:
        return f"MotionIndex({len(self)} motions, model {self._model!r})"

    def add(self, motions: Sequence, ids: Sequence[str] | None = None, sources: Sequence[str] | None = None) -> None:
        """Adds motions, all or none.

        Args:
            motions (`Sequence`): [`Motion`]s, paths or arrays, see [`MotionFeatureExtractor.read`].
            ids (`Sequence[str]`, *optional*): new names; the paths, or free numbers, if not given.
            sources (`Sequence[str]`, *optional*): files to tell in hits; the paths among `motions` if not given.

        Raises:
            ValueError: when a motion is broken or too short, or an id is taken.
        """
        embedder = self.embedder
        paths = [str(motion) if isinstance(motion, (str, Path)) else "" for motion in motions]
        if ids is None:
            free = (name for name in map(str, itertools.count(len(self))) if name not in self._known)
            ids = [path or next(free) for path in paths]
        ids = list(map(str, ids))
        sources = paths if sources is None else list(map(str, sources))
        if not len(motions) == len(ids) == len(sources):
            raise ValueError(f"{len(motions)} motions, {len(ids)} ids, {len(sources)} sources")
        self._check_new(ids)
        clips = [embedder.read(motion, name) for motion, name in zip(motions, ids)]
        windows = [windows_of(len(clip), embedder.longest, embedder.fps) for clip in clips]
        parts = [clip[start:end] for clip, some in zip(clips, windows) for start, end in some]
        vectors = embedder.embed_motions(parts) if parts else self._rows.vectors[:0]
        spans = np.array([span for some in windows for span in some], np.float32).reshape(-1, 2) / embedder.fps
        items = np.repeat(np.arange(len(clips)), [len(some) for some in windows])
        self._append(Rows(vectors, items, spans), ids, sources)

    def add_vectors(self, vectors: np.ndarray, ids: Sequence[str]) -> None:
        """Adds vectors of the model that were made elsewhere, `(num_items, dimension)`, one an id."""
        vectors, size = np.asarray(vectors, np.float32), self.embedder.dimension
        ids = list(map(str, ids))
        if vectors.shape != (len(ids), size) or not np.isfinite(vectors).all():
            raise ValueError(f"{len(ids)} finite vectors of {size} numbers wanted, got {list(vectors.shape)}")
        self._check_new(ids)
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        rows = Rows(vectors, np.arange(len(ids)), np.zeros((len(ids), 2), np.float32))
        self._append(rows, ids, [""] * len(ids))

    def remove(self, ids: Iterable[str]) -> None:
        """Removes motions.

        Raises:
            ValueError: when one is not there; then none is removed.
        """
        gone = set(map(str, ids))
        if not gone:
            return
        if missing := sorted(gone - self._known):
            raise ValueError(f"no motion {missing[0]!r} in the index")
        kept = np.array([name not in gone for name in self._ids], bool)
        self._sources = [source for source, keep in zip(self._sources, kept) if keep]
        self._ids, self._known = [name for name in self._ids if name not in gone], self._known - gone
        rows = self._rows[kept[self._rows.items]]
        self._rows = Rows(rows.vectors, (np.cumsum(kept) - 1)[rows.items], rows.spans)
        self._quantised = None

    def search(
        self, text: str | None = None, motion=None, k: int = 10, moments: bool = False, *, video=None, boxes=None
    ) -> list[Hit]:
        """The motions most like a text, a motion, a video, or several of these; the best first.

        Of a video that is longer than the model looks at once, every window is searched for, and hits tell which.

        Args:
            text (`str`, *optional*): a sentence.
            motion (`Motion`, `str`, `Path` or `np.ndarray`, *optional*): an example.
            k (`int`): how many; all there are, when there are fewer.
            moments (`bool`): tell every part of a long motion that fits, not only its best one.
            video ([`Video`] or what it takes, *optional*): a film of an example, for a model with a video tower.
            boxes (`np.ndarray`, *optional*): of the person in the video, see [`Video.sample`].

        Raises:
            ValueError: when there is nothing to search for, or it cannot be read.
        """
        if text is None and motion is None and video is None:
            raise ValueError("nothing to search for: give a text, a motion or a video")
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        if text is not None and not isinstance(text, str):
            raise ValueError(f"a search is for one text, got {text!r}")
        vectors = []
        if text is not None:
            vectors.append(self.embedder.embed_texts([text])[0])
        if motion is not None:
            vectors.append(self.embedder.embed_motions([self.embedder.read(motion)])[0])
        if video is None:
            if boxes is not None:
                raise ValueError("boxes are of a video, and there is none")
            return self.search_vector(np.mean(vectors, 0), k, moments)
        films, spans = self.embedder.embed_video(video, boxes)
        found = self._search(np.stack([np.mean([film, *vectors], 0) for film in films]), k, moments)
        times = [tuple(map(float, span)) for span in spans]
        return [
            replace(self._hit(row, score), video_start=times[query][0], video_end=times[query][1])
            for row, score, query in found
        ]

    def search_vector(self, vector: np.ndarray, k: int = 10, moments: bool = False) -> list[Hit]:
        """As `search`, by a vector of the model, `(dimension,)`."""
        vector = np.asarray(vector, np.float32)
        if (self._rows is not None and vector.shape != self._rows.vectors.shape[1:]) or not np.isfinite(vector).all():
            raise ValueError(f"a finite vector of the model's size is wanted, got {list(vector.shape)}")
        found = self._search(vector[None], k, moments)
        return [self._hit(row, score) for row, score, _ in found]

    def _search(self, vectors: np.ndarray, k: int, moments: bool) -> list[tuple[int, float, int]]:
        """Rows that are most like any of some vectors `(num_queries, dimension)`, their cosines, and like which."""
        if self._rows is None:
            return []
        vectors = (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)).astype(np.float32)
        count = 4 * k
        while True:
            best: dict[int, tuple[float, int]] = {}
            for query, vector in enumerate(vectors):
                for row, score in zip(*self._nearest(vector, min(count, len(self._rows)))):
                    if row not in best or score > best[row][0]:
                        best[row] = float(score), query
            rows = sorted(best, key=lambda row: -best[row][0])
            chosen = self._choose(rows, k, moments)
            if len(chosen) == k or count >= len(self._rows):
                return [(row, *best[row]) for row in chosen]
            count *= 4  # windows of few motions took all places

    def save(self, folder: str | Path) -> None:
        """Writes the index; who reads the folder meanwhile, or after an interruption, finds the old one whole."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if self._rows is None:
            self._rows = Rows.empty(self.embedder.dimension)
        with FileLock(folder / ".lock"):
            name = f"{uuid.uuid4().hex[:12]}.safetensors"
            write_atomically(folder / name, lambda path: save_file(self._tensors(), path))
            with open(folder / name, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            about = {
                "format": FORMAT,
                "version": VERSION,
                "model": _portable(self._model),
                "origin": self.origin,
                "motions": len(self),
                "vectors": len(self._rows),
                "dimension": self._rows.vectors.shape[1],
                "file": name,
                "sha256": digest,
            }
            text = json.dumps(about, indent=2) + "\n"
            write_atomically(folder / "index.json", lambda path: path.write_text(text, encoding="utf-8"))
            for old in folder.glob(VECTORS):  # and nothing else that may lie there, weights for instance
                if old.name != name:
                    old.unlink()

    def push_to_hub(self, name: str, **options) -> str:
        """Uploads the index as a data set of the Hub, with a note on what it is; returns its address.

        Args:
            name (`str`): `user/name`; made if it is not there.
            options (*optional*): of [`huggingface_hub.HfApi.create_repo`], `private=True` for instance.
        """
        api = HfApi()
        with tempfile.TemporaryDirectory() as folder:
            self.write_repository(folder, name)
            address = api.create_repo(name, repo_type="dataset", exist_ok=True, **options)
            api.upload_folder(repo_id=name, repo_type="dataset", folder_path=folder, delete_patterns=VECTORS)
        return str(address)

    def write_repository(self, folder: str | Path, name: str) -> None:
        """Writes what a data set `name` of the Hub holds: the index without paths of this machine, and a note.

        Raises:
            ValueError: when the model is a folder of this machine, where nobody else finds it.
        """
        if Path(_portable(self._model)).is_dir():
            raise ValueError(
                f"others do not have {self._model}: push the model, then load the index with its name on the Hub, "
                "MotionIndex.load(folder, model)"
            )
        public = copy.copy(self)
        public._sources = [""] * len(self)
        public.save(folder)
        (Path(folder) / ".lock").unlink()
        (Path(folder) / "README.md").write_text(_ABOUT.format(name=name, motions=len(self)), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path, model: str | Path | None = None) -> "MotionIndex":
        """Reads an index; vectors stay on disk and are read as they are needed.

        Args:
            folder (`str` or `Path`): what `save` wrote, or the name of what `push_to_hub` uploaded.
            model (`str` or `Path`, *optional*): where the model lies now, loaded and compared with the one that made
                the vectors; where it lay then if not given.

        Raises:
            FileNotFoundError: when there is no index.
            ValueError: when it is damaged, of another version, or was made with another model.
        """
        folder = fetch(folder)
        for _ in range(100):
            about = read_about(folder)
            index = cls(model or about["model"])
            index._origin = about["origin"]
            try:
                index._read(folder / about["file"], about["sha256"])
            except FileNotFoundError:
                if about == read_about(folder):
                    raise ValueError(
                        f"{folder}: damaged: {about['file']} is missing; index the motions again"
                    ) from None
                continue  # it was saved anew while we read
            if model is not None:
                index.embedder  # noqa: B018 - refuses another model
            return index
        raise ValueError(f"{folder} is being saved all the time: wait until it is done")

    @classmethod
    def merge(cls, folders: Sequence[str | Path], model: str | Path | None = None) -> "MotionIndex":
        """One index of several that were made with the same model, on different machines for instance.

        Raises:
            ValueError: when there is none, models differ, or an id occurs twice.
        """
        if not folders:
            raise ValueError("no index to merge")
        first = cls.load(folders[0], model)
        for folder in folders[1:]:
            first.join(cls.load(folder))
        return first

    def join(self, other: "MotionIndex") -> "MotionIndex":
        """Takes over all motions of another index of the same model, and returns itself.

        Raises:
            ValueError: when the models differ, or an id occurs twice.
        """
        if other.origin != self.origin:
            raise ValueError(
                f"vectors of different models ({self.origin[:8]}, {other.origin[:8]}) cannot be in one index: give "
                "the model that made the others, or index all motions again"
            )
        self._check_new(other.ids)
        self._append(other._rows, other.ids, other._sources)
        return self

    def _hit(self, row: int, score: float) -> Hit:
        item = self._rows.items[row]
        start, end = map(float, self._rows.spans[row])
        return Hit(self._ids[item], float(score), start, end, self._sources[item] or None)

    def _check_new(self, ids: Sequence[str]) -> None:
        for name in ids:
            if name in self._known:
                raise ValueError(f"the index has a motion {name!r} already")
        if len(set(ids)) != len(ids):
            raise ValueError("an id is given twice")

    def _append(self, rows: Rows, ids: list[str], sources: list[str]) -> None:
        self._rows = self._rows + Rows(rows.vectors, rows.items + len(self), rows.spans)
        self._ids, self._sources, self._known = self._ids + ids, self._sources + sources, self._known | set(ids)
        if self._quantised is not None:
            self._quantised.add(np.ascontiguousarray(rows.vectors))

    def _nearest(self, vector: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows with the highest cosines, the best first, and these."""
        vectors = self._rows.vectors
        if len(vectors) < QUANTISED_FROM or count > len(vectors) // 4:
            if not count:
                return np.zeros(0, int), np.zeros(0)
            scores, rows = faiss.knn(vector[None], vectors, count, metric=faiss.METRIC_INNER_PRODUCT)
            return rows[0], scores[0]
        if self._quantised is None:
            self._quantised = _quantise(vectors)
        _, rows = self._quantised.search(vector[None], max(CANDIDATES, 4 * count))
        rows = np.sort(rows[0][rows[0] >= 0])
        scores = vectors[rows] @ vector
        best = np.argsort(-scores, kind="stable")[:count]
        return rows[best], scores[best]

    def _choose(self, rows: list[int], k: int, moments: bool) -> list[int]:
        """At most k of the rows: of each motion the best, or those that do not overlap a better one."""
        taken: dict[int, list[np.ndarray]] = {}
        chosen = []
        for row in rows:
            spans = taken.setdefault(int(self._rows.items[row]), [])
            start, end = self._rows.spans[row]
            if spans and (not moments or any(start < other[1] and other[0] < end for other in spans)):
                continue
            spans.append(self._rows.spans[row])
            chosen.append(row)
            if len(chosen) == k:
                break
        return chosen

    def _tensors(self) -> dict[str, np.ndarray]:
        rows = self._rows
        if self._quantised is None and len(rows) >= QUANTISED_FROM:
            self._quantised = _quantise(rows.vectors)
        tensors = {"vectors": np.ascontiguousarray(rows.vectors), "items": rows.items.astype(np.int32)}
        tensors |= {"spans": np.ascontiguousarray(rows.spans)}
        for name, values in (("ids", self._ids), ("sources", self._sources)):
            # As JSON: unlike plain text it has an end for every string, whatever is in it.
            tensors[name] = np.frombuffer(json.dumps(values).encode(), np.uint8)
        if self._quantised is not None:
            tensors["quantised"] = faiss.serialize_index(self._quantised)
        return tensors

    def _read(self, path: Path, digest: str) -> None:
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise ValueError(f"{path}: damaged: its content is not what was saved; index the motions again")
            vectors = memory_map(file, "vectors")
        with safe_open(path, framework="numpy") as tensors:
            values = {name: tensors.get_tensor(name) for name in set(tensors.keys()) - {"vectors"}}
        self._rows = Rows(vectors, values["items"].astype(np.int64), values["spans"])
        self._ids, self._sources = (json.loads(values[name].tobytes()) for name in ("ids", "sources"))
        self._known = set(self._ids)
        if "quantised" in values:
            self._quantised = faiss.deserialize_index(values["quantised"])


def _quantise(vectors: np.ndarray) -> faiss.Index:
    """Codes of four bits for every two dimensions."""
    size = vectors.shape[1]
    index = faiss.index_factory(size, f"PQ{-(-size // 2)}x4fs", faiss.METRIC_INNER_PRODUCT)
    sample = np.random.default_rng(0).choice(len(vectors), min(len(vectors), 65536), replace=False)
    index.train(np.ascontiguousarray(vectors[np.sort(sample)]))
    for first in range(0, len(vectors), QUANTISED_FROM):
        index.add(np.ascontiguousarray(vectors[first : first + QUANTISED_FROM]))
    return index


_ABOUT = """---
tags: [motion, retrieval]
---
# {name}

A gallery of {motions} motions for the package `lamp_hf`: vectors, not the motions themselves.

```python
import lamp_hf

lamp_hf.MotionIndex.load("{name}").search(text="someone waves")
```
"""


def _portable(model: str) -> str:
    """A bundled model moves with the package, so its name is written; another's folder is found from anywhere."""
    name = next((f"bundled:{task}" for task in BUNDLED if model == bundled(task)), model)
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def _locate(model: str) -> str:
    """What `_portable` named."""
    return bundled(model.removeprefix("bundled:")) if model.startswith("bundled:") else model
