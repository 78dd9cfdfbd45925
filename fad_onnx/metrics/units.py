"""What is drawn together: clips of one name, wherever they occur."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Names = Sequence[str]
Indices = NDArray[np.intp]


def stem_of(name: str) -> str:
    """What names a clip in every dataset: its relative path without the suffix.

    Composed, as most systems write it: macOS takes "é" apart.

    Examples
    --------
    >>> stem_of("sub/cafe\u0301.wav") == "sub/caf\u00e9"
    True
    """
    return unicodedata.normalize("NFC", os.path.splitext(name)[0])


def strata(names: Sequence[Names]) -> dict[tuple[int, ...], list[Indices]]:
    """Units by the datasets in which they occur: for each of these, the indices of their clips.

    Examples
    --------
    >>> found = strata([["a.wav", "b.wav"], ["b.flac"]])
    >>> {sides: [own.tolist() for own in units] for sides, units in found.items()}
    {(0,): [[0]], (0, 1): [[1], [0]]}
    """
    units: dict[str | tuple[int, int], dict[int, int]] = {}
    for side, own in enumerate(names):
        stems = [stem_of(name) for name in own]
        counts = Counter(stems)
        for index, stem in enumerate(stems):
            # A name that occurs twice in a dataset has no partner.
            units.setdefault(stem if counts[stem] == 1 else (side, index), {})[side] = index
    groups: dict[tuple[int, ...], list[dict[int, int]]] = {}
    for unit in units.values():
        groups.setdefault(tuple(sorted(unit)), []).append(unit)
    return {
        sides: [np.array([unit[side] for unit in own], np.intp) for side in sides]
        for sides, own in groups.items()
    }


def half(
    random: np.random.RandomState, groups: Mapping[tuple[int, ...], list[Indices]], count: int
) -> list[Indices]:
    """Indices of half of the clips of each dataset, in order, units together."""
    chosen: list[list[Indices]] = [[] for _ in range(count)]
    for sides, units in groups.items():
        order = random.permutation(len(units[0]))
        # Of an odd number, one more or one fewer at random.
        kept = order[: (len(order) + random.randint(2)) // 2]
        for side, own in zip(sides, units, strict=True):
            chosen[side].append(own[kept])
    return [np.sort(np.concatenate(own)) for own in chosen]


def pairs_by_name(evaluation: Names, reference: Names) -> tuple[tuple[int, int], ...]:
    """Indices of the clips with the same relative path, apart from the suffix.

    A name that occurs twice on a side has no pair. Unrelated clips of the same name do no harm:
    their estimated covariance is about zero.
    """
    both = strata([evaluation, reference]).get((0, 1), [])
    return tuple(sorted(zip(*(own.tolist() for own in both), strict=True))) if both else ()
