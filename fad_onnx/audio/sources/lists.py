"""Lists of clips: a path per line (.txt), or a column of a .csv, .tsv or .jsonl."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from functools import partial
from typing import Any, TextIO

from ...errors import SourceError, shown
from ..blobs import why
from ..remote import Whole, beneath, errors, file_part, is_url, opened
from .listing import AudioFile, Listing, order, suffix_of

# The first of these columns that a list has gives the file of a line.
COLUMNS = ("file", "path", "audio_filepath", "audio")
# Longer than any path, and bounded because a binary file may have no line ends.
LINE_CHARACTERS = 1 << 20

Line = tuple[int, str]  # the number of a line, and the path that it gives


def listed(path: str) -> Listing:
    """The clips of a list, sorted by name; a name is the path as the list gives it.

    Paths are relative to the list. Blank lines, a byte order mark and Windows line ends are
    ignored. There are no comments.

    Raises SourceError for a list that cannot be read, is empty, lacks the columns, or has a clip
    twice. Missing files raise an error when they are opened.
    """
    seen, written = dict[str, int](), dict[str, str]()
    for number, entry in _entries(path):
        name = entry if is_url(entry) else os.path.normpath(entry).replace(os.sep, "/")
        if name in seen:
            raise SourceError(path, f"line {number} has {shown(entry)} again, as line {seen[name]}")
        seen[name] = number
        if name != entry:
            written[name] = entry
    if not seen:
        raise SourceError(path, "an empty list, no clip is in it")
    return Listing(_clip(path, written.get(name, name), name) for name in sorted(seen, key=order))


def _clip(path: str, entry: str, name: str) -> AudioFile:
    if is_url(entry):
        return AudioFile(entry, name, part=Whole())
    if not is_url(path):
        return AudioFile(os.path.join(os.path.dirname(path), entry), name)
    if entry.startswith("/"):
        raise SourceError(path, f"{shown(entry)} names a file of this machine")
    return AudioFile(beneath(file_part(path).rpartition("/")[0], name), name, part=Whole())


def _entries(path: str) -> Iterator[Line]:
    try:
        # POSIX names are bytes: names that are not UTF-8 are restored exactly.
        with io.TextIOWrapper(
            opened(path), "utf-8-sig", errors="surrogateescape", newline=""
        ) as text:
            for number, entry in READERS[suffix_of(file_part(path))](path, text):
                _check_path(path, number, entry)
                yield number, entry
    except SourceError:
        raise
    except _failures() as error:
        raise SourceError(path, f"cannot be read: {why(error)}") from error


def _check_path(path: str, number: int, entry: str) -> None:
    try:
        is_path = b"\0" not in os.fsencode(entry)
    except UnicodeError:  # JSON may hold half of a pair
        is_path = False
    if not is_path:
        raise SourceError(path, f"line {number} is not a path: a zero byte, or half a character")


def _failures() -> tuple[type[Exception], ...]:
    return csv.Error, *errors()


def _lines(path: str, text: TextIO) -> Iterator[Line]:
    return ((number, line) for number, line in _every_line(path, text) if line)


def _every_line(path: str, text: TextIO) -> Iterator[Line]:
    for number, line in enumerate(iter(partial(text.readline, LINE_CHARACTERS), ""), 1):
        if len(line) == LINE_CHARACTERS:
            raise SourceError(path, f"line {number} is longer than {LINE_CHARACTERS} characters")
        yield number, line.rstrip("\r\n")


def _table(delimiter: str, path: str, text: TextIO) -> Iterator[Line]:
    # Line ends within quotes belong to a field, so let the reader fetch lines.
    reader = csv.reader((line + "\n" for _, line in _every_line(path, text)), delimiter=delimiter)
    heads = next(reader, [])
    column = _column(path, heads)
    for row in filter(None, reader):
        if len(row) <= column or not row[column]:
            raise SourceError(path, f"line {reader.line_num} has no {heads[column]}")
        yield reader.line_num, row[column]


def _objects(path: str, text: TextIO) -> Iterator[Line]:
    for number, line in _lines(path, text):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SourceError(path, f"line {number} is not JSON: {error}") from error
        if not isinstance(found, dict):
            raise SourceError(path, f"line {number} is not a JSON object")
        heads = list(found)
        value = found[heads[_column(path, heads)]]
        if not isinstance(value, str) or not value:
            raise SourceError(path, f"line {number} names no file")
        yield number, value


def _column(path: str, heads: list[str]) -> int:
    for name in COLUMNS:
        if name in heads:
            return heads.index(name)
    known = ", ".join(map(shown, heads[:20]))
    raise SourceError(path, f"none of the columns {', '.join(COLUMNS)}; it has {known or 'none'}")


READERS: dict[str, Any] = {
    ".txt": _lines, ".csv": partial(_table, ","), ".tsv": partial(_table, "\t"),
    ".jsonl": _objects,
}  # fmt: skip
