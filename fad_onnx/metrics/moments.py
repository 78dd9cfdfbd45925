"""Count, mean and scatter of a set of embeddings: a monoid in float64.

Rows may arrive in any number of pieces: ``Moments.of(a) + Moments.of(b)`` are the moments of
all the rows, so streaming, caching, sharding and clusters are all sums.

While there are no more than ``dim + 1`` rows the scatter is kept as a *factor* F with
``count - 1`` rows and ``F.T @ F = scatter``: exact where the covariance is singular, cheap to
send, and built without any matrix product. Beyond that the dense (dim, dim) scatter is smaller
and takes its place.

Merging (Chan, Golub and LeVeque 1979, "Updating formulae and a pairwise algorithm for computing
sample variances"): the scatter of the union is the sum of both plus
``n1 n2 / (n1 + n2) (m1 - m2)(m1 - m2)'``, that is, one more row of the factor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import Path, StatisticsError, TooFewEmbeddingsError
from .validation import BLOCK_ROWS, Array, check_gaussian, check_rows, real_array

__all__ = ["Array", "Gather", "Moments", "gram"]


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of ``count`` rows of ``dim`` numbers. Immutable; arrays are read-only.

    ``mean`` (dim,) float64. Exactly one of ``factor`` (count - 1, dim) and ``scatter``
    (dim, dim) is an array, the other is None. Use the class methods: the constructor takes
    over the arrays it is given without copying or checking them.
    """

    count: int
    mean: Array
    factor: Array | None = None
    scatter: Array | None = None

    def __post_init__(self) -> None:
        for array in (self.mean, self.factor, self.scatter):
            if array is not None:
                array.setflags(write=False)

    def __reduce__(self) -> tuple[Any, ...]:
        # Through the constructor, so that copies from other processes are read-only too.
        return Moments, (self.count, self.mean, self.factor, self.scatter)

    @property
    def dim(self) -> int:
        """Numbers in a row."""
        return int(self.mean.shape[0])

    @classmethod
    def empty(cls, dim: int) -> Moments:
        """Moments of no rows: the identity of ``+``."""
        return cls(0, np.zeros(dim), np.zeros((0, dim)))

    @classmethod
    def of(cls, rows: ArrayLike, where: Path = "embeddings") -> Moments:
        """Moments of an array (n, dim) of real numbers, n >= 0.

        Raises StatisticsError, naming ``where``, for another shape or type and for NaN,
        infinity or magnitudes above 1e140.
        """
        checked = check_rows(rows, where)
        blocks = range(0, len(checked), BLOCK_ROWS)
        parts = (_of_block(checked[start : start + BLOCK_ROWS]) for start in blocks)
        return cls.total(parts, checked.shape[1])

    @classmethod
    def of_statistics(
        cls, mean: ArrayLike, covariance: ArrayLike, count: int, where: Path = "statistics"
    ) -> Moments:
        """Moments from a mean (dim,), a covariance (dim, dim; ddof 1) and the number of rows.

        Raises StatisticsError as `check_gaussian` does and TooFewEmbeddingsError below two rows.
        """
        if count < 2:
            raise TooFewEmbeddingsError(where, count, 2)
        mu, sigma = check_gaussian(mean, covariance, where)
        return cls(count, mu, scatter=sigma * float(count - 1))

    @classmethod
    def total(cls, parts: Iterable[Moments], dim: int | None = None) -> Moments:
        """The sum of ``parts`` in their order; ``dim`` is needed only if there may be none.

        The same parts in the same order give the same bits. Cheaper than repeated ``+``:
        factors are gathered and go into the dense scatter dim rows at a time.
        """
        gather = Gather(dim)
        for part in parts:
            gather.add(part)
        return gather.result()

    def __add__(self, other: Moments) -> Moments:
        """Moments of both sets of rows together."""
        if not isinstance(other, Moments):
            return NotImplemented
        return Moments.total((self, other))

    def covariance(self, where: Path = "statistics") -> Array:
        """The covariance (dim, dim) with ddof 1; TooFewEmbeddingsError below two rows."""
        if self.count < 2:
            raise TooFewEmbeddingsError(where, self.count, 2)
        return self.dense_scatter() / float(self.count - 1)

    def dense_scatter(self) -> Array:
        """The scatter (dim, dim): sum over rows of (x - mean)(x - mean)'."""
        if self.scatter is not None:
            return self.scatter
        assert self.factor is not None
        return gram(self.factor)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Named arrays that `from_arrays` turns back into the same bits."""
        held = {"factor": self.factor, "scatter": self.scatter}
        arrays: dict[str, NDArray[Any]] = {k: v for k, v in held.items() if v is not None}
        return {"count": np.array(self.count, np.int64), "mean": self.mean, **arrays}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, ArrayLike], where: Path = "moments") -> Moments:
        """The inverse of `to_arrays`; StatisticsError for anything else."""
        count, mean, factor, scatter = _checked_arrays(arrays, where)
        return cls(count, mean, factor, scatter)


class Gather:
    """A running sum of Moments, for parts that come one by one.

    Holds the mean, the dense scatter, and up to ``dim`` rows (plus one part's) not yet in it.
    ``dim`` may be None if there will be a part to tell it.
    """

    def __init__(self, dim: int | None = None) -> None:
        self.dim, self.count = dim, 0
        self.mean: Array | None = None
        self.scatter: Array | None = None
        self.rows: list[Array] = []
        self.pending = 0

    def add(self, part: Moments) -> None:
        """Count these rows in; StatisticsError if they have another dimension."""
        if self.dim is None:
            self.dim = part.dim
        if part.dim != self.dim:
            raise StatisticsError("moments", f"of {self.dim} and {part.dim} dimensions do not add")
        if part.count == 0:
            return
        if self.mean is None:
            self.mean = part.mean
        else:
            self._move_mean(part, self.mean)
        self.count += part.count
        if part.factor is not None:
            self._append(part.factor)
        if part.scatter is not None:
            self._add_dense(part.scatter)
        if self.pending > self.dim:
            self._flush()

    def _move_mean(self, part: Moments, mean: Array) -> None:
        together = self.count + part.count
        delta = part.mean - mean
        self._append(delta[None] * np.sqrt(self.count * (part.count / together)))
        self.mean = mean + delta * (part.count / together)

    def _append(self, rows: Array) -> None:
        self.rows.append(rows)
        self.pending += len(rows)

    def _add_dense(self, scatter: Array) -> None:
        if self.scatter is None:
            self.scatter = scatter.copy()
        else:
            self.scatter += scatter

    def _flush(self) -> None:
        if self.rows:
            self._add_dense(gram(np.concatenate(self.rows)))
        self.rows, self.pending = [], 0

    def result(self) -> Moments:
        """The sum so far; more may be added afterwards."""
        if self.dim is None:
            raise StatisticsError("moments", "the sum of none has no dimension")
        if self.mean is None:
            return Moments.empty(self.dim)
        if self.scatter is None:
            factor = np.concatenate([np.zeros((0, self.dim)), *self.rows])
            return Moments(self.count, self.mean.copy(), factor)
        # The gathered rows stay where they are: to ask early does not change later bits.
        rest = gram(np.concatenate(self.rows)) if self.rows else 0.0
        return Moments(self.count, self.mean.copy(), scatter=self.scatter + rest)


def gram(rows: Array) -> Array:
    """rows.T @ rows (dim, dim), exactly symmetric.

    NumPy hands a matrix and its own transpose to BLAS's rank-k update; the bits of OpenBLAS's
    do not depend on the number of threads (a test watches this), as those of a general product
    may.
    """
    return rows.T @ rows


def _of_block(rows: NDArray[Any]) -> Moments:
    """Moments of (n, dim) checked rows, n >= 1."""
    count, dim = rows.shape
    # Around the first row, so that a mean far from zero costs no digits.
    centred = rows.astype(np.float64)
    origin = centred[0].copy()
    centred -= origin
    if count <= dim + 1:
        return _of_few(centred, origin)
    mean = centred.mean(axis=0)
    centred -= mean
    return Moments(count, origin + mean, scatter=gram(centred))


def _of_few(rows: Array, origin: Array) -> Moments:
    """Factor by Helmert's transform: row j is what merging row j to those before it appends."""
    count = len(rows)
    sums = np.cumsum(rows, axis=0)
    before = np.arange(1.0, count)[:, None]
    factor = (rows[1:] - sums[:-1] / before) * np.sqrt(before / (before + 1))
    return Moments(count, origin + sums[-1] / count, factor)


def _checked_arrays(
    arrays: Mapping[str, ArrayLike], where: Path
) -> tuple[int, Array, Array | None, Array | None]:
    names = set(arrays)
    if names not in ({"count", "mean", "factor"}, {"count", "mean", "scatter"}):
        raise StatisticsError(where, f"holds {sorted(names)}, not count, mean, factor or scatter")
    number = np.asarray(arrays["count"])
    if number.shape != () or number.dtype.kind not in "iu" or number < 0:
        raise StatisticsError(where, "count must be one whole number >= 0")
    count = int(number)
    if "scatter" in arrays:
        mean, scatter = check_gaussian(arrays["mean"], arrays["scatter"], where)
        return count, mean, None, scatter
    mean = real_array(arrays["mean"], 1, "mean", where)
    factor = real_array(arrays["factor"], 2, "factor", where)
    if factor.shape != (max(count - 1, 0), mean.size) or mean.size == 0:
        raise StatisticsError(where, f"{count} rows do not go with a factor {factor.shape}")
    return count, mean, factor, None
