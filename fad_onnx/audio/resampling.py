"""Convert the channels and the sample rate of a file to those of a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from .level import Level
from .polyphase import Across, Polyphase

SOXR, LIBROSA, VIA_44100 = "soxr_hq", "librosa_soxr_hq", "soxr_44100_resampy"


class Resampler:
    """Mixes the channels of a clip and resamples it, block by block.

    Channels are mixed before resampling, as frechet_audio_distance/utils.py does. A clip that
    arrives in blocks gives the same bits as the whole clip in one call.

    Parameters
    ----------
    source_hz, target_hz
        Sample rates of the file and of the model.
    source_channels
        Channels of the file.
    channel_rule
        "mean": one channel, the mean of all. "doubled": that mean twice. "stereo": two channels
        stay as they are, one is duplicated, three or more are averaged and the mean is duplicated.
        "first": one channel, the first. "stereo_across": as "stereo", but two channels are filtered
        across each other, and their rate stays. "each": two channels, the first ones; one is
        duplicated. "joined": one channel, which is all of them one after the other.
    kind
        "soxr_hq", "librosa_soxr_hq", "soxr_44100_resampy" for two steps, or a name of
        `sinc.FILTERS`.
    before, after
        Names of `level.STEPS`, which are taken before and after resampling.

    Attributes
    ----------
    peak
        The largest magnitude so far, after mixing and before resampling.
    """

    def __init__(
        self,
        source_hz: int,
        target_hz: int,
        source_channels: int,
        channel_rule: str,
        kind: str = SOXR,
        before: Sequence[str] = (),
        after: Sequence[str] = (),
    ) -> None:
        each = channel_rule == "each"
        two = each or channel_rule.startswith("stereo")
        self._as_is = two and (source_channels == 2 or (each and source_channels > 1))
        self._duplicate = channel_rule == "doubled" or (two and not self._as_is)
        self._first = channel_rule == "first"
        self._joined = channel_rule == "joined"
        self._held: list[NDArray[np.float32]] = []
        self._before, self._after = Level(before, source_hz), Level(after, target_hz)
        self.peak = 0.0
        across = channel_rule == "stereo_across" and self._as_is
        width = source_channels if self._joined else 2 if self._as_is else 1
        self._streams = _streams(kind, source_hz, target_hz, width, across)

    def push(self, block: NDArray[np.float32], last: bool = False) -> NDArray[np.float32]:
        """Add a block (frames, channels); return the samples (channels, frames) now complete."""
        block = self._mixed(block)
        self.peak = max(self.peak, float(np.abs(block).max(initial=0.0)))
        block = self._before.push(block, last)
        for stream in self._streams:
            block = stream.push(block, last)
        samples = np.ascontiguousarray(self._after.push(block, last).T)
        if self._joined:
            self._held.append(samples)
            # The start of the second channel is known only at the end.
            return np.concatenate(self._held, axis=1).reshape(1, -1) if last else samples[:1, :0]
        return np.repeat(samples, 2, axis=0) if self._duplicate else samples

    def _mixed(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._joined:
            return block
        if self._as_is or block.shape[1] == 1:
            return block[:, :2]
        return block[:, :1] if self._first else block.mean(axis=1, keepdims=True)


class Stream(Protocol):
    """A step that changes the rate of blocks."""

    def push(self, block: NDArray[np.float32], last: bool = False) -> NDArray[np.float32]:
        """The samples that are ready after this block (frames, channels)."""


def _streams(
    kind: str, source_hz: int, target_hz: int, channels: int, across: bool
) -> list[Stream]:
    """The steps from one rate to the other."""
    if kind == VIA_44100:
        first = [] if source_hz == 44_100 else [_Soxr(source_hz, 44_100, channels, None)]
        return [*first, *_streams("resampy_0_2_kaiser_best", 44_100, target_hz, channels, across)]
    if source_hz == target_hz:
        return []
    if across:
        return [Across(kind, source_hz, target_hz)]
    if kind in LENGTHS:
        return [_Soxr(source_hz, target_hz, channels, LENGTHS[kind])]
    return [Polyphase(kind, source_hz, target_hz, channels)]


def _floor(frames: int, source_hz: int, target_hz: int) -> int:
    return frames * target_hz // source_hz


def _librosa(frames: int, source_hz: int, target_hz: int) -> int:
    """librosa 0.11.0, core/audio.py, resample: rounded up from a product of floats."""
    return math.ceil(frames * (float(target_hz) / source_hz))


LENGTHS = {SOXR: _floor, LIBROSA: _librosa}


class _Soxr:
    """soxr HQ, cut or filled with zeros to a length, or as long as soxr makes it."""

    def __init__(
        self, source_hz: int, target_hz: int, channels: int,
        length: Callable[[int, int, int], int] | None,
    ) -> None:  # fmt: skip
        self._length = length
        self._source_hz, self._target_hz, self._channels = source_hz, target_hz, channels
        self._taken = self._given = 0
        self._stream = soxr.ResampleStream(source_hz, target_hz, channels, "float32", "HQ")

    def push(self, block: NDArray[np.float32], last: bool = False) -> NDArray[np.float32]:
        self._taken += len(block)
        out: NDArray[np.float32] = self._stream.resample_chunk(
            np.ascontiguousarray(block), last=last
        ).reshape(-1, self._channels)
        if last and self._length:
            whole = self._length(self._taken, self._source_hz, self._target_hz)
            wanted = max(0, whole - self._given)
            out = np.pad(out[:wanted], ((0, max(0, wanted - len(out))), (0, 0)))
        self._given += len(out)
        return out
