"""Whether the audio that libsndfile reads of a file is all that should be, and all that is there.

It stops where a header says, or guesses from it, and reads what is left of a file that was cut:
either would pass for a shorter clip. What is in the file decides, not what it is called.
"""

from __future__ import annotations

from dataclasses import dataclass

import soundfile

from ..errors import AudioError, TruncatedAudioError
from . import containers, headers, lookalikes
from .blobs import Blob

# Who writes into a pipe cannot go back to the header: sizes close below 2^31 (sox) and 2^32
# (ffmpeg), or from 2^62 on in files of 64 bits, mean "until the end"; so do whole billions, of
# servers that count this many samples before they make one.
UNKNOWN_SIZES = (
    range(0x7FFF0000, 0x80000001), range(0xFFFF0000, 0x100000000), range(1 << 62, 1 << 64),
)  # fmt: skip
BILLION = 10**9
SAMPLE_BYTES = {
    "PCM_S8": 1, "PCM_U8": 1, "ULAW": 1, "ALAW": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4,
    "FLOAT": 4, "DOUBLE": 8,
}  # fmt: skip
MPEG = frozenset({"MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III"})
# For libsndfile, the length of a FLAC may be unknown; before 1.2.1 also of Ogg with tags behind it.
UNKNOWN_FRAMES = 2**63 - 1
# Some encoders count their first frame, which holds no audio, or leave out a last one of padding.
MPEG_SLACK_FRAMES = 2
# Positions in an Ogg are times, which other containers round: of a file that was copied out of one
# the last may be a packet of Vorbis too late.
OGG_SLACK_FRAMES = 8192

# What libsndfile notes of Vorbis that was cut without decoding, so that its first page begins
# before time 0: it reads that part as well, breaks behind it, and leaves out as much at the end.
_BEFORE_ZERO = "Granule position is nonsensical"

_AGAIN = "copy or record it again"
# Nothing in a FLAC tells a broken copy from a part that ffmpeg cut off without decoding.
_AGAIN_FLAC = "copy it again, or if it was cut on purpose convert it: ffmpeg -i FILE out.wav"
_CONVERT = "convert it: ffmpeg -i FILE out.wav"
_CONVERT_ALL = "if the rest is audio, convert it: sox --ignore-length FILE out.wav"


@dataclass(frozen=True)
class Extent:
    """Frames of a file: how many are to be read, are promised, and lie in it (0: not looked)."""

    limit: int
    promised: int
    there: int = 0
    slack: int = 0


def at_opening(file: soundfile.SoundFile, blob: Blob) -> AudioError | None:
    """What is wrong with the sizes in the header of this file, or with its first time, or None."""
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
    # A size that was never written is 0; where that makes no frames, there is another error.
    read = min(found.counted or found.there, found.there)
    # libsndfile may know better than the header, but not in W64: see `extent`.
    if (width := SAMPLE_BYTES.get(file.subtype)) and file.format != "W64":
        read = file.frames * file.channels * width
    if read + containers.HEADER_BYTES < found.there and file.subtype not in MPEG:
        return _part(blob.name, read, found.there, "bytes of samples", _CONVERT_ALL)
    return None


def extent(file: soundfile.SoundFile, blob: Blob) -> Extent:
    """How much is to be read, and what that should come to; looks at the whole file."""
    with blob.open() as opened:
        if file.subtype in MPEG:
            if mpeg := headers.mpeg(opened):
                return _mpeg(mpeg, file)
            # Samples without any header look so, where they are silent: FF FF 00 00.
            opened.seek(0)
            instead = lookalikes.not_audio(opened.read(64))
            raise AudioError(
                blob.name, instead or "no frames of MPEG audio follow each other in it"
            )
        if file.format == "FLAC":
            return _flac(headers.flac(opened), file.frames)
        # Of W64, libsndfile takes for samples whatever follows them.
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
    """What is missing now that all `frames` that libsndfile finds were decoded, or None."""
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
        # libsndfile guesses the length from the bit rate, and may fail at a tag behind the end.
        return Extent(there, 0, there, slack)
    return Extent(file.frames, round(found.counted * file.samplerate), there, slack)


def _flac(found: headers.Flac, counted: int) -> Extent:
    if counted == UNKNOWN_FRAMES:
        return Extent(found.there, found.there)
    # The last part that a segmenter cuts off may count the samples of all parts.
    return Extent(counted, counted - found.before, found.there)


def _ogg(found: headers.Ogg, path: str) -> TruncatedAudioError | None:
    if found.second is not None:
        return _part(path, found.second, found.end, "bytes")
    # Of a copy that broke off, the rest may be there as zeros.
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
