"""Audio files, decoded and checked block by block: memory does not grow with their length."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any, Self

import numpy as np
import soundfile
from numpy.typing import NDArray

from ..errors import AudioError, OptionError
from . import lookalikes, media, misread, truncation
from .blobs import Blob, OnDisk, why
from .truncation import UNKNOWN_FRAMES

# Raise this if a file decodes to other samples than before: cached embeddings are then recomputed.
READING = 4
# Other rates come from broken headers, and resampling them would be extremely slow.
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1_000, 1_000_000
BLOCK_SAMPLES = 1 << 19
# Far above unscaled 16-bit samples, far below the overflow of float32.
LARGEST_SAMPLE = 1e6
# Larger floats are unscaled integers. Loud audio exceeds 1.0 by a few percent only.
LOUD = 8.0
# One step of 16 bits, the level of dither in silence.
SILENT = 2.0**-15
# The divisors of PCM, as in frechet_audio_distance/utils.py, load_audio_task.
FULL_SCALE = {"float32": 1.0, "float64": 1.0, "int16": 2.0**15, "int32": 2.0**31}
# Formats whose first frames are correct only after seeking back to them: Ogg with times that do
# not begin at 0, and the last bits of MPEG. In FLAC, seeking may fail.
REWOUND = frozenset({"VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III"})
# Formats of floats, which libsndfile converts to integers without scaling or without clipping.
FLOATING = REWOUND | {"FLOAT", "DOUBLE", media.MediaFile.subtype}


class _Forward(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file that is read from start to end.

    In seekable files, python-soundfile seeks to the current position after every block. libsndfile
    does that inexactly in MPEG and Ogg, and fails in some FLACs.
    """

    def seekable(self) -> bool:
        return False


class Decoder:
    """An open audio file: iterate for float32 blocks (frames, channels) in [-1, 1].

    `sample_rate_hz` and `channels` are those of the file. `frames` is the number of frames decoded
    so far, and `peak` their largest magnitude. The size of the blocks does not change any bits. An
    integer `sample_format` reads PCM as such integers, and rounds other formats to them. Takes a
    path or a Blob. Raises AudioError for unusable files: unreadable, empty, cut short, not finite,
    or with an absurd rate.
    """

    def __init__(
        self, source: str | os.PathLike[str] | Blob, sample_format: str = "float32"
    ) -> None:
        if sample_format not in FULL_SCALE:
            raise OptionError("dtype", f"{sample_format!r} is not one of {', '.join(FULL_SCALE)}")
        self._blob: Blob = (
            OnDisk(os.fspath(source)) if isinstance(source, str | os.PathLike) else source
        )
        path, self.sample_format = self._blob.name, sample_format
        self.frames, self.peak = 0, 0.0
        self._opened = ExitStack()
        try:
            self._file: Any = self._opened.enter_context(self._open())
            if self._file.subtype in REWOUND:
                self._file.seek(0)
        except soundfile.LibsndfileError as error:
            self._opened.close()
            raise AudioError(path, f"not readable as audio: {self._instead(error)}") from error
        except (OSError, ValueError, TypeError) as error:
            self._opened.close()
            if isinstance(error, AudioError):
                raise
            raise AudioError(path, f"cannot be opened: {why(error)}") from error
        self.sample_rate_hz, self.channels = self._file.samplerate, self._file.channels
        promised: int = self._file.frames
        self.frames_promised = None if promised == UNKNOWN_FRAMES else promised
        problem: AudioError | None = truncation.at_opening(self._file, self._blob)
        if not LOWEST_RATE_HZ <= self.sample_rate_hz <= HIGHEST_RATE_HZ:
            problem = AudioError(
                path, f"sample rate {self.sample_rate_hz} Hz, usable are"
                f" {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz",
            )  # fmt: skip
        elif kind := misread.why(self._file):
            problem = AudioError(path, f"{kind} would be read wrongly: convert it to wav")
        if problem:
            self._opened.close()
            raise problem

    def _open(self) -> Any:
        """The sound file, opened by the decoder for files that start like this one."""
        is_file = isinstance(self._blob, OnDisk)
        # Checked before opening, because opening a FIFO would block.
        if is_file and not stat.S_ISREG(os.stat(self._blob.name).st_mode):
            raise AudioError(self._blob.name, "not a regular file")
        if not (start := self._start()):
            raise AudioError(self._blob.name, "empty, 0 bytes")
        if kind := media.kind_of(start):
            return media.MediaFile(self._blob, kind)
        if not is_file:
            return _Forward(self._opened.enter_context(self._blob.open()))
        # libsndfile takes bytes, which suit any POSIX file name; Windows needs text.
        return _Forward(self._blob.name if os.name == "nt" else os.fsencode(self._blob.name))

    def _start(self) -> bytes:
        with self._blob.open() as file:
            return file.read(64)

    def _instead(self, error: soundfile.LibsndfileError) -> str:
        """The actual kind of the file, or libsndfile's error message."""
        start = self._start()
        # libsndfile reports that an existing file of an unknown format does not exist.
        reason = error.error_string.partition("File does not exist")[0].rstrip(". ")
        return lookalikes.not_audio(start) or reason or "of no known format"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def length(self) -> int:
        """The number of frames, counted if the header does not give it or may be wrong (MPEG)."""
        if self._file.subtype in truncation.MPEG:
            return truncation.extent(self._file, self._blob).limit
        if self.frames_promised is None:
            with Decoder(self._blob) as counted:
                self.frames_promised = sum(map(len, counted))
        return self.frames_promised

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        size = max(1, BLOCK_SAMPLES // self.channels)
        if self.frames_promised:
            size = min(size, self.frames_promised)
        extent = truncation.extent(self._file, self._blob)
        while len(block := self._read(min(size, extent.limit - self.frames))):
            self.frames += len(block)
            yield block
        if error := truncation.at_end(self._file, self._blob, self.frames, extent):
            raise error
        if not self.frames:
            raise AudioError(self._blob.name, "no samples in it")

    def _read(self, size: int) -> NDArray[np.float32]:
        dtype, scale = self.sample_format, FULL_SCALE[self.sample_format]
        if rounded := scale != 1 and self._file.subtype in FLOATING:
            dtype = "float64"
        try:
            block: NDArray[Any] = self._file.read(size, dtype=dtype, always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(
                self._blob.name, f"damaged after {self.frames} frames: {self._instead(error)}"
            ) from error
        if dtype == self.sample_format and scale != 1:
            block = block / scale
        self.peak = max(self.peak, check_usable(self._blob.name, block, self.frames))
        if rounded:
            block = np.clip(np.rint(block * scale), -scale, scale - 1) / scale
        return block.astype(np.float32, copy=False)


def check_usable(path: str | os.PathLike[str], block: NDArray[Any], offset: int = 0) -> float:
    """The largest magnitude in (frames, channels); AudioError for the first unusable frame."""
    peak = float(np.abs(block).max(initial=0.0))
    if not peak <= LARGEST_SAMPLE:  # NaN as well
        bad = ~(np.abs(block) <= LARGEST_SAMPLE).reshape(len(block), -1).all(axis=1)
        frame = int(np.flatnonzero(bad)[0])
        raise AudioError(
            path,
            f"frame {offset + frame} is NaN, infinite or above {LARGEST_SAMPLE:g} (of full scale)",
        )
    return peak


def with_last(blocks: Iterable[NDArray[np.float32]]) -> Iterator[tuple[NDArray[np.float32], bool]]:
    """Each block, and whether it is the last one."""
    iterator = iter(blocks)
    previous = next(iterator, None)
    while previous is not None:
        following = next(iterator, None)
        yield previous, following is None
        previous = following
