"""FAD-infinity: the distance that an evaluation set would have with infinitely many rows.

The Frechet distance of n rows exceeds that of their source by about a constant over n. So it
is computed for subsets of several sizes, and the straight line through the values against 1/n
is read off at 1/n = 0 (Gui et al. 2024, "Adapting Frechet Audio Distance for Generative Music
Evaluation", arXiv:2311.01616; after Chong and Forsyth 2020, arXiv:1911.07023). Only the
evaluation set is extrapolated: use a large reference.

Sizes: 25, evenly spaced from max(N / 2, dim + 1) to N, rounded. Below dim + 1 rows the
covariance is singular and the curve is no straight line in 1/n; below N / 2 its curvature
costs more than the wider range gains (simulated: benchmarks/README-statistics.md).

Each subset is drawn afresh, without replacement. Whole clips are drawn until there are
embeddings enough. The paper draws single embeddings; where those of a clip are alike, that leaves
most of the bias in place, because every subset still holds every clip. For clips of one embedding
the two are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import Path, StatisticsError
from .frechet import Gaussian, frechet_distance
from .moments import Moments
from .validation import Array, check_rows

POINTS = 25
LEAST_ROWS = 40
# As for an interval: half of them must still say something of their source.
LEAST_CLIPS = 10
DRAWS = ("clips", "embeddings")


@dataclass(frozen=True)
class Infinity:
    """The extrapolated distance and its fit, or the reason why there is none.

    `value` is the intercept: it may be a little below zero for sets that are alike, as an
    unbiased estimate of zero must be. `r2` is the fit's coefficient of determination, None
    where all values are equal; `values` are the distances at `sizes` rows. `draw` says what the
    subsets are made of, "clips" or "embeddings".
    """

    value: float | None
    r2: float | None = None
    sizes: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    reason: str | None = None
    draw: str = "embeddings"


def fad_infinity(
    reference: Moments | Gaussian,
    rows: ArrayLike,
    seed: int = 0,
    rows_per_file: Sequence[int] | None = None,
    progress: Callable[[int, int], object] | None = None,
    where: Path = "evaluation set",
) -> Infinity:
    """FAD-infinity of evaluation rows (n, dim) to a reference.

    `rows_per_file`, in the order of the rows, makes subsets of whole clips (the last one drawn
    may be cut); there must be ten of them. The same seed gives the same subsets with every
    version of NumPy. `progress` is called with (sizes done, sizes in all). With fewer than
    `least_rows(dim)` embeddings or ten clips nothing is computed, and `reason` gives the numbers.
    Costs 25 distances and covariances: at dim 2048 about a minute. Raises StatisticsError for
    embeddings that are none, of another dimension, or not as many as the clips'.
    """
    against, checked = Gaussian.of(reference, "reference"), check_rows(rows, where)
    count, dim = checked.shape
    draw = "embeddings" if rows_per_file is None else "clips"
    random, lengths = np.random.RandomState(seed), _lengths(rows_per_file, count, where)
    clips = int(np.count_nonzero(lengths))
    if count < least_rows(dim):
        return Infinity(None, reason=_too_few(where, count, dim), draw=draw)
    if clips < LEAST_CLIPS:
        return Infinity(None, reason=_too_few_clips(where, clips), draw=draw)
    sizes = subset_sizes(count, dim)
    values = []
    for done, size in enumerate(sizes, 1):
        # In the order of the set, which is kinder to memory; the sum is of the same rows.
        chosen = np.sort(_shuffled(random, lengths)[:size])
        values.append(frechet_distance(against, Moments.of(checked[chosen], where)))
        if progress is not None:
            progress(done, len(sizes))
    intercept, r2 = line_at_infinity(np.array(sizes, np.float64), np.array(values))
    return Infinity(intercept, r2, sizes, tuple(values), draw=draw)


def least_rows(dim: int) -> int:
    """The fewest rows that can be extrapolated: max(40, 3/2 dim), rounded up."""
    return max(LEAST_ROWS, (3 * dim + 1) // 2)


def subset_sizes(count: int, dim: int) -> tuple[int, ...]:
    """Ascending sizes, the last being ``count``: see the module's text for the formula."""
    smallest = max(count / 2, dim + 1)
    return tuple(int(size) for size in np.unique(np.rint(np.linspace(smallest, count, POINTS))))


def _lengths(rows_per_file: Sequence[int] | None, count: int, where: Path) -> NDArray[np.intp]:
    lengths = np.ones(count, np.intp) if rows_per_file is None else np.asarray(rows_per_file)
    if lengths.sum() != count or (lengths < 0).any():
        raise StatisticsError(where, f"{count} rows are not those of {lengths.sum()} in files")
    return lengths


def _shuffled(random: np.random.RandomState, lengths: NDArray[np.intp]) -> NDArray[np.intp]:
    """Indices of all rows, file by file, the files in random order."""
    order = random.permutation(len(lengths))
    moved = np.cumsum(lengths[order]) - lengths[order]
    starts = (np.cumsum(lengths) - lengths)[order]
    indices: NDArray[np.intp] = np.arange(lengths.sum()) + np.repeat(starts - moved, lengths[order])
    return indices


def line_at_infinity(sizes: Array, values: Array) -> tuple[float, float | None]:
    """Intercept and r2 of the least-squares line through ``values`` against 1 / ``sizes``."""
    x = 1.0 / sizes
    dx, dy = x - x.mean(), values - values.mean()
    slope = (dx @ dy) / (dx @ dx)
    spread = float(dy @ dy)
    # Values that differ by rounding alone are equal.
    equal = spread <= 1e-24 * float(values @ values)
    r2 = None if equal else 1.0 - float(np.square(dy - slope * dx).sum()) / spread
    return float(values.mean() - slope * x.mean()), r2


def _too_few(where: Path, count: int, dim: int) -> str:
    return (
        f"{where}: FAD-infinity needs at least {least_rows(dim)} embeddings at {dim} dimensions,"
        f" there are {count}"
    )


def _too_few_clips(where: Path, clips: int) -> str:
    return (
        f"{where}: FAD-infinity draws whole clips and needs at least {LEAST_CLIPS} of them, there"
        f" are {clips}: add clips (--inf-draw embeddings draws single embeddings, and leaves most"
        " of the bias)"
    )
