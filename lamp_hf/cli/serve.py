"""The verb for the HTTP interface: serve."""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from .common import Model, app


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to serve at; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to serve at; 0 for any that is free.", min=0, max=65535)] = 8000,
    model: Model = "",
    gallery: Annotated[
        Path | None, typer.Option(help="Folder that `lamp-hf index` wrote, for clients to search.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="LAMP_HF_SERVE_TOKEN", help="Token that clients must send, see docs/server.md."),
    ] = None,
    max_duration: Annotated[
        float, typer.Option(help="Seconds of the longest motion, generated or uploaded.", min=1, max=600)
    ] = 60.0,
    max_texts: Annotated[int, typer.Option(help="Texts that may follow one another in a motion.", min=1)] = 6,
    max_upload: Annotated[float, typer.Option(help="Megabytes of the largest upload.", min=0.1)] = 20.0,
    max_queue: Annotated[int, typer.Option(help="Requests that may wait; further ones are refused.", min=1)] = 40,
) -> None:
    """Serve the models over HTTP: generate, caption, search and convert motions, and MMCP for Blender.

    Example: lamp-hf serve --port 8000 --gallery gallery/
    """
    missing = [name for name in ("fastapi", "uvicorn", "python_multipart") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"the server needs {missing[0]}: pip install fastapi uvicorn python-multipart")
    if token is not None and not (token.isascii() and token.isprintable() and token.strip() == token and token):
        raise ValueError("the token must be printable ASCII characters, without spaces around them")
    from lamp_hf.serve.limits import Limits
    from lamp_hf.serve.server import serve as run

    run(host, port, model, gallery, token, Limits(max_duration, max_texts, int(max_upload * 1e6), max_queue))
