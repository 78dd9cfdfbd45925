"""The level steps of published harnesses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from .loudness import normalised

Samples = NDArray[np.float32]


def _remove_dc(clip: Samples, rate_hz: int) -> Samples:
    centred: Samples = (clip - clip.mean(dtype=np.float64)).astype(np.float32)
    return centred


def _peak_minus_1_db(clip: Samples, rate_hz: int) -> Samples:
    peak = np.abs(clip).max(initial=0.0)
    return (clip * (10 ** (-1 / 20) / peak)).astype(np.float32) if peak else clip


def _positive_peak(clip: Samples, rate_hz: int) -> Samples:
    largest = max(0.1 / 2**15, float(clip.max(initial=0.0)))
    return (clip / largest).astype(np.float32)


def _pcm16(block: Samples, rate_hz: int) -> Samples:
    steps: Samples = np.clip(np.rint(block * np.float32(2**15)), -(2**15), 2**15 - 1)
    return steps / np.float32(2**15)


def _int16_cut(block: Samples, rate_hz: int) -> Samples:
    steps: Samples = np.trunc(np.clip(block, -1, 1) * np.float32(32767))
    return steps / np.float32(32767)


STEPS: dict[str, Callable[[Samples, int], Samples]] = {
    "remove_dc": _remove_dc,
    "peak_minus_1_db": _peak_minus_1_db,
    "positive_peak": _positive_peak,
    "pcm16": _pcm16,
    "int16_cut": _int16_cut,
    "loudness_minus_16": partial(normalised, lufs=-16.0),
}
OF_THE_WHOLE_CLIP = frozenset(
    {"remove_dc", "peak_minus_1_db", "positive_peak", "loudness_minus_16"}
)


class Level:
    """Applies steps to blocks; a step that depends on the whole clip holds it until the end."""

    def __init__(self, steps: Sequence[str], rate_hz: int) -> None:
        self._steps, self._rate_hz = [STEPS[name] for name in steps], rate_hz
        self._holds = not OF_THE_WHOLE_CLIP.isdisjoint(steps)
        self._held: list[Samples] = []

    def push(self, block: Samples, last: bool = False) -> Samples:
        """The samples that are ready after this block (frames, channels)."""
        if self._holds:
            self._held.append(block)
            if not last:
                return block[:0]
            block, self._held = np.concatenate(self._held), []
        for step in self._steps:
            block = step(block, self._rate_hz)
        return block
