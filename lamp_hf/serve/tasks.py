"""Tasks of the models: text to motion, captions, search. One thread calls them, see `jobs`."""

import functools
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from transformers import pipeline

from .. import bundled
from ..models.constraints import Constraint
from ..models.prompt_splitting import parts_in_order
from ..motion.clip import Motion
from ..retrieval.index import MotionIndex
from .jobs import Job


@dataclass(frozen=True)
class Prompt:
    """A motion to generate.

    Args:
        texts (`tuple[str, ...]`): what happens, one after another.
        durations (`tuple[float | None, ...]`): seconds of each; None lets the model choose.
        seed (`int`): of the motion, or of its first candidate.
        num_candidates (`int`): motions to generate, of which LaMP keeps the best.
        options (`tuple[tuple[str, float], ...]`): further options of the pipeline, by name.
        constraints (`tuple[Constraint, ...]`): paths, poses and places that the motion is fitted to.
    """

    texts: tuple[str, ...]
    durations: tuple[float | None, ...]
    seed: int
    num_candidates: int = 1
    options: tuple[tuple[str, float], ...] = ()
    constraints: tuple[Constraint, ...] = ()

    def as_job(self) -> Job:
        """Return the job; those of single texts can be worked on together."""
        stands_alone = len(self.texts) > 1 or len(parts_in_order(self.texts[0])) > 1 or bool(self.constraints)
        batch_key = None if stands_alone else (self.num_candidates, self.options)
        return Job("generate", self, batch_key, self.num_candidates)


@dataclass(frozen=True)
class Query:
    """A search: for a text, a motion, or both.

    Args:
        text (`str`, *optional*): a sentence.
        motion ([`Motion`], *optional*): an example.
        k (`int`): number of hits.
    """

    text: str | None
    motion: Motion | None
    k: int


@dataclass
class MotionResult:
    """A motion that was generated or converted.

    Args:
        motion ([`Motion`]): the motion.
        features (`np.ndarray` of shape `(num_frames, num_features)`, *optional*): of a generated motion.
        told (`dict`): what else is known of it, for JSON.
    """

    motion: Motion
    features: np.ndarray | None = None
    told: dict[str, Any] = field(default_factory=dict)


class ModelTasks:
    """The models, and what they are asked for.

    Args:
        model (`str`): folder or Hub id of a text-to-motion model; the bundled one if empty.
        gallery (`Path`, *optional*): folder of a gallery to search.
    """

    def __init__(self, model: str = "", gallery: Path | None = None):
        self.generator = pipeline("text-to-motion", model=model or bundled())
        self.index = None if gallery is None else MotionIndex.load(gallery)
        if self.index is not None:
            self.index.embedder  # noqa: B018 - loads the model now, or says why it cannot

    @property
    def name(self) -> str:
        """Name of the text-to-motion model."""
        name = self.generator.model.name_or_path
        return Path(name).resolve().name if Path(name).is_dir() else name

    def work(self, task: str, requests: list) -> list:
        """Do a task for several requests; the answer has a result or an exception for each."""
        if task == "generate":
            return self._generate(requests)
        do = {"caption": self._caption, "search": self._search}[task]
        return [_result_or_error(do, request) for request in requests]

    def _generate(self, prompts: list[Prompt]) -> list:
        """Generate motions; when one of several is refused, generate one by one, so that it fails alone."""
        first = prompts[0]
        options = {"num_candidates": first.num_candidates, **dict(first.options)}
        try:
            if len(prompts) == 1:
                made = [
                    self.generator(
                        list(first.texts),
                        duration=list(first.durations),
                        seed=first.seed,
                        mode="sequence",
                        constraints=first.constraints or None,
                        **options,
                    )
                ]
            else:
                made = self.generator(
                    [prompt.texts[0] for prompt in prompts],
                    duration=[prompt.durations[0] for prompt in prompts],
                    seed=[prompt.seed for prompt in prompts],
                    batch_size=len(prompts) * first.num_candidates,
                    **options,
                )
        except ValueError as error:
            return [error] if len(prompts) == 1 else [one for prompt in prompts for one in self._generate([prompt])]
        return [self._tell(result) for result in made]

    def _tell(self, result: dict) -> MotionResult:
        known = self.generator.processor.familiarity
        names = ("seed", "familiarity", "nearest", "constraint_error")
        told = {name: result[name] for name in names if name in result}
        told["unfamiliar"] = None if known is None else known.is_unfamiliar(result["familiarity"])
        return MotionResult(Motion(**result), result["features"], told)

    def _caption(self, motion: Motion) -> dict:
        features = self._captioner.read(motion, motion.text or "motion")
        (made,) = self._captioner(features, return_timestamps=True)
        parts = [
            {"text": chunk["text"], "start": round(chunk["timestamp"][0], 3), "end": round(chunk["timestamp"][1], 3)}
            for chunk in made["chunks"]
        ]
        return {"text": made["generated_text"], "parts": parts}

    def _search(self, query: Query) -> dict:
        assert self.index is not None  # the request was refused otherwise
        hits = self.index.search(query.text, query.motion, query.k)
        shown = ("id", "score", "start", "end")
        return {"hits": [{name: value for name, value in asdict(hit).items() if name in shown} for hit in hits]}

    @functools.cached_property
    def _captioner(self):
        return pipeline("motion-to-text", model=bundled("captioning"))


def _result_or_error(do, request) -> Any:
    try:
        return do(request)
    except Exception as error:
        return error
