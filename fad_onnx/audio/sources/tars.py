"""Clips in .tar and .tar.gz, as of WebDataset, read where they lie in the archive."""

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

# Programs fill an archive with zeros up to 10 KiB, or as much as a tape takes.
BLOCK_BYTES, BEHIND_BYTES = 512, 1 << 16
# Of headers; the largest hold extended attributes. A header may announce any size.
HEADER_BYTES = 1 << 20
# Behind a URL: a header, and those of small members behind it.
URL_BLOCK_BYTES = 1 << 14
GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes that lie in a file as they are."""

    start: int
    size: int

    @property
    def key(self) -> str:
        """Where they lie."""
        return f"{self.start}+{self.size}"

    def blob(self, path: str, label: str) -> Blob:
        """The part of the file."""
        return span(path, self.start, self.size, label)


@dataclass(frozen=True, slots=True)
class Zipped:
    """Bytes of what a gzip file becomes."""

    start: int
    size: int

    @property
    def key(self) -> str:
        """Where they lie in it."""
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
    """The clips of an archive: by name, whatever the order of its members.

    Headers alone are read; of a .tar.gz everything has to be unpacked once to find them.
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
    """Every member; TarError where the archive is damaged, ends too early, or goes in circles."""
    with tarfile.open(fileobj=cast(BinaryIO, _Headers(file)), mode="r:", errorlevel=0) as tar:
        behind = -1
        while (member := tar.next()) is not None:
            if member.size < 0 or tar.offset <= behind:
                raise tarfile.ReadError(f"a header at byte {member.offset} has a wrong size")
            behind = tar.offset
            # It would keep every one.
            tar.members.clear()  # type: ignore[attr-defined]
            yield member
        # tarfile ends silently at whatever is no header.
        file.seek(tar.offset)
        end = file.read(2 * BLOCK_BYTES)
        if len(end) < BLOCK_BYTES:
            raise tarfile.ReadError(f"cut short: no end mark at byte {tar.offset}")
        if end.strip(b"\0"):
            raise tarfile.ReadError(f"damaged at byte {tar.offset}")
        if file.read(BEHIND_BYTES).strip(b"\0"):
            raise tarfile.ReadError(
                f"holds more behind its end mark at byte {tar.offset}, perhaps another archive"
            )


class _Headers:
    """A file that refuses large reads: what a header announces is not allocated."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)
