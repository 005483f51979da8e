"""CSV tables, safe to open in a spreadsheet: no cell of ours is a formula."""

import csv
import io
from pathlib import Path

from ..motion.files import printable, write_atomically


TOO_MANY_FIELDS = "more fields than columns; a text with commas needs quotes"
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet computes a cell that begins with one of these


def write_csv(path: Path, columns: list[str], rows: list[dict]) -> None:
    """Write a table, atomically.

    A text that a spreadsheet would take for a formula gets an apostrophe in front, which [`read_csv`] takes away. File
    names that are not UTF-8 are written as [`printable`] shows them.

    Args:
        path (`Path`): the file.
        columns (`list[str]`): names of the columns.
        rows (`list[dict]`): a value for each column.
    """
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, columns)
    writer.writeheader()
    writer.writerows({name: _to_cell(value) for name, value in row.items()} for row in rows)
    write_atomically(path, lambda temporary: temporary.write_bytes(table.getvalue().encode()))


def read_csv(path: Path) -> list[dict]:
    """Read a table whose first row names the columns.

    Args:
        path (`Path`): the file, in UTF-8 with or without a byte-order mark.

    Returns:
        `list[dict]`: the rows; a missing cell is None, and cells without a column are under the key None.

    Raises:
        OSError: when the file cannot be read.
        ValueError: when it is no CSV file in UTF-8.
    """
    try:
        content = path.read_bytes().decode("utf-8-sig")  # not as text, which would change ends of lines
        rows = list(csv.DictReader(io.StringIO(content, newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV file in UTF-8: {error}") from None
    return [{name: _from_cell(value) for name, value in row.items()} for row in rows]


def _to_cell(value):
    if not isinstance(value, str):
        return value
    return f"'{printable(value)}" if value.startswith(_FORMULA_STARTS) else printable(value)


def _from_cell(value):
    quoted = isinstance(value, str) and value.startswith("'") and value[1:].startswith(_FORMULA_STARTS)
    return value[1:] if quoted else value
