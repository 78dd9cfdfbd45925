"""A confidence interval for the Frechet distance, over clips.

The interval is for the distance to expect of datasets of these sizes from these sources, not for
the extrapolation to infinite datasets (see fad_infinity). Embeddings of a clip are correlated, so
whole clips are resampled. A reference given as statistics is fixed; one given as embeddings is
resampled too. The variances of both sides add up, but clips of the same name on both sides (a
codec's output and its input) are resampled together: their influences are summed before squaring.

The method is the infinitesimal jackknife (Jaeckel 1972; Efron 1982, "The Jackknife, the
Bootstrap and Other Resampling Plans", chapter 6): the derivative of the distance with respect
to the weight of each file, in closed form. With A'A = S1, B'B = S2 and A B' = U s V', the
distance changes, per unit of weight of an embedding x of the first dataset, by

    2 (x - m1).(m1 - m2) + |x - m1|^2 - |P (x - m1)|^2 - its mean,   P = s^(-1/2) V' B,

and the variance is the sum of squares of the clips' sums over n^2, times K / (K - 1) for K clips.
The interval is the distance -+ Student's t times the standard error, cut off at zero.

The method was chosen by simulation (benchmarks/README-statistics.md). For datasets from different
sources, 95 % intervals contained the expected distance in 93 to 99 % of the cases and 90 %
intervals in 84 to 96 %, for 8 to 128 dimensions and 30 to 300 clips, even with fewer embeddings
than dimensions. For datasets from the same source the first-order term vanishes, and the interval
is too wide: 97 to 100 %. Leaving out one clip at a time has the same coverage, but needs a
decomposition per clip. Percentile bootstraps are biased upward, and have no coverage with about as
many embeddings as dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Path, StatisticsError
from . import intervals
from .clips import BLOCK
from .frechet import Gaussian
from .intervals import Interval, Linear
from .moments import Moments
from .units import chosen_names
from .validation import Array

Embeddings = NDArray[Any]
Progress = Callable[[int], object]

# Singular values below this, relative to the largest, are rounding noise. Each direction adds its
# singular value to the sum of |P x|^2, so little is left out.
NOISE = 1e-13


@dataclass(frozen=True)
class Side:
    """A dataset: an array of embeddings (n, dim) for each clip, and the moments of all embeddings.

    `gaussian` is the Gaussian of the moments, if it has been computed already.
    """

    files: Sequence[Embeddings]
    moments: Moments
    gaussian: Gaussian | None = None

    @classmethod
    def of(cls, files: Sequence[Embeddings], where: Path = "embeddings") -> Side:
        """A side made from embeddings; StatisticsError as in `Moments.of`."""
        return cls(files, Moments.total(Moments.of(one, where) for one in files))


def interval(
    evaluation: Side,
    reference: Side | Moments | Gaussian,
    level: float = 0.95,
    progress: Progress | None = None,
    pairs: Sequence[tuple[int, int]] = (),
) -> Interval:
    """A confidence interval for the distance of `evaluation` to `reference`.

    `progress` is called with the number of clips just done. `pairs`, from `pairs_by_name`, holds
    indices of an evaluation clip and of the reference clip that it was made from. With fewer than
    ten clips on a resampled side, nothing is computed, and `reason` gives the numbers. Raises
    OptionError for a level that is not between 0 and 1, and the errors of the distance.
    """
    partner = {theirs: ours for ours, theirs in pairs}
    names = [[f"e{i}" for i in range(len(evaluation.files))]]
    if isinstance(reference, Side):
        clips = range(len(reference.files))
        names.append([f"e{partner[i]}" if i in partner else f"r{i}" for i in clips])
    estimate, doubt = doubts(evaluation, reference, names, progress)
    return intervals.interval(estimate, doubt, level)


def doubts(
    evaluation: Side,
    reference: Side | Moments | Gaussian,
    names: Sequence[Sequence[str]],
    progress: Progress | None = None,
) -> tuple[float, Linear]:
    """The distance, and how it depends on each clip.

    The cost is one singular value decomposition with vectors, and dim^2 operations per embedding:
    for 2048 dimensions about ten seconds and 400 MB of memory, plus a second per 50,000 embeddings.
    `names` holds the names of the clips of each side that has embeddings.
    """
    sides = [evaluation, *([reference] if isinstance(reference, Side) else [])]
    a, b = _gaussian(evaluation, "evaluation"), _gaussian(reference, "reference")
    estimate, maps = distance_and_maps(a, b)
    gaps = (a.mean - b.mean, b.mean - a.mean)
    found = [
        file_influences(side, gap, transport, progress) / side.moments.count
        for side, gap, transport in zip(sides, gaps, maps, strict=False)  # one side may be fixed
    ]
    return estimate, Linear(
        *held(names, found, [side.files for side in sides]), bounds=(0.0, np.inf)
    )


def _gaussian(side: Side | Moments | Gaussian, where: Path) -> Gaussian:
    if isinstance(side, Side):
        return side.gaussian or Gaussian.of(side.moments, where)
    return Gaussian.of(side, where)


def held(
    names: Sequence[Sequence[str]], parts: Sequence[Array], clips: Sequence[Sequence[Embeddings]]
) -> tuple[tuple[Sequence[str], ...], tuple[Array, ...]]:
    """The names and parts of those clips that have embeddings."""
    kept = [[i for i, one in enumerate(own) if len(one)] for own in clips]
    chosen = (chosen_names(own, some) for own, some in zip(names, kept, strict=True))
    return tuple(chosen), tuple(own[some] for own, some in zip(parts, kept, strict=True))


def distance_and_maps(a: Gaussian, b: Gaussian) -> tuple[float, tuple[Array, Array]]:
    """The distance, and P (k, dim) for embeddings of ``a`` and for embeddings of ``b``.

    P'P is the identity minus the derivative of the distance with respect to that side's covariance:
    the optimal transport map between the two Gaussians.
    """
    if a.dim != b.dim:
        raise StatisticsError("distance", f"of embeddings of {a.dim} and {b.dim} dimensions")
    left, values, right = np.linalg.svd(a.factor @ b.factor.T, full_matrices=False)
    keep = values > NOISE * values.max(initial=0.0)
    root = np.sqrt(values[keep])[:, None]
    shift = float(np.square(a.mean - b.mean).sum())
    estimate = max(0.0, shift + (a.trace + b.trace - 2.0 * float(values.sum())))
    return estimate, (right[keep] / root @ b.factor, left.T[keep] / root @ a.factor)


def file_influences(
    side: Side, mean_gap: Array, transport: Array, progress: Progress | None = None
) -> Array:
    """The contribution of each clip to the distance, to first order, times n; the sum is zero."""
    sums, sizes = [], []
    for embeddings, starts in _blocks(side.files):
        centred = embeddings - side.moments.mean
        value = centred @ (2.0 * mean_gap)
        value += np.einsum("ij,ij->i", centred, centred)
        mapped = centred @ transport.T
        value -= np.einsum("ij,ij->i", mapped, mapped)
        sums.append(np.add.reduceat(value, starts))
        sizes.append(np.diff(starts, append=len(embeddings)))
        if progress is not None:
            progress(len(starts))
    total, count = np.concatenate(sums), np.concatenate(sizes)
    found = np.zeros(len(side.files))
    found[[len(one) > 0 for one in side.files]] = total - count * (total.sum() / count.sum())
    return found


def _blocks(files: Iterable[Embeddings]) -> Iterator[tuple[Array, NDArray[np.intp]]]:
    """Embeddings of whole clips, at least BLOCK at a time, and where each clip starts."""
    held: list[Embeddings] = []
    for one in files:
        if len(one):
            held.append(one)
        if sum(map(len, held)) >= BLOCK:
            yield _joined(held)
            held = []
    if held:
        yield _joined(held)


def _joined(held: list[Embeddings]) -> tuple[Array, NDArray[np.intp]]:
    starts = np.cumsum([0, *map(len, held[:-1])])
    return np.concatenate(held).astype(np.float64), starts
