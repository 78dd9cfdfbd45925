"""A confidence interval for the Frechet distance, over files.

For what the data can tell: the distance expected of sets of these sizes from these sources
(not its limit for infinite sets, for which see fad_onnx.infinity). Rows of a file are alike, so
files are what is resampled. A reference given as statistics is taken as fixed; one given as rows
is resampled too. Both variances add, but clips of the same name on both sides (a codec's output
and its input) are resampled together: their influences are summed before they are squared.

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

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ..errors import OptionError, Path, StatisticsError
from .frechet import Gaussian
from .moments import Moments
from .validation import BLOCK_ROWS, Array

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
    `pairs` of them were resampled together; all others are taken as independent.
    """

    level: float
    estimate: float
    low: float | None = None
    high: float | None = None
    standard_error: float | None = None
    degrees_of_freedom: float | None = None
    files: tuple[int, int | None] = (0, None)
    pairs: int = 0
    reason: str | None = None

    @property
    def sampling(self) -> str:
        """How the two sets were taken: "24 pairs", "independent" or "fixed reference"."""
        if self.files[1] is None:
            return "fixed reference"
        return f"{self.pairs} pairs" if self.pairs else "independent"


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
    pairs: Sequence[tuple[int, int]] = (),
) -> Interval:
    """Confidence interval for the distance of `evaluation` to `reference`.

    `progress` is called with the number of files just done. `pairs`, as `pairs_by_name` finds
    them, are indices of an evaluation file and of the reference file that it was made from. With
    fewer than ten files on a resampled side nothing is computed, and `reason` gives the numbers.
    Costs one singular value decomposition with vectors and dim^2 operations an embedding: at dim
    2048 about ten seconds and 400 MB beside the embeddings, and a second for every 50,000. Raises
    OptionError for a level that is not between 0 and 1, and the errors of the distance.
    """
    if not 0.0 < level < 1.0:
        raise OptionError("--ci", f"the level must be between 0 and 1, is {level}")
    sides = [evaluation, *([reference] if isinstance(reference, Side) else [])]
    counts = [sum(len(rows) > 0 for rows in side.files) for side in sides]
    files = (counts[0], counts[1] if len(counts) == 2 else None)
    a = Gaussian.of(evaluation.moments, "evaluation set")
    b = Gaussian.of(reference.moments if isinstance(reference, Side) else reference, "reference")
    pairs = [both for both in pairs if all(map(_held, sides, both))]
    estimate, maps = distance_and_maps(a, b)
    if min(counts) < LEAST_FILES:
        reason = f"a confidence interval needs at least {LEAST_FILES} files a side, there are "
        named = zip(("of the evaluation", "of the reference"), counts, strict=False)
        reason += " and ".join(f"{count} {side}" for side, count in named)
        return Interval(level, estimate, files=files, reason=reason)
    weighted = [
        file_influences(side, mean_gap, transport, progress) / side.moments.count
        for side, mean_gap, transport in zip(
            sides,
            (a.mean - b.mean, b.mean - a.mean),
            maps,
            strict=False,  # one side may be fixed
        )
    ]
    found = _around(estimate, _parts(weighted, counts, pairs), level)
    return replace(found, files=files, pairs=len(pairs))


def _held(side: Side, index: int) -> bool:
    return len(side.files[index]) > 0


def pairs_by_name(
    evaluation: Sequence[str], reference: Sequence[str]
) -> tuple[tuple[int, int], ...]:
    """Indices of the clips that have the same relative path, suffix aside.

    A name that occurs twice on a side has no pair. Clips that only happen to share a name do no
    harm: their covariance is estimated as what it is, about zero.
    """
    ours, theirs = _by_name(evaluation), _by_name(reference)
    return tuple((ours[name], theirs[name]) for name in ours if name in theirs)


def _by_name(names: Sequence[str]) -> dict[str, int]:
    stems = [os.path.splitext(name)[0] for name in names]
    counts = Counter(stems)
    return {stem: i for i, stem in enumerate(stems) if counts[stem] == 1}


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
    """What each file adds to the distance, to first order, times n; sums to zero."""
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
    found = np.zeros(len(side.files))
    found[[len(rows) > 0 for rows in side.files]] = total - count * (total.sum() / count.sum())
    return found


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


@dataclass(frozen=True)
class _Part:
    """The variance of the distance that these many independent files or pairs bring."""

    variance: float
    units: int


def _parts(
    weighted: Sequence[Array], counts: Sequence[int], pairs: Sequence[tuple[int, int]]
) -> list[_Part]:
    """Pairs, and the files of each side that have none."""
    alone = [influences.copy() for influences in weighted]
    found = []
    if pairs:
        indices = np.array(pairs).T
        together = sum(own[index] for own, index in zip(weighted, indices, strict=True))
        found.append(_part(np.asarray(together), min(counts), len(pairs)))
        for own, index in zip(alone, indices, strict=True):
            own[index] = 0.0
    rest = [count - len(pairs) for count in counts]
    every = zip(alone, counts, rest, strict=True)
    return found + [_part(own, count, units) for own, count, units in every if units]


def _part(influences: Array, count: int, units: int) -> _Part:
    return _Part(float(np.square(influences).sum()) * count / (count - 1), units)


def _around(estimate: float, parts: Sequence[_Part], level: float) -> Interval:
    variance = sum(part.variance for part in parts)
    # Welch and Satterthwaite's degrees of freedom of a sum of variances.
    weight = sum(part.variance**2 / max(part.units - 1, 1) for part in parts)
    fewest = max(min(part.units for part in parts) - 1, 1)
    degrees = variance * variance / weight if weight > 0.0 else float(fewest)
    error = float(np.sqrt(variance))
    reach = float(stdtrit(degrees, 0.5 + level / 2)) * error
    low, high = max(0.0, estimate - reach), estimate + reach
    return Interval(level, estimate, low, high, error, degrees)
