"""The position of the samples in files made of chunks: WAV, RF64, W64, AIFF, CAF, and AU."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO, Literal

Order = Literal["little", "big"]

# Tags that programs add after the samples of any format.
TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")
# Some writers count the header among the samples: 44 bytes, or more with other chunks. An excess
# of only this many bytes is not audio.
HEADER_BYTES = 128
_STEP = 1 << 16


@dataclass(frozen=True)
class Layout:
    """The layout of chunks in one kind of file."""

    first: int
    size_bytes: int
    order: Order = "little"
    data: bytes = b"data"
    name_bytes: int = 4
    counts_header: bool = False
    alignment: int = 2


LAYOUTS = {
    b"RIFF": Layout(12, 4),
    b"RF64": Layout(12, 4),
    b"RIFX": Layout(12, 4, "big"),
    b"FORM": Layout(12, 4, "big", b"SSND"),
    b"riff": Layout(40, 8, name_bytes=16, counts_header=True, alignment=8),
    b"caff": Layout(8, 8, "big", alignment=1),
}
AUDIO = {*LAYOUTS, b"data", b"SSND", b".snd", b"fLaC", b"OggS"}
# Chunks that follow the samples. Any other chunks must be whole up to the end of the file.
KNOWN = {
    b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"smpl", b"inst", b"fact", b"PEAK", b"iXML",
    b"_PMX", b"JUNK", b"junk", b"PAD ", b"FLLR", b"afsp", b"MARK", b"COMT", b"NAME", b"AUTH",
    b"ANNO", b"INST", b"APPL", b"acid", b"plst", b"axml", b"info", b"free",
}  # fmt: skip


@dataclass(frozen=True)
class Samples:
    """The bytes of samples: the number in the header, and the number in the file."""

    counted: int
    there: int


def samples(file: BinaryIO) -> Samples | None:
    """The samples of a file made of chunks; None for any other file."""
    end = file.seek(0, os.SEEK_END)
    begin = _behind_id3(file)
    magic = _read(file, begin, 4)
    if magic in (b".snd", b"dns."):
        head = _read(file, begin + 4, 8)
        order: Order = "big" if magic == b".snd" else "little"
        start, counted = (int.from_bytes(part, order) for part in (head[:4], head[4:]))
        return _measured(file, None, begin + start, counted, end)
    layout = LAYOUTS.get(magic)
    return _in_chunks(file, layout, begin + layout.first, end) if layout else None


def _behind_id3(file: BinaryIO) -> int:
    """The position after a tag at the start of the file."""
    head, size = _read(file, 0, 10), 0
    # ID3v2, section 3.1: the length of the tag in four bytes of seven bits.
    for byte in head[6:]:
        size = size << 7 | byte & 0x7F
    return len(head) + size if head.startswith(b"ID3") else 0


def _in_chunks(file: BinaryIO, layout: Layout, at: int, end: int) -> Samples | None:
    long = 0
    while at < end:
        name, start, size = _chunk(file, layout, at)
        if name == b"ds64":
            # EBU Tech 3306: the size of the whole file, then that of the samples.
            long = int.from_bytes(_read(file, start + 8, 8), "little")
        elif name == layout.data:
            counted = long if long and size == 0xFFFFFFFF else size
            return _measured(file, layout, start, counted, end)
        at = start + size + -size % layout.alignment
    return None


def _measured(file: BinaryIO, layout: Layout | None, start: int, counted: int, end: int) -> Samples:
    behind = start + counted
    if behind < end and _is_audio(file, layout, behind, end):
        return Samples(counted, end - start)
    return Samples(counted, max(0, min(counted, end - start)))


def _is_audio(file: BinaryIO, layout: Layout | None, at: int, end: int) -> bool:
    """Whether the bytes after the counted samples are audio, not a chunk, tag or padding."""
    while True:
        at = _behind_zeros(file, at, end)
        if end - at <= HEADER_BYTES or _read(file, at, 11).startswith(TAGS):
            return False
        if layout is None:
            return True
        name, start, size = _chunk(file, layout, at)
        if name in KNOWN:
            return False
        at = start + size
        if name in AUDIO or not (name.isascii() and name.decode().isprintable()) or at > end:
            return True


def _behind_zeros(file: BinaryIO, at: int, end: int) -> int:
    while at < end:
        block = _read(file, at, _STEP)
        rest = len(block.lstrip(b"\0"))
        at += len(block) - rest
        if rest:
            break
    return at


def _chunk(file: BinaryIO, layout: Layout, at: int) -> tuple[bytes, int, int]:
    """The name of a chunk, and the position and length of its content."""
    width = layout.name_bytes
    head = _read(file, at, width + layout.size_bytes)
    size = int.from_bytes(head[width:], layout.order)
    if layout.counts_header:
        size = max(0, size - len(head))
    return head[:4], at + len(head), size


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)
