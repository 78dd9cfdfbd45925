"""Many small values under 32-byte keys, in append-only files that survive any kill.

A folder holds segments. Each is written by one process at a time, only ever at its end:

    NAME.seg   16 bytes of format, then records: 4 bytes "REC1", payload length (uint32), key
               (32 bytes), BLAKE2b-128 of key and payload, payload
    NAME.idx   pairs of uint64: the first 8 bytes of a key, the record's place in NAME.seg

No file is written by two processes, so nothing depends on the locks of a network drive. The index
may lag behind or be lost; the records after its last entry are then read one by one. A record that
a kill cut short is skipped, and a record with a wrong hash counts as absent. All numbers are
little-endian.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import re
import secrets
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..filesystem import hold, write_all

logger = logging.getLogger("fad_onnx")

FORMAT = b"fad-onnx seg 1\n\0"
RECORD = struct.Struct("<4sI32s16s")
MAGIC = b"REC1"
ENTRY = np.dtype([("key", "<u8"), ("offset", "<u8")])
# Sync after this time: a kill loses nothing, and a power cut what was written since.
SYNC_SECONDS = 5.0
PENDING_ENTRIES = 64
Entries = NDArray[np.void]


def digest(key: bytes, payload: bytes) -> bytes:
    """The hash that detects a damaged record."""
    return hashlib.blake2b(key + payload, digest_size=16).digest()


def prefix(key: bytes) -> int:
    """The part of a key that the index holds."""
    return int.from_bytes(key[:8], "little")


@dataclass
class Segment:
    """One segment, and how far its index and its records have been read."""

    path: Path
    index_bytes: int = 0
    known_bytes: int = len(FORMAT)

    @property
    def index(self) -> Path:
        return self.path.with_suffix(".idx")

    def news(self) -> Entries:
        """Entries for records that have been added since the last call."""
        size = self.path.stat().st_size
        if size <= self.known_bytes:
            return np.empty(0, ENTRY)
        with open(self.path, "rb", buffering=0) as file:
            if file.read(len(FORMAT)) != FORMAT:
                return np.empty(0, ENTRY)
            listed = self._listed(size)
            begin = int(listed["offset"][-1]) if len(listed) else self.known_bytes
            walked, self.known_bytes = _walk(file.fileno(), begin, size)
        # The first record read is the last one in the index.
        return np.concatenate([listed, walked[1:]]) if len(listed) else walked

    def _listed(self, size: int) -> Entries:
        """New entries of the index that are plausible."""
        try:
            with open(self.index, "rb") as file:
                file.seek(self.index_bytes)
                data = file.read()
        except FileNotFoundError:
            return np.empty(0, ENTRY)
        whole = len(data) // ENTRY.itemsize * ENTRY.itemsize
        self.index_bytes += whole
        entries = np.frombuffer(data[:whole], ENTRY)
        offsets = entries["offset"]
        return entries[(offsets >= self.known_bytes) & (offsets < size)]


def _walk(descriptor: int, offset: int, size: int) -> tuple[Entries, int]:
    """Entries for the records from `offset` to the end, or to the first incomplete one."""
    found = []
    while offset + RECORD.size <= size:
        magic, length, key, _ = RECORD.unpack(_read(descriptor, offset, RECORD.size))
        if magic != MAGIC or offset + RECORD.size + length > size:
            break
        found.append((prefix(key), offset))
        offset += RECORD.size + length
    return np.array(found, ENTRY), offset


def _read(descriptor: int, offset: int, count: int) -> bytes:
    os.lseek(descriptor, offset, os.SEEK_SET)
    data = os.read(descriptor, count)
    while len(data) < count and (more := os.read(descriptor, count - len(data))):
        data += more
    return data.ljust(count, b"\0") if len(data) < RECORD.size else data


class Damaged(Exception):
    """A record that has changed since it was written."""


def read_record(descriptor: int, offset: int, key: bytes) -> bytes | None:
    """The payload at this place; None if the record has another key. Raises Damaged."""
    head = _read(descriptor, offset, RECORD.size)
    magic, length, found, stated = RECORD.unpack(head)
    left = os.fstat(descriptor).st_size - offset - RECORD.size
    if magic != MAGIC or length > left:
        raise Damaged
    payload = _read(descriptor, offset + RECORD.size, length)[:length]
    if digest(found, payload) != stated:
        raise Damaged
    return payload if found == key else None


class Writer:
    """The only process that appends to a segment; it holds the lock of the file."""

    def __init__(self, segment: Segment, descriptor: int, size: int) -> None:
        self.segment, self.size = segment, size
        self._descriptor = descriptor
        self._pending: list[tuple[int, int]] = []
        self._synced = time.monotonic()
        self._index = os.open(segment.index, _APPEND, 0o666)

    @classmethod
    def open(cls, folder: Path, largest: int) -> Writer:
        """Continue a segment that an ended process of this machine left, or start a new one."""
        for path in sorted(folder.glob(f"{_host()}-*.seg")):
            with suppress(OSError):
                if path.stat().st_size < largest and (writer := cls._adopt(path)):
                    return writer
        while True:
            path = folder / f"{_host()}-{secrets.token_hex(8)}.seg"
            descriptor = os.open(path, _APPEND | os.O_EXCL, 0o666)
            if hold(descriptor) is not False:
                write_all(descriptor, FORMAT)
                return cls(Segment(path), descriptor, len(FORMAT))
            # Another process was just checking whether the segment was abandoned.
            os.close(descriptor)
            path.unlink(missing_ok=True)

    @classmethod
    def _adopt(cls, path: Path) -> Writer | None:
        descriptor = os.open(path, _APPEND & ~os.O_CREAT)
        segment = Segment(path)
        try:
            if hold(descriptor) is True and os.fstat(descriptor).st_nlink:
                entries, size = segment.news(), os.fstat(descriptor).st_size
                # Nothing after an incomplete record can be found, so do not use this segment.
                if segment.known_bytes == size:
                    writer = cls(segment, descriptor, size)
                    writer._mend_index(entries)
                    return writer
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def _mend_index(self, entries: Entries) -> None:
        """Correct the index: a wrong or missing entry hides a value."""
        data = entries.tobytes()
        if self.segment.index.read_bytes() != data:
            os.ftruncate(self._index, 0)
            write_all(self._index, data)

    def append(self, key: bytes, payload: bytes) -> int:
        """Append a record and return its offset. If that fails, the segment stays as it was."""
        offset = self.size
        if os.fstat(self._descriptor).st_size != offset:
            # An interrupt came after a record was written and before it was noted.
            os.ftruncate(self._descriptor, offset)
        head = RECORD.pack(MAGIC, len(payload), key, digest(key, payload))
        try:
            write_all(self._descriptor, head + payload)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, offset)
            raise
        self.size = offset + len(head) + len(payload)
        self.segment.known_bytes = self.size
        self._pending.append((prefix(key), offset))
        if len(self._pending) >= PENDING_ENTRIES:
            self.flush()
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self.sync()
        return offset

    def flush(self) -> None:
        """Bring the index up to date."""
        entries, self._pending = np.array(self._pending, ENTRY), []
        write_all(self._index, entries.tobytes())

    def sync(self) -> None:
        """Flush index and records to the disk."""
        self.flush()
        for descriptor in (self._descriptor, self._index):
            os.fsync(descriptor)
        self._synced = time.monotonic()

    @property
    def linked(self) -> bool:
        """Whether the segment still exists; data written to a removed one is lost."""
        return os.fstat(self._descriptor).st_nlink > 0

    def close(self) -> None:
        """Flush and close the segment."""
        try:
            self.flush()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close without writing: in a forked child, the segment belongs to the parent."""
        os.close(self._descriptor)
        os.close(self._index)


_APPEND = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)


def _host() -> str:
    """The name of this machine, for file names: only a segment's machine knows if it is in use."""
    return re.sub(r"[^A-Za-z0-9]", "_", platform.node())[:40] or "host"


def segments(folder: Path) -> Iterator[Path]:
    """The segments in a folder, in order of their names."""
    with suppress(FileNotFoundError):
        yield from sorted(Path(e.path) for e in os.scandir(folder) if e.name.endswith(".seg"))
