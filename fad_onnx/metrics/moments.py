"""Count, mean and scatter of embeddings, in float64; they can be added up.

Embeddings may arrive in any number of parts: ``Moments.of(a) + Moments.of(b)`` are the moments of
all of them, so streaming, caching, sharding and clusters are all sums.

For up to ``dim + 1`` embeddings, the scatter is stored as a *factor* F with ``count - 1`` rows and
``F.T @ F = scatter``. It is exact for singular covariances, small to send, and needs no matrix
product. For more embeddings, the dense (dim, dim) scatter is smaller and replaces it.

Merging (Chan, Golub and LeVeque 1979, "Updating formulae and a pairwise algorithm for computing
sample variances"): the scatter of the union is the sum of both plus
``n1 n2 / (n1 + n2) (m1 - m2)(m1 - m2)'``, which is one more row of the factor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import Path, StatisticsError, TooFewEmbeddingsError
from .clips import blocks
from .validation import Array, check_embeddings, check_gaussian, real_array

__all__ = ["Array", "Moments", "MomentsAccumulator", "gram"]


@dataclass(frozen=True, eq=False)
class Moments:
    """The count, mean and scatter of embeddings. Immutable; arrays are read-only.

    Use the class methods: the constructor neither copies nor checks its arrays.

    Parameters
    ----------
    count : int
        The number of embeddings.
    mean : ndarray of float64, shape (dim,)
    factor : ndarray of float64, shape (count - 1, dim), or None
        ``factor.T @ factor`` is the scatter.
    scatter : ndarray of float64, shape (dim, dim), or None
        The sum of (x - mean)(x - mean)' over all embeddings x. Either this or `factor` is given.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.RandomState(0).standard_normal((100, 4))
    >>> (Moments.of(noise[:30]) + Moments.of(noise[30:])).count
    100
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
        # Unpickle through the constructor, so that arrays are read-only in other processes too.
        return Moments, (self.count, self.mean, self.factor, self.scatter)

    @property
    def dim(self) -> int:
        """The dimension of an embedding."""
        return int(self.mean.shape[0])

    @classmethod
    def empty(cls, dim: int) -> Moments:
        """The moments of no embeddings, the identity of ``+``.

        Parameters
        ----------
        dim : int
            The dimension of an embedding.

        Returns
        -------
        Moments
        """
        return cls(0, np.zeros(dim), np.zeros((0, dim)))

    @classmethod
    def of(cls, embeddings: ArrayLike, where: Path = "embeddings") -> Moments:
        """The moments of an array of embeddings.

        Parameters
        ----------
        embeddings : array (n, dim)
            Real numbers; n may be 0.
        where : str
            What error messages call the array.

        Returns
        -------
        Moments

        Raises
        ------
        StatisticsError
            For another shape or type, and for NaN, infinity or magnitudes above 1e140.
        """
        checked = check_embeddings(embeddings, where)
        return cls.of_blocks(blocks(checked), checked.shape[1])

    @classmethod
    def of_blocks(cls, parts: Iterable[NDArray[Any]], dim: int) -> Moments:
        """The moments of embeddings that `check_embeddings` has accepted, in blocks.

        Parameters
        ----------
        parts : iterable of arrays (n, dim), n >= 1
            As `clips.blocks` cuts them.
        dim : int
            The dimension of an embedding.

        Returns
        -------
        Moments
        """
        return cls.total(map(_of_block, parts), dim)

    @classmethod
    def of_statistics(
        cls, mean: ArrayLike, covariance: ArrayLike, count: int, where: Path = "statistics"
    ) -> Moments:
        """The moments behind published statistics.

        Parameters
        ----------
        mean : array (dim,)
        covariance : array (dim, dim)
            With ddof 1.
        count : int
            The number of embeddings.
        where : str
            What error messages call the statistics.

        Returns
        -------
        Moments

        Raises
        ------
        StatisticsError
            If the arrays are not a mean and a covariance.
        TooFewEmbeddingsError
            For fewer than two embeddings.
        """
        if count < 2:
            raise TooFewEmbeddingsError(where, count, 2)
        mu, sigma = check_gaussian(mean, covariance, where)
        return cls(count, mu, scatter=sigma * float(count - 1))

    @classmethod
    def total(cls, parts: Iterable[Moments], dim: int | None = None) -> Moments:
        """The sum of moments.

        The same parts in the same order give the same bits. Cheaper than repeated ``+``, because
        factors are collected and added to the dense scatter ``dim`` rows at a time.

        Parameters
        ----------
        parts : iterable of Moments
        dim : int, optional
            The dimension; needed only if there may be no part.

        Returns
        -------
        Moments

        Raises
        ------
        StatisticsError
            For parts of different dimensions, or for none without `dim`.
        """
        accumulator = MomentsAccumulator(dim)
        for part in parts:
            accumulator.add(part)
        return accumulator.result()

    def __add__(self, other: Moments) -> Moments:
        """The moments of the embeddings of both."""
        if not isinstance(other, Moments):
            return NotImplemented
        return Moments.total((self, other))

    def covariance(self, where: Path = "statistics") -> Array:
        """The covariance.

        Parameters
        ----------
        where : str
            What error messages call the moments.

        Returns
        -------
        ndarray of float64, shape (dim, dim)
            With ddof 1.

        Raises
        ------
        TooFewEmbeddingsError
            For fewer than two embeddings.
        """
        if self.count < 2:
            raise TooFewEmbeddingsError(where, self.count, 2)
        return self.dense_scatter() / float(self.count - 1)

    def dense_scatter(self) -> Array:
        """The scatter as a matrix, computed from its factor if only that is stored.

        Returns
        -------
        ndarray of float64, shape (dim, dim)
        """
        if self.scatter is not None:
            return self.scatter
        assert self.factor is not None
        return gram(self.factor)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Named arrays, from which `from_arrays` restores the same bits.

        Returns
        -------
        dict of str to ndarray
            `count`, `mean`, and `factor` or `scatter`.
        """
        held = {"factor": self.factor, "scatter": self.scatter}
        arrays: dict[str, NDArray[Any]] = {k: v for k, v in held.items() if v is not None}
        return {"count": np.array(self.count, np.int64), "mean": self.mean, **arrays}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, ArrayLike], where: Path = "moments") -> Moments:
        """The inverse of `to_arrays`.

        Parameters
        ----------
        arrays : mapping of str to array
            What `to_arrays` returned.
        where : str
            What error messages call the arrays.

        Returns
        -------
        Moments

        Raises
        ------
        StatisticsError
            For anything else.
        """
        count, mean, factor, scatter = _checked_arrays(arrays, where)
        return cls(count, mean, factor, scatter)


class MomentsAccumulator:
    """A running sum of Moments, for parts that arrive one by one.

    Holds the mean, the dense scatter, and up to ``dim`` rows of factors (plus those of one part)
    that are not yet part of the scatter. They are copied, because the parts themselves, kept for
    longer than what was allocated after them, would leave holes in the memory of the process.
    ``dim`` may be None if the first part is to set it.
    """

    def __init__(self, dim: int | None = None) -> None:
        self.dim, self.count = dim, 0
        self.mean: Array | None = None
        self.scatter: Array | None = None
        self.rows, self.pending = np.empty((0, dim or 0)), 0

    def add(self, part: Moments) -> None:
        """Add a part; StatisticsError if its dimension differs."""
        if self.dim is None:
            self.dim, self.rows = part.dim, np.empty((0, part.dim))
        if part.dim != self.dim:
            raise StatisticsError(
                "moments", f"of {self.dim} and {part.dim} dimensions cannot be added"
            )
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
        needed = self.pending + len(rows)
        if needed > len(self.rows):
            # Room that is never written to takes no memory.
            larger = np.empty((max(needed, 2 * len(self.rows)), rows.shape[1]))
            larger[: self.pending] = self.rows[: self.pending]
            self.rows = larger
        self.rows[self.pending : needed] = rows
        self.pending = needed

    def _add_dense(self, scatter: Array) -> None:
        if self.scatter is None:
            self.scatter = scatter.copy()
        else:
            self.scatter += scatter

    def _flush(self) -> None:
        if self.pending:
            self._add_dense(gram(self.rows[: self.pending]))
        self.pending = 0

    def result(self) -> Moments:
        """The sum so far; more parts may follow."""
        if self.dim is None:
            raise StatisticsError("moments", "the sum of no parts has no dimension")
        if self.mean is None:
            return Moments.empty(self.dim)
        rows = self.rows[: self.pending]
        if self.scatter is None:
            return Moments(self.count, self.mean.copy(), rows.copy())
        # The pending rows stay pending, so that asking early does not change later bits.
        rest = gram(rows) if self.pending else 0.0
        return Moments(self.count, self.mean.copy(), scatter=self.scatter + rest)


def gram(rows: Array) -> Array:
    """rows.T @ rows (dim, dim), exactly symmetric.

    NumPy computes the product of a matrix and its own transpose with the rank-k update of BLAS.
    With OpenBLAS, its bits do not depend on the number of threads (a test checks this), while
    those of a general product may.
    """
    return rows.T @ rows


def _of_block(embeddings: NDArray[Any]) -> Moments:
    """The moments of checked embeddings (n, dim), n >= 1."""
    count, dim = embeddings.shape
    # Relative to the first embedding, so that a mean far from zero costs no digits.
    centred = embeddings.astype(np.float64)
    origin = centred[0].copy()
    centred -= origin
    if count <= dim + 1:
        return _of_few(centred, origin)
    mean = centred.mean(axis=0)
    centred -= mean
    return Moments(count, origin + mean, scatter=gram(centred))


def _of_few(rows: Array, origin: Array) -> Moments:
    """The factor by Helmert's transform: row i is what merging embedding i + 1 would append."""
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
        raise StatisticsError(where, "count must be a single integer >= 0")
    count = int(number)
    if "scatter" in arrays:
        mean, scatter = check_gaussian(arrays["mean"], arrays["scatter"], where)
        return count, mean, None, scatter
    mean = real_array(arrays["mean"], 1, "mean", where)
    factor = real_array(arrays["factor"], 2, "factor", where)
    if factor.shape != (max(count - 1, 0), mean.size) or mean.size == 0:
        raise StatisticsError(where, f"a factor {factor.shape} does not fit {count} embeddings")
    return count, mean, factor, None
