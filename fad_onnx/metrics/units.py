"""Units of resampling: clips with the same name, in whichever datasets they occur."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping, Sequence
from hashlib import blake2b

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
    units = _units(names)
    count = max((int(own.max()) + 1 for own in units if len(own)), default=0)
    clips = np.full((len(names), count), -1, np.intp)
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


def _units(names: Sequence[Names]) -> list[Indices]:
    """The number of each clip's unit, for each dataset; numbers follow the first occurrences."""
    digests = [_digests(own) for own in names]
    ends = np.cumsum([len(own) for own in digests])[:-1]
    _, stems = np.unique(np.concatenate(digests), return_inverse=True)
    # A name that occurs twice in a dataset has no partner: each of its clips is a unit.
    alone = np.concatenate([np.bincount(own)[own] > 1 for own in np.split(stems, ends)])
    stems[alone] = stems.size + np.flatnonzero(alone)
    _, first, units = np.unique(stems, return_index=True, return_inverse=True)
    number = np.empty_like(first)
    number[np.argsort(first)] = np.arange(len(first))
    return np.split(number[units], ends)


def _digests(names: Names) -> NDArray[np.void]:
    """What stands for the stem of each name: 128 bits of a cryptographic hash.

    Millions of texts would take much memory.
    """
    digests = bytearray()
    for name in names:
        stem = stem_of(name).encode("utf-8", "surrogatepass")
        digests += blake2b(stem, digest_size=16).digest()
    return np.frombuffer(digests, "V16")


def chosen_names(names: Names, chosen: Sequence[int]) -> Names:
    """The names at these places, which are different and in order."""
    return names if len(chosen) == len(names) else [names[i] for i in chosen]


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
