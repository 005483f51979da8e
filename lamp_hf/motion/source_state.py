"""The state of a source file: tells if what was made of it is up to date."""

import hashlib
from pathlib import Path
from typing import Any


def describe_source(path: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Describe a file and the options with which it is going to be read.

    Call this before reading: a file that is rewritten in the meantime then differs from its description.

    Args:
        path (`Path`): the file.
        options (`dict`): options of [`Motion.load`]; those that are None do not count, and files count by content.

    Returns:
        `dict`: `size` (bytes), `modified` (nanoseconds), `sha256` and `options`, all of them plain JSON.

    Raises:
        OSError: when the file cannot be read.
    """
    status = path.stat()
    return {
        "size": status.st_size,
        "modified": status.st_mtime_ns,
        "sha256": _sha256(path),
        "options": describe_options(options),
    }


def is_as_described(path: Path, options: dict[str, Any], state: dict[str, Any] | None) -> bool:
    """Tell if a file and its options are still those of [`describe_source`]; without a description they are not.

    Where the size is the same and the time is another, older or newer, the content decides.
    """
    if not isinstance(state, dict) or state.get("options") != describe_options(options):
        return False
    try:
        status = path.stat()
        if status.st_size != state.get("size"):
            return False
        return status.st_mtime_ns == state.get("modified") or _sha256(path) == state.get("sha256")
    except OSError:  # gone, or not ours to read
        return False


def describe_options(options: dict[str, Any]) -> dict[str, Any]:
    """Describe options of [`Motion.load`] as JSON; those that are None do not count, and files count by content."""
    given = {name: value for name, value in options.items() if value is not None}
    return {
        name: _sha256(Path(value)) if isinstance(value, (str, Path)) and Path(value).is_file() else value
        for name, value in given.items()
    }


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
