"""From a path to samples at a model's rate: find, decode, conform (channels, then resample).

Everything flows in blocks, so that memory does not grow with the length of a file.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from ..errors import AudioError, NoAudioError, OptionError, shown
from . import lookalikes, misread, truncation
from .truncation import UNKNOWN_FRAMES

# What files of the formats that libsndfile reads are called, where audio is all that it can mean.
SUFFIXES = frozenset(
    {".aif", ".aifc", ".aiff", ".au", ".avr", ".bwf", ".caf", ".flac", ".ircam", ".mp1", ".mp2",
     ".mp3", ".nist", ".oga", ".ogg", ".opus", ".paf", ".pvf", ".rf64", ".snd", ".sph", ".w64",
     ".wav", ".wave", ".wve", ".xi"}
)  # fmt: skip
# How many kinds of other files are named; the rest are counted.
KINDS_NAMED = 5
# Raised when the same file gives other samples: embeddings that were kept are computed again.
READING = 4
# Rates outside are broken headers; each step of resampling then costs without bound.
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1_000, 1_000_000
BLOCK_SAMPLES = 1 << 19
# Far above what careless scaling makes of 16-bit samples, far below where float32 overflows.
LARGEST_SAMPLE = 1e6
# Floats from here on are no louder audio but integers that nobody scaled: writers of floats
# exceed 1.0 by a few percent.
LOUD = 8.0
# One step of 16 bits, which dither sets where there is no sound.
SILENT = 2.0**-15
# How PCM is scaled to [-1, 1), as frechet_audio_distance/utils.py load_audio_task does.
FULL_SCALE = {"float32": 1.0, "float64": 1.0, "int16": 2.0**15, "int32": 2.0**31}
# Where the first frames come right only after going back to them: Ogg whose times do not begin
# at 0, and the last bits of MPEG. In a FLAC the same may fail.
REWOUND = frozenset({"VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III"})
# What holds floats: libsndfile makes integers of some without scaling, of others without clipping.
FLOATING = REWOUND | {"FLOAT", "DOUBLE"}


@dataclass(frozen=True)
class AudioFile:
    """A file of a set, and its name within the set.

    stamp: size and time of change (ns) where it was listed, for who reads it elsewhere.
    """

    path: str
    name: str
    stamp: tuple[int, int] | None = field(default=None, compare=False)


class Listing(tuple[AudioFile, ...]):
    """Audio files in order; `left_out` says what else lay there, and is empty if nothing did."""

    left_out: str

    def __new__(cls, files: Iterable[AudioFile], left_out: str = "") -> Self:
        made = super().__new__(cls, files)
        made.left_out = left_out
        return made


def left_out(files: Sequence[AudioFile]) -> str:
    """What was left out as these files were listed."""
    return files.left_out if isinstance(files, Listing) else ""


def find(where: str | os.PathLike[str]) -> Listing:
    """The audio files of a folder (recursive, sorted, nothing hidden) or the one file named.

    Links to files are followed, links to folders are not, so that no loop can form; those and
    files without one of SUFFIXES are counted in `left_out`. What carries an audio suffix without
    being a regular file is listed: reading it says why not.

    Raises NoAudioError for a missing path or a folder without audio.
    """
    # Of NumPy's strings, which are buffers as well, os.walk makes bytes.
    top = str(os.fspath(where))
    if not os.path.lexists(top):
        raise NoAudioError(top, "no such file or folder")
    if not os.path.isdir(top):
        return Listing([AudioFile(top, os.path.basename(top))])
    found, others, linked = [], Counter[str](), []
    for folder, folders, files in os.walk(top, onerror=_unlistable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (os.path.join(folder, name) for name in folders)
        linked += [path for path in paths if os.path.islink(path)]
        for name in files:
            suffix = os.path.splitext(name)[1].lower()
            if suffix in SUFFIXES and not name.startswith("."):
                path = os.path.join(folder, name)
                found.append(AudioFile(path, Path(os.path.relpath(path, top)).as_posix()))
            elif not name.startswith("."):
                others[suffix] += 1
    omitted = _counted(others, linked)
    if not found:
        raise NoAudioError(top, f"no audio file in it, but {omitted or 'nothing at all'}")
    return Listing(sorted(found, key=lambda file: os.fsencode(file.name).split(b"/")), omitted)


def _counted(others: Counter[str], linked: list[str]) -> str:
    """So many files by suffix, the most frequent first, and links to folders."""
    said = []
    if others:
        kinds = sorted(others.items(), key=lambda kind: (-kind[1], kind[0]))
        named = [f"{n} {shown(kind) if kind else 'without'}" for kind, n in kinds[:KINDS_NAMED]]
        rest = sum(n for _, n in kinds[KINDS_NAMED:])
        named += [f"{rest} others"] if rest else []
        said.append(f"{others.total()} files of other suffixes ({', '.join(named)})")
    if linked:
        said.append(f"{len(linked)} links to folders, as {shown(min(linked))}")
    return " and ".join(said)


def _unlistable(error: OSError) -> None:
    raise NoAudioError(error.filename or "?", error.strerror or str(error)) from error


class _Forward(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file that is read on and on.

    Of a file that can seek, python-soundfile seeks behind every block to where it is already,
    which libsndfile does not do exactly in MPEG and Ogg, and not at all in some FLACs.
    """

    def seekable(self) -> bool:
        return False


class Decoder:
    """An open audio file: iterate for float32 blocks (frames, channels) in [-1, 1].

    `sample_rate_hz` and `channels` are those of the file; `frames` counts what was decoded so
    far, which is all of it once the iteration has ended, and `peak` is the largest magnitude among
    them. Blocks of any size give the bits of one reading. An integer `sample_format` takes PCM as
    such integers and rounds all else to them. Raises AudioError for whatever
    cannot be used: unreadable, empty, cut short, not finite, an absurd rate.
    """

    def __init__(self, path: str | os.PathLike[str], sample_format: str = "float32") -> None:
        if sample_format not in FULL_SCALE:
            raise OptionError("dtype", f"{sample_format!r} is not one of {', '.join(FULL_SCALE)}")
        self.path, self.sample_format = os.fspath(path), sample_format
        self.frames, self.peak = 0, 0.0
        self._opened = ExitStack()
        try:
            status = os.stat(self.path)
            if not stat.S_ISREG(status.st_mode):
                raise AudioError(path, "not a regular file")
            if not status.st_size:
                raise AudioError(path, "empty, 0 bytes")
            # libsndfile takes bytes, which any POSIX file name is; Windows needs text.
            source: Any = self.path if os.name == "nt" else os.fsencode(self.path)
            self._file = self._opened.enter_context(_Forward(source))
            if self._file.subtype in REWOUND:
                self._file.seek(0)
        except soundfile.LibsndfileError as error:
            self._opened.close()
            raise AudioError(path, f"not readable as audio: {self._instead(error)}") from error
        except (OSError, ValueError, TypeError) as error:
            self._opened.close()
            if isinstance(error, AudioError):
                raise
            reason = getattr(error, "strerror", None) or str(error)
            raise AudioError(path, f"cannot be opened: {reason}") from error
        self.sample_rate_hz, self.channels = self._file.samplerate, self._file.channels
        promised: int = self._file.frames
        self.frames_promised = None if promised == UNKNOWN_FRAMES else promised
        problem: AudioError | None = truncation.at_opening(self._file, self.path)
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

    def _instead(self, error: soundfile.LibsndfileError) -> str:
        """What the file is in place of audio, or what libsndfile says."""
        with open(self.path, "rb") as file:
            start = file.read(64)
        # Of a file that is there it says that it does not exist, if it looks like no format.
        reason = error.error_string.partition("File does not exist")[0].rstrip(". ")
        return lookalikes.not_audio(start) or reason or "of no known format"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def length(self) -> int:
        """The frames to be read; counted where the header does not say or, of MPEG, may guess."""
        if self._file.subtype in truncation.MPEG:
            return truncation.extent(self._file, self.path).limit
        if self.frames_promised is None:
            with Decoder(self.path) as counted:
                self.frames_promised = sum(map(len, counted))
        return self.frames_promised

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        size = max(1, BLOCK_SAMPLES // self.channels)
        if self.frames_promised:
            size = min(size, self.frames_promised)
        extent = truncation.extent(self._file, self.path)
        while len(block := self._read(min(size, extent.limit - self.frames))):
            self.frames += len(block)
            yield block
        if error := truncation.at_end(self._file, self.path, self.frames, extent):
            raise error
        if not self.frames:
            raise AudioError(self.path, "no samples in it")

    def _read(self, size: int) -> NDArray[np.float32]:
        dtype, scale = self.sample_format, FULL_SCALE[self.sample_format]
        if rounded := scale != 1 and self._file.subtype in FLOATING:
            dtype = "float64"
        try:
            block: NDArray[Any] = self._file.read(size, dtype=dtype, always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(
                self.path, f"damaged after {self.frames} frames: {self._instead(error)}"
            ) from error
        if dtype == self.sample_format and scale != 1:
            block = block / scale
        self.peak = max(self.peak, check_usable(self.path, block, self.frames))
        if rounded:
            block = np.clip(np.rint(block * scale), -scale, scale - 1) / scale
        return block.astype(np.float32, copy=False)


def check_usable(path: str | os.PathLike[str], block: NDArray[Any], offset: int = 0) -> float:
    """The largest magnitude; AudioError naming the first frame of (frames, channels) that is no
    usable number.
    """
    peak = float(np.abs(block).max(initial=0.0))
    if not peak <= LARGEST_SAMPLE:  # NaN as well
        bad = ~(np.abs(block) <= LARGEST_SAMPLE).reshape(len(block), -1).all(axis=1)
        frame = int(np.flatnonzero(bad)[0])
        raise AudioError(
            path,
            f"frame {offset + frame} is NaN, infinite or above {LARGEST_SAMPLE:g} (of full scale)",
        )
    return peak


class Conform:
    """Blocks (frames, channels) at a file's rate -> float32 (channels, frames) at a model's.

    The mean over the channels comes before resampling, as frechet_audio_distance/utils.py
    does. The stream gives the bits of one call on the whole clip. `peak` is the largest magnitude
    so far of the channels as they were mixed.

    channel_rule "mean": one channel, the mean of all. "stereo": two channels as they are, one
    duplicated, more averaged and duplicated.
    """

    def __init__(
        self, source_hz: int, target_hz: int, source_channels: int, channel_rule: str
    ) -> None:
        self._source_hz, self._target_hz = source_hz, target_hz
        self._as_is = channel_rule == "stereo" and source_channels == 2
        self._duplicate = channel_rule == "stereo" and not self._as_is
        self._taken = self._given = 0
        self.peak = 0.0
        self._stream = None
        if source_hz != target_hz:
            width = 2 if self._as_is else 1
            self._stream = soxr.ResampleStream(source_hz, target_hz, width, "float32", "HQ")

    def push(self, block: NDArray[np.float32], last: bool = False) -> NDArray[np.float32]:
        """What is ready of the model's samples after this block."""
        self._taken += len(block)
        if not self._as_is:
            block = block.mean(axis=1, keepdims=True) if block.shape[1] != 1 else block
        self.peak = max(self.peak, float(np.abs(block).max(initial=0.0)))
        if self._stream is not None:
            block = self._stream.resample_chunk(np.ascontiguousarray(block), last=last)
            block = block.reshape(-1, 2 if self._as_is else 1)
        if last:
            wanted = self._taken * self._target_hz // self._source_hz
            block = block[: max(0, wanted - self._given)]
        self._given += len(block)
        samples = np.ascontiguousarray(block.T)
        return np.repeat(samples, 2, axis=0) if self._duplicate else samples


def with_last(blocks: Iterable[NDArray[np.float32]]) -> Iterator[tuple[NDArray[np.float32], bool]]:
    """Each block with whether it is the last."""
    iterator = iter(blocks)
    previous = next(iterator, None)
    while previous is not None:
        following = next(iterator, None)
        yield previous, following is None
        previous = following
