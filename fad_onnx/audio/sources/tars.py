"""Clips in .tar and .tar.gz, such as WebDataset shards, read without unpacking to disk."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from ...errors import AudioError, SourceError
from ..blobs import Blob, InMemory, cut_short
from ..remote import check_size, opened, span
from . import gzips
from .listing import Listing
from .members import Members

# Programs pad an archive with zeros to 10 KiB, or to a block of a tape.
BLOCK_BYTES, BEHIND_BYTES = 512, 1 << 16
# The limit of a header; the largest hold extended attributes, and a header may announce any size.
HEADER_BYTES = 1 << 20
# At a URL, read a header together with those of small members after it.
URL_BLOCK_BYTES = 1 << 14
GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Stored:
    """A part of a file, stored without compression."""

    start: int
    size: int

    @property
    def key(self) -> str:
        """The position of the bytes in the file."""
        return f"{self.start}+{self.size}"

    def blob(self, path: str, label: str) -> Blob:
        """The part of the file."""
        return span(path, self.start, self.size, label)


@dataclass(frozen=True, slots=True)
class Zipped:
    """A part of the contents of a gzip file."""

    start: int
    size: int

    @property
    def key(self) -> str:
        """The position of the bytes in the contents."""
        return f"gzip {self.start}+{self.size}"

    def blob(self, path: str, label: str) -> Blob:
        """The bytes, in memory."""
        check_size(self.size, label)
        try:
            data = gzips.reader(path).read(self.start, self.size)
        except AudioError as error:
            raise AudioError(label, error.reason) from error
        if len(data) < self.size:
            raise cut_short(label, len(data), self.size)
        return InMemory(data, label)


def listed(path: str) -> Listing:
    """The clips of an archive, sorted by name, whatever the order of its members.

    Only headers are read; a .tar.gz must be unpacked once to find them.
    """
    found = Members(path)
    with opened(path, URL_BLOCK_BYTES) as file:
        zipped = file.read(2) == GZIP
        file.seek(0)
        content, part = (_unzipped(path), Zipped) if zipped else (file, Stored)
        try:
            for member in _members(content):
                if not (member.isreg() or member.isdir()) or member.issparse():
                    found.add_link()
                elif member.isreg():
                    found.add(member.name, part(member.offset_data, member.size))
        except SourceError:
            raise
        except (tarfile.TarError, AudioError, ValueError, RecursionError) as error:
            found.damaged(f"cannot be read to its end: {getattr(error, 'reason', error)}")
    return found.listing()


def _unzipped(path: str) -> BinaryIO:
    return cast(BinaryIO, gzips.Unzipped(gzips.reader(path)))


def _members(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Every member; TarError if the archive is damaged, ends too early, or loops."""
    with tarfile.open(fileobj=cast(BinaryIO, _Headers(file)), mode="r:", errorlevel=0) as tar:
        behind = -1
        while (member := tar.next()) is not None:
            if member.size < 0 or tar.offset <= behind:
                raise tarfile.ReadError(f"a header at byte {member.offset} has a wrong size")
            behind = tar.offset
            # tarfile would keep every member.
            tar.members.clear()  # type: ignore[attr-defined]
            yield member
        # tarfile stops silently at anything but a header.
        file.seek(tar.offset)
        end = file.read(2 * BLOCK_BYTES)
        if len(end) < BLOCK_BYTES:
            raise tarfile.ReadError(f"cut short: no end mark at byte {tar.offset}")
        if end.strip(b"\0"):
            raise tarfile.ReadError(f"damaged at byte {tar.offset}")
        if file.read(BEHIND_BYTES).strip(b"\0"):
            raise tarfile.ReadError(
                f"holds more after its end mark at byte {tar.offset}, perhaps another archive"
            )


class _Headers:
    """A file that refuses large reads, so that an announced size is not allocated."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)
