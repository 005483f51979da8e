"""Files: written atomically, so that a reader never finds half of one, and names that can be printed."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


class WriteError(OSError):
    """Names a file that could not be written, because the disk is full for instance."""


def write_atomically(path: str | Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it.

    Args:
        path (`str` or `Path`): the file; an older one is replaced.
        write (`Callable`): takes the temporary file's path, which has the same suffix.

    Raises:
        OSError: when the folder is missing or cannot be written to, as a [`WriteError`] once writing has begun; `path`
            is then as it was.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder")
    temporary = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if isinstance(error, WriteError):
            raise
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def sweep_temporaries(folder: Path, *patterns: str) -> None:
    """Delete what killed processes left of files that they were writing with [`write_atomically`].

    Call this while nobody else writes these files, under a lock.

    Args:
        folder (`Path`): the folder.
        patterns (`str`): names of the files, with wildcards.
    """
    for pattern in map(Path, patterns):
        for temporary in folder.glob(f".{pattern.stem}-{8 * '?'}{pattern.suffix}"):
            temporary.unlink(missing_ok=True)


def printable(name: str | Path) -> str:
    r"""Return a file name as text that can be written anywhere: a byte that is not UTF-8 appears as `\udcff`."""
    return str(name).encode("utf-8", "backslashreplace").decode()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
