"""A confidence interval for the Frechet distance, over files.

For what the data can tell: the distance expected of sets of these sizes from these sources
(not its limit for infinite sets, for which see fad_onnx.infinity). Rows of a file are alike, so
files are what is resampled. A reference given as statistics is taken as fixed; one given as rows
is resampled too, and both variances add.

The method is the infinitesimal jackknife (Jaeckel 1972; Efron 1982, "The Jackknife, the
Bootstrap and Other Resampling Plans", chapter 6): the derivative of the distance with respect
to the weight of each file, in closed form. With A'A = S1, B'B = S2 and A B' = U s V', the
distance moves, per unit of weight of a row x of the first set, by

    2 (x - m1).(m1 - m2) + |x - m1|^2 - |P (x - m1)|^2 - its mean,   P = s^(-1/2) V' B,

and the variance is the sum of squares of the files' sums over n^2, times K / (K - 1) for K files.
The interval is the distance -+ Student's t times its root, cut off at zero.

Chosen by simulation (benchmarks/README-statistics.md): 95 % intervals held the expected distance
in 93 to 99 % of pairs of sets from different sources, 90 % intervals in 84 to 96 %, for 8 to 128
dimensions and 30 to 300 files, also with fewer rows than dimensions. For sets from the same source
the first-order term vanishes and the interval is too wide: 97 to 100 %. Leaving out one file at a
time covers alike, at the cost of a decomposition a file; percentile bootstraps are biased upward
and cover nothing when rows are about as many as dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from .checks import BLOCK_ROWS, Array
from .errors import OptionError, Path, StatisticsError
from .frechet import Gaussian
from .moments import Moments

Rows = NDArray[Any]
Progress = Callable[[int], object]

LEAST_FILES = 10
# Relative to the largest: directions whose singular values are rounding noise. Each adds its own
# singular value to the sum of |P x|^2, so that what is left out is as small.
NOISE = 1e-13


@dataclass(frozen=True)
class Interval:
    """[low, high] around `estimate` at `level`, or the reason why there is none.

    `files` are those resampled: of the evaluation set, and of the reference (None if fixed).
    """

    level: float
    estimate: float
    low: float | None = None
    high: float | None = None
    standard_error: float | None = None
    degrees_of_freedom: float | None = None
    files: tuple[int, int | None] = (0, None)
    reason: str | None = None


@dataclass(frozen=True)
class Side:
    """A set with its rows: one array (n, dim) a file, and the moments of them all."""

    files: Sequence[Rows]
    moments: Moments

    @classmethod
    def of(cls, files: Sequence[Rows], where: Path = "embeddings") -> Side:
        """From rows alone; StatisticsError as `Moments.of` raises it."""
        return cls(files, Moments.total(Moments.of(rows, where) for rows in files))


def interval(
    evaluation: Side,
    reference: Side | Moments | Gaussian,
    level: float = 0.95,
    progress: Progress | None = None,
) -> Interval:
    """Confidence interval for the distance of `evaluation` to `reference`.

    `progress` is called with the number of files just done. With fewer than ten files on a
    resampled side nothing is computed, and `reason` gives the numbers. Costs one singular
    value decomposition with vectors and dim^2 operations a row: at dim 2048 about ten seconds
    and 400 MB beside the rows, and a second for every 50,000 rows. Raises OptionError for a
    level that is not between 0 and 1, and TooFewRowsError and StatisticsError as the distance
    does.
    """
    if not 0.0 < level < 1.0:
        raise OptionError("--ci", f"the level must be between 0 and 1, is {level}")
    sides = [evaluation, *([reference] if isinstance(reference, Side) else [])]
    counts = [sum(len(rows) > 0 for rows in side.files) for side in sides]
    files = (counts[0], counts[1] if len(counts) == 2 else None)
    a = Gaussian.of(evaluation.moments, "evaluation set")
    b = Gaussian.of(reference.moments if isinstance(reference, Side) else reference, "reference")
    estimate, maps = distance_and_maps(a, b)
    if min(counts) < LEAST_FILES:
        reason = f"a confidence interval needs at least {LEAST_FILES} files a side, there are "
        named = zip(("of the evaluation", "of the reference"), counts, strict=False)
        reason += " and ".join(f"{count} {side}" for side, count in named)
        return Interval(level, estimate, files=files, reason=reason)
    variances = [
        _variance(side, mean_gap, transport, progress)
        for side, mean_gap, transport in zip(
            sides,
            (a.mean - b.mean, b.mean - a.mean),
            maps,
            strict=False,  # one side may be fixed
        )
    ]
    return _around(estimate, variances, counts, level, files)


def distance_and_maps(a: Gaussian, b: Gaussian) -> tuple[float, tuple[Array, Array]]:
    """The distance, and P (k, dim) for rows of ``a`` and for rows of ``b``.

    P'P is minus the derivative of the distance with respect to that side's covariance, plus
    one: the optimal transport map between the two Gaussians.
    """
    if a.dim != b.dim:
        raise StatisticsError("distance", f"of sets of {a.dim} and {b.dim} dimensions")
    left, values, right = np.linalg.svd(a.factor @ b.factor.T, full_matrices=False)
    keep = values > NOISE * values.max(initial=0.0)
    root = np.sqrt(values[keep])[:, None]
    shift = float(np.square(a.mean - b.mean).sum())
    estimate = max(0.0, shift + (a.trace + b.trace - 2.0 * float(values.sum())))
    return estimate, (right[keep] / root @ b.factor, left.T[keep] / root @ a.factor)


def file_influences(
    side: Side, mean_gap: Array, transport: Array, progress: Progress | None = None
) -> Array:
    """What each file that has rows adds to the distance, to first order, times n; sums to zero."""
    sums, sizes = [], []
    for rows, starts in _blocks(side.files):
        centred = rows - side.moments.mean
        value = centred @ (2.0 * mean_gap)
        value += np.einsum("ij,ij->i", centred, centred)
        mapped = centred @ transport.T
        value -= np.einsum("ij,ij->i", mapped, mapped)
        sums.append(np.add.reduceat(value, starts))
        sizes.append(np.diff(starts, append=len(rows)))
        if progress is not None:
            progress(len(starts))
    total, count = np.concatenate(sums), np.concatenate(sizes)
    return np.asarray(total - count * (total.sum() / count.sum()), np.float64)


def _blocks(files: Iterable[Rows]) -> Iterator[tuple[Array, NDArray[np.intp]]]:
    """Whole files together until there are BLOCK_ROWS rows, and where each file starts."""
    held: list[Rows] = []
    for rows in files:
        if len(rows):
            held.append(rows)
        if sum(map(len, held)) >= BLOCK_ROWS:
            yield _joined(held)
            held = []
    if held:
        yield _joined(held)


def _joined(held: list[Rows]) -> tuple[Array, NDArray[np.intp]]:
    starts = np.cumsum([0, *map(len, held[:-1])])
    return np.concatenate(held).astype(np.float64), starts


def _variance(side: Side, mean_gap: Array, transport: Array, progress: Progress | None) -> float:
    influences = file_influences(side, mean_gap, transport, progress)
    files, rows = len(influences), side.moments.count
    return float(np.square(influences / rows).sum()) * files / (files - 1)


def _around(
    estimate: float,
    variances: Sequence[float],
    counts: Sequence[int],
    level: float,
    files: tuple[int, int | None],
) -> Interval:
    variance = sum(variances)
    # Welch and Satterthwaite's degrees of freedom of a sum of variances.
    weight = sum(v * v / (k - 1) for v, k in zip(variances, counts, strict=True))
    degrees = variance * variance / weight if weight > 0.0 else float(min(counts) - 1)
    error = float(np.sqrt(variance))
    reach = float(stdtrit(degrees, 0.5 + level / 2)) * error
    low, high = max(0.0, estimate - reach), estimate + reach
    return Interval(level, estimate, low, high, error, degrees, files)
