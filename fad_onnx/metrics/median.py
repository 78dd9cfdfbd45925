"""Order statistics of more numbers than memory holds, exact, by a few passes over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from .validation import Array

Source = Callable[[], Iterator[Array]]

# Numbers kept at once: 32 MB.
HELD = 1 << 22
_DIGIT = 16


def median(source: Source, count: int) -> tuple[float, float]:
    """The two middle ones (the same twice if ``count`` is odd) of numbers >= 0.

    Their mean is NumPy's median. ``source`` gives the same float64 blocks whenever it is
    called, ``count`` >= 1 numbers in all.
    """
    middle = (count - 1) // 2
    held, rank = _neighbours(source, count, middle)
    low = float(np.partition(held, rank)[rank])
    if count % 2:
        return low, low
    if rank + 1 == len(held):
        held, rank = _neighbours(source, count, middle + 1)
        return low, float(np.partition(held, rank)[rank])
    return low, float(np.partition(held, rank + 1)[rank + 1])


def _neighbours(source: Source, count: int, rank: int) -> tuple[Array, int]:
    """The number of this rank among those next to it in order, and its rank there.

    The bits of float64 numbers >= 0, read as integers, are in the same order. Digit by digit of
    16 bits the numbers are counted, and all but those that share the wanted one's digits drop
    out, until the rest fits in memory.
    """
    prefix, shift = 0, 64
    while count > HELD and shift > 0:
        digits = _digits(source, prefix, shift)
        shift -= _DIGIT
        before = np.cumsum(digits) - digits
        digit = int(np.searchsorted(before, rank, side="right")) - 1
        rank -= int(before[digit])
        count = int(digits[digit])
        prefix = (prefix << _DIGIT) | digit
    if shift == 0:
        # Every bit is known: all the rest are this number, two of them say as much.
        last = rank == count - 1
        return np.full(1 if last else 2, prefix, np.uint64).view(np.float64), 0
    return np.concatenate(list(_matching(source, prefix, shift))).view(np.float64), rank


def _digits(source: Source, prefix: int, shift: int) -> NDArray[np.int64]:
    """How often each next digit follows ``prefix``."""
    total = np.zeros(1 << _DIGIT, np.int64)
    for keys in _matching(source, prefix, shift):
        digits = (keys >> np.uint64(shift - _DIGIT)) & np.uint64((1 << _DIGIT) - 1)
        total += np.bincount(digits.astype(np.int64), minlength=1 << _DIGIT)
    return total


def _matching(source: Source, prefix: int, shift: int) -> Iterator[NDArray[np.uint64]]:
    """The bits of the numbers whose leading bits, from ``shift`` on, are ``prefix``."""
    for block in source():
        # Adding zero turns -0.0, whose sign bit would sort it last, into 0.0.
        keys = (block.ravel() + 0.0).view(np.uint64)
        yield keys if shift == 64 else keys[keys >> np.uint64(shift) == np.uint64(prefix)]
