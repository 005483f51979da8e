"""Errors of the HTTP interface: each is one line, in the shape that MMCP prescribes.

{"error": {"code": "resource_exhausted", "message": "40 requests are waiting: try again in 12 s", "details": {}}}
"""

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from .uploads import plain_line


STATUSES = {
    "invalid_request": 400,
    "invalid_options": 400,
    "unknown_model": 400,
    "unknown_joint": 400,
    "unsupported_segment": 400,
    "unsupported_constraint": 400,
    "retargeting_unsupported": 400,
    "frame_out_of_range": 400,
    "version_unsupported": 400,
    "unauthorized": 401,
    "not_found": 404,
    "method_not_allowed": 405,
    "not_ready": 409,
    "payload_too_large": 413,
    "schema_validation": 422,
    "internal_error": 500,
    "resource_exhausted": 503,
    "model_unavailable": 503,
}
_CODES = {400: "invalid_request", 404: "not_found", 405: "method_not_allowed"}  # of errors that the framework raises
_BROKEN = "something went wrong on the server; please try something else"

logger = logging.getLogger(__name__)


class ApiError(HTTPException):
    """An error that the client is told about.

    Args:
        code (`str`): one of `STATUSES`.
        message (`str`): one line that says what is wrong and what to do.
        headers (`dict[str, str]`, *optional*): further headers of the response.
    """

    def __init__(self, code: str, message: str, headers: dict[str, str] | None = None):
        super().__init__(STATUSES[code], message, headers)
        self.code, self.message = code, message


class QueueFullError(ApiError):
    """Too many requests are waiting.

    Args:
        waiting (`int`): their number.
        retry_after (`int`): seconds after which a place may be free.
    """

    def __init__(self, waiting: int, retry_after: int):
        message = f"{waiting} requests are waiting already: try again in {retry_after} s"
        super().__init__("resource_exhausted", message, {"Retry-After": str(retry_after)})


def as_api_error(error: BaseException | None) -> ApiError:
    """Turn any error into one that the client is told about; what is not the client's fault is logged instead."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ValueError):
        return ApiError("invalid_request", plain_line(error))
    logger.error("a request failed", exc_info=error)
    return ApiError("internal_error", _BROKEN)


def envelope(code: str, message: str) -> dict:
    """Return the body of an error."""
    return {"error": {"code": code, "message": message, "details": {}}}


def validation_line(errors: list[dict]) -> str:
    """Format the first error of pydantic as one line that names the field."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return f"the body is not valid JSON: {first.get('ctx', {}).get('error', first['msg'])}"
    path = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    message = first["msg"].removeprefix("Value error, ")
    return f"{path}: {message}" if path else message


def add_error_handlers(app: FastAPI) -> None:
    """Let an application answer every error with an envelope."""

    @app.exception_handler(HTTPException)
    async def answer(request: Request, error: HTTPException) -> JSONResponse:
        code = getattr(error, "code", _CODES.get(error.status_code, "internal_error"))
        message = str(error.detail)
        if code == "not_found" and not isinstance(error, ApiError):
            message = f"there is nothing at {request.url.path}: /docs lists what there is"
        return JSONResponse(envelope(code, message), error.status_code, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def refuse(request: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse(envelope("schema_validation", validation_line(list(error.errors()))), 422)

    @app.exception_handler(ValueError)
    async def refuse_value(request: Request, error: ValueError) -> JSONResponse:
        return await answer(request, as_api_error(error))

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse(envelope("internal_error", _BROKEN), 500)
