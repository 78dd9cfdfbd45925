"""The amount of audio in an MPEG, FLAC or Ogg file, from the headers of its frames or pages.

Nothing is decoded, and the file is read in small parts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

from .containers import TAGS

_STEP = 1 << 16

# ISO/IEC 11172-3 and 13818-3: kbit/s by index, of MPEG-1 in layers I, II, III and of MPEG-2.
_KBPS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MPEG_HZ = (44100, 48000, 32000)
# Sync, and no reserved version, layer, bit rate or sampling rate. A free bit rate is 0.
_MPEG_HEADER = re.compile(
    rb"(?=\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff]"
    rb"[\x00-\x0b\x10-\x1b\x20-\x2b\x30-\x3b\x40-\x4b\x50-\x5b\x60-\x6b\x70-\x7b"
    rb"\x80-\x8b\x90-\x9b\xa0-\xab\xb0-\xbb\xc0-\xcb\xd0-\xdb\xe0-\xeb])"
)
# The longest frame has 640 kbit/s at 8 kHz.
_LONGEST_FREE_FRAME = 1 << 13
# Consecutive headers that are needed; fewer may occur by chance.
_MPEG_RUN = 3


@dataclass(frozen=True)
class _MpegFrame:
    kind: tuple[int, int, int, bool]
    samples: int
    hertz: int
    bytes: int  # only the padding if the bit rate is free

    @property
    def is_free(self) -> bool:
        return self.kind[3]


@dataclass(frozen=True)
class Mpeg:
    """The seconds in the file, as counted in its first frame (None if absent), and of a frame."""

    there: float
    counted: float | None
    frame: float


def mpeg(file: BinaryIO) -> Mpeg | None:
    """The MPEG audio of a file of any container; None if there is none."""
    there, counted, first = 0.0, None, None
    for at, frame, frames in _mpeg_runs(file, file.seek(0, os.SEEK_END)):
        tag = _tag(_read(file, at, 240))
        samples = frames * frame.samples
        if tag:
            samples -= frame.samples + tag.trimmed
        there += samples / frame.hertz
        if first is None:
            first = frame.samples / frame.hertz
            if tag and tag.frames:
                counted = (tag.frames * frame.samples - tag.trimmed) / frame.hertz
    return None if first is None else Mpeg(there, counted, first)


def _mpeg_runs(file: BinaryIO, end: int) -> Iterator[tuple[int, _MpegFrame, int]]:
    """The runs of consecutive frames of one kind: the first frame, and their number."""
    at = 0
    while at < end:
        for start in _matches(file, _MPEG_HEADER, 2, at):
            frame = _mpeg_frame(_read(file, start, 3))
            frames, at = _follow(file, start, end)
            # A very short clip may have fewer.
            ended = frames and (at == end or _read(file, at, 11).startswith(TAGS))
            if frame and (ended or frames >= _MPEG_RUN):
                yield start, frame, frames
                break
        else:
            return


def _follow(file: BinaryIO, at: int, end: int) -> tuple[int, int]:
    """The number of consecutive frames of one kind from here, and their end."""
    kind, frames, unpadded = None, 0, None
    while frame := _mpeg_frame(_read(file, at, 3)):
        if frame.is_free and unpadded is None:
            unpadded = _free_bytes(file, at, frame)
        following = at + frame.bytes + (unpadded or 0)
        if following > end or frame.kind != (kind or frame.kind):
            break
        at, kind, frames = following, frame.kind, frames + 1
    return frames, at


def _free_bytes(file: BinaryIO, at: int, frame: _MpegFrame) -> int:
    """Bytes of a frame of a free bit rate without padding: up to the next header."""
    data = _read(file, at, _LONGEST_FREE_FRAME)
    for found in _MPEG_HEADER.finditer(data, 3):
        following = _mpeg_frame(data[found.start() : found.start() + 3])
        if following and following.kind == frame.kind:
            return found.start() - frame.bytes
    return _LONGEST_FREE_FRAME


@lru_cache(maxsize=1024)
def _mpeg_frame(head: bytes) -> _MpegFrame | None:
    if not _MPEG_HEADER.match(head):
        return None
    half = {3: 0, 2: 1, 0: 2}[head[1] >> 3 & 3]  # MPEG-1, MPEG-2, "MPEG-2.5"
    layer = 4 - (head[1] >> 1 & 3)
    table = _KBPS[(2, min(layer, 2)) if half else (1, layer)]
    bits = 1000 * (0, *table)[head[2] >> 4]
    hertz = _MPEG_HZ[head[2] >> 2 & 3] >> half
    padding = head[2] >> 1 & 1
    if layer < 3 and not bits:
        return None  # the mark of UTF-16 in tags, FF FE, looks like layer I
    kind = (half, layer, hertz, not bits)
    if layer == 1:
        return _MpegFrame(kind, 384, hertz, (12 * bits // hertz + padding) * 4)
    samples = 576 if half and layer == 3 else 1152
    return _MpegFrame(kind, samples, hertz, samples // 8 * bits // hertz + padding)


@dataclass(frozen=True)
class _Tag:
    """The tag in a first frame without audio: the number of frames, and the samples to drop."""

    frames: int
    trimmed: int


def _tag(frame: bytes) -> _Tag | None:
    if frame[36:40] == b"VBRI":
        return _Tag(int.from_bytes(frame[50:54], "big"), 0)
    found = re.match(rb".{13,38}?(?:Xing|Info)...(.)", frame, re.DOTALL)
    if not found:
        return None
    # The fields, if their flags are set: frames, bytes, a table of contents, a quality.
    flags, at = found[1][0], found.end()
    frames = int.from_bytes(frame[at : at + 4], "big") if flags & 1 else 0
    at += sum(size for bit, size in enumerate((4, 4, 100, 4)) if flags >> bit & 1)
    # Then LAME's fields: twelve bits each for the delay of the encoder and the padding at the end.
    added = int.from_bytes(frame[at + 21 : at + 24], "big")
    return _Tag(frames, (added >> 12) + (added & 0xFFF))


# RFC 9639, section 9.1: a frame header up to the channels; or the start of another stream.
_FLAC_HEADER = re.compile(
    rb"fLaC\x00\x00\x00\x22|(?=\xff[\xf8\xf9][\x10-\xfe][\0-\xae])", re.DOTALL
)
_FLAC_HEADER_BYTES = 16


@dataclass(frozen=True)
class Flac:
    """The samples before the first frame (if the file is part of a longer one), and in total."""

    before: int
    there: int


def flac(file: BinaryIO) -> Flac:
    """The frames of a FLAC file, or of several joined files, by their headers.

    A header counts if a stream begins there, or if its number follows the number before. After
    a gap, the first header is confirmed by the second, since no pair occurs by chance.
    """
    before, there, following, doubtful, samples_in_doubt = None, 0, -1, -1, 0
    for is_first, frame in _flac_frames(file):
        if is_first or frame.number == following:
            there += frame.samples
        elif frame.number == doubtful:
            there += samples_in_doubt + frame.samples
        else:
            doubtful, samples_in_doubt = frame.following, frame.samples
            continue
        following = frame.following
        if before is None:
            before = frame.before
    return Flac(before or 0, there)


@dataclass(frozen=True)
class _FlacFrame:
    number: int
    samples: int
    counts_samples: bool  # in its number, where frames differ in length

    @property
    def before(self) -> int:
        return self.number if self.counts_samples else self.number * self.samples

    @property
    def following(self) -> int:
        return self.number + (self.samples if self.counts_samples else 1)


def _flac_frames(file: BinaryIO) -> Iterator[tuple[bool, _FlacFrame]]:
    """Candidates for headers of frames, and whether a stream begins there."""
    begin = 0
    for at in _matches(file, _FLAC_HEADER, 7, 0):
        head = _read(file, at, _FLAC_HEADER_BYTES)
        if at >= begin and head.startswith(b"fLaC"):
            begin = _behind_metadata(file, at)
        elif at >= begin and (frame := _flac_frame(head)):
            yield at == begin, frame


def _behind_metadata(file: BinaryIO, at: int) -> int:
    """The start of the frames of a stream; pictures before it may look like frames."""
    at += 4
    while len(head := _read(file, at, 4)) == 4:
        at += 4 + int.from_bytes(head[1:], "big")
        if head[0] & 0x80:
            break
    return at


def _flac_frame(head: bytes) -> _FlacFrame | None:
    # Coded like UTF-8: the leading ones of the first byte give the length.
    ones = 8 - (head[4] ^ 0xFF).bit_length()
    at = 5 + max(0, ones - 1)
    number = head[4] & (0x7F >> ones)
    for byte in head[5:at]:
        number = number << 6 | byte & 0x3F
    code, rate = head[2] >> 4, head[2] & 15
    explicit = {6: 1, 7: 2}.get(code, 0)
    samples = int.from_bytes(head[at : at + explicit], "big") + 1
    if not explicit:
        samples = 192 if code == 1 else 576 << code - 2 if code < 6 else 256 << code - 8
    at += explicit + {12: 1, 13: 2, 14: 2}.get(rate, 0)
    return None if _crc8(head[: at + 1]) else _FlacFrame(number, samples, bool(head[1] & 1))


def _crc8(data: bytes) -> int:
    """The CRC of polynomial 7; 0 if the last byte is the checksum of the others."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc << 1 ^ (0x107 if crc & 0x80 else 0)
    return crc


@dataclass(frozen=True)
class Ogg:
    """Offsets in bytes: start of a second stream, end of the pages, end of the file."""

    second: int | None
    stop: int
    end: int
    ended: bool  # whether the last page is marked as the last


def ogg(file: BinaryIO) -> Ogg:
    """The pages of an Ogg file (RFC 3533, section 6)."""
    end = file.seek(0, os.SEEK_END)
    at, begun, ended = 0, False, False
    while (start := _page(file, at)) is not None:
        head = _read(file, start, 27).ljust(27, b"\0")
        if begun and head[5] & 2:
            return Ogg(start, end, end, True)
        begun, ended = begun or not head[5] & 2, bool(head[5] & 4)
        at = start + 27 + head[26] + sum(file.read(head[26]))
    return Ogg(None, at, end, ended)


def _page(file: BinaryIO, at: int) -> int | None:
    if _read(file, at, 4) == b"OggS":
        return at
    return next(_matches(file, re.compile(b"OggS"), 3, at), None)


def _matches(file: BinaryIO, pattern: re.Pattern[bytes], overlap: int, at: int) -> Iterator[int]:
    """The matches of a pattern of at most `overlap` + 1 bytes; the caller may seek in the file."""
    while len(block := _read(file, at, _STEP)) > overlap:
        for found in pattern.finditer(block):
            if found.start() < len(block) - overlap:
                yield at + found.start()
        at += len(block) - overlap


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)
