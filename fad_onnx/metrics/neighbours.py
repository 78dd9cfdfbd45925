"""Nearest neighbours and balls around embeddings, at the cost of matrix products.

A product gives the distances of a block of pairs within a margin of rounding errors. Only distances
whose margin leaves a comparison open are computed from differences, so that every answer is that
of differences: equal embeddings are at distance 0, and equal distances stay equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .clips import forget, taken
from .kad import blocks, squared_distances
from .validation import Array

# An upper bound of the rounding errors of a squared distance of centred embeddings x and y, by its
# product and by differences together, is MARGIN * (width + 8) * epsilon * (|x|^2 + |y|^2). A sum of
# n products is within n * epsilon / 2 of the sum of their magnitudes (Higham 2002, "Accuracy and
# Stability of Numerical Algorithms", section 3.1); the sums here add up to 2.
MARGIN = 4.0


@dataclass(frozen=True)
class Some:
    """Embeddings of an array that may be a file: all of them, or those with these indices.

    A slice of it is a copy in float64.
    """

    stored: NDArray[Any]
    indices: NDArray[np.intp] | None = None

    def __len__(self) -> int:
        return len(self.stored) if self.indices is None else len(self.indices)

    def __getitem__(self, own: slice) -> Array:
        if self.indices is not None:
            return taken(self.stored, self.indices[own]).astype(np.float64)
        found = self.stored[own].astype(np.float64)
        forget(self.stored)
        return found

    def blocks(self) -> Iterator[tuple[slice, Array]]:
        """Some embeddings at a time, and where they are."""
        for own in blocks(len(self)):
            yield own, self[own]


def squared_radii(embeddings: Some, k: int) -> Array:
    """The squared distance of each embedding to its k-th nearest neighbour among the others.

    Infinity if there are no more than k embeddings.
    """
    # Each embedding is its own nearest, at distance 0.
    nearest = np.full((len(embeddings), k + 1), np.inf)
    for left, a in embeddings.blocks():
        _merge(nearest[left], Pairs.of(a, a))
        for right in blocks(len(embeddings)):
            if right.start > left.start:
                pairs = Pairs.of(a, embeddings[right])
                _merge(nearest[left], pairs)
                _merge(nearest[right], pairs.swapped())
    return np.asarray(nearest.max(axis=1))


def nearest_squared(left: Some, right: Some) -> Array:
    """The squared distance of each embedding of `left` to the nearest of `right`."""
    nearest = np.full((len(left), 1), np.inf)
    for own, a in left.blocks():
        for _, b in right.blocks():
            _merge(nearest[own], Pairs.of(a, b))
    return nearest[:, 0]


@dataclass(frozen=True)
class Pairs:
    """Squared distances between two blocks: each within its margin, until it is made exact."""

    left: Array
    right: Array
    squares: Array
    margin: Array

    @classmethod
    def of(cls, left: Array, right: Array) -> Pairs:
        """All pairs. A common origin near the embeddings keeps the margins small."""
        origin = left.mean(axis=0)
        a, b = left - origin, right - origin
        margin = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)
        margin *= MARGIN * (left.shape[1] + 8) * np.finfo(np.float64).eps
        return cls(left, right, squared_distances(a, b), margin)

    def swapped(self) -> Pairs:
        """The same pairs from the other side."""
        return Pairs(self.right, self.left, self.squares.T, self.margin.T)

    def make_exact(self, chosen: NDArray[np.bool_]) -> tuple[NDArray[np.intp], Array]:
        """Replace the squares of the chosen pairs by sums of squared differences.

        Return where the chosen are on the left, in order, and their squares.
        """
        i, j = np.nonzero(chosen)
        for some in blocks(len(i)):
            gaps = self.left[i[some]] - self.right[j[some]]
            self.squares[i[some], j[some]] = np.square(gaps, out=gaps).sum(axis=1)
        return i, self.squares[i, j]

    def settle(self, limits: Array) -> None:
        """Make exact whatever can't be compared with these squared distances otherwise."""
        self.make_exact(np.abs(self.squares - limits) <= self.margin)


def _merge(nearest: Array, pairs: Pairs) -> None:
    """Put exact squares of these pairs into the smallest of each embedding on the left."""
    count = nearest.shape[1]
    limit = nearest.max(axis=1)
    if not np.isfinite(limit).all() and pairs.squares.shape[1] >= count:
        limit = np.partition(pairs.squares + pairs.margin, count - 1, axis=1)[:, count - 1]
    at, squares = pairs.make_exact(pairs.squares - pairs.margin <= limit[:, None])
    order = np.lexsort((squares, at))
    at, squares = at[order], squares[order]
    rank = np.arange(len(at)) - np.searchsorted(at, at)
    new = np.full_like(nearest, np.inf)
    low = rank < count
    new[at[low], rank[low]] = squares[low]
    every = np.concatenate([nearest, new], axis=1)
    nearest[:] = np.partition(every, count - 1, axis=1)[:, :count]
