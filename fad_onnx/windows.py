"""Samples at the model's rate -> windows of equal shape, by the rules that the row names.

cover "whole": the clip is one window; if the row gives a length, a shorter clip is filled up to
it (short: repeat). "windows": one at every hop; the tail that does not fill one is dropped, or
padded with zeros and its rows trimmed. "crop": one window a clip, cut from a longer one (long:
center or random) or filled from a shorter one (short: repeat). A long whole clip may be cut into
tiles, where the row says how these give the bits of one pass.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import OptionError, TooShortError
from .manifest import Model, Tiles, Windows

Samples = NDArray[np.float32]
SHORT_CHOICES = ("error", "skip", "pad")


def checked_short(option: str, value: str) -> str:
    """The rule for short clips, or OptionError for a word that is none."""
    if value not in SHORT_CHOICES:
        raise OptionError(option, f"{value!r} is not one of {', '.join(SHORT_CHOICES)}")
    return value


@dataclass(frozen=True)
class Window:
    """One item of a batch: float32 (channels, samples), and how many samples are the clip's.

    steps: of a tile, which steps of the last layer are its own; None for all other windows.
    """

    samples: Samples
    valid_samples: int
    steps: slice | None = None


class _Held:
    """The samples of a clip that are not yet in a window, in one piece that grows in place.

    Blocks kept until the end and then joined would hold an hour of audio twice.
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
            # No view is left of what has to move: whoever hands one out drops all of it.
            self._frames.resize((max(end, room * 5 // 4), len(samples)), refcheck=False)
        self._frames[self.count : end] = samples.T
        self.count = end

    def drop(self, count: int) -> None:
        """Forget the first samples; what views there are keep the old memory to themselves."""
        self._frames = self._frames[count : self.count].copy()
        self.count = len(self._frames)


class Cutter:
    """The windows of one clip, as its samples arrive.

    short: what to do with a clip below the row's minimum: "error" and "skip" raise
    TooShortError (the caller skips), "pad" adds zeros up to the minimum.
    """

    def __init__(
        self, model: Model, rules: Windows, short: str, seed: int = 0, path: str = "samples"
    ) -> None:
        self._model, self._rules, self._short = model, rules, short
        self._seed, self._path = seed, path
        self._held = _Held(model.channels)
        self._seen = self._dropped = 0
        self._next_step = 0  # of a clip that is cut into tiles

    def push(self, samples: Samples, last: bool = False) -> list[Window]:
        """Windows that are complete now; with `last`, all that remain."""
        self._held.append(samples)
        self._seen += samples.shape[1]
        if last:
            self._check_minimum()
        length, hop = self._rules.length_samples, self._rules.hop_samples
        if self._rules.cover == "windows":
            assert length and hop
            if not last and self._held.count < length:
                return []
            return self._cut(length, hop, last)
        if self._model.tiles and (
            self._next_step or self._seen > self._one_pass(self._model.tiles)
        ):
            return self._tile(self._model.tiles, last)
        return [self._single(self._held.samples)] if last else []

    @staticmethod
    def _one_pass(tiles: Tiles) -> int:
        """Samples up to which a clip is computed in one pass: two tiles."""
        return 2 * tiles.steps * tiles.step_samples

    def _tile(self, tiles: Tiles, last: bool) -> list[Window]:
        """The tiles that are complete; at the end of the clip, all that remain.

        A tile ends one sample before the step after its context, lest there be a frame too many.
        """
        samples, size, found = self._held.samples, tiles.step_samples, []
        # The frames of a clip reach half a frame beyond it, so its last step may be short.
        hop = self._model.frontend.hop_samples or 1
        total = (1 + self._seen // hop) * hop // size if last else self._seen // size
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
        self._held.drop(drop)
        self._dropped += drop
        return found

    def _check_minimum(self) -> None:
        minimum, rate = self._model.minimum_samples, self._model.sample_rate_hz
        missing = minimum - self._seen
        if missing <= 0:
            return
        if self._short != "pad":
            raise TooShortError(self._path, self._seen, minimum, rate)
        self._held.append(np.zeros((self._model.channels, missing), np.float32))
        self._seen += missing

    def _cut(self, length: int, hop: int, last: bool) -> list[Window]:
        samples = self._held.samples
        count = max(0, 1 + (samples.shape[1] - length) // hop)
        windows = [Window(samples[:, i * hop : i * hop + length], length) for i in range(count)]
        rest = samples[:, count * hop :]
        if last and self._rules.tail == "pad" and rest.shape[1] > length - hop:
            window = np.zeros((samples.shape[0], length), np.float32)
            window[:, : rest.shape[1]] = rest
            windows.append(Window(window, rest.shape[1]))
        self._held.drop(count * hop)
        return windows

    def _single(self, samples: Samples) -> Window:
        length, have = self._rules.length_samples, samples.shape[1]
        if length and have < length:
            return Window(_filled(samples, length), length)
        if length and have > length and self._rules.cover == "crop":
            start = (have - length) // 2
            if self._rules.long == "random":
                start = _draw(samples, self._seed, have - length + 1)
            # A copy: as a view it would keep the whole clip while it waits for its batch.
            return Window(samples[:, start : start + length].copy(), length)
        return Window(samples, have)


def _filled(samples: Samples, length: int) -> Samples:
    """As many whole copies as fit, then zeros.

    laion_clap/training/data.py get_audio_features, data_filling "repeatpad".
    """
    filled = np.zeros((samples.shape[0], length), np.float32)
    copies = length // samples.shape[1]
    filled[:, : copies * samples.shape[1]] = np.tile(samples, copies)
    return filled


def _draw(samples: Samples, seed: int, choices: int) -> int:
    """A start that depends on the seed and the clip alone, not on its place in a set."""
    digest = hashlib.sha256(seed.to_bytes(16, "little"))
    digest.update(np.ascontiguousarray(samples).data)
    return int.from_bytes(digest.digest()[:8], "little") % choices
