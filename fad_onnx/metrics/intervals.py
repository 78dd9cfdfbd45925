"""Intervals for any metric over clips, and for the difference of two datasets.

A metric describes how its value depends on the clips in one of two forms:

* `Linear`: what each clip adds to the value, to first order. The variance is their sum of squares
  (the infinitesimal jackknife, or the jackknife that leaves out one clip; Efron 1982, "The
  Jackknife, the Bootstrap and Other Resampling Plans", chapters 3 and 6).
* `Halved`: a function that computes the value of any part of the clips. Half of the clips are drawn
  repeatedly, without replacement; the values of halves have about the same variance as the value of
  all clips (McCarthy 1969, "Pseudo-replication: half samples", Review of the International
  Statistical Institute 37). A bootstrap, which draws with replacement, would create nearest
  neighbours at distance zero.

Clips whose names are equal, apart from the suffix, form one unit wherever they occur: in the
evaluation and in the reference, or in two evaluations that are compared. Their contributions are
added before squaring, and they are drawn together. Units that occur in the same datasets form a
stratum.

The interval is the value -+ Student's t times the standard error, on a scale that the metric
chooses: the plain scale, or one on which the variance depends less on the value, which is the
arcsine of the root for shares and the root for counts (Bartlett 1947, "The Use of Transformations",
Biometrics 3). Its coverage was simulated for each metric: benchmarks/README-statistics.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import stdtrit

from ..errors import OptionError, StatisticsError
from .units import Indices, Names, half, strata
from .units import pairs_by_name as pairs_by_name
from .validation import Array

LEAST_CLIPS = 10
HALVES = 50
Bounds = tuple[float, float]
UNBOUNDED = (-np.inf, np.inf)


@dataclass(frozen=True)
class Interval:
    """A confidence interval, or the reason why there is none.

    Parameters
    ----------
    level : float
        The confidence level, between 0 and 1.
    estimate : float
        The value.
    low, high : float or None
        The ends of the interval.
    standard_error, degrees_of_freedom : float or None
        Those of the estimate, on the scale on which the interval is symmetric.
    files : (int, int or None)
        Resampled clips of the evaluation and of the reference; None if the reference is fixed.
    pairs : int
        Clips that were resampled together with a clip of the other dataset; all others are taken
        to be independent.
    reason : str or None
        Why there is no interval.

    Examples
    --------
    >>> Interval(0.95, 1.0, 0.8, 1.2, files=(24, 24), pairs=24).sampling
    '24 pairs'
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
        """How the datasets were resampled: "24 pairs", "independent" or "fixed reference"."""
        if self.files[1] is None:
            return "fixed reference"
        return f"{self.pairs} pairs" if self.pairs else "independent"


@dataclass(frozen=True)
class Linear:
    """The contribution of each clip to a value, to first order.

    Parameters
    ----------
    names : tuple of sequences of str
        The clips of each dataset that is resampled: of the evaluation, then of the reference.
    parts : tuple of arrays
        What each clip adds, in the unit of the value; the parts of a dataset add up to zero.
    noise : float
        Variance of the value that is not due to clips.
    least : int
        Fewer clips than this give no interval.
    bounds : tuple of float
        The lowest and highest possible value.
    """

    names: tuple[Names, ...]
    parts: tuple[Array, ...]
    noise: float = 0.0
    least: int = LEAST_CLIPS
    bounds: Bounds = UNBOUNDED

    def minus(self, other: Linear) -> Linear:
        """The difference of two; a reference that both use counts once."""
        mine, theirs = self.parts[0], [-part for part in other.parts]
        if len(self.parts) > 1:
            theirs[-1] = theirs[-1] + self.parts[-1]
        least = max(self.least, other.least)
        names = (self.names[0], *other.names)
        return Linear(names, (mine, *theirs), self.noise + other.noise, least)

    def variance(self) -> list[Part]:
        """The parts of the variance."""
        found = [Part(self.noise, len(self.names[0]))] if self.noise else []
        for sides, units in strata(self.names).items():
            together = sum(self.parts[side][own] for side, own in zip(sides, units, strict=True))
            count = min(len(self.names[side]) for side in sides)
            squares = float(np.square(together).sum())
            found.append(Part(squares * count / max(count - 1, 1), len(units[0])))
        return found


def of_mean(names: Names, numbers: Sequence[float], least: int = LEAST_CLIPS) -> Linear:
    """How a mean over clips depends on each of them."""
    found = np.asarray(numbers, np.float64)
    return Linear((names,), ((found - found.mean()) / len(found),), least=least)


@dataclass(frozen=True, eq=False)
class Draws:
    """Compute several numbers from a part of the clips, given by their indices in each dataset."""

    names: tuple[Names, ...]
    again: Callable[[Sequence[Indices]], Array]
    seed: int = 0

    @cached_property
    def values(self) -> Array:
        """The numbers of each half, one row for each draw."""
        random, groups = np.random.RandomState(self.seed), strata(self.names)
        drawn = (half(random, groups, len(self.names)) for _ in range(HALVES))
        return np.array([self.again(half) for half in drawn])


@dataclass(frozen=True)
class Scale:
    """The scale on which an interval is symmetric: a rising function and its inverse."""

    to: Callable[[Array], Array]
    back: Callable[[Array], Array]


PLAIN = Scale(np.asarray, np.asarray)
SHARES = Scale(lambda share: np.arcsin(np.sqrt(share)), lambda angle: np.square(np.sin(angle)))
COUNTS = Scale(np.sqrt, np.square)


@dataclass(frozen=True)
class Halved:
    """The values of halves of the clips: one column of what `Draws` computes.

    The difference of two has the plain scale.
    """

    draws: Draws
    column: int = 0
    least: int = LEAST_CLIPS
    bounds: Bounds = UNBOUNDED
    scale: Scale = PLAIN

    @property
    def names(self) -> tuple[Names, ...]:
        """The clips of each dataset."""
        return self.draws.names

    def minus(self, other: Halved) -> Halved:
        """The difference of two; a reference that both use counts once."""
        again = _Difference(self.draws.again, other.draws.again)
        draws = Draws((self.names[0], *other.names), again, self.draws.seed)
        return Halved(draws, self.column, max(self.least, other.least))

    def variance(self) -> list[Part]:
        """The parts of the variance."""
        values = self.scale.to(self.draws.values[:, self.column])
        return [Part(float(np.var(values, ddof=1)), HALVES)]


Doubt = Linear | Halved


@dataclass(frozen=True)
class _Difference:
    first: Callable[[Sequence[Indices]], Array]
    second: Callable[[Sequence[Indices]], Array]

    def __call__(self, chosen: Sequence[Indices]) -> Array:
        mine, *theirs = chosen
        return self.first([mine, *theirs[1:]]) - self.second(theirs)


@dataclass(frozen=True)
class Part:
    """The variance that a number of independent clips or pairs contribute."""

    variance: float
    units: int


def interval(
    estimate: float,
    doubt: Doubt,
    level: float = 0.95,
    sides: Sequence[str] = ("the evaluation", "the reference"),
) -> Interval:
    """The interval around a value.

    Parameters
    ----------
    estimate : float
        The value.
    doubt : Linear or Halved
        How it depends on its clips.
    level : float
        The share of such intervals that contain the expected value, between 0 and 1.
    sides : sequence of str
        What a reason calls the datasets.

    Returns
    -------
    Interval
        With a `reason` instead of `low` and `high` if there are too few clips.

    Raises
    ------
    OptionError
        For a level that is not between 0 and 1.

    Examples
    --------
    >>> values = np.arange(12.0)
    >>> doubt = Linear((list("abcdefghijkl"),), ((values - values.mean()) / 12,))
    >>> found = interval(values.mean(), doubt)
    >>> round(found.standard_error, 3), round(found.low, 3)
    (1.041, 3.209)
    """
    if not 0.0 < level < 1.0:
        raise OptionError("level", f"the level must be between 0 and 1, is {level}")
    counts = [len(names) for names in doubt.names]
    pairs = sum(len(units[0]) for sides, units in strata(doubt.names).items() if len(sides) > 1)
    files = (counts[0], counts[1] if len(counts) > 1 else None)
    if min(counts) < doubt.least:
        return Interval(level, estimate, files=files, pairs=pairs, reason=too_few(doubt, sides))
    scale = doubt.scale if isinstance(doubt, Halved) else PLAIN
    found = around(estimate, doubt.variance(), level, doubt.bounds, scale)
    return replace(found, files=files, pairs=pairs)


def too_few(doubt: Doubt, sides: Sequence[str]) -> str:
    """Why there is no interval."""
    counts = [len(names) for names in doubt.names]
    each = " on each side" if len(counts) > 1 else ""
    named = " and ".join(f"{n} of {side}" for n, side in zip(counts, sides, strict=False))
    return f"a confidence interval needs at least {doubt.least} clips{each}, there are {named}"


def around(
    estimate: float, parts: Sequence[Part], level: float, bounds: Bounds, scale: Scale = PLAIN
) -> Interval:
    """The interval from the parts of the variance, which are measured on this scale."""
    variance = sum(part.variance for part in parts)
    # Welch and Satterthwaite's degrees of freedom of a sum of variances.
    weight = sum(part.variance**2 / max(part.units - 1, 1) for part in parts)
    fewest = max(min(part.units for part in parts) - 1, 1)
    degrees = variance * variance / weight if weight > 0.0 else float(fewest)
    error = float(np.sqrt(variance))
    reach = float(stdtrit(degrees, 0.5 + level / 2)) * error
    middle, least, most = scale.to(np.array([estimate, *bounds]))
    low, high = scale.back(np.array([max(least, middle - reach), min(most, middle + reach)]))
    return Interval(level, estimate, float(low), float(high), error, degrees)


def difference(first: Doubt, second: Doubt) -> Doubt:
    """How the first value minus the second depends on the clips, against the same reference."""
    if isinstance(first, Linear) and isinstance(second, Linear):
        return first.minus(second)
    if isinstance(first, Halved) and isinstance(second, Halved):
        return first.minus(second)
    raise StatisticsError("values", "of two metrics have no difference")
