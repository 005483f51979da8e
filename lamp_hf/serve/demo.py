"""A web page to try the models on: `lamp-hf demo`, or a Space of the Hub. It needs gradio: `pip install ".[demo]"`.

    from lamp_hf.serve.demo import launch

    launch()

Visitors share the models and the gallery, which nobody changes; all else belongs to a visitor's session. What a
handler is given is checked here, whatever the page checks, since requests come from other clients too.
"""

import functools
import html
import logging
import re
import secrets
import tempfile
import textwrap
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import av
import gradio as gr
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder
from transformers import pipeline

import lamp_hf

from ..motion.clip import READABLE
from ..motion.html import player_page


LONGEST = 60.0  # seconds of a motion or a film
PIXELS, RATE = 4096, 120  # of a film, a side and a second: all of it is decoded
CHARACTERS, SENTENCES = 500, 6  # of a text at most; six sentences of 9.8 seconds stay below a minute
UPLOAD = "20mb"
UNPACKED = 200e6  # bytes of an npz
WAITING = 40  # requests in the queue; more are refused
KEPT = 3600  # seconds that a visitor's files and motions are kept
SESSIONS = 200  # whose motions are kept at once, 0.3 MB each
DOWNLOADS = (".bvh", ".glb", ".mp4")
FILMS = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".gif")
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

logger = logging.getLogger(__name__)


def answering(handler: Callable) -> Callable:
    """Makes a handler take its turn, and say in one line, without the server's folders, what goes wrong."""

    @functools.wraps(handler)
    def answer(self, *inputs):
        try:
            with self.turn:
                return handler(self, *inputs)
        except (ValueError, OSError, zipfile.BadZipFile) as error:
            raise gr.Error(one_line(error), print_exception=False) from None
        except Exception:
            logger.exception("the demo failed")
            raise gr.Error("this failed on the server, please try something else", print_exception=False) from None

    return answer


def one_line(error: Exception) -> str:
    """What an error says, with names of files in place of their paths, and as text, since gradio shows it as HTML."""
    message = re.sub(r"(?<![\w.])(?:~|[A-Za-z]:)?(?:[/\\][^\s/\\:'\"]+)*[/\\](?=[^\s/\\])", "", str(error))
    return html.escape(textwrap.shorten(message, 300, placeholder=" ..."), quote=False)


def read_sentences(text: str | None) -> list[str]:
    """The lines of a text that say something."""
    if len(text or "") > CHARACTERS:
        raise ValueError(f"the text has {len(text)} characters, at most {CHARACTERS} are read")
    sentences = [line.strip() for line in (text or "").splitlines() if line.strip()]
    if not sentences:
        raise ValueError("write what the person does, in a sentence")
    if len(sentences) > SENTENCES:
        raise ValueError(f"{len(sentences)} lines, at most {SENTENCES} sentences are done in a row")
    return sentences


def read_upload(path: str) -> lamp_hf.Motion:
    """The motion of a file that a visitor sent, at 20 frames a second, under the file's name."""
    path = Path(path)
    _check_suffix(path, READABLE)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > UNPACKED:
            raise ValueError(f"{path.name} unpacks to {size / 1e6:.0f} MB, at most {UNPACKED / 1e6:.0f} are read")
    motion = lamp_hf.Motion.load(path)
    _check_length(path, motion.duration)
    motion = motion.resample(20.0)
    motion.text = path.name
    return motion


def read_film(path: str) -> lamp_hf.Video:
    """A film that a visitor sent."""
    path = Path(path)
    _check_suffix(path, FILMS)
    film = lamp_hf.Video(path)
    _check_length(path, film.duration)
    with av.open(str(path)) as file:
        for stream in file.streams.video:
            if max(stream.width, stream.height) > PIXELS or (stream.average_rate or 0) > RATE:
                raise ValueError(f"{path.name} has over {PIXELS} pixels a side or {RATE} pictures a second")
    return film


def _check_suffix(path: Path, known: tuple[str, ...]) -> None:
    if path.suffix.lower() not in known:
        raise ValueError(f"cannot read {path.name}: give a file that ends in {', '.join(known)}")


def _check_length(path: Path, seconds: float) -> None:
    if seconds > LONGEST:
        raise ValueError(f"{path.name} lasts {seconds:.1f} seconds, at most {LONGEST:g} are read")


def viewer(motions: list[lamp_hf.Motion]) -> str:
    """A frame with the player of `lamp-hf view` in it; it may run its script and touch nothing of the page around."""
    shown = [
        lamp_hf.Motion(motion.joints, motion.fps, motion.skeleton, textwrap.shorten(motion.text or "", 90))
        for motion in motions
    ]
    content = html.escape(player_page(shown))
    return f'<iframe class="viewer" title="Motion" sandbox="allow-scripts" srcdoc="{content}"></iframe>'


class Studio:
    """What the buttons of the page do; models are loaded when they are first needed.

    Args:
        model (`str`): folder or Hub id of a text-to-motion model.
    """

    def __init__(self, model: str):
        self._model, self.turn = model, threading.Lock()  # a tokenizer cannot be used by two threads at once

    @functools.cached_property
    def _generator(self):
        return pipeline("text-to-motion", model=self._model)

    @functools.cached_property
    def _captioner(self):
        return pipeline("motion-to-text", model=lamp_hf.bundled("captioning"))

    @functools.cached_property
    def _gallery(self) -> dict[str, lamp_hf.Motion]:
        made = self._generator(list(GALLERY), duration=4.0, seed=list(range(len(GALLERY))))
        return {text: self._motion(result) for text, result in zip(GALLERY, made)}

    @functools.cached_property
    def _by_words(self) -> lamp_hf.MotionIndex:
        return self._index(self._model)

    @functools.cached_property
    def _by_film(self) -> lamp_hf.MotionIndex:
        return self._index("bundled:video")

    def _index(self, model: str) -> lamp_hf.MotionIndex:
        index = lamp_hf.MotionIndex(model)
        index.add(list(self._gallery.values()), ids=list(self._gallery))
        return index

    def _motion(self, result: dict) -> lamp_hf.Motion:
        skeleton = self._generator.skeleton.name
        return lamp_hf.Motion(result["joints"], result["fps"], skeleton, result["text"])

    def _make(self, text: str, duration: float | None, seed: int | None) -> tuple[lamp_hf.Motion, int]:
        """A motion of one sentence, or of several in equal parts, and its seed."""
        sentences = read_sentences(text)
        if not 0 <= (duration or 0) <= LONGEST:
            raise ValueError(f"the duration must be from 0, which lets the model choose, to {LONGEST:g} seconds")
        if seed is not None and not 0 <= seed < 2**31:
            raise ValueError(f"the seed must be a whole number from 0 to {2**31 - 1}")
        seed = secrets.randbelow(2**31) if seed is None else int(seed)
        seconds = duration / len(sentences) if duration else None
        return self._motion(self._generator(sentences, duration=seconds, seed=seed, mode="sequence")), seed

    @answering
    def generate(self, text: str, duration: float | None, seed: int | None) -> tuple[str, str, lamp_hf.Motion]:
        motion, seed = self._make(text, duration, seed)
        note = f"{motion.duration:.1f} s, {motion.num_frames} frames, seed {seed}: {motion.text}"
        return viewer([motion]), note, motion

    @answering
    def save(self, motion: lamp_hf.Motion | None, suffix: str) -> str:
        """A file of the session's motion, in the folder that gradio serves and clears."""
        if motion is None:
            raise ValueError("make a motion first")
        name = re.sub(r"\W+", "-", textwrap.shorten(motion.text.lower(), 60, placeholder="")).strip("-") or "motion"
        with tempfile.TemporaryDirectory() as folder:
            return save_file_to_cache(motion.save(Path(folder) / f"{name}{suffix}"), get_upload_folder())

    @answering
    def search(self, text: str, example: str | None, film: str | None) -> tuple[str, str]:
        query = {}
        if text and text.strip():
            query["text"] = " ".join(read_sentences(text))
        if example:
            query["motion"] = read_upload(example)
        if film:
            query["video"] = read_film(film)
        hits = (self._by_film if film else self._by_words).search(**query, k=4)
        shown = []
        for rank, hit in enumerate(hits, 1):
            motion = self._gallery[hit.id]
            label = f"{rank}. {hit.id} ({hit.score:.2f})"
            shown.append(lamp_hf.Motion(motion.joints, motion.fps, motion.skeleton, label))
        return viewer(shown), "\n".join(motion.text for motion in shown)

    @answering
    def caption(self, path: str | None) -> tuple[str, str]:
        if not path:
            raise ValueError("choose a motion file")
        motion = read_upload(path)
        features = self._captioner.read(motion, motion.text)
        chunks = self._captioner(features, return_timestamps=True)[0]["chunks"]
        lines = ["{:.1f}-{:.1f} s: {}".format(*chunk["timestamp"], chunk["text"]) for chunk in chunks]
        return viewer([motion]), "\n".join(lines if len(lines) > 1 else [chunks[0]["text"]])

    @answering
    def compare(
        self, text_a: str, path_a: str | None, text_b: str, path_b: str | None, seed: int | None
    ) -> tuple[str, str]:
        motions, texts = [], {}
        for side, text, path in (("A", text_a, path_a), ("B", text_b, path_b)):
            if bool(text and text.strip()) == bool(path):
                raise ValueError(f"give a sentence or a file for {side}, one of them")
            motions.append(read_upload(path) if path else self._make(text, None, seed)[0])
            if not path:
                texts[f"sentence {side}"] = " ".join(read_sentences(text))
        return viewer(motions), self._similarities(motions, texts)

    def _similarities(self, motions: list[lamp_hf.Motion], texts: dict[str, str]) -> str:
        """Cosines in LaMP's space, as a table in Markdown."""
        embedder = self._by_words.embedder
        columns = embedder.embed_motions([embedder.read(motion, motion.text) for motion in motions])
        rows = dict(zip(("motion A", "motion B"), columns))
        if texts:
            rows |= zip(texts, embedder.embed_texts(list(texts.values())))
        lines = ["| LaMP similarity | motion A | motion B |", "|---|---|---|"]
        lines += [f"| {name} | {row @ columns[0]:.2f} | {row @ columns[1]:.2f} |" for name, row in rows.items()]
        return "\n".join(lines)


def build_demo(model: str = "") -> gr.Blocks:
    """The page: make, search, caption and compare motions.

    Args:
        model (`str`): folder or Hub id of a text-to-motion model; the bundled one if not given.
    """
    studio = Studio(model or lamp_hf.bundled())
    with gr.Blocks(title="lamp-hf", analytics_enabled=False, delete_cache=(KEPT // 6, KEPT)) as demo:
        gr.Markdown("# lamp-hf\nMotions from sentences, and sentences from motions. Drag to turn the view.")
        for name, tab in TABS.items():
            with gr.Tab(name):
                tab(studio)
    return demo.queue(max_size=WAITING, default_concurrency_limit=1, api_open=False)


def launch(host: str | None = None, port: int | None = None, model: str = "", **options) -> tuple:
    """Serves the page until it is interrupted; on this machine only, unless a host is given.

    Args:
        host, port (*optional*): where; `GRADIO_SERVER_NAME` and `GRADIO_SERVER_PORT`, or 127.0.0.1 and a free port
            from 7860 on, if not given.
        model (`str`): see [`build_demo`].
        options (*optional*): further ones of `gradio.Blocks.launch`.

    Returns:
        What `gradio.Blocks.launch` returns.
    """
    fonts = [gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")]  # others would be fetched
    return build_demo(model).launch(
        server_name=host,
        server_port=port,
        max_file_size=UPLOAD,
        state_session_capacity=SESSIONS,
        run_history=False,
        ssr_mode=False,
        footer_links=["api"],
        theme=gr.themes.Default(font=fonts, font_mono=[gr.themes.Font("monospace")]),
        css=_STYLE,
        **options,
    )


_STYLE = """
.viewer { width: 100%; height: 480px; border: 0; border-radius: 8px; background: #ebeef3; }
.html-container:has(.viewer) { padding: 0 !important; }
"""


def _text_tab(studio: Studio) -> None:
    made = gr.State(time_to_live=KEPT)
    with gr.Row():
        with gr.Column(scale=2):
            text = gr.Textbox(
                label="What the person does",
                info=f"One sentence, or up to {SENTENCES} lines that are done in a row.",
                value="a person waves with the left hand",
                lines=3,
                max_length=CHARACTERS,
            )
            duration = gr.Slider(0, LONGEST, 0, step=0.5, label="Seconds", info="0: the model chooses.")
            seed = _seed()
            button = gr.Button("Make the motion", variant="primary")
        with gr.Column(scale=3):
            screen = _screen()
            note = gr.Textbox(label="Made", interactive=False)
            with gr.Row():
                saves = {suffix: gr.Button(f"Download {suffix}", size="sm") for suffix in DOWNLOADS}
            file = gr.File(interactive=False, visible="hidden")
    _on(button, studio.generate, [text, duration, seed], [screen, note, made])
    for suffix, save in saves.items():
        written = _on(save, studio.save, [made, gr.State(suffix)], file, f"save_{suffix[1:]}")
        written.success(None, file, js=_DOWNLOAD)


_DOWNLOAD = """file => {
    const link = document.createElement("a");
    link.href = file.url;
    link.download = file.orig_name;
    link.click();
}"""


def _search_tab(studio: Studio) -> None:
    gr.Markdown(
        f"Finds the like of a sentence, of a motion file, of a film of somebody, or of several of these among "
        f"{len(GALLERY)} motions. The first search takes longer: it makes them."
    )
    with gr.Row():
        with gr.Column(scale=2):
            text = gr.Textbox(label="What the person does", max_length=CHARACTERS)
            example = _upload("Motion file", READABLE)
            film = _upload("Film", FILMS)
            button = gr.Button("Search", variant="primary")
        with gr.Column(scale=3):
            screen = _screen()
            hits = gr.Textbox(label="Found, with cosines", interactive=False)
    _on(button, studio.search, [text, example, film], [screen, hits])


def _caption_tab(studio: Studio) -> None:
    with gr.Row():
        with gr.Column(scale=2):
            path = _upload("Motion file", READABLE)
            button = gr.Button("Say what it shows", variant="primary")
        with gr.Column(scale=3):
            screen = _screen()
            text = gr.Textbox(label="Caption", interactive=False)
    _on(button, studio.caption, path, [screen, text])


def _compare_tab(studio: Studio) -> None:
    inputs = []
    with gr.Row():
        for side in "AB":
            with gr.Column():
                inputs.append(gr.Textbox(label=f"Sentence {side}", max_length=CHARACTERS))
                inputs.append(_upload(f"or motion file {side}", READABLE))
    inputs.append(_seed())
    button = gr.Button("Compare", variant="primary")
    screen, table = _screen(), gr.Markdown()
    _on(button, studio.compare, inputs, [screen, table])


TABS = {"Text to motion": _text_tab, "Search": _search_tab, "Caption": _caption_tab, "Compare": _compare_tab}


def _screen() -> gr.HTML:
    """Where the viewer will be."""
    return gr.HTML('<div class="viewer"></div>')


def _seed() -> gr.Number:
    return gr.Number(
        label="Seed", info="The same seed, the same motion. Empty: another each time.", value=0, precision=0
    )


def _upload(label: str, suffixes: tuple[str, ...]) -> gr.File:
    label = f"{label} ({', '.join(suffixes)}; {LONGEST:g} s at most)"
    return gr.File(label=label, file_types=list(suffixes), height=160)


def _on(button: gr.Button, handler: Callable, inputs, outputs, name: str = ""):
    """All buttons share one place in the queue."""
    return button.click(handler, inputs, outputs, concurrency_id="models", api_name=name or handler.__name__)
