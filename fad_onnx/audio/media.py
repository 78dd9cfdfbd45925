"""MP4, Matroska, Windows Media and AAC, decoded by PyAV (extra [av]) as the program ffmpeg does.

Samples that encoders add before and after the audio are dropped: libavformat applies edit lists,
libavcodec skips priming and padding.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import AudioError, TruncatedAudioError
from .blobs import Blob
from .truncation import UNKNOWN_FRAMES

# Suffixes that are searched for if PyAV is installed.
SUFFIXES = frozenset(
    {".aac", ".m4a", ".m4b", ".mka", ".mkv", ".mov", ".mp4", ".webm", ".wma"}
)  # fmt: skip
PIP = "pip install 'fad-onnx[av]'"
# Containers that give the length of their audio; a bare stream of AAC does not.
TIMED = ("mov", "matroska", "asf")
# The excess of a container's count over the decoded samples: the first frame, with which a lapped
# transform only starts, and rounding.
SLACK_FRAMES, SLACK_SECONDS = 1, 0.01


class Kind(NamedTuple):
    """A container: its name in errors, and the name of libavformat's reader.

    With a named reader, no playlist can make libavformat open other files.
    """

    title: str
    reader: str


MP4 = Kind("MP4 or M4A", "mov")
STARTS = {
    b"\x1aE\xdf\xa3": Kind("Matroska or WebM", "matroska"),
    b"0&\xb2u\x8ef\xcf\x11": Kind("Windows Media", "asf"),
    b"\xff\xf1": Kind("AAC", "aac"),
    b"\xff\xf9": Kind("AAC", "aac"),
}
BOXES = (b"ftyp", b"moov", b"mdat", b"wide")


def kind_of(start: bytes) -> Kind | None:
    """The container of a file that starts like this; None if it is not supported."""
    if start[4:8] in BOXES:
        return MP4
    return next((kind for magic, kind in STARTS.items() if start.startswith(magic)), None)


@functools.cache
def is_installed() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


class MediaFile:
    """The first audio stream of a container, with the interface of `soundfile.SoundFile`.

    Raises AudioError if it cannot be decoded.
    """

    format, subtype, extra_info = "MEDIA", "MEDIA", ""
    frames = UNKNOWN_FRAMES

    def __init__(self, blob: Blob, kind: Kind) -> None:
        if not is_installed():
            raise AudioError(
                blob.name, f"is {kind.title}: to read it, {PIP}, or convert it,"
                " ffmpeg -i FILE out.wav",
            )  # fmt: skip
        self._name, self._kind, self._opened = blob.name, kind, ExitStack()
        self._decoded, self._largest = 0, 0
        with self._opened:
            self._container, self._stream = self._open(blob)
            self._blocks = self._decode()
            self._rest: NDArray[Any] = next(self._blocks, np.zeros((0, 1), np.float32))
            if not len(self._rest):
                raise AudioError(self._name, "no samples in it")
            self.channels = self._rest.shape[1]
            self._opened = self._opened.pop_all()

    def _open(self, blob: Blob) -> tuple[Any, Any]:
        import av

        file = self._opened.enter_context(blob.open())
        try:
            container = self._opened.enter_context(av.open(file, format=self._kind.reader))
        except (av.FFmpegError, ValueError) as error:
            raise self._error(error) from error
        if not container.streams.audio:
            raise AudioError(self._name, f"is {self._kind.title} without audio")
        stream = container.streams.audio[0]
        stream.codec_context.thread_count = 1
        return container, stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def read(self, frames: int, dtype: str, always_2d: bool) -> NDArray[Any]:
        """The next frames (frames, channels), fewer at the end."""
        held = [self._rest]
        count = len(self._rest)
        while count < frames and (block := next(self._blocks, None)) is not None:
            held.append(block)
            count += len(block)
        joined = np.concatenate(held)
        self._rest = joined[frames:]
        return joined[:frames].astype(dtype, copy=False)

    def _decode(self) -> Iterator[NDArray[Any]]:
        import av

        form = None
        try:
            for frame in self._container.decode(self._stream):
                own = frame.sample_rate, frame.layout.nb_channels
                if own != (form := form or own):
                    raise AudioError(
                        self._name, f"changes from {form[0]} Hz and {form[1]} channels to"
                        f" {own[0]} and {own[1]} after {self._decoded} frames",
                    )  # fmt: skip
                self.samplerate = frame.sample_rate
                self._decoded += frame.samples
                self._largest = max(self._largest, frame.samples)
                yield _samples(frame)
        except (av.FFmpegError, ValueError) as error:
            raise self._error(error) from error
        self._check_length()

    def _error(self, error: Exception) -> AudioError:
        said = f"after {self._decoded} frames: " if self._decoded else ""
        reason = getattr(error, "strerror", None) or str(error)
        return AudioError(self._name, f"damaged or cut short {self._kind.title}, {said}{reason}")

    def _check_length(self) -> None:
        """TruncatedAudioError if fewer frames were decoded than the container announces."""
        seconds = self._promised_seconds()
        if seconds is None or not self._decoded:
            return
        promised = round(seconds * self.samplerate)
        slack = SLACK_FRAMES * self._largest + SLACK_SECONDS * self.samplerate
        if self._decoded + slack < promised:
            raise TruncatedAudioError(
                self._name, "cut short", self._decoded, promised, "frames", "copy it again"
            )

    def _promised_seconds(self) -> float | None:
        if self._kind.reader not in TIMED:
            return None
        if self._stream.duration:
            return float(self._stream.duration * self._stream.time_base)
        if tag := self._stream.metadata.get("DURATION"):
            return _seconds(tag)
        alone = len(self._container.streams) == 1 and self._container.duration
        return self._container.duration / 1e6 if alone else None


def _samples(frame: Any) -> NDArray[Any]:
    """A frame of any sample format as (frames, channels) between -1 and 1."""
    block = frame.to_ndarray()
    if block.dtype.kind in "iu":
        middle = 128 if block.dtype.kind == "u" else 0
        block = (block.astype(np.float64) - middle) / 2.0 ** (8 * block.itemsize - 1)
    if frame.format.is_planar:
        return np.asarray(block.T)
    return np.asarray(block.reshape(-1, frame.layout.nb_channels))


def _seconds(tag: str) -> float | None:
    """Seconds from the tag of a Matroska stream, hours:minutes:seconds."""
    parts = tag.split(":")
    try:
        hours, minutes, seconds = map(float, parts)
    except ValueError:
        return None
    return 3600 * hours + 60 * minutes + seconds
