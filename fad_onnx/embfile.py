"""Embeddings on disk: an .npz with one float32 array (rows, dim) an audio file.

A member is the file's path within its set, with "/" between folders, escaped like a URL: every
byte of its UTF-8 form that is not a letter, digit, or one of "-_.~/ " becomes %XX, so any file
name (newlines, stray bytes) comes back exactly through `urllib.parse.unquote`. The member
named "@metadata" (which no escaped name can equal) is a JSON string.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote_from_bytes, unquote_to_bytes

import numpy as np
from numpy.typing import NDArray

from . import store
from .checkpoints import npz
from .errors import CheckpointError, OutputError, StatisticsError, TwoFilesError

METADATA = "@metadata"
Rows = NDArray[np.float32]


def escape(name: str) -> str:
    """The member that holds the rows of this file."""
    return quote_from_bytes(os.fsencode(name), safe="/ ")


def unescape(member: str) -> str:
    """The file's name again."""
    return os.fsdecode(unquote_to_bytes(member))


class Writer:
    """Adds one array at a time, so that the file never is in memory as a whole."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._names: set[str] = set()

    def add(self, name: str, rows: Rows) -> None:
        """One file's rows; TwoFilesError if the name was used before."""
        member = escape(name)
        if member in self._names:
            raise TwoFilesError(name)
        self._names.add(member)
        self._write(member, rows)

    def _write(self, member: str, array: NDArray[Any]) -> None:
        # A fixed date, so that the same rows make the same bytes.
        info = zipfile.ZipInfo(f"{member}.npy", date_time=(1980, 1, 1, 0, 0, 0))
        with self._archive.open(info, "w", force_zip64=True) as out:
            np.lib.format.write_array(out, np.asarray(array), allow_pickle=False)

    def metadata(self, values: Mapping[str, Any]) -> None:
        """What describes the whole file."""
        self._write(METADATA, np.array(json.dumps(values)))


def write(path: str | os.PathLike[str], fill: Callable[[Writer], object]) -> None:
    """Let `fill` add arrays to a file that appears whole or not at all.

    Raises OutputError if it cannot be written, and whatever `fill` raises.
    """
    final = Path(path)

    def into(out: BinaryIO) -> None:
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            fill(Writer(archive))

    store.publish_file(final, into, OutputError)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Rows], dict[str, Any]]:
    """Rows by file name in the order written, and the metadata; StatisticsError if it is none."""
    try:
        arrays = npz.read(Path(path))
        metadata = json.loads(str(arrays.pop(METADATA)))
    except (CheckpointError, KeyError, ValueError) as error:
        reason = error.reason if isinstance(error, CheckpointError) else "no embeddings file"
        raise StatisticsError(path, reason) from error
    return {unescape(name): rows for name, rows in arrays.items()}, metadata
