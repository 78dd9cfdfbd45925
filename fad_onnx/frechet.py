"""Frechet distance between two Gaussians, without matrix square roots.

``|m1 - m2|^2 + Tr S1 + Tr S2 - 2 Tr (S1 S2)^(1/2)`` (Dowson and Landau 1982). For any factors
with ``S1 = A'A`` and ``S2 = B'B`` the last trace is the nuclear norm of ``A B'`` (the sum of its
singular values): real and non-negative in every case, with no noise on the diagonal and exact
for singular covariances. With few rows ``A B'`` is as small as the rows are few.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import lapack, svdvals

from fad_onnx.errors import Path, StatisticsError, TooFewRowsError
from fad_onnx.moments import Array, Moments, check_gaussian


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A mean and a factor of the covariance: what the distance needs, computed once.

    ``mean`` (dim,) float64, ``factor`` (k, dim) float64 with ``factor.T @ factor`` the
    covariance, ``trace`` of the covariance. Immutable; arrays are read-only.
    """

    mean: Array
    factor: Array
    trace: float

    def __post_init__(self) -> None:
        self.mean.setflags(write=False)
        self.factor.setflags(write=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return Gaussian, (self.mean, self.factor, self.trace)

    @property
    def dim(self) -> int:
        """Numbers in a row."""
        return int(self.mean.shape[0])

    @classmethod
    def of(cls, moments: Moments, where: Path = "statistics") -> Gaussian:
        """The Gaussian of these rows (ddof 1); TooFewRowsError below two rows."""
        if moments.count < 2:
            raise TooFewRowsError(where, moments.count, 2)
        if moments.factor is not None:
            factor = moments.factor / np.sqrt(moments.count - 1.0)
            return cls(moments.mean, factor, float(np.square(factor).sum()))
        return cls._of_covariance(moments.mean, moments.covariance(), where)

    @classmethod
    def of_statistics(
        cls, mean: ArrayLike, covariance: ArrayLike, where: Path = "statistics"
    ) -> Gaussian:
        """From a mean (dim,) and a covariance (dim, dim) whose number of rows is not known.

        Raises StatisticsError for arrays that are not a mean and a covariance.
        """
        return cls._of_covariance(*check_gaussian(mean, covariance, where), where)

    @classmethod
    def point(cls, mean: Array) -> Gaussian:
        """All mass at ``mean``: its distance to another is |m1 - m2|^2 + Tr S2."""
        return cls(mean, np.zeros((0, mean.shape[0])), 0.0)

    @classmethod
    def _of_covariance(cls, mean: Array, covariance: Array, where: Path) -> Gaussian:
        return cls(mean, cholesky_rows(covariance, where), float(np.trace(covariance)))


def frechet_distance(first: Moments | Gaussian, second: Moments | Gaussian) -> float:
    """Frechet distance of two sets, >= 0, in squared units of the embedding.

    Pass a `Gaussian` for a set that is compared often: its covariance is then factored once.
    A result below zero, which rounding can leave for equal sets (about 1e-15 of the traces),
    is returned as 0. Raises TooFewRowsError below two rows and StatisticsError for unequal
    dimensions.
    """
    a, b = as_gaussian(first), as_gaussian(second)
    if a.dim != b.dim:
        raise StatisticsError("distance", f"of sets of {a.dim} and {b.dim} dimensions")
    shift = float(np.square(a.mean - b.mean).sum())
    return max(0.0, shift + (a.trace + b.trace - 2.0 * nuclear_norm_of_product(a, b)))


def as_gaussian(value: Moments | Gaussian) -> Gaussian:
    """``value`` ready for `frechet_distance`."""
    return value if isinstance(value, Gaussian) else Gaussian.of(value)


def nuclear_norm_of_product(a: Gaussian, b: Gaussian) -> float:
    """Tr (S1 S2)^(1/2): the sum of the singular values of A B'."""
    if not len(a.factor) or not len(b.factor):
        return 0.0
    return float(svdvals(a.factor @ b.factor.T, overwrite_a=True, check_finite=False).sum())


def cholesky_rows(covariance: Array, where: Path = "statistics") -> Array:
    """R (rank, dim) with R.T @ R = covariance, by Cholesky with complete pivoting (dpstrf).

    The number of rows is the numerical rank. Raises StatisticsError where what is left after
    the last pivot is negative beyond rounding, so that no such R exists.
    """
    largest = float(np.abs(covariance).max())
    if largest == 0.0:
        return np.zeros((0, len(covariance)))
    upper, pivots, rank, _ = lapack.dpstrf(covariance)
    rows = np.zeros((rank, len(covariance)))
    rows[:, pivots - 1] = np.triu(upper)[:rank]
    rest = np.abs(covariance - rows.T @ rows).max()
    if rest > 1e-6 * largest:
        raise StatisticsError(where, f"the covariance has negative eigenvalues (by {rest:.3g})")
    return rows
