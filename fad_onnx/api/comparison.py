"""Whether one dataset is better than another: the difference of their values and its interval."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scipy.special import ndtri

from ..errors import OptionError, StatisticsError, shown
from ..metrics import registry
from ..metrics.intervals import Doubt, Interval, difference, interval, pairs_by_name
from ..metrics.registry import Metric, Value
from ..pipeline.options import PathLike
from .measure import Compared, silent

LEVEL = 0.95
POWER = 0.8


@dataclass(frozen=True)
class Difference:
    """The value of one dataset minus that of another, for one metric and model.

    Parameters
    ----------
    metric, model, first, second : str
        The metric, the model, and the two datasets.
    value : float or None
        The first's value minus the second's; None if either has no value.
    low, high : float or None
        The interval; None if there are too few clips, as `reason` then says.
    level : float
        The confidence level of the interval.
    better : str or None
        The better dataset, if the interval does not contain 0; else None.
    clips : tuple of int
        The numbers of clips of the first and of the second.
    pairs : int
        The number of clips with the same name in both.
    clips_needed : int or None
        With this many clips of each dataset, a difference as large as this one would be settled in
        four of five experiments; None where there is no interval, or no difference.
    reason : str or None
        Why there is no value or no interval.

    Examples
    --------
    >>> import fad_onnx, numpy as np
    >>> noise = np.random.RandomState(0).standard_normal((100, 4))
    >>> evaluation = fad_onnx.evaluate([noise + 1, noise + 2], noise)
    >>> [one.path for one in evaluation.results]
    ['evaluation 1', 'evaluation 2']
    """

    metric: str
    model: str
    first: str
    second: str
    value: float | None
    low: float | None
    high: float | None
    level: float
    better: str | None
    clips: tuple[int, int]
    pairs: int
    clips_needed: int | None
    reason: str | None = None

    def __str__(self) -> str:
        what = f"{self.metric}:{self.model}"
        if self.value is None or self.low is None or self.high is None:
            return f"{what}: not settled: {self.reason}"
        range_ = f"difference {self.value:.4g}, {100 * self.level:g} % interval {self.low:.4g}"
        verdict = "not settled" if self.better is None else f"{shown(self.better)} is better"
        needed = "" if self.clips_needed is None else f", {self.clips_needed} clips would settle it"
        with_pairs = f"{self.pairs} pairs" if self.pairs else "no pairs"
        return (
            f"{what}: {verdict}: {range_}..{self.high:.4g} ({with_pairs}"
            f"{needed if self.better is None else ''})"
        )

    def to_json(self) -> dict[str, Any]:
        """The object of `fad-onnx evaluate --json`.

        Returns
        -------
        dict
            The fields by name, as plain JSON values.
        """
        return {**asdict(self), "clips": list(self.clips)}


def compared(
    results: Sequence[Compared], first: PathLike, second: PathLike, level: float = LEVEL
) -> tuple[Difference, ...]:
    """The differences of two datasets in every metric and model.

    Raises
    ------
    OptionError
        For a dataset that was not evaluated, or a level that is not between 0 and 1.
    StatisticsError
        For a dataset that has statistics but no embeddings.
    """
    if not 0.0 < level < 1.0:
        raise OptionError("level", f"the level must be between 0 and 1, is {level}")
    ours, theirs = _of(results, first), _of(results, second)
    return tuple(_every(ours, theirs, level))


def _of(results: Iterable[Compared], named: PathLike) -> dict[str, Compared]:
    """The results of one dataset by model."""
    every, path = list(results), os.fspath(named)
    found = {one.model: one for one in every if one.path == path}
    if not found:
        known = ", ".join(dict.fromkeys(one.path for one in every))
        raise OptionError("compare", f"{shown(path)} was not evaluated, but {shown(known)}")
    return found


def _every(
    ours: Mapping[str, Compared], theirs: Mapping[str, Compared], level: float
) -> Iterator[Difference]:
    for model, one in ours.items():
        for name, value in one.metrics.items():
            if model in theirs and name in theirs[model].metrics:
                yield _between(registry.metric(name), one, theirs[model], level, value)


def _between(
    metric: Metric, ours: Compared, theirs: Compared, level: float, first: Value
) -> Difference:
    second = theirs.metrics[metric.name]
    named = metric.name, ours.model, ours.path, theirs.path
    if first.value is None or second.value is None:
        reason = "; ".join(dict.fromkeys((*first.remarks, *second.remarks)))
        return Difference(*named, None, None, None, level, None, (0, 0), 0, None, reason)
    mine, other = _doubt(first, ours), _doubt(second, theirs)
    gap = first.value - second.value
    sides = shown(ours.path), shown(theirs.path), "the reference"
    found = interval(gap, difference(mine, other), level, sides)
    low, high = found.low, found.high
    better = None
    if low is not None and high is not None and not low <= 0.0 <= high:
        better = ours.path if (gap < 0.0) == (metric.better == "lower") else theirs.path
    counts = len(mine.names[0]), len(other.names[0])
    pairs = len(pairs_by_name(mine.names[0], other.names[0]))
    return Difference(
        *named, gap, low, high, level, better, counts, pairs,
        clips_needed(found, min(counts)), found.reason,
    )  # fmt: skip


def _doubt(value: Value, one: Compared) -> Doubt:
    if value.doubts is None:
        raise StatisticsError(one.path, "has no clips to compare: give audio or embeddings")
    return next(iter(value.doubts(silent).values()))


def clips_needed(found: Interval, clips: int) -> int | None:
    """The number of clips that would settle a difference of this size in four of five experiments.

    The error falls with the square root of the number of clips. A two-sided test of level a finds a
    difference d with probability p where |d| = (z(1 - a / 2) + z(p)) times its standard error.

    Examples
    --------
    >>> clips_needed(Interval(0.95, 1.0, -1.0, 3.0, standard_error=1.0), 100)
    785
    """
    if found.low is None or not found.standard_error or not found.estimate:
        return None
    wanted = float(ndtri(0.5 + found.level / 2) + ndtri(POWER))
    return math.ceil(clips * (wanted * found.standard_error / abs(found.estimate)) ** 2)
