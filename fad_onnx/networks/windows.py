"""Cut samples at the network's rate into windows of equal shape, by the preparation's rules."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import OptionError, TooShortError
from .network import Tiles
from .preparation import Preparation

Samples = NDArray[np.float32]
SHORT_CHOICES = ("error", "skip", "pad")


def checked_short(option: str, value: str) -> str:
    """The rule for short clips; OptionError for an unknown one."""
    if value not in SHORT_CHOICES:
        raise OptionError(option, f"{value!r} is not one of {', '.join(SHORT_CHOICES)}")
    return value


@dataclass(frozen=True)
class Window:
    """One item of a batch.

    Attributes
    ----------
    samples : ndarray of float32, shape (channels, samples)
        The input of the front end.
    valid_samples : int
        The number of samples without padding; embeddings of the padding are dropped.
    steps : slice or None
        In a tile, its own steps of the last layer.
    """

    samples: Samples
    valid_samples: int
    steps: slice | None = None


class _Buffer:
    """The samples of a clip that are not yet in a window, in one array that grows in place.

    Joining blocks at the end would hold an hour of audio twice.
    """

    def __init__(self, channels: int) -> None:
        self._frames = np.empty((0, channels), np.float32)
        self.count = 0

    @property
    def samples(self) -> Samples:
        """A view, (channels, samples)."""
        return self._frames[: self.count].T

    def append(self, samples: Samples) -> None:
        end, room = self.count + samples.shape[1], len(self._frames)
        if end > room:
            # Safe to resize in place: `drop` replaces the array, so older views keep theirs.
            self._frames.resize((max(end, room * 5 // 4), len(samples)), refcheck=False)
        self._frames[self.count : end] = samples.T
        self.count = end

    def drop(self, count: int) -> None:
        """Remove the first samples."""
        self._frames = self._frames[count : self.count].copy()
        self.count = len(self._frames)


class Windower:
    """The windows of one clip, as its samples arrive.

    Parameters
    ----------
    preparation : Preparation
        The rules.
    tiles : Tiles or None
        How a long clip is computed in parts, with the same bits as in one pass.
    short : {"error", "skip", "pad"}
        What to do with a clip below the minimum: "error" and "skip" raise TooShortError (the
        caller skips), "pad" appends zeros up to the minimum.
    path : str
        The clip's name, for errors.
    """

    def __init__(
        self, preparation: Preparation, tiles: Tiles | None, short: str, path: str = "samples"
    ) -> None:
        self._preparation, self._rules, self._tiles = preparation, preparation.windows, tiles
        self._short, self._path = short, path
        self._buffer = _Buffer(preparation.channel_count)
        self._seen = self._dropped = 0
        self._ahead = 0  # zeros before the clip
        if self._rules.margins == "zeros_before":
            assert self._rules.length_samples
            self._ahead = self._rules.length_samples // 2
            self._buffer.append(np.zeros((preparation.channel_count, self._ahead), np.float32))
        self._extended = False  # whether the margin before the clip is in the buffer
        self._next_step = 0  # the next step of a clip that is cut into tiles

    def push(self, samples: Samples, last: bool = False) -> list[Window]:
        """Take a block of samples, (channels, samples).

        Returns
        -------
        list of Window
            The windows that are complete now; with `last`, all that remain.

        Raises
        ------
        TooShortError
            With `last`, for a clip below the minimum.
        """
        if (most := self._preparation.maximum_samples) is not None:
            samples = samples[:, : max(0, most - self._seen)]
        self._buffer.append(samples)
        self._seen += samples.shape[1]
        if last:
            self._check_minimum()
        length, hop = self._rules.length_samples, self._rules.hop_samples
        if self._rules.cover == "windows":
            assert length and hop
            if self._rules.margins == "reflect":
                if self._seen <= length:
                    return [self._single(self._buffer.samples)] if last else []
                self._reflect(length // 2, last)
            elif self._rules.margins == "zeros":
                self._surround(length, last)
            if not last and self._buffer.count < length:
                return []
            return self._cut(length, hop, last)
        if self._tiles and (self._next_step or self._seen > self._one_pass(self._tiles)):
            return self._tile(self._tiles, last)
        return [self._single(self._buffer.samples)] if last else []

    @staticmethod
    def _one_pass(tiles: Tiles) -> int:
        """The most samples of a clip that is computed in one pass: two tiles."""
        return 2 * tiles.steps * tiles.step_samples

    def _tile(self, tiles: Tiles, last: bool) -> list[Window]:
        """The complete tiles; at the end of the clip, all that remain.

        A tile ends one sample before the step after its context: one more frame would follow.
        """
        samples, size, found = self._buffer.samples, tiles.step_samples, []
        total = self._seen // size
        if last and (hop := getattr(self._preparation.frontend, "hop_samples", None)):
            # The frames of a clip reach half a frame beyond it, so its last step may be short.
            total = (1 + self._seen // hop) * hop // size
        while self._next_step < total:
            first = max(0, self._next_step - tiles.context_steps)
            beyond = self._next_step + tiles.steps + tiles.context_steps
            if not last and beyond >= total:
                break
            end = self._seen if beyond >= total else beyond * size - 1
            own = slice(self._next_step - first, self._next_step - first + tiles.steps)
            cut = samples[:, first * size - self._dropped : end - self._dropped]
            found.append(Window(cut, cut.shape[1], own))
            self._next_step += tiles.steps
        drop = max(0, self._next_step - tiles.context_steps) * size - self._dropped
        self._buffer.drop(drop)
        self._dropped += drop
        return found

    def _check_minimum(self) -> None:
        minimum, rate = self._preparation.minimum_samples, self._preparation.sample_rate_hz
        missing = minimum - self._seen
        if missing <= 0:
            return
        if self._short != "pad":
            raise TooShortError(self._path, self._seen, minimum, rate)
        self._buffer.append(np.zeros((self._preparation.channel_count, missing), np.float32))
        self._seen += missing

    def _reflect(self, half: int, last: bool) -> None:
        """Extend a clip that is longer than a window at its ends, not repeating the last sample.

        PasstBasicWrapper.get_timestamp_embeddings of hear21passt 0.0.26, wrapper.py.
        """
        if not self._extended:
            samples = self._buffer.samples
            self._buffer.drop(self._buffer.count)
            self._buffer.append(samples[:, half:0:-1])
            self._buffer.append(samples)
            self._extended = True
        if last:
            self._buffer.append(self._buffer.samples[:, -2 : -2 - half : -1].copy())

    def _surround(self, length: int, last: bool) -> None:
        """Extend a clip with zeros to a multiple of a window, and by half a window at its ends.

        DACModel._get_embedding of fadtk 1.1.0, model_loader.py, and DSPMixin.collect_windows of
        descript-audiotools 0.7.2, core/dsp.py.
        """
        half, channels = length // 2, self._preparation.channel_count
        if not self._extended:
            samples = self._buffer.samples
            self._buffer.drop(self._buffer.count)
            self._buffer.append(np.zeros((channels, half), np.float32))
            self._buffer.append(samples)
            self._extended = True
        if last:
            self._buffer.append(np.zeros((channels, -self._seen % length + half), np.float32))

    def _cut(self, length: int, hop: int, last: bool) -> list[Window]:
        samples = self._buffer.samples
        # Keep the samples from which the end of the clip is reflected.
        kept = length // 2 + 1 if self._rules.margins == "reflect" and not last else 0
        count = max(0, 1 + (samples.shape[1] - kept - length) // hop)
        windows = [Window(samples[:, i * hop : i * hop + length], length) for i in range(count)]
        rest = samples[:, count * hop :]
        if last and self._rules.tail == "pad_every":
            windows += [
                Window(zeros(part, length), part.shape[1])
                for start in range(0, rest.shape[1], hop)
                for part in [rest[:, start : start + length]]
            ]
        elif last and (rest.shape[1] > length - hop or rest.shape[1] == self._ahead + self._seen):
            windows += self._tail(rest, length)
        self._buffer.drop(count * hop)
        return windows

    def _tail(self, rest: Samples, length: int) -> list[Window]:
        """The samples after the last full window."""
        rules, own = self._rules, rest.shape[1]
        if rules.tail == "drop" or own <= rules.dropped_samples:
            return []
        padded = rules.tail == "pad" and own > rules.unpadded_samples
        return [Window(zeros(rest, length) if padded else rest.copy(), own)]

    def _single(self, samples: Samples) -> Window:
        length, have = self._rules.length_samples, samples.shape[1]
        if length and have < length and self._rules.fill != "none":
            own = have if self._rules.fill == "zeros" else length
            return Window(FILLS[self._rules.fill](samples, length), own)
        if length and have > length and self._rules.cover == "crop":
            start = self._start(samples, have - length)
            # A copy, because a view would keep the whole clip in memory until its batch runs.
            return Window(samples[:, start : start + length].copy(), length)
        return Window(samples, have)

    def _start(self, samples: Samples, spare: int) -> int:
        """The start of the part of a longer clip that is used."""
        if self._rules.long == "random":
            return _draw(samples, self._rules.seed, spare + 1)
        return spare // 2 if self._rules.long == "center" else 0


def zeros(samples: Samples, length: int) -> Samples:
    """The samples, then zeros."""
    filled = np.zeros((samples.shape[0], length), np.float32)
    filled[:, : samples.shape[1]] = samples
    return filled


def repeat(samples: Samples, length: int) -> Samples:
    """Repeat as many whole copies as fit, then zeros.

    laion_clap/training/data.py get_audio_features, data_filling "repeatpad".
    """
    copies = length // samples.shape[1]
    return zeros(np.tile(samples, copies), length)


def repeat_cut(samples: Samples, length: int) -> Samples:
    """Repeat copies, the last one cut.

    msclap/CLAPWrapper.py load_audio_into_tensor: repeat, then the first samples.
    """
    return np.tile(samples, -(-length // samples.shape[1]))[:, :length]


def reflect(samples: Samples, length: int) -> Samples:
    """Reflect at the end, repeatedly, without doubling the edges.

    numpy.pad, mode "reflect".
    """
    return np.pad(samples, ((0, 0), (0, length - samples.shape[1])), mode="reflect")


FILLS: dict[str, Callable[[Samples, int], Samples]] = {
    "zeros": zeros,
    "repeat": repeat,
    "repeat_cut": repeat_cut,
    "reflect": reflect,
}


def _draw(samples: Samples, seed: int, choices: int) -> int:
    """A random start that depends only on the seed and the clip, not on its place in a dataset."""
    digest = hashlib.sha256(seed.to_bytes(16, "little"))
    digest.update(np.ascontiguousarray(samples).data)
    return int.from_bytes(digest.digest()[:8], "little") % choices
