"""What each clip adds to the kernel audio distance: the jackknife that leaves out one clip.

The bandwidth of all clips is used throughout: computing it anew without each clip gave no better
intervals (benchmarks/README-statistics.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .clips import joined, taken
from .intervals import Linear
from .kad import MOST_EMBEDDINGS, SCALE, Centred, blocks, drawn_indices, kernel
from .validation import Array

Clips = Sequence[NDArray[Any]]


@dataclass(frozen=True)
class Drawn:
    """The embeddings of one dataset that KAD used, clip by clip."""

    names: tuple[str, ...]
    embeddings: Centred
    starts: NDArray[np.intp]  # the first embedding of each clip
    sizes: NDArray[np.intp]

    @classmethod
    def of(
        cls, names: Sequence[str], clips: Clips, seed: int, origin: Array | None = None
    ) -> Drawn:
        """Draw as KAD does from more than MOST_EMBEDDINGS; relative to a point or their mean."""
        ids = np.repeat(np.arange(len(clips)), [len(own) for own in clips])
        chosen = drawn_indices(len(ids), seed, MOST_EMBEDDINGS)
        used, starts, sizes = np.unique(ids[chosen], return_index=True, return_counts=True)
        embeddings = taken(joined(clips), chosen)
        if origin is None:
            origin = embeddings.mean(axis=0, dtype=np.float64)
        centred = Centred(embeddings, origin)
        return cls(tuple(names[i] for i in used), centred, starts, sizes)

    def by_clip(self, of_embeddings: Array) -> Array:
        """The sum over the embeddings of each clip."""
        found: Array = np.add.reduceat(of_embeddings, self.starts)
        return found

    def each(self) -> Iterator[Array]:
        """The embeddings of each clip."""
        for start, size in zip(self.starts, self.sizes, strict=True):
            yield self.embeddings[start : start + size]


def linear(evaluation: Drawn, reference: Drawn, bandwidth: float) -> Linear:
    """What each clip of both sides adds to the distance; both are relative to one point."""
    sides = own, other = evaluation, reference
    across = [_sums(one.embeddings, two.embeddings, bandwidth) for one, two in (sides, sides[::-1])]
    total = float(across[0].sum())
    parts = []
    for one, two, between in zip(sides, sides[::-1], across, strict=True):
        within = _left_out(one, bandwidth)
        # If no embedding is left, there is no mean.
        left = np.maximum(len(one.embeddings) - one.sizes, 1)
        rest = (total - one.by_clip(between)) / (left * len(two.embeddings))
        without = SCALE * (within - 2.0 * rest)
        parts.append((without.mean() - without) * (len(without) - 1) / len(without))
    return Linear((own.names, other.names), tuple(parts))


def _left_out(one: Drawn, bandwidth: float) -> Array:
    """The mean of the kernel over pairs i != j without each clip."""
    sums = one.by_clip(_sums(one.embeddings, one.embeddings, bandwidth) - 1.0)
    own = np.array([kernel(clip, clip, bandwidth).sum() - len(clip) for clip in one.each()])
    left = len(one.embeddings) - one.sizes
    # If fewer than two are left, there is no mean; with so few clips there is no interval either.
    found: Array = (sums.sum() - 2.0 * sums + own) / np.maximum(left * (left - 1), 1)
    return found


def _sums(left: Centred, right: Centred, bandwidth: float) -> Array:
    """For each embedding of `left`, the sum of the kernel over all embeddings of `right`."""
    found = np.zeros(len(left))
    for a, b in ((a, b) for a in blocks(len(left)) for b in blocks(len(right))):
        found[a] += kernel(left[a], right[b], bandwidth).sum(axis=1)
    return found
