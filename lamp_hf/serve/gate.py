"""The gate of the HTTP interface: refuses strangers and large bodies before a byte of the body is read."""

import secrets

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import ApiError, envelope


MAX_JSON = 2**20  # bytes of a body that is no upload
_FORM = 10_000  # bytes of a form around its file
OPEN_PATHS = ("/health", "/docs", "/openapi.json")  # a token is not needed there


class Gate:
    """Checks the token and the size of each request.

    Args:
        app (`ASGIApp`): the application behind the gate.
        max_upload (`int`): bytes of the largest upload.
        token (`str`, *optional*): the token that clients must show.
    """

    def __init__(self, app: ASGIApp, max_upload: int, token: str | None = None):
        self.app, self.max_upload, self.token = app, max_upload, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let it through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            if scope["path"] not in OPEN_PATHS:
                self._check_token(headers.get("authorization", ""))
            is_upload = headers.get("content-type", "").startswith("multipart/form-data")
            size = self.max_upload + _FORM if is_upload else MAX_JSON
            declared = headers.get("content-length", "0")
            if not declared.isdecimal() or int(declared) > size:
                raise too_large(is_upload, self.max_upload)
        except ApiError as error:
            refusal = JSONResponse(envelope(error.code, error.message), error.status_code, headers=error.headers)
            await refusal(scope, receive, send)
            return
        received = 0

        async def receive_counted() -> Message:  # a body sent in chunks declares no size
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > size:
                raise too_large(is_upload, self.max_upload)
            return message

        await self.app(scope, receive_counted, send)

    def _check_token(self, given: str) -> None:
        if self.token is None:
            return
        kind, _, token = given.partition(" ")
        if kind.lower() != "bearer" or not secrets.compare_digest(token.strip().encode(), self.token.encode()):
            problem = "the token is wrong" if given else "a token is needed"
            challenge = {"WWW-Authenticate": "Bearer"}
            raise ApiError("unauthorized", f"{problem}: send the header Authorization: Bearer TOKEN", challenge)


def too_large(is_upload: bool, max_upload: int) -> ApiError:
    """Return the refusal of a body that is too large."""
    if is_upload:
        message = f"the upload is too large: at most {max_upload / 1e6:g} MB are read"
    else:
        message = (
            f"the body is too large: at most {MAX_JSON / 2**20:g} MiB of JSON are read, files as multipart/form-data"
        )
    return ApiError("payload_too_large", message, {"Connection": "close"})
