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
from scipy.linalg import lapack

from ..errors import Path, StatisticsError, TooFewEmbeddingsError
from .moments import Moments
from .validation import Array, check_gaussian


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
    def of(cls, moments: Moments | Gaussian, where: Path = "statistics") -> Gaussian:
        """The Gaussian of these rows (ddof 1); TooFewEmbeddingsError below two rows.

        A Gaussian is returned as it is. StatisticsError for rows themselves.
        """
        if isinstance(moments, Gaussian):
            return moments
        if not isinstance(moments, Moments):
            kind = type(moments).__name__
            raise StatisticsError(where, f"Moments are needed, not {kind}: use Moments.of(rows)")
        if moments.count < 2:
            raise TooFewEmbeddingsError(where, moments.count, 2)
        if moments.factor is not None:
            factor = moments.factor / np.sqrt(moments.count - 1.0)
            return cls(moments.mean, factor, float(np.square(factor).sum()))
        covariance = moments.covariance()
        rows = cholesky_rows(covariance, where)
        return cls(moments.mean, rows, float(np.trace(covariance)))

    @classmethod
    def of_statistics(
        cls, mean: ArrayLike, covariance: ArrayLike, where: Path = "statistics"
    ) -> Gaussian:
        """From a mean (dim,) and a covariance (dim, dim) whose number of rows is not known.

        Raises StatisticsError for arrays that are not a mean and a covariance.
        """
        mu, sigma = check_gaussian(mean, covariance, where)
        # The trace of the factor, not of sigma: then a set against itself is exactly zero.
        rows = eigen_rows(sigma, where)
        return cls(mu, rows, float(np.square(rows).sum()))

    @classmethod
    def point(cls, mean: Array) -> Gaussian:
        """All mass at ``mean``: its distance to another is |m1 - m2|^2 + Tr S2."""
        return cls(mean, np.zeros((0, mean.shape[0])), 0.0)


def frechet_distance(first: Moments | Gaussian, second: Moments | Gaussian) -> float:
    """Frechet distance of two sets, >= 0, in squared units of the embedding.

    Pass a `Gaussian` for a set that is compared often: its covariance is then factored once.
    A result below zero, which rounding can leave for equal sets (about 1e-15 of the traces),
    is returned as 0. The last bits may depend on the number of BLAS threads at large dimensions
    (seen at 2048, 1e-15 relative); those of Moments do not.

    Raises TooFewEmbeddingsError below two rows and StatisticsError for unequal dimensions.
    """
    a, b = Gaussian.of(first, "first set"), Gaussian.of(second, "second set")
    if a.dim != b.dim:
        raise StatisticsError("distance", f"of sets of {a.dim} and {b.dim} dimensions")
    shift = float(np.square(a.mean - b.mean).sum())
    return max(0.0, shift + (a.trace + b.trace - 2.0 * nuclear_norm_of_product(a, b)))


@dataclass(frozen=True)
class FileDistance:
    """One file against a reference.

    `fad` is the Frechet distance of the file's rows; of a single row, which has no covariance,
    |x - mu|^2 + Tr(S). `mean_distance` is the distance between the means, in the units of the
    embedding.
    """

    rows: int
    fad: float
    mean_distance: float


def file_distance(reference: Gaussian, moments: Moments) -> FileDistance:
    """How far one file is from a reference that is factored already.

    Files of ten rows at dim 128: some 5,000 a second. Raises TooFewEmbeddingsError for no rows.
    """
    if moments.count < 1:
        raise TooFewEmbeddingsError("file", 0, 1, "a distance")
    single = moments.count == 1
    gaussian = Gaussian.point(moments.mean) if single else Gaussian.of(moments)
    fad = frechet_distance(reference, gaussian)
    gap = float(np.linalg.norm(moments.mean - reference.mean))
    return FileDistance(moments.count, fad, gap)


def nuclear_norm_of_product(a: Gaussian, b: Gaussian) -> float:
    """Tr (S1 S2)^(1/2): the sum of the singular values of A B'.

    Singular values and not square roots of the eigenvalues of B A'A B', which cost a third:
    squaring halves the digits of the small ones, and at full rank they are many.
    """
    # Product and singular values by the same library: NumPy and SciPy each bring a BLAS with
    # threads of its own, and these slow each other down.
    return float(np.linalg.svd(a.factor @ b.factor.T, compute_uv=False).sum())


def cholesky_rows(covariance: Array, where: Path = "statistics") -> Array:
    """R (rank, dim) with R.T @ R = covariance, by Cholesky with complete pivoting.

    For covariances that are positive semidefinite up to float64 rounding, as those of
    `Moments` are: four times faster than eigenvectors, and R has as many rows as the numerical
    rank. It is the correlation matrix that is factored, so that a dimension of small units
    keeps its digits beside large ones. Raises StatisticsError where what is left after the
    last pivot shows negative eigenvalues.
    """
    deviation = np.sqrt(np.maximum(covariance.diagonal(), 0.0))
    scale = np.where(deviation > 0.0, deviation, 1.0)
    correlation = covariance / np.outer(scale, scale)
    # The lower triangle is the one that LAPACK factors twice as fast.
    lower, pivots, rank, _ = lapack.dpstrf(correlation.T, lower=1)
    order, rest = pivots - 1, pivots[rank:] - 1
    rows = np.zeros((rank, len(covariance)))
    rows[:, order] = np.tril(lower)[:, :rank].T
    left = correlation[np.ix_(rest, rest)] - rows[:, rest].T @ rows[:, rest]
    if left.size and np.abs(left).max() > 1e-6:
        raise StatisticsError(where, "the covariance has negative eigenvalues")
    rows *= scale
    return rows


def eigen_rows(covariance: Array, where: Path = "statistics") -> Array:
    """R (dim, dim) with R.T @ R = covariance, by eigenvectors.

    For covariances of unknown origin, possibly summed in float32: their noise includes small
    negative eigenvalues, which count as zero. Raises StatisticsError for larger ones.
    """
    values, vectors = np.linalg.eigh(covariance)
    if values[0] < -1e-5 * max(values[-1], 0.0):
        raise StatisticsError(where, f"the covariance has a negative eigenvalue, {values[0]:.3g}")
    rows: Array = (vectors * np.sqrt(np.maximum(values, 0.0))).T
    return rows
