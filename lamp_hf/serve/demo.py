"""The demo page: `lamp-hf demo`, or a Space of the Hub. It needs gradio: `pip install ".[demo]"`.

    from lamp_hf.serve.demo import launch

    launch()

This module lays out the page; `demo_actions` has what its buttons do, `uploads` the checks of what visitors send.
"""

from collections.abc import Callable
from pathlib import Path

import gradio as gr

from .. import bundled
from .demo_actions import GALLERY, DemoActions
from .limits import KEPT_SECONDS, MAX_CANDIDATES, MAX_CHARACTERS, MAX_SECONDS, MAX_TEXTS, MAX_UPLOAD, MAX_WAITING
from .timeline import MAX_POSES, VARIANTS
from .uploads import CHARACTERS, MOTIONS, VIDEOS


MAX_FILES = 4  # requests with files that are worked on at the same time
MAX_SESSIONS = 200  # whose motions are kept at the same time, 2 MB for each
DOWNLOADS = (".bvh", ".glb", ".npz", ".mp4")
EXAMPLE = (("a person walks forward", 4.0), ("a person waves with the right hand", 3.0))
_STYLE = """
.viewer { width: 100%; height: 480px; border: 0; border-radius: 8px; background: #ebeef3; }
.html-container:has(.viewer) { padding: 0 !important; }
.floor { width: 100%; border-radius: 8px; background: #ebeef3; cursor: crosshair; touch-action: none; }
.floor pattern path { fill: none; stroke: #c4cad2; stroke-width: 0.02; }
.floor .body { fill: #5b6472; }
.floor polyline { fill: none; stroke: #e8590c; stroke-width: 0.09; stroke-linecap: round; stroke-linejoin: round; }
"""
_DOWNLOAD_SCRIPT = """file => {
    const link = document.createElement("a");
    link.href = file.url;
    link.download = file.orig_name;
    link.click();
}"""


def launch(host: str | None = None, port: int | None = None, model: str = "", **options) -> tuple:
    """Serve the page until it is interrupted; on this machine only, unless a host is given.

    Args:
        host, port (*optional*): address; if not given, `GRADIO_SERVER_NAME` and `GRADIO_SERVER_PORT`, or 127.0.0.1
            and a free port from 7860 on.
        model (`str`): see [`build_demo`].
        options (*optional*): further options of `gradio.Blocks.launch`.

    Returns:
        The result of `gradio.Blocks.launch`.
    """
    fonts = [gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")]  # the default fonts would be downloaded
    return build_demo(model).launch(
        server_name=host,
        server_port=port,
        max_file_size=MAX_UPLOAD,
        state_session_capacity=MAX_SESSIONS,
        run_history=False,
        ssr_mode=False,
        footer_links=["api"],
        theme=gr.themes.Default(font=fonts, font_mono=[gr.themes.Font("monospace")]),
        css=_STYLE,
        **options,
    )


def build_demo(model: str = "") -> gr.Blocks:
    """Build the page, with a tab each to generate motions in two ways, find, caption and compare them.

    Args:
        model (`str`): folder or Hub id of a text-to-motion model; the bundled one if not given.
    """
    actions = DemoActions(model or bundled())
    with gr.Blocks(title="lamp-hf", analytics_enabled=False, delete_cache=(KEPT_SECONDS // 6, KEPT_SECONDS)) as demo:
        gr.Markdown("# lamp-hf\nMotion from text, and text from motion. Drag a motion to turn the view.")
        for name, tab in TABS.items():
            with gr.Tab(name):
                tab(actions)
    return demo.queue(max_size=MAX_WAITING, default_concurrency_limit=1, api_open=False)


def _generate_tab(actions: DemoActions) -> None:
    motion = gr.State(time_to_live=KEPT_SECONDS)
    with gr.Row():
        with gr.Column(scale=2):
            text = gr.Textbox(
                label="Describe the motion",
                info=f"One sentence, or up to {MAX_TEXTS} lines that follow one another.",
                value="a person waves with the left hand",
                lines=3,
                max_length=MAX_CHARACTERS,
            )
            duration = gr.Slider(
                0, MAX_SECONDS, 0, step=0.5, label="Duration in seconds", info="0 lets the model choose."
            )
            seed = _seed_field()
            best_of = gr.Slider(
                1,
                MAX_CANDIDATES,
                1,
                step=1,
                label="Best of",
                info="Generates several motions and shows the one that LaMP likes best.",
            )
            button = gr.Button("Generate motion", variant="primary")
        with gr.Column(scale=3):
            player = _player()
            note = gr.Textbox(label="Result", interactive=False)
            _downloads(actions, motion)
    _on_click(button, actions.generate, [text, duration, seed, best_of], [player, note, motion])


def _timeline_tab(actions: DemoActions) -> None:
    variants, motion = (gr.State(time_to_live=KEPT_SECONDS) for _ in range(2))
    fields: list[gr.Component] = []
    with gr.Row():
        with gr.Column(scale=2):
            gr.Markdown("**Sentences** that follow one another, with their seconds")
            with gr.Group():
                for number in range(MAX_TEXTS):
                    fields += _sentence_row(number)
            gr.Markdown("**Path** on the floor, optional: draw it, seen from above; a tile is 1 m")
            path = _path_field()
            with gr.Accordion("Key poses, optional", open=False):
                for number in range(MAX_POSES):
                    fields += _pose_row(number)
            seed = _seed_field()
            button = gr.Button(f"Generate {VARIANTS} variants", variant="primary")
        with gr.Column(scale=3):
            player = _player()
            choices = [("all", 0), *((str(number), number) for number in range(1, VARIANTS + 1))]
            choice = gr.Radio(choices, value=0, label="Choose a variant")
            note = gr.Textbox(label="Result", interactive=False)
            _downloads(actions, motion)
    outputs = [player, note, choice, variants, motion]
    _on_click(button, actions.generate_variants, [path, seed, *fields], outputs)
    choice.input(actions.choose, [variants, choice], [player, motion], api_name="choose")


def _sentence_row(number: int) -> list[gr.Component]:
    example = EXAMPLE[number] if number < len(EXAMPLE) else ("", 3.0)
    with gr.Row(equal_height=True):
        text = gr.Textbox(
            example[0],
            label=f"Sentence {number + 1}",
            placeholder="then ...",
            show_label=False,
            container=False,
            max_length=MAX_CHARACTERS,
            scale=5,
        )
        seconds = gr.Number(
            example[1], label=f"Seconds {number + 1}", show_label=False, container=False, min_width=80, step=0.5
        )
    return [text, seconds]


def _path_field() -> gr.Textbox:
    """Return the points of a path, which are drawn on a floor or typed."""
    here = Path(__file__)
    template, script = (here.with_name(name).read_text(encoding="utf-8") for name in ("floor.html", "floor.js"))
    with gr.Row():
        floor = gr.HTML("", html_template=template, js_on_load=script, min_width=300)
        with gr.Column(min_width=120):
            points = gr.Textbox(
                label="Points",
                info="Metres to the left, ahead",
                placeholder="0, 0; 1, 2; 0, 4",
                lines=7,
                max_lines=7,
                min_width=120,
            )
            clear = gr.Button("Clear path", size="sm")
    floor.input(None, floor, points, js="text => text")
    points.change(None, points, floor, js="text => text")
    clear.click(None, None, points, js="() => ''")
    return points


def _pose_row(number: int) -> list[gr.Component]:
    label = f"Pose {number + 1} ({', '.join(MOTIONS)})"
    with gr.Row(equal_height=True):
        file = gr.File(label=label, file_types=list(MOTIONS), height=120, scale=3)
        time = gr.Number(0, label="At second", min_width=80, step=0.1)
        second = gr.Number(0, label="Second in the file", min_width=80, step=0.1)
    return [file, time, second]


def _downloads(actions: DemoActions, motion: gr.State) -> None:
    """Add buttons to download the session's motion, also on a character."""
    with gr.Row():
        buttons = {suffix: gr.Button(f"Download {suffix}", size="sm", min_width=100) for suffix in DOWNLOADS}
    with gr.Accordion("On your own character", open=False), gr.Row():
        character = gr.File(label=f"Character ({', '.join(CHARACTERS)})", file_types=list(CHARACTERS), height=120)
        button = gr.Button("Download on this character", size="sm")
    file = gr.File(interactive=False, visible="hidden")
    saved = [
        _on_file_click(download, actions.save, [motion, gr.State(suffix)], file, f"save_{suffix[1:]}")
        for suffix, download in buttons.items()
    ]
    for done in [*saved, _on_file_click(button, actions.save_on_character, [motion, character], file)]:
        done.success(None, file, js=_DOWNLOAD_SCRIPT)


def _search_tab(actions: DemoActions) -> None:
    gr.Markdown(
        f"Finds the most similar of {len(GALLERY)} motions: to a sentence, a motion file, a video of a person, or "
        "several of these together. The first search takes longer, because it generates the motions."
    )
    with gr.Row():
        with gr.Column(scale=2):
            text = gr.Textbox(label="Describe the motion", max_length=MAX_CHARACTERS)
            example = _upload_field("Motion file", MOTIONS)
            video = _upload_field("Video", VIDEOS)
            button = gr.Button("Search", variant="primary")
        with gr.Column(scale=3):
            player = _player()
            hits = gr.Textbox(label="Motions found, with their similarity", interactive=False)
    _on_file_click(button, actions.search, [text, example, video], [player, hits])


def _caption_tab(actions: DemoActions) -> None:
    with gr.Row():
        with gr.Column(scale=2):
            path = _upload_field("Motion file", MOTIONS)
            button = gr.Button("Describe this motion", variant="primary")
        with gr.Column(scale=3):
            player = _player()
            text = gr.Textbox(label="Caption", interactive=False)
    _on_file_click(button, actions.caption, path, [player, text])


def _compare_tab(actions: DemoActions) -> None:
    inputs: list[gr.Component] = []
    with gr.Row():
        for side in "AB":
            with gr.Column():
                inputs.append(gr.Textbox(label=f"Sentence {side}", max_length=MAX_CHARACTERS))
                inputs.append(_upload_field(f"or motion file {side}", MOTIONS))
    inputs.append(_seed_field())
    button = gr.Button("Compare", variant="primary")
    player, table = _player(), gr.Markdown()
    _on_file_click(button, actions.compare, inputs, [player, table])


TABS = {
    "Text to motion": _generate_tab,
    "Timeline": _timeline_tab,
    "Search": _search_tab,
    "Caption": _caption_tab,
    "Compare": _compare_tab,
}


def _player() -> gr.HTML:
    """Return the place of the motion player, empty at first."""
    return gr.HTML('<div class="viewer"></div>')


def _seed_field() -> gr.Number:
    info = "The same seed gives the same motion. Leave it empty for another motion each time."
    return gr.Number(label="Seed", info=info, value=0, precision=0)


def _upload_field(label: str, suffixes: tuple[str, ...]) -> gr.File:
    label = f"{label} ({', '.join(suffixes)}; at most {MAX_SECONDS:g} s)"
    return gr.File(label=label, file_types=list(suffixes), height=160)


def _on_click(button: gr.Button, action: Callable, inputs, outputs):
    """Connect a button to an action that needs the models all the time; these share one place in the queue."""
    return button.click(action, inputs, outputs, concurrency_id="models", api_name=action.__name__)


def _on_file_click(button: gr.Button, action: Callable, inputs, outputs, api_name: str = ""):
    """Connect a button to an action that reads or writes files, which holds up no action without."""
    name = api_name or action.__name__
    return button.click(action, inputs, outputs, concurrency_id="files", concurrency_limit=MAX_FILES, api_name=name)
