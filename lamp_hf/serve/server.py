"""Running the HTTP interface."""

import contextlib
import socket
import warnings
from collections.abc import Callable
from pathlib import Path

import uvicorn

from ..models.familiarity import UnfamiliarPromptWarning
from .api import build_app
from .limits import Limits
from .tasks import ModelTasks


_STOP_SECONDS = 5  # that requests have to end after Ctrl-C
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    host: str = "127.0.0.1",
    port: int = 8000,
    model: str = "",
    gallery: Path | None = None,
    token: str | None = None,
    limits: Limits | None = None,
) -> None:
    """Serve until interrupted.

    Args:
        host (`str`): address; 0.0.0.0 lets other machines in.
        port (`int`): port; 0 for any that is free.
        model (`str`): folder or Hub id of a text-to-motion model; the bundled one if empty.
        gallery (`Path`, *optional*): folder of a gallery to search.
        token (`str`, *optional*): the token that clients must show.
        limits ([`Limits`], *optional*): limits of requests.

    Raises:
        OSError: when the address cannot be had.
        ValueError: when the model or the gallery cannot be loaded.
    """
    listener = _listen(host, port)
    with listener:
        warnings.simplefilter("ignore", UnfamiliarPromptWarning)  # results say it
        tasks = ModelTasks(model, gallery)
        address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        line = f"lamp-hf: {tasks.name} at {address}, documentation at /docs; Ctrl-C stops"
        if host not in _LOOPBACK and token is None:
            line += "\nlamp-hf: anyone who reaches this machine can use it: give --token to ask for one"
        config = uvicorn.Config(
            build_app(tasks, limits, token),
            log_level="warning",
            timeout_graceful_shutdown=_STOP_SECONDS,
            server_header=False,
        )
        with contextlib.suppress(KeyboardInterrupt):  # raised once all is stopped
            _Server(config, lambda: print(line, flush=True)).run([listener])


class _Server(uvicorn.Server):
    """A server that says when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]):
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._ready()


def _listen(host: str, port: int) -> socket.socket:
    """Take the address, before the models are loaded."""
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        return listener
    except OSError as error:
        if listener is not None:
            listener.close()
        raise OSError(f"cannot serve at {host}:{port}: {error.strerror or error}; choose another --port") from None
