"""Whether a file holds all the audio that its header counts, where libsndfile reads what is left.

A file cut in the middle, as by a broken copy, would otherwise pass for a shorter clip.
"""

from __future__ import annotations

import os
import re
from typing import BinaryIO

import soundfile

# libsndfile compares the header with the file as it opens it, and tells only its log.
_SIZE = re.compile(r"^ ?(?:data|SSND) : (\d+) \(should be (\d+)\)", re.MULTILINE)
_RF64 = re.compile(r"^ *Data size : (\d+)", re.MULTILINE)
_LENGTH = re.compile(r"^Length : (\d+)", re.MULTILINE)
_OGG = "Last page lacks an end-of-stream bit"
# Who writes into a pipe cannot go back to the header: sizes from here on mean "until the end"
# (sox writes 2^31 less a little, ffmpeg 2^32 - 1).
UNKNOWN_BYTES, UNKNOWN_BYTES_RF64 = 0x7FFF0000, 1 << 62
# Some writers count the header among the samples: 44 bytes, or more with other chunks.
HEADER_BYTES = 128
# Encoders and decoders differ by the padding of the last frame of 1152 samples.
MP3_SLACK_FRAMES = 2 * 1152
# The last frames may be padding alone; the longest has 1441 bytes.
MP3_SLACK_BYTES = 2 * 1441
# Of a constant bit rate the estimated length is up to 0.2 % too short (at 11,025 Hz).
ESTIMATE_SHARE = 100


def at_opening(file: soundfile.SoundFile) -> str | None:
    """What is missing of this file according to its header, or None."""
    log = file.extra_info
    if found := _SIZE.search(log):
        promised, there = int(found[1]), int(found[2])
        if there + HEADER_BYTES < promised < UNKNOWN_BYTES:
            return f"{there} of {promised} bytes of samples are there"
    if (found := _RF64.search(log)) and (whole := _LENGTH.search(log)):
        promised, there = int(found[1]), int(whole[1])
        if there < promised < UNKNOWN_BYTES_RF64:
            return f"{promised} bytes of samples are promised, the whole file has {there}"
    if _OGG in log:
        return "its last page is missing; convert it if it was recorded from a stream"
    return None


def at_end(file: soundfile.SoundFile, path: str, frames: int) -> str | None:
    """What is missing now that all `frames` there are have been decoded, or None."""
    promised = file.frames
    # Without a count in the first frame, the number of frames of an MP3 is an estimate.
    slack = MP3_SLACK_FRAMES if file.format == "MP3" else 0
    if frames + slack >= promised or (slack and not _counted(path)):
        return None
    return f"{frames} of {promised} frames are there"


def mp3_bytes_left(file: BinaryIO) -> int:
    """Bytes of further audio behind where the decoder of this open file stopped, 0 if it was all.

    libsndfile ends at the frames that the first header counts, or at an estimate from its bit
    rate: of two files joined to one, and of some of variable bit rate, that is not the end.
    """
    start = _behind_id3(file, file.tell())
    rest = file.read(MP3_SLACK_BYTES)
    if len(rest) < MP3_SLACK_BYTES or rest[0] != 0xFF or rest[1] < 0xE0:  # no frame of MPEG audio
        return 0
    # Or the padding and then a tag, which may hold pictures.
    if any(tag in rest for tag in (b"APETAGEX", b"LYRICSBEGIN", b"ID3", b"TAG")):
        return 0
    size = file.seek(0, os.SEEK_END)
    return size - start if size - start > size // ESTIMATE_SHARE else 0


def _counted(path: str) -> bool:
    """Whether the first frame of an MP3 is the Xing or Info tag that counts the frames."""
    with open(path, "rb") as file:
        _behind_id3(file, 0)
        frame = file.read(256)
    return b"Xing" in frame or b"Info" in frame


def _behind_id3(file: BinaryIO, start: int) -> int:
    """Go to the first byte that is not of a tag that begins at `start`, if one does."""
    file.seek(start)
    head, size = file.read(10), 0
    # ID3v2, section 3.1: the length of the tag in four bytes of seven bits.
    for byte in head[6:]:
        size = size << 7 | byte & 0x7F
    return file.seek(start + 10 + size if head.startswith(b"ID3") else start)
