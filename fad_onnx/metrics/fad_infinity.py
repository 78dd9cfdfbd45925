"""FAD-infinity: the distance extrapolated to an infinite number of evaluation embeddings.

The Frechet distance of n embeddings exceeds the distance of their source by about a constant
divided by n. It is therefore computed for subsets of several sizes, and a straight line through the
values against 1/n is extrapolated to 1/n = 0 (Gui et al. 2024, "Adapting Frechet Audio Distance for
Generative Music Evaluation", arXiv:2311.01616; after Chong and Forsyth 2020, arXiv:1911.07023).
Only the evaluation is extrapolated: use a large reference.

There are 25 sizes, evenly spaced from max(N / 2, dim + 1) to N and rounded. Below dim + 1
embeddings the covariance is singular and the curve is not a straight line in 1/n; below N / 2 the
curvature costs more than the wider range gains (simulated: benchmarks/README-statistics.md).

Each subset is drawn independently and without replacement: whole clips are added until there are
enough embeddings. The paper draws single embeddings instead. If embeddings within a clip are
correlated, that leaves most of the bias, because every subset still contains every clip. For clips
of a single embedding, both ways are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import Path, StatisticsError
from .clips import chosen_blocks
from .frechet import Gaussian, frechet_distance
from .moments import Moments
from .validation import Array, check_embeddings

POINTS = 25
LEAST_EMBEDDINGS = 40
# Half of the clips must still represent their source.
LEAST_CLIPS = 10


@dataclass(frozen=True)
class Infinity:
    """The extrapolated distance and its fit, or the reason why there is none.

    Parameters
    ----------
    value : float or None
        The intercept, in squared units of the embedding; it may be slightly negative for similar
        datasets.
    r2 : float or None
        The coefficient of determination of the fit; None if all values are equal.
    sizes : tuple of int
        The numbers of embeddings of the subsets.
    values : tuple of float
        The distances of the subsets.
    reason : str or None
        Why there is no value.
    draw : {"clips", "embeddings"}
        What was drawn.

    Examples
    --------
    >>> noise = np.random.RandomState(0).standard_normal((400, 4))
    >>> found = fad_infinity(Moments.of(noise), noise[::2] + 1)
    >>> abs(found.value - 4) < 0.5, len(found.sizes)
    (True, 25)
    """

    value: float | None
    r2: float | None = None
    sizes: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    reason: str | None = None
    draw: str = "embeddings"

    @property
    def noise(self) -> float:
        """The variance of `value` that only the random choice of subsets causes."""
        return intercept_variance(np.array(self.sizes, np.float64), np.array(self.values))


def fad_infinity(
    reference: Moments | Gaussian,
    embeddings: ArrayLike,
    seed: int = 0,
    embeddings_per_clip: Sequence[int] | None = None,
    progress: Callable[[int, int], object] | None = None,
    where: Path = "evaluation",
) -> Infinity:
    """FAD-infinity of evaluation embeddings to a reference.

    The cost is 25 distances and covariances, about a minute for 2048 dimensions.

    Parameters
    ----------
    reference : Moments or Gaussian
    embeddings : array (n, dim)
        The evaluation.
    seed : int
        The same seed gives the same subsets with every version of NumPy.
    embeddings_per_clip : sequence of int, optional
        The number of embeddings of each clip, in order. Subsets then consist of whole clips; the
        last one may be cut.
    progress : callable, optional
        Called with (sizes done, total sizes).
    where : str
        What error messages call the evaluation.

    Returns
    -------
    Infinity
        Without a value for fewer than `least_embeddings(dim)` embeddings or ten clips.

    Raises
    ------
    StatisticsError
        For an invalid array, another dimension, or counts that do not add up.

    References
    ----------
    Gui et al. 2024, arXiv:2311.01616; Chong and Forsyth 2020, arXiv:1911.07023.
    """
    against, checked = Gaussian.of(reference, "reference"), check_embeddings(embeddings, where)
    count, dim = checked.shape
    draw = "embeddings" if embeddings_per_clip is None else "clips"
    random, lengths = np.random.RandomState(seed), _lengths(embeddings_per_clip, count, where)
    clips = int(np.count_nonzero(lengths))
    if count < least_embeddings(dim):
        return Infinity(None, reason=_too_few(where, count, dim), draw=draw)
    if clips < LEAST_CLIPS:
        return Infinity(None, reason=_too_few_clips(where, clips), draw=draw)
    sizes = subset_sizes(count, dim)
    values = []
    for done, size in enumerate(sizes, 1):
        chosen = chosen_blocks(checked, _drawn(random, lengths, size))
        values.append(frechet_distance(against, Moments.of_blocks(chosen, dim)))
        if progress is not None:
            progress(done, len(sizes))
    intercept, r2 = line_at_infinity(np.array(sizes, np.float64), np.array(values))
    return Infinity(intercept, r2, sizes, tuple(values), draw=draw)


def least_embeddings(dim: int) -> int:
    """The smallest number of embeddings to extrapolate from: max(40, 3/2 dim), rounded up."""
    return max(LEAST_EMBEDDINGS, (3 * dim + 1) // 2)


def subset_sizes(count: int, dim: int) -> tuple[int, ...]:
    """Ascending sizes up to ``count``; see the docstring of the module for the formula."""
    smallest = max(count / 2, dim + 1)
    return tuple(int(size) for size in np.unique(np.rint(np.linspace(smallest, count, POINTS))))


def _lengths(
    embeddings_per_clip: Sequence[int] | None, count: int, where: Path
) -> NDArray[np.intp]:
    lengths = (
        np.ones(count, np.intp) if embeddings_per_clip is None else np.asarray(embeddings_per_clip)
    )
    if lengths.sum() != count or (lengths < 0).any():
        raise StatisticsError(
            where, f"{count} embeddings, but the clips have {lengths.sum()} in total"
        )
    return lengths


def _drawn(
    random: np.random.RandomState, lengths: NDArray[np.intp], size: int
) -> NDArray[np.bool_]:
    """The embeddings of clips in random order, up to a number; the last clip may be cut."""
    order = random.permutation(len(lengths))
    after = np.cumsum(lengths[order])
    whole = int(np.searchsorted(after, size, side="right"))
    ends = np.cumsum(lengths)
    taken = np.zeros(len(lengths), bool)
    taken[order[:whole]] = True
    drawn: NDArray[np.bool_] = np.repeat(taken, lengths)
    if whole < len(order):
        last = order[whole]
        start = ends[last] - lengths[last]
        drawn[start : start + size - (after[whole] - lengths[last])] = True
    return drawn


def line_at_infinity(sizes: Array, values: Array) -> tuple[float, float | None]:
    """Intercept and r2 of the least-squares line of ``values`` against 1 / ``sizes``."""
    x = 1.0 / sizes
    dx, dy = x - x.mean(), values - values.mean()
    slope = (dx @ dy) / (dx @ dx)
    spread = float(dy @ dy)
    # Values that differ only by rounding count as equal.
    equal = spread <= 1e-24 * float(values @ values)
    r2 = None if equal else 1.0 - float(np.square(dy - slope * dx).sum()) / spread
    return float(values.mean() - slope * x.mean()), r2


def intercept_variance(sizes: Array, values: Array) -> float:
    """The variance of the least-squares line at infinity, from its residuals; three or more points.

    Examples
    --------
    >>> sizes = np.array([10.0, 20.0, 40.0])
    >>> intercept_variance(sizes, 1.0 + 1.0 / sizes) < 1e-20
    True
    """
    x = 1.0 / sizes
    dx, dy = x - x.mean(), values - values.mean()
    spread = float(dx @ dx)
    left = float(np.square(dy - (dx @ dy) / spread * dx).sum()) / max(len(x) - 2, 1)
    return left * (1.0 / len(x) + float(x.mean()) ** 2 / spread)


def _too_few(where: Path, count: int, dim: int) -> str:
    return (
        f"{where}: FAD-infinity needs at least {least_embeddings(dim)} embeddings at {dim}"
        f" dimensions, there are {count}"
    )


def _too_few_clips(where: Path, clips: int) -> str:
    return (
        f"{where}: FAD-infinity draws whole clips and needs at least {LEAST_CLIPS} of them, there"
        f" are {clips}: add clips (--inf-draw embeddings draws single embeddings, and leaves most"
        " of the bias)"
    )
