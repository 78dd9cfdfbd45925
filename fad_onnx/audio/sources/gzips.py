"""Random access to the contents of a gzip file, in bounded memory.

The last contents are kept, because threads read slightly out of order; a small file is therefore
unpacked once. Copies of the decompressor are kept at intervals; reading resumes from them, as in
zlib's example `zran.c`.
"""

from __future__ import annotations

import threading
import zlib
from collections import deque
from functools import lru_cache
from typing import Any, NamedTuple

from ...errors import AudioError
from ..remote import opened, version

STEP_BYTES, URL_BLOCK_BYTES, KEPT_BYTES = 1 << 17, 1 << 22, 1 << 24
# The distance between two copies, which take some 50 kB each; doubled if there are too many.
# Members may be in any order, but are read by name.
APART_BYTES, MOST_COPIES = 1 << 20, 256
# So much is unpacked to go on, to keep the last contents, before reading resumes at a copy.
SKIP_BYTES = 1 << 21
# Deflate shrinks zeros a thousandfold. Archives of audio shrink less than this.
MOST_RATIO, RATIO_FREE_BYTES = 200, 1 << 28
_GZIP = 31


class _Place(NamedTuple):
    """A place to resume: after `at` bytes of the file, which expand to `offset` bytes."""

    at: int
    offset: int
    machine: Any

    def copied(self) -> _Place:
        return self._replace(machine=self.machine.copy())


class Reader:
    """Random access to the contents of a gzip file, for several threads."""

    def __init__(self, path: str) -> None:
        self._path, self._lock = path, threading.Lock()
        self._file = opened(path, URL_BLOCK_BYTES)
        self._places, self._apart = [_Place(0, 0, zlib.decompressobj(_GZIP))], APART_BYTES
        self._blocks, self._kept = deque[bytes](), 0  # the last contents, and their size
        self._go_to(0)

    def read(self, start: int, size: int) -> bytes:
        """The bytes from `start` on; fewer at the end. AudioError if the file is damaged."""
        with self._lock:
            if not self._now.offset - self._kept <= start <= self._now.offset + SKIP_BYTES:
                self._go_to(start)
            found, at, end = [], start, start + size
            while at < end and (at < self._now.offset or self._step()):
                own = self._held(at)[: end - at]
                found.append(own)
                at += len(own)
            return b"".join(found)

    def _held(self, at: int) -> bytes:
        """The contents from a byte to the end of its block; nothing if that is not unpacked yet."""
        begin = self._now.offset
        for block in reversed(self._blocks):
            begin -= len(block)
            if begin <= at:
                return block[at - begin :]
        return b""

    def _go_to(self, start: int) -> None:
        """Go to the last place before a byte at which unpacking can resume."""
        before = (place for place in reversed(self._places) if place.offset <= start)
        self._now = next(before).copied()
        self._blocks.clear()
        self._kept = 0

    def _step(self) -> bool:
        """The next block; False at the end."""
        at, offset, machine = self._now
        block = b""
        while not block:
            if machine.eof:
                # A file may have several members, and zeros after the last.
                at -= len(machine.unused_data)
                rest = self._packed(at)
                if not (more := rest.lstrip(b"\0")):
                    return False
                at, machine = at + len(rest) - len(more), zlib.decompressobj(_GZIP)
            packed = machine.unconsumed_tail
            if not packed:
                packed = self._packed(at)
                at += len(packed)
            try:
                block = machine.decompress(packed, STEP_BYTES)
            except zlib.error as error:
                raise AudioError(self._path, f"damaged gzip before byte {at}: {error}") from error
            if not (packed or block):
                raise AudioError(self._path, f"cut short: the gzip ends at byte {at}")
        self._now = _Place(at, offset + len(block), machine)
        self._blocks.append(block)
        self._kept += len(block)
        while self._kept > max(KEPT_BYTES, len(block)):
            self._kept -= len(self._blocks.popleft())
        self._check_ratio()
        self._remember()
        return True

    def _packed(self, at: int) -> bytes:
        self._file.seek(at)
        return self._file.read(STEP_BYTES)

    def _check_ratio(self) -> None:
        at, offset, _ = self._now
        if offset > RATIO_FREE_BYTES + MOST_RATIO * at:
            raise AudioError(
                self._path, f"{at} bytes of gzip become more than {offset}, which no audio does"
            )

    def _remember(self) -> None:
        if self._now.offset < self._places[-1].offset + self._apart or self._now.machine.eof:
            return
        self._places.append(self._now.copied())
        if len(self._places) > MOST_COPIES:
            self._places, self._apart = self._places[::2], 2 * self._apart


class Unzipped:
    """The contents of a gzip file, as a file object."""

    def __init__(self, reader: Reader) -> None:
        self._reader, self._at = reader, 0

    def seek(self, offset: int) -> int:
        """Go to a byte, without reading."""
        self._at = offset
        return offset

    def tell(self) -> int:
        """The position of the next byte."""
        return self._at

    def read(self, size: int) -> bytes:
        """The next bytes."""
        block = self._reader.read(self._at, size)
        self._at += len(block)
        return block


def reader(path: str) -> Reader:
    """The reader of a file, which keeps the places at which it can resume."""
    return _reader(path, *version(path))


@lru_cache(maxsize=4)
def _reader(path: str, *version: int) -> Reader:
    return Reader(path)
