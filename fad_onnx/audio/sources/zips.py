"""Clips in .zip archives, read without unpacking to disk."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from itertools import pairwise

from ...errors import AudioError, SourceError
from ..blobs import Blob, InMemory, cut_short
from ..remote import check_size, errors, opened, read, span
from .listing import Listing, Part, Unusable
from .members import Members

LOCAL_BYTES, LOCAL = 30, b"PK\3\4"
ENCRYPTED, UTF8 = 0x1, 0x800
# The file types in st_mode: FIFO, character device, block device, link, socket.
LINKS = (0o1, 0o2, 0o6, 0o12, 0o14)
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


@dataclass(frozen=True, slots=True)
class Member:
    """A member, as the directory of the archive describes it."""

    header: int
    packed: int
    size: int
    crc32: int
    method: int

    @property
    def key(self) -> str:
        """The position of the member in the file."""
        return f"zip {self.header}+{self.size}"

    def blob(self, path: str, label: str) -> Blob:
        """The member: a part of the file if it is stored, otherwise unpacked in memory."""
        start = self._start(path, label)
        if self.method == zipfile.ZIP_STORED:
            stored = span(path, start, self.size, label)
            self._check(_crc32_of(stored), label)
            return stored
        check_size(self.size, label)
        return InMemory(self._unpacked(read(path, start, self.packed, label), label), label)

    def _start(self, path: str, label: str) -> int:
        head = read(path, self.header, LOCAL_BYTES, label)
        if not head.startswith(LOCAL):
            raise AudioError(label, f"damaged: no member begins at byte {self.header}")
        lengths = (int.from_bytes(head[at : at + 2], "little") for at in (26, 28))
        return self.header + LOCAL_BYTES + sum(lengths)

    def _unpacked(self, packed: bytes, label: str) -> bytes:
        machine = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = machine.decompress(packed, self.size + 1)
        except zlib.error as error:
            raise AudioError(label, f"damaged: {error}") from error
        if len(data) < self.size:
            raise cut_short(label, len(data), self.size)
        if len(data) > self.size:
            raise AudioError(label, f"damaged: it becomes more than {self.size} bytes")
        self._check(zlib.crc32(data), label)
        return data

    def _check(self, crc32: int, label: str) -> None:
        if crc32 != self.crc32:
            raise AudioError(label, f"damaged: checksum {crc32:08x} instead of {self.crc32:08x}")


def _crc32_of(blob: Blob) -> int:
    crc32 = 0
    with blob.open() as file:
        while block := file.read(1 << 20):
            crc32 = zlib.crc32(block, crc32)
    return crc32


def listed(path: str) -> Listing:
    """The clips of an archive, by name; only its directory is read."""
    found = Members(path)
    try:
        with opened(path) as file, zipfile.ZipFile(file) as archive:
            overlapping = _overlapping(archive.infolist())
            for info in archive.infolist():
                if info.external_attr >> 28 in LINKS:
                    found.add_link()
                elif not info.filename.endswith("/"):
                    part = _part(info, info.header_offset in overlapping)
                    found.add(_name(info), part)
    except SourceError:
        raise
    except _failures() as error:
        found.damaged(f"cannot be read as a zip archive: {error}")
    return found.listing()


def _failures() -> tuple[type[Exception], ...]:
    return zipfile.BadZipFile, NotImplementedError, *errors()


def _part(info: zipfile.ZipInfo, overlaps: bool) -> Part:
    if overlaps:
        return Unusable("its bytes are those of another member too")
    if info.flag_bits & ENCRYPTED:
        return Unusable("it is encrypted")
    if info.compress_type not in METHODS:
        return Unusable(
            f"packed by method {info.compress_type}, which is not read here: zip it with deflate"
        )
    # Deflate stores incompressible data in blocks with 5 more bytes.
    most = info.file_size + 5 * (info.file_size // 0x2000 + 2)
    is_stored = info.compress_type == zipfile.ZIP_STORED
    if info.compress_size > most or (is_stored and info.compress_size != info.file_size):
        return Unusable(f"{info.compress_size} bytes cannot become {info.file_size}")
    return Member(
        info.header_offset, info.compress_size, info.file_size, info.CRC, info.compress_type
    )


def _overlapping(infos: list[zipfile.ZipInfo]) -> set[int]:
    """The starts of overlapping members, as in zip bombs."""
    extents = sorted((one.header_offset, one.compress_size) for one in infos)
    return {
        header
        for (begin, packed), (start, _) in pairwise(extents)
        if begin + LOCAL_BYTES + packed > start
        for header in (begin, start)
    }


def _name(info: zipfile.ZipInfo) -> str:
    """The name; many programs write UTF-8 without the flag."""
    if info.flag_bits & UTF8:
        return info.filename
    try:
        return info.filename.encode("cp437").decode()
    except UnicodeError:
        return info.filename
