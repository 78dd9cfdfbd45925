"""Clips in a column `audio` of bytes of a .parquet file, as the `datasets` library writes it.

Parquet needs a library: its pages are compressed by one of six codecs and described in Thrift.
pyarrow (55 MB) is the one that `datasets` uses; fastparquet needs pandas, which is larger.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ...errors import AudioError, MissingDependencyError, SourceError, shown
from ..blobs import Blob, InMemory
from ..remote import MEMBER_BYTES, check_size, errors, file_part, opened, version
from .listing import AudioFile, Listing, Part, Unusable
from .members import MOST_MEMBERS

COLUMN = "audio"
# Rows to keep, because threads read slightly out of order, and at most so many bytes of them: a
# dictionary may name one large value in every row.
KEPT_ROWS, KEPT_BYTES = 64, MEMBER_BYTES
BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """The audio bytes in a row of the table."""

    number: int

    @property
    def key(self) -> str:
        """The number of the row."""
        return f"row {self.number}"

    def blob(self, path: str, label: str) -> Blob:
        """The bytes, in memory."""
        try:
            cell = _table(path).cell(self.number)
        except _errors() as error:
            raise AudioError(label, f"cannot be read: {error}") from error
        if not cell.is_valid:
            raise AudioError(label, "the table has no bytes for it, perhaps only a path")
        check_size(cell.as_buffer().size, label)
        return InMemory(cell.as_py(), label)


def listed(path: str) -> Listing:
    """The clips of a table, in the order of its rows, which are read group by group.

    Names are those of the column `audio.path`; without a name or with a duplicate, the number of
    the row. Raises SourceError for a table without bytes of audio, MissingDependencyError without
    pyarrow.
    """
    try:
        table = _table(path)
        names = table.names()
    except SourceError:
        raise
    except _errors() as error:
        damage: Part = Unusable(f"cannot be read as parquet: {error}")
        return Listing([AudioFile(path, "", part=damage)])
    if len(names) != table.rows:
        damage = Unusable(f"damaged: {table.rows} rows are announced, {len(names)} are there")
        return Listing([AudioFile(path, "", part=damage)])
    if not table.rows:
        raise SourceError(path, "a table without rows")
    counts, stem = Counter(names), os.path.splitext(os.path.basename(file_part(path)))[0]
    numbered = (f"{stem}-{number:07}" for number in range(table.rows))
    return Listing(
        AudioFile(path, name if name and counts[name] == 1 else other, part=Row(number))
        for number, (name, other) in enumerate(zip(names, numbered, strict=True))
    )


class _Table:
    """The column of audio, read from its first row to its last, for several threads."""

    def __init__(self, path: str) -> None:
        from pyarrow import parquet, types

        self._file = parquet.ParquetFile(opened(path), buffer_size=BUFFER_BYTES)
        self._lock = threading.Lock()
        schema = self._file.schema_arrow
        kind: Any = schema.field(COLUMN).type if COLUMN in schema.names else None
        self._fields = [one.name for one in kind] if kind and types.is_struct(kind) else []
        held = kind.field("bytes").type if "bytes" in self._fields else kind
        if held is None or not (types.is_binary(held) or types.is_large_binary(held)):
            has = f"is {kind}" if kind else f"is not among {', '.join(map(shown, schema.names))}"
            raise SourceError(path, f"needs a column {COLUMN!r} of bytes, which {has}")
        metadata = self._file.metadata
        self._groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        self.rows = sum(self._groups)
        if self.rows > MOST_MEMBERS or min(self._groups, default=0) < 0:
            raise SourceError(path, f"has {self.rows} rows: at most {MOST_MEMBERS} are read")
        self._kept: deque[Any] = deque()  # the last rows that were read
        if self.rows:
            self._go_to(0)

    def names(self) -> list[str | None]:
        """The path in every row, or None."""
        if "path" not in self._fields:
            return [None] * self.rows
        read = self._file.iter_batches(columns=[f"{COLUMN}.path"], use_threads=False)
        return [
            value if isinstance(value, str) else None
            for batch in read
            for value in batch.column(0).field(0).to_pylist()
        ]

    def cell(self, row: int) -> Any:
        """The value of a row, as a scalar of Arrow."""
        with self._lock:
            if not self._next - len(self._kept) <= row < self._next + max(self._groups):
                self._go_to(row)
            while row >= self._next:
                batch = next(self._batches).column(0)
                self._keep(batch.field(0) if self._fields else batch)
            return self._kept[row - self._next][0]

    def _keep(self, one: Any) -> None:
        """Keep a row, after the oldest ones were dropped."""
        self._bytes += one.nbytes
        while len(self._kept) >= KEPT_ROWS or (self._kept and self._bytes > KEPT_BYTES):
            self._bytes -= self._kept.popleft().nbytes
        self._kept.append(one)
        self._next += 1

    def _go_to(self, row: int) -> None:
        """Go to the beginning of the group with a row."""
        group, self._next, self._bytes = 0, 0, 0  # the next row to be read
        while self._next + self._groups[group] <= row:
            self._next += self._groups[group]
            group += 1
        self._kept.clear()
        self._batches: Iterator[Any] = self._file.iter_batches(
            1, range(group, len(self._groups)),
            [f"{COLUMN}.bytes" if self._fields else COLUMN], use_threads=False,
        )  # fmt: skip


def _errors() -> tuple[type[Exception], ...]:
    """The exceptions of pyarrow for a damaged file."""
    try:
        import pyarrow
    except ImportError as error:
        raise MissingDependencyError(
            "a .parquet file needs pyarrow", "pip install 'fad-onnx[parquet]'"
        ) from error
    return pyarrow.ArrowException, StopIteration, *errors()


def _table(path: str) -> _Table:
    _errors()
    return _opened(path, *version(path))


@lru_cache(maxsize=4)
def _opened(path: str, *version: int) -> _Table:
    return _Table(path)
