"""The positions of values: an index of millions of keys in little memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

# Late arrivals are merged when they reach this count, or a quarter of the rest.
LATE_VALUES = 1 << 16


class Places:
    """(segment number, offset) by key prefix: sorted arrays, and a dictionary of late arrivals.

    A value takes 20 bytes instead of 200 in a dictionary, so ten million values fit in memory.
    """

    def __init__(self) -> None:
        # One tuple, so that an interrupt cannot leave the three inconsistent.
        self._sorted: tuple[NDArray[np.uint64], NDArray[np.uint32], NDArray[np.uint64]] = (
            np.empty(0, np.uint64),
            np.empty(0, np.uint32),
            np.empty(0, np.uint64),
        )
        self._late: dict[int, list[tuple[int, int]]] = {}
        self._late_count = 0

    def __len__(self) -> int:
        return len(self._sorted[0]) + self._late_count

    def add(self, key: int, segment: int, offset: int) -> None:
        """Add a place for a key."""
        self._late.setdefault(key, []).append((segment, offset))
        self._late_count += 1
        if self._late_count > max(LATE_VALUES, len(self._sorted[0]) // 4):
            late = [(k, s, o) for k, places in self._late.items() for s, o in places]
            self._late, self._late_count = {}, 0
            keys, numbers, offsets = zip(*late, strict=True)
            self.merge(
                np.array(keys, np.uint64),
                np.array(numbers, np.uint32),
                np.array(offsets, np.uint64),
            )

    def merge(
        self, keys: NDArray[np.uint64], numbers: NDArray[np.uint32], offsets: NDArray[np.uint64]
    ) -> None:
        """Add many places at once."""
        keys = np.concatenate([self._sorted[0], keys])
        numbers = np.concatenate([self._sorted[1], numbers])
        offsets = np.concatenate([self._sorted[2], offsets])
        order = np.argsort(keys, kind="stable")
        self._sorted = keys[order], numbers[order], offsets[order]

    def find(self, key: int) -> Iterator[tuple[int, int]]:
        """Possible places of the value, the latest first."""
        yield from reversed(self._late.get(key, []))
        keys, numbers, offsets = self._sorted
        wanted = np.uint64(key)
        first = int(np.searchsorted(keys, wanted, "left"))
        last = int(np.searchsorted(keys, wanted, "right"))
        for at in range(last - 1, first - 1, -1):
            yield int(numbers[at]), int(offsets[at])
