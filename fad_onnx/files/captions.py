"""Files of captions: .csv and .tsv with the columns `file` and `caption`, or .jsonl."""

from __future__ import annotations

import csv
import io
import json
import os
import posixpath
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import CaptionError
from ..networks.tokenizer import check_caption

FILE, CAPTION = "file", "caption"
Line = tuple[int, Any, Any]  # its number in the file, a clip's name, a caption


def read(path: str | os.PathLike[str], caption_column: str = CAPTION) -> dict[str, str]:
    """Captions by the names of clips, which are paths relative to their dataset.

    Parameters
    ----------
    path : path
        The file.
    caption_column : str
        The column, or the key, of the captions.

    Returns
    -------
    dict of str to str
        Clips with a blank caption are left out.

    Raises
    ------
    CaptionError
        If the file cannot be read, lacks a column, or names a clip twice.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".csv", ".tsv", ".jsonl"):
        raise CaptionError(path, "captions are read from .csv, .tsv and .jsonl")
    text = _text(path)
    columns = (FILE, caption_column)
    form = partial(_json, path, text) if suffix == ".jsonl" else partial(_table, path, text, suffix)
    found: dict[str, str] = {}
    places: dict[str, int] = {}
    for number, name, caption in form(columns):
        if not isinstance(name, str) or not name:
            raise CaptionError(path, f"line {number}: `file` is {name!r}, not the name of a clip")
        name = posixpath.normpath(name)
        if name in places:
            raise CaptionError(path, f"lines {places[name]} and {number} both name {name!r}")
        places[name] = number
        if check_caption(caption, f"{os.fspath(path)}, line {number}").strip():
            found[name] = caption
    if not found:
        raise CaptionError(path, "holds no caption")
    return found


def _text(path: str | os.PathLike[str]) -> str:
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise CaptionError(path, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise CaptionError(
            path, f"not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from error


def _table(
    path: str | os.PathLike[str], text: str, suffix: str, columns: tuple[str, str]
) -> Iterator[Line]:
    delimiter = "\t" if suffix == ".tsv" else ","
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        head = next(rows, [])
        if not head:
            needed = " and ".join(columns)
            raise CaptionError(path, f"empty; its first line needs the columns {needed}")
        for column in columns:
            if head.count(column) != 1:
                problem = f"its first line needs one column `{column}`, it has {', '.join(head)}"
                raise CaptionError(path, problem)
        places = [head.index(column) for column in columns]
        for row in filter(None, rows):
            if len(row) != len(head):
                problem = f"line {rows.line_num} has {len(row)} fields, the first {len(head)}"
                raise CaptionError(path, f"{problem}; put a caption with commas in quotes")
            yield rows.line_num, row[places[0]], row[places[1]]
    except csv.Error as error:
        raise CaptionError(path, f"line {rows.line_num}: {error}") from error


def _json(path: str | os.PathLike[str], text: str, columns: tuple[str, str]) -> Iterator[Line]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CaptionError(path, f"line {number} is not JSON: {error}") from error
        if not isinstance(found, dict) or not found.keys() >= set(columns):
            raise CaptionError(
                path, f"line {number} is not an object with `{'` and `'.join(columns)}`"
            )
        yield number, found[columns[0]], found[columns[1]]
