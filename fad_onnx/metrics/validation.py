"""Validation of arrays from outside: embeddings, means and covariances."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import Path, StatisticsError
from .clips import blocks

Array = NDArray[np.float64]

# The sum of squares of larger numbers could overflow float64.
LARGEST = 1e140


def check_gaussian(
    mean: ArrayLike, covariance: ArrayLike, where: Path = "statistics"
) -> tuple[Array, Array]:
    """Fresh float64 copies of a mean (dim,) and a covariance (dim, dim), made symmetric.

    Raises StatisticsError for wrong shapes or types, numbers that are not finite, and an asymmetry
    or a negative variance beyond the rounding of float32.
    """
    mu, sigma = real_array(mean, 1, "mean", where), real_array(covariance, 2, "covariance", where)
    if sigma.shape != (mu.size, mu.size) or mu.size == 0:
        raise StatisticsError(where, f"mean {mu.shape} and covariance {sigma.shape} do not match")
    scale = float(np.abs(sigma).max())
    asymmetry = float(np.abs(sigma - sigma.T).max())
    # The float32 sums of some tools deviate this much from symmetry.
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
            where, f"{what} must be an array of real numbers with {ndim} dimensions, not {found}"
        )
    result = array.astype(np.float64)
    # False for NaN as well.
    if result.size and not float(np.abs(result).max()) <= LARGEST:
        raise StatisticsError(where, f"{what} holds NaN, infinity or numbers above {LARGEST:g}")
    return result


def check_embeddings(embeddings: ArrayLike, where: Path = "embeddings") -> NDArray[Any]:
    """Embeddings (n, dim) as an array, unchanged; StatisticsError as in `Moments.of`."""
    array = np.asarray(embeddings)
    if array.ndim != 2 or array.shape[1] == 0 or array.dtype.kind not in "fiu":
        found = f"{array.dtype} of shape {array.shape}"
        raise StatisticsError(where, f"embeddings must be real numbers (n, dim), not {found}")
    bad = sum(map(_unusable, blocks(array)))
    if bad:
        raise StatisticsError(
            where,
            f"{bad} of {len(array)} embeddings hold NaN, infinity or numbers above {LARGEST:g}",
        )
    return array


def _unusable(block: NDArray[Any]) -> int:
    """The number of embeddings with large numbers or NaN (for which the comparison is False)."""
    # Compare as float64: in float32, the limit would be infinity.
    return int((~(np.abs(block).max(axis=1).astype(np.float64) <= LARGEST)).sum())
