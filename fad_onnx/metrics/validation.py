"""Checks of numbers that come from outside: rows, means and covariances."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import Path, StatisticsError

Array = NDArray[np.float64]

# Squares of larger numbers, summed, could leave the range of float64.
LARGEST = 1e140

# Rows are taken in blocks of this size, which bounds the memory that float64 copies need.
BLOCK_ROWS = 4096


def check_gaussian(
    mean: ArrayLike, covariance: ArrayLike, where: Path = "statistics"
) -> tuple[Array, Array]:
    """Fresh float64 copies of a mean (dim,) and a covariance (dim, dim), made symmetric.

    Raises StatisticsError for wrong shapes or types, numbers that are not finite, an asymmetry
    or a negative variance beyond what float32 arithmetic leaves behind.
    """
    mu, sigma = real_array(mean, 1, "mean", where), real_array(covariance, 2, "covariance", where)
    if sigma.shape != (mu.size, mu.size) or mu.size == 0:
        raise StatisticsError(where, f"mean {mu.shape} and covariance {sigma.shape} do not match")
    scale = float(np.abs(sigma).max())
    asymmetry = float(np.abs(sigma - sigma.T).max())
    # float32 sums over many rows, as some tools keep, are this far from symmetric.
    if asymmetry > 1e-5 * scale:
        raise StatisticsError(where, f"the covariance is not symmetric (by {asymmetry:.3g})")
    lowest = float(sigma.diagonal().min())
    if lowest < -1e-6 * scale:
        raise StatisticsError(where, f"the covariance holds a negative variance, {lowest:.3g}")
    return mu, (sigma + sigma.T) / 2


def real_array(value: ArrayLike, ndim: int, what: str, where: Path) -> Array:
    """A fresh float64 array of ``ndim`` dimensions, or StatisticsError naming ``what``."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu" or array.ndim != ndim:
        found = f"{array.dtype} of shape {array.shape}"
        raise StatisticsError(
            where, f"{what} must be real numbers in {ndim} dimensions, is {found}"
        )
    result = array.astype(np.float64)
    # False for NaN as well.
    if result.size and not float(np.abs(result).max()) <= LARGEST:
        raise StatisticsError(where, f"{what} holds NaN, infinity or numbers above {LARGEST:g}")
    return result


def check_rows(rows: ArrayLike, where: Path = "embeddings") -> NDArray[Any]:
    """Rows (n, dim) as an array, unchanged; StatisticsError as `Moments.of` says."""
    array = np.asarray(rows)
    if array.ndim != 2 or array.shape[1] == 0 or array.dtype.kind not in "fiu":
        found = f"{array.dtype} of shape {array.shape}"
        raise StatisticsError(where, f"rows must be real numbers (n, dim), are {found}")
    bad = sum(
        _unusable(array[start : start + BLOCK_ROWS]) for start in range(0, len(array), BLOCK_ROWS)
    )
    if bad:
        raise StatisticsError(
            where, f"{bad} of {len(array)} rows hold NaN, infinity or numbers above {LARGEST:g}"
        )
    return array


def _unusable(rows: NDArray[Any]) -> int:
    """How many rows hold NaN (for which the comparison is False too) or too large numbers."""
    # As float64, or the limit itself would become infinity in float32.
    return int((~(np.abs(rows).max(axis=1).astype(np.float64) <= LARGEST)).sum())
