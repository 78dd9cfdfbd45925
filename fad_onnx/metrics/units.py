"""Units of resampling: clips with the same name, in whichever datasets they occur."""

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
    """The name of a clip that is the same in every dataset: its relative path without the suffix.

    Unicode is composed, as most systems write it; macOS splits "é" into two characters.

    Examples
    --------
    >>> stem_of("sub/cafe\u0301.wav") == "sub/caf\u00e9"
    True
    """
    return unicodedata.normalize("NFC", os.path.splitext(name)[0])


def strata(names: Sequence[Names]) -> dict[tuple[int, ...], list[Indices]]:
    """Group units by the datasets in which they occur; give the indices of their clips in each.

    Examples
    --------
    >>> found = strata([["a.wav", "b.wav"], ["b.flac"]])
    >>> {sides: [own.tolist() for own in units] for sides, units in found.items()}
    {(0,): [[0]], (0, 1): [[1], [0]]}
    """
    numbers: dict[str | tuple[int, int], int] = {}
    units = [_units(side, own, numbers) for side, own in enumerate(names)]
    clips = np.full((len(names), len(numbers)), -1, np.intp)
    for side, own in enumerate(units):
        clips[side, own] = np.arange(len(own))
    # Strata are in the order of their first units, and units in the order of their clips.
    occurring = sum((clips[side] >= 0) << side for side in range(len(names)))
    _, first = np.unique(occurring, return_index=True)
    found = {}
    for unit in np.sort(first):
        sides = tuple(np.flatnonzero(clips[:, unit] >= 0).tolist())
        own = np.flatnonzero(occurring == occurring[unit])
        found[sides] = [clips[side, own] for side in sides]
    return found


def _units(side: int, names: Names, numbers: dict[str | tuple[int, int], int]) -> Indices:
    """The number of each clip's unit; units that are not known yet are added."""
    counts = Counter(map(stem_of, names))
    # A name that occurs twice in a dataset has no partner.
    stems = enumerate(map(stem_of, names))
    keys = (stem if counts[stem] == 1 else (side, index) for index, stem in stems)
    found = (numbers.setdefault(key, len(numbers)) for key in keys)
    return np.fromiter(found, np.intp, len(names))


def half(
    random: np.random.RandomState, groups: Mapping[tuple[int, ...], list[Indices]], count: int
) -> list[Indices]:
    """Indices of half of the clips of each dataset, in order; a unit is drawn as a whole."""
    chosen: list[list[Indices]] = [[] for _ in range(count)]
    for sides, units in groups.items():
        order = random.permutation(len(units[0]))
        # From an odd number of units, one more or one fewer is drawn at random.
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
