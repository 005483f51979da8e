"""The verb for the demo page: demo."""

import importlib.util
from typing import Annotated

import typer

from .common import Model, app


@app.command()
def demo(
    host: Annotated[str, typer.Option(help="Address to serve at; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to serve at.", min=1, max=65535)] = 7860,
    model: Model = "",
) -> None:
    """Serve a web page that generates, finds, captions and compares motions.

    Example: lamp-hf demo --port 8000
    """
    if importlib.util.find_spec("gradio") is None:
        raise ValueError('the demo needs gradio: pip install "gradio>=6.31,<7"')
    from lamp_hf.serve.demo import launch

    launch(host, port, model)
