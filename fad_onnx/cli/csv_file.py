"""A CSV table to which each run adds lines, if its columns are those of the new lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import OutputError
from ..files import outputs


def check(path: str, columns: Sequence[str]) -> None:
    """OutputError, before hours of work, if the file exists with other columns."""
    _judge(outputs.held(path), columns, path)


def append(path: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Append lines, after a header if the file is new or empty.

    If the last line has no line end, one is added. Processes that append to one file wait for each
    other, so that only the first writes the header. OutputError if the file has other columns, or
    cannot be written.
    """

    def lines(held: bytes) -> bytes:
        _judge(held, columns, path)
        end = b"" if not held or held.endswith((b"\n", b"\r")) else b"\r\n"
        return end + _lines(columns, rows, header=not held)

    outputs.append(path, lines)


def _judge(held: bytes, columns: Sequence[str], path: str) -> None:
    if not held:
        return
    # Excel begins a file with a byte order mark.
    text = held.decode("utf-8-sig", "replace")
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise OutputError(path, f"it is not a table that can be continued: {error}") from error
    header = rows[0] if rows else []
    if header != list(columns):
        found = ", ".join(header[:3])[:100]
        raise OutputError(
            path, f"its columns ({found} ...) are not those of this version"
            f" ({', '.join(columns[:3])} ...); name another file",
        )  # fmt: skip
    for number, row in enumerate(rows, 1):
        if row and len(row) != len(columns):
            raise OutputError(
                path, f"record {number} has {len(row)} of {len(columns)} columns; mend it, or name"
                " another file",
            )  # fmt: skip


def _lines(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], header: bool) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns)
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode("utf-8", "backslashreplace")
