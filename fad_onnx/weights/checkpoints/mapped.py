"""A file mapped read-only: every access is range-checked, every error names the path."""

from __future__ import annotations

import mmap
import os
import stat
from os import PathLike, fspath

from ...errors import CheckpointError

ALLOWANCE_BYTES = 256 * 2**20
"""The memory that parsing may take in addition to the size of the file."""

Path = str | PathLike[str]


class Mapped:
    """The bytes of one regular file, and the memory that parsing it may still use.

    `data` is a read-only memoryview of the mapping; arrays made from it keep the mapping
    alive, so that nothing needs to be closed.
    """

    def __init__(self, path: Path, cost_per_byte: int = 1) -> None:
        """Map the file; CheckpointError unless it is a regular, non-empty file.

        `cost_per_byte` is the memory that parsing may take per byte of the file; see `spend`.
        """
        self.path = fspath(path)
        self._mapping = self._map()
        self.data = memoryview(self._mapping)
        self.size = len(self.data)
        self._allowance = cost_per_byte * self.size + ALLOWANCE_BYTES

    def _map(self) -> mmap.mmap:
        try:
            # Checked before opening, because opening a FIFO would block until there is a writer.
            if not stat.S_ISREG(os.stat(self.path).st_mode):
                raise self.error("is not a regular file")
            with open(self.path, "rb") as file:
                if os.fstat(file.fileno()).st_size == 0:
                    raise self.error("is empty; fetch or copy it again")
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise self.error(f"cannot be read: {error.strerror or error}") from error
        except ValueError as error:  # a NUL in the name, or the file became shorter
            if isinstance(error, CheckpointError):
                raise
            raise self.error(f"cannot be mapped: {error}") from error

    def error(self, reason: str) -> CheckpointError:
        """The error to raise for this file."""
        return CheckpointError(self.path, reason)

    def spend(self, cost_bytes: int) -> None:
        """Account for memory that is about to be allocated for contents of the file.

        Counts come from the file, so a small hostile file could otherwise request any amount of
        memory. Parsing stops at ALLOWANCE_BYTES plus a multiple of the file's size.
        """
        self._allowance -= cost_bytes
        if self._allowance < 0:
            raise self.error(
                f"would take more than {ALLOWANCE_BYTES >> 20} MiB beyond its own"
                f" {self.size} bytes to describe; it is damaged or hostile"
            )

    def check(self, offset: int, length: int, what: str) -> None:
        """CheckpointError unless `length` bytes at `offset` lie inside the file."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise self.error(
                f"{what}: bytes {offset} to {offset + length} lie outside the file's"
                f" {self.size}; the file is cut short or damaged, fetch it again"
            )

    def check_whole(self) -> None:
        """CheckpointError if the file was truncated after it was mapped.

        Reading bytes that are gone would end the process, so check before large reads.
        """
        if self._mapping.size() < self.size:
            raise self.error("was cut short while it was being read; fetch it again")

    def forget(self) -> None:
        """Release the memory of the file's bytes; they are read again when needed."""
        if hasattr(self._mapping, "madvise"):
            self._mapping.madvise(mmap.MADV_DONTNEED)

    def span(self, offset: int, length: int, what: str) -> memoryview:
        """`length` bytes at `offset`, without copying them."""
        self.check(offset, length, what)
        return self.data[offset : offset + length]

    def unsigned(self, offset: int, width: int, what: str) -> int:
        """A little-endian unsigned integer of `width` bytes at `offset`."""
        return int.from_bytes(self.span(offset, width, what), "little")


class Unpacked(Mapped):
    """The bytes that a compressed file expands to, in memory, under the file's name."""

    def __init__(self, file: Mapped, content: bytes | bytearray) -> None:
        self.path = file.path
        self.data = memoryview(content).toreadonly()
        self.size = len(self.data)
        self._allowance = self.size + ALLOWANCE_BYTES

    def check_whole(self) -> None:
        """Nothing to check: the bytes are in memory."""


def quoted(name: object, limit: int = 120) -> str:
    """A name from an untrusted file, made printable and short enough for one line."""
    if not isinstance(name, str):
        return f"<{type(name).__name__}>"
    return ascii(name if len(name) <= limit else name[:limit] + "...")
