"""The bytes of a clip: a file, a part of a file, or memory."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from ..errors import AudioError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Blob(Protocol):
    """Bytes that are decoded as one audio file; `name` identifies them in errors."""

    @property
    def name(self) -> str: ...

    def open(self) -> BinaryIO:
        """A file object at its first byte; AudioError if it cannot be opened."""
        ...


@dataclass(frozen=True)
class OnDisk:
    """A clip that is a file."""

    path: str

    @property
    def name(self) -> str:
        """Its path."""
        return self.path

    def open(self) -> BinaryIO:
        """The opened file."""
        try:
            return open(self.path, "rb")
        except (OSError, ValueError) as error:
            raise AudioError(self.path, f"cannot be opened: {why(error)}") from error


@dataclass(frozen=True)
class Span:
    """The bytes of a file from `start` on, read from the file when needed."""

    path: str
    start: int
    size: int
    name: str

    def open(self) -> BinaryIO:
        """The opened span; AudioError if it is not within the file."""
        if self.start < 0:
            raise AudioError(self.name, f"would begin {-self.start} bytes before the archive")
        file = OnDisk(self.path).open()
        there = file.seek(0, os.SEEK_END) - self.start
        if there < self.size:
            file.close()
            raise cut_short(self.name, max(0, there), self.size)
        return cast(BinaryIO, io.BufferedReader(_Window(file, self.start, self.size)))


@dataclass(frozen=True)
class InMemory:
    """Bytes in memory."""

    data: bytes
    name: str

    def open(self) -> BinaryIO:
        """A file object over the bytes, which are not copied."""
        return io.BytesIO(self.data)


def sha256(blob: Blob) -> str:
    """The hash of its bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with blob.open() as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class _Window(io.RawIOBase):
    """A part of a file as a file object; closing it closes the whole file."""

    def __init__(self, whole: BinaryIO, start: int, size: int) -> None:
        self._whole, self._start, self._size, self._at = whole, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._size - self._at))
        self._whole.seek(self._start + self._at)
        block = self._whole.read(count)
        view[: len(block)] = block
        self._at += len(block)
        return len(block)

    def close(self) -> None:
        self._whole.close()
        super().close()


def why(error: Exception) -> str:
    """The reason of an error of the operating system, or of an invalid path."""
    return getattr(error, "strerror", None) or str(error)


def cut_short(name: str, there: int, size: int) -> AudioError:
    """The error for a clip whose last bytes are missing."""
    return AudioError(name, f"cut short: {there} of {size} bytes are there")
