"""Whether libsndfile reads all of the audio that a file should have and has.

libsndfile stops at the length in the header, or at a guess from it, and reads what is left of a
truncated file. In both cases the result would be taken for a shorter clip. The contents of the file
decide, not its name.
"""

from __future__ import annotations

from dataclasses import dataclass

import soundfile

from ..errors import AudioError, TruncatedAudioError
from . import containers, headers, lookalikes
from .blobs import Blob

# A program that writes into a pipe cannot correct the header. Sizes just below 2^31 (sox) and 2^32
# (ffmpeg), or from 2^62 on in 64-bit files, mean "until the end"; so do whole billions, which
# servers announce before they produce samples.
UNKNOWN_SIZES = (
    range(0x7FFF0000, 0x80000001), range(0xFFFF0000, 0x100000000), range(1 << 62, 1 << 64),
)  # fmt: skip
BILLION = 10**9
SAMPLE_BYTES = {
    "PCM_S8": 1, "PCM_U8": 1, "ULAW": 1, "ALAW": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4,
    "FLOAT": 4, "DOUBLE": 8,
}  # fmt: skip
MPEG = frozenset({"MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III"})
# libsndfile may not know the length of a FLAC; before 1.2.1, nor of Ogg followed by tags.
UNKNOWN_FRAMES = 2**63 - 1
# Some encoders count their first frame, which has no audio, or omit a last one of padding.
MPEG_SLACK_FRAMES = 2
# Positions in an Ogg are times, which other containers round: in a file copied from one of these,
# the last position may be a packet of Vorbis too late.
OGG_SLACK_FRAMES = 8192

# The log of libsndfile for Vorbis that was cut without decoding, so that its first page begins
# before time 0: it reads that part as well, breaks after it, and omits as much at the end.
_BEFORE_ZERO = "Granule position is nonsensical"

_AGAIN = "copy or record it again"
# A FLAC does not show whether it is a broken copy or was cut by ffmpeg without decoding.
_AGAIN_FLAC = "copy it again, or if it was cut on purpose convert it: ffmpeg -i FILE out.wav"
_CONVERT = "convert it: ffmpeg -i FILE out.wav"
_CONVERT_ALL = "if the rest is audio, convert it: sox --ignore-length FILE out.wav"


@dataclass(frozen=True)
class Extent:
    """Numbers of frames: to be read, announced, and found in the file (0: not counted)."""

    limit: int
    promised: int
    there: int = 0
    slack: int = 0


def at_opening(file: soundfile.SoundFile, blob: Blob) -> AudioError | None:
    """The error in the sizes or the first time of this file's header, or None."""
    if _BEFORE_ZERO in file.extra_info:
        return AudioError(
            blob.name, f"was cut without decoding and begins before its time 0; {_CONVERT}"
        )
    with blob.open() as opened:
        found = containers.samples(opened)
    if found is None:
        return None
    known = found.counted % BILLION and not any(found.counted in sizes for sizes in UNKNOWN_SIZES)
    if known and found.there + containers.HEADER_BYTES < found.counted:
        return _cut(blob.name, found.there, found.counted, "bytes of samples")
    # A size that was never written is 0; without any frames, there is another error.
    read = min(found.counted or found.there, found.there)
    # libsndfile may know the length better than the header, but not in W64: see `extent`.
    if (width := SAMPLE_BYTES.get(file.subtype)) and file.format != "W64":
        read = file.frames * file.channels * width
    if read + containers.HEADER_BYTES < found.there and file.subtype not in MPEG:
        return _part(blob.name, read, found.there, "bytes of samples", _CONVERT_ALL)
    return None


def extent(file: soundfile.SoundFile, blob: Blob) -> Extent:
    """The frames to be read and announced; may scan the whole file."""
    with blob.open() as opened:
        if file.subtype in MPEG:
            if mpeg := headers.mpeg(opened):
                return _mpeg(mpeg, file)
            # Silent samples without a header look like this: FF FF 00 00.
            opened.seek(0)
            instead = lookalikes.not_audio(opened.read(64))
            raise AudioError(
                blob.name, instead or "no frames of MPEG audio follow each other in it"
            )
        if file.format == "FLAC":
            return _flac(headers.flac(opened), file.frames)
        # In W64, libsndfile reads everything after the samples as samples.
        width = file.channels * SAMPLE_BYTES.get(file.subtype, 0)
        if file.format == "W64" and width and (samples := containers.samples(opened)):
            frames = samples.there // width
            return Extent(frames, frames)
    slack = OGG_SLACK_FRAMES if file.format == "OGG" else 0
    known = file.frames != UNKNOWN_FRAMES
    return Extent(file.frames, file.frames if known else 0, slack=slack)


def at_end(
    file: soundfile.SoundFile, blob: Blob, frames: int, extent: Extent
) -> TruncatedAudioError | None:
    """The error if audio is missing after all `frames` of libsndfile were decoded, or None."""
    if file.format == "OGG":
        with blob.open() as opened:
            if error := _ogg(headers.ogg(opened), blob.name):
                return error
    if frames + extent.slack < extent.promised:
        remedy = _AGAIN_FLAC if file.format == "FLAC" else _AGAIN
        return _cut(blob.name, frames, extent.promised, remedy=remedy)
    return _part(blob.name, frames, extent.there) if frames + extent.slack < extent.there else None


def _mpeg(found: headers.Mpeg, file: soundfile.SoundFile) -> Extent:
    there, slack = (
        round(seconds * file.samplerate)
        for seconds in (found.there, MPEG_SLACK_FRAMES * found.frame)
    )
    if found.counted is None:
        # libsndfile guesses the length from the bit rate, and may fail at a tag after the end.
        return Extent(there, 0, there, slack)
    return Extent(file.frames, round(found.counted * file.samplerate), there, slack)


def _flac(found: headers.Flac, counted: int) -> Extent:
    if counted == UNKNOWN_FRAMES:
        return Extent(found.there, found.there)
    # The last part of a segmented file may count the samples of all parts.
    return Extent(counted, counted - found.before, found.there)


def _ogg(found: headers.Ogg, path: str) -> TruncatedAudioError | None:
    if found.second is not None:
        return _part(path, found.second, found.end, "bytes")
    # The missing rest of an interrupted copy may be zeros.
    if found.stop > found.end or (found.stop < found.end and not found.ended):
        there, whole = sorted((found.stop, found.end))
        return _cut(path, there, whole, "bytes")
    return None


def _cut(
    path: str, there: int, whole: int, unit: str = "frames", remedy: str = _AGAIN
) -> TruncatedAudioError:
    return TruncatedAudioError(path, "cut short", there, whole, unit, remedy)


def _part(
    path: str, read: int, there: int, unit: str = "frames", remedy: str = _CONVERT
) -> TruncatedAudioError:
    return TruncatedAudioError(path, "only a part can be read", read, there, unit, remedy)
