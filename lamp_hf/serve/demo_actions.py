"""Actions of the demo page: what its buttons do.

Visitors share the models and the gallery, which never change; everything else belongs to a visitor's session.
"""

import functools
import html
import logging
import re
import tempfile
import textwrap
import threading
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import gradio as gr
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder
from transformers import pipeline

from .. import bundled
from ..models.familiarity import recognise, unfamiliar
from ..models.prompt_splitting import parts_in_order
from ..motion.clip import Motion
from ..motion.html import player_page
from ..retrieval.index import MotionIndex
from .limits import MAX_CANDIDATES, MAX_SECONDS, MAX_TEXTS, Limits
from .timeline import VARIANTS, read_path, read_poses, read_rows
from .uploads import error_line, put_on_character, read_motion, read_seed, read_sentences, read_video


GALLERY = (
    "a person walks forward",
    "a person walks backward",
    "a person walks forward and turns left",
    "a person walks forward and turns right",
    "a person walks to the left",
    "a person runs forward",
    "an old person walks slowly forward",
    "a person waves with the left hand",
    "a person waves with the right hand",
    "a person waves with both hands",
    "a person raises the left hand",
    "a person raises the right hand",
    "a person raises both hands",
    "a person bows",
)
HITS = 4  # that a search shows

logger = logging.getLogger(__name__)


def reports_errors(action: Callable) -> Callable:
    """Decorate an action so that it reports errors in one line."""

    @functools.wraps(action)
    def run(self, *inputs):
        try:
            return action(self, *inputs)
        except (ValueError, OSError, zipfile.BadZipFile) as error:
            raise gr.Error(error_line(error), print_exception=False) from None
        except Exception:
            logger.exception("the demo failed")
            message = "something went wrong on the server; please try something else"
            raise gr.Error(message, print_exception=False) from None

    return run


class DemoActions:
    """Generates, finds, captions and compares motions; models are loaded when they are first needed.

    Files are read at the same time, the models work for one visitor after another.

    Args:
        model (`str`): folder or Hub id of a text-to-motion model.
    """

    def __init__(self, model: str):
        self._model = model
        self.lock = threading.Lock()  # tokenizers are not thread-safe

    @reports_errors
    def generate(
        self, text: str, duration: float | None, seed: int | None, num_candidates: int | None = 1
    ) -> tuple[str, str, Motion]:
        """Generate a motion from a sentence, or from several lines that follow one another.

        Args:
            text (`str`): the lines.
            duration (`float`): seconds of the whole motion; 0 or None lets the model choose.
            seed (`int`): None draws one.
            num_candidates (`int`): motions to generate; the best is shown.

        Returns:
            `tuple[str, str, Motion]`: HTML of the viewer, a note, and the motion. The note warns of a text that is
            unlike what the model was trained on.
        """
        with self.lock:
            result = self._generate(text, duration, seed, num_candidates or 1)
            warnings = self._warnings(read_sentences(text))
        motion = Motion(**result)
        note = f"{motion.duration:.1f} s, {motion.num_frames} frames, seed {result['seed']}: {motion.text}"
        return viewer([motion]), "\n".join([note, *warnings]), motion

    @reports_errors
    def generate_variants(self, path: str, seed: int | None, *fields) -> tuple[str, str, int, list[Motion], None]:
        """Generate variants of a timeline, to choose from.

        Args:
            path (`str`): points on the floor, see [`read_path`].
            seed (`int`): of the first variant; None draws one.
            fields: sentence and seconds of each row, then file, second of the timeline and second of the file of each
                key pose.

        Returns:
            `tuple[str, str, int, list[Motion], None]`: HTML of the viewer, a note, 0 for all variants, the variants,
            and no motion, since none is chosen yet.
        """
        rows, poses = fields[: 2 * MAX_TEXTS], fields[2 * MAX_TEXTS :]
        texts, seconds = read_rows(list(zip(rows[::2], rows[1::2])))
        constraints = read_path(path) + read_poses(list(zip(poses[::3], poses[1::3], poses[2::3])))
        seed = read_seed(seed)
        with self.lock:
            results = self._sequence(texts, seconds, seed, num_return_sequences=VARIANTS, constraints=constraints)
            warnings = self._warnings(texts)
        variants = [Motion(**result) for result in results]
        note = f"{variants[0].duration:.1f} s, seeds {seed} to {seed + VARIANTS - 1}"
        if constraints:
            missed = max(error for result in results for error in result["constraint_error"])
            note += f"; path and key poses are met within {100 * missed:.0f} cm on average"
        return _side_by_side(variants), "\n".join([note, *warnings]), 0, variants, None

    @reports_errors
    def choose(self, variants: list[Motion] | None, number: int) -> tuple[str, Motion | None]:
        """Show a variant alone, or all of them for 0.

        Returns:
            `tuple[str, Motion or None]`: HTML of the viewer, and the motion to download.
        """
        if not variants:
            raise ValueError("generate the variants first")
        if not number:
            return _side_by_side(variants), None
        return viewer([variants[number - 1]]), variants[number - 1]

    @reports_errors
    def save(self, motion: Motion | None, suffix: str) -> str:
        """Write the session's motion into the folder that gradio serves and clears, and return the file's path."""
        return _served(_chosen(motion), suffix, Motion.save)

    @reports_errors
    def save_on_character(self, motion: Motion | None, character: str | None) -> str:
        """Write an uploaded character that moves as the session's motion does, and return the file's path."""
        if not character:
            raise ValueError("choose the file of a character")
        suffix = Path(character).suffix.lower()
        return _served(_chosen(motion), suffix, lambda chosen, path: put_on_character(chosen, character, path))

    @reports_errors
    def search(self, text: str, example: str | None, video: str | None) -> tuple[str, str]:
        """Find motions of the gallery that are similar to a text, a motion file, a video, or several of these.

        Returns:
            `tuple[str, str]`: HTML of the viewer, and a line for each motion found.
        """
        query: dict = {}
        if text and text.strip():
            query["text"] = " ".join(read_sentences(text))
        if example:
            query["motion"] = read_motion(example)
        if video:
            query["video"] = read_video(video)
        with self.lock:
            index = self._lavimo_index if video else self._lamp_index
            hits = index.search(**query, k=HITS)
        found = [
            _titled(self._gallery[hit.id], f"{rank}. {hit.id} ({hit.score:.2f})") for rank, hit in enumerate(hits, 1)
        ]
        return viewer(found), "\n".join(motion.text or "" for motion in found)

    @reports_errors
    def caption(self, path: str | None) -> tuple[str, str]:
        """Describe a motion file in words.

        Returns:
            `tuple[str, str]`: HTML of the viewer, and the caption; for a long motion, a line for each part.
        """
        if not path:
            raise ValueError("choose a motion file")
        motion = read_motion(path)
        with self.lock:
            features = self._captioner.read(motion, Path(path).name)
            chunks = self._captioner(features, return_timestamps=True)[0]["chunks"]
        lines = ["{:.1f}-{:.1f} s: {}".format(*chunk["timestamp"], chunk["text"]) for chunk in chunks]
        return viewer([motion]), "\n".join(lines if len(lines) > 1 else [chunks[0]["text"]])

    @reports_errors
    def compare(
        self, text_a: str, path_a: str | None, text_b: str, path_b: str | None, seed: int | None
    ) -> tuple[str, str]:
        """Compare two motions, each given as a file or generated from a sentence, and the sentences.

        Returns:
            `tuple[str, str]`: HTML of the viewer, and a Markdown table of cosine similarities.
        """
        sides = (("A", text_a, path_a), ("B", text_b, path_b))
        for side, text, path in sides:
            if bool(text and text.strip()) == bool(path):
                raise ValueError(f"give either a sentence or a file for {side}")
        texts = {f"sentence {side}": " ".join(read_sentences(text)) for side, text, path in sides if not path}
        files = {side: read_motion(path) for side, _, path in sides if path}
        with self.lock:
            motions = [
                files[side] if path else Motion(**self._generate(text, None, seed)) for side, text, path in sides
            ]
            return viewer(motions), self._similarity_table(motions, texts)

    def _generate(self, text: str, duration: float | None, seed: int | None, num_candidates: int = 1) -> dict:
        """Generate one motion, whose sentences share the duration equally."""
        sentences = read_sentences(text)
        if not 0 <= (duration or 0) <= MAX_SECONDS:
            raise ValueError(f"the duration must be between 0 (the model chooses) and {MAX_SECONDS:g} seconds")
        if not 1 <= num_candidates <= MAX_CANDIDATES:
            raise ValueError(f"the best of 1 to {MAX_CANDIDATES} motions can be shown")
        seconds = duration / len(sentences) if duration else None
        durations = [seconds for _ in sentences]
        return self._sequence(sentences, durations, read_seed(seed), num_candidates=int(num_candidates))

    def _sequence(self, texts: list[str], seconds: Sequence[float | None], seed: int, **options):
        """Generate motions of texts that follow one another, if they are within the limits."""
        Limits().check_length(texts, seconds, self._generator.max_duration)
        return self._generator(texts, duration=list(seconds), seed=seed, mode="sequence", **options)

    def _warnings(self, texts: list[str]) -> list[str]:
        """Return a line for each text, or part of one, that is unlike what the model was trained on."""
        known = self._generator.processor.familiarity
        if known is None:
            return []
        parts = [part for text in texts for part in parts_in_order(text)]
        told = recognise(self._generator.model.lamp, self._generator.processor, parts)
        lines = [
            unfamiliar(part, one["nearest"])
            for part, one in zip(parts, told)
            if known.is_unfamiliar(one["familiarity"])
        ]
        return [f"{line[0].upper()}{line[1:]}." for line in lines]

    def _similarity_table(self, motions: list[Motion], texts: dict[str, str]) -> str:
        embedder = self._lamp_index.embedder
        columns = embedder.embed_motions([embedder.read(motion, motion.text or "motion") for motion in motions])
        rows = dict(zip(("motion A", "motion B"), columns))
        if texts:
            rows |= zip(texts, embedder.embed_texts(list(texts.values())))
        lines = ["| LaMP similarity | motion A | motion B |", "|---|---|---|"]
        lines += [f"| {name} | {row @ columns[0]:.2f} | {row @ columns[1]:.2f} |" for name, row in rows.items()]
        return "\n".join(lines)

    @functools.cached_property
    def _generator(self):
        return pipeline("text-to-motion", model=self._model)

    @functools.cached_property
    def _captioner(self):
        return pipeline("motion-to-text", model=bundled("captioning"))

    @functools.cached_property
    def _gallery(self) -> dict[str, Motion]:
        results = self._generator(list(GALLERY), duration=4.0, seed=list(range(len(GALLERY))))
        return {text: Motion(**result) for text, result in zip(GALLERY, results)}

    @functools.cached_property
    def _lamp_index(self) -> MotionIndex:
        return self._index_gallery(self._model)

    @functools.cached_property
    def _lavimo_index(self) -> MotionIndex:
        return self._index_gallery("bundled:video")

    def _index_gallery(self, model: str) -> MotionIndex:
        index = MotionIndex(model)
        index.add(list(self._gallery.values()), ids=list(self._gallery))
        return index


def viewer(motions: list[Motion]) -> str:
    """Return an HTML frame with the motion player, which runs its script but cannot touch the page around it."""
    titled = [_titled(motion, textwrap.shorten(motion.text or "", 90)) for motion in motions]
    content = html.escape(player_page(titled))
    return f'<iframe class="viewer" title="Motion" sandbox="allow-scripts" srcdoc="{content}"></iframe>'


def _side_by_side(variants: list[Motion]) -> str:
    return viewer([_titled(motion, str(number)) for number, motion in enumerate(variants, 1)])


def _chosen(motion: Motion | None) -> Motion:
    if motion is None:
        raise ValueError("generate a motion first, and choose one where there are several")
    return motion


def _served(motion: Motion, suffix: str, write: Callable[[Motion, Path], object]) -> str:
    """Write a file that is named after a motion's text where gradio serves files, and return its path."""
    title = textwrap.shorten((motion.text or "").lower(), 60, placeholder="")
    name = re.sub(r"\W+", "-", title).strip("-") or "motion"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}{suffix}"
        write(motion, path)
        return save_file_to_cache(path, get_upload_folder())


def _titled(motion: Motion, title: str) -> Motion:
    return Motion(motion.joints, motion.fps, motion.skeleton, title)
