"""Filter a stream by one of `sinc.FILTERS`: chunks of any size give the same bits as one call.

Outputs are made in blocks of a fixed size, which begin at fixed places. A block is a product of
fixed shapes: windows of the input times the weights of some phases.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from .sinc import FILTERS

Samples = NDArray[np.float32]
# Phases in one product: with fewer, overhead dominates; with more, zero weights do.
PHASES = 64
BLOCK_OUTPUTS = 4096


class Polyphase:
    """Resample blocks (frames, channels).

    Parameters
    ----------
    kind : str
        A name of `sinc.FILTERS`.
    source_hz, target_hz : int
        The two rates.
    channels : int
        The number of channels of every block.
    """

    def __init__(self, kind: str, source_hz: int, target_hz: int, channels: int) -> None:
        common = gcd(source_hz, target_hz)
        self._kind, self._filter = kind, FILTERS[kind]
        self._up, self._down = target_hz // common, source_hz // common
        self._reach = self._filter.reach(self._up, self._down)
        # As many of the shortest periods as fit into a product of PHASES.
        repeats = -(-PHASES // self._up)
        self._outputs, self._inputs = repeats * self._up, repeats * self._down
        self._periods = max(1, BLOCK_OUTPUTS // self._outputs)
        self._held = np.zeros((channels, 0), np.float32)
        self._taken = self._given = 0

    def push(self, block: Samples, last: bool = False) -> Samples:
        """The samples ready after this block (frames, channels); after the last, all the rest."""
        added = block.T
        if not self._taken and len(block):
            added = self._extended(added, before=self._reach)
        self._taken += len(block)
        self._held = np.concatenate((self._held, added), axis=1)
        wanted = None
        if last and self._taken:
            wanted = self._filter.length(self._taken, self._up, self._down) - self._given
            blocks = max(0, -(-wanted // (self._periods * self._outputs)))
            missing = blocks * self._step + self._margin - self._held.shape[1]
            self._held = self._extended(self._held, after=max(0, missing))
        ready = list(self._blocks())
        out = np.concatenate([self._held[:, :0], *ready], axis=1)[:, :wanted]
        self._given += out.shape[1]
        return np.ascontiguousarray(out.T)

    @property
    def _step(self) -> int:
        """Input samples from one block to the next."""
        return self._periods * self._inputs

    @property
    def _margin(self) -> int:
        """Input samples that a block needs beyond its step."""
        return 2 * self._reach + 1

    def _extended(self, samples: Samples, before: int = 0, after: int = 0) -> Samples:
        mode: Any = "edge" if self._filter.edge == "repeat" else "constant"
        return np.pad(samples, ((0, 0), (before, after)), mode)

    def _blocks(self) -> Any:
        start = 0
        while self._held.shape[1] >= start + self._step + self._margin:
            here = self._held[:, start : start + self._step + self._margin].astype(np.float64)
            product = self._product if self._filter.sums == "float64" else self._tap_by_tap
            yield np.stack([product(channel) for channel in here]).astype(np.float32)
            start += self._step
        self._held = self._held[:, start:].copy()

    def _product(self, samples: NDArray[np.float64]) -> NDArray[np.float64]:
        """The outputs of one block of one channel."""
        out = np.empty((self._periods, self._outputs))
        pitch = samples.itemsize
        for phase in range(0, self._outputs, PHASES):
            matrix = _matrix(self._kind, self._up, self._down, phase, self._outputs)
            first = phase * self._down // self._up
            windows = as_strided(
                samples[first:], (self._periods, len(matrix)), (self._inputs * pitch, pitch)
            )
            out[:, phase : phase + PHASES] = np.ascontiguousarray(windows) @ matrix
        return out.reshape(-1)

    def _tap_by_tap(self, samples: NDArray[np.float64]) -> NDArray[np.float32]:
        """The same outputs, rounded to float32 after every tap."""
        weights, places = _taps(self._kind, self._up, self._down, self._outputs)
        starts = np.arange(self._periods)[:, None] * self._inputs
        out = np.zeros((self._periods, self._outputs), np.float32)
        for own, place in zip(weights, places, strict=True):
            out = (out + own * samples[starts + place]).astype(np.float32)
        return out.reshape(-1)


class Across:
    """A filter that treats the two channels of a frame as two successive samples.

    Parameters
    ----------
    kind : str
        A name of `sinc.FILTERS`, of a filter with zeros beyond the edges.
    source_hz, target_hz : int
        The two rates.
    """

    def __init__(self, kind: str, source_hz: int, target_hz: int) -> None:
        common = gcd(source_hz, target_hz)
        up, down = target_hz // common, source_hz // common
        places = np.arange(2)
        steps = places[None] - (places * down // up)[:, None]
        self._weights = FILTERS[kind].weights(places[:, None] % up, steps, up, down)

    def push(self, block: Samples, last: bool = False) -> Samples:
        """The two samples of every frame (frames, 2)."""
        found: Samples = (block.astype(np.float64) @ self._weights.T).astype(np.float32)
        return found


@lru_cache(maxsize=256)
def _matrix(kind: str, up: int, down: int, phase: int, outputs: int) -> NDArray[np.float64]:
    """Weights (window, phases) of the phases from this one on.

    Windows begin `reach` samples before that of the first phase.
    """
    known = FILTERS[kind]
    reach = known.reach(up, down)
    phases = np.arange(phase, min(phase + PHASES, outputs))
    places = phases * down // up - phase * down // up
    steps = np.arange(-reach, reach + 1)
    weights = known.weights(phases[:, None] % up, steps[None], up, down)
    matrix = np.zeros((places[-1] + len(steps), len(phases)))
    for column, (place, own) in enumerate(zip(places, weights, strict=True)):
        matrix[place : place + len(steps), column] = own
    return matrix


@lru_cache(maxsize=16)
def _taps(
    kind: str, up: int, down: int, outputs: int
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Weights (taps, phases) and their positions in the input, in the order of the original."""
    known, phases = FILTERS[kind], np.arange(outputs)
    reach = known.reach(up, down)
    steps = np.concatenate([np.arange(0, -reach - 1, -1), np.arange(1, reach + 1)])
    weights = known.weights(phases[:, None] % up, steps[None], up, down).T
    return weights, steps[:, None] + reach + phases * down // up
