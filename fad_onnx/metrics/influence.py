"""How much each clip changes the Frechet distance of its dataset.

The influence of a clip is the distance of the dataset minus the distance of the dataset without the
clip. It is exact, in the units of the distance, and positive for a clip that raises the distance.
The derivative with respect to the clip's weight is cheaper, but ranks worse in many dimensions
(benchmarks/README-statistics.md).

Leaving out a clip changes the scatter by a matrix of low rank. With A'A = S1, B'B = S2 and
A B' = U s V', the trace of the root is that of (diag(s^2) - W'W / n)^(1/2) in the basis V, where
W has one more row than the clip has embeddings. With few rows

    Tr (D - W'W)^(1/2) = Tr D^(1/2) + 1/pi integral of log det(I - W (D + t^2)^(-1) W') dt

from 0 to infinity, by the trapezoidal rule in log t. Otherwise eigenvalues are used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .frechet import Gaussian
from .moments import Moments
from .validation import Array

Embeddings = NDArray[Any]

# Singular values below this, relative to the largest, are rounding noise.
NOISE = 1e-13
# The step of log t; beyond the nodes, the integrand is rounding noise. The relative error of the
# rule is exp(-pi^2 / STEP), 3e-9.
STEP = 0.5
NODES = np.exp(np.arange(-21.0, 23.0, STEP))
# Up to this many rows of W, as a share of dim, the integral is faster than eigenvalues; but it
# needs memory for len(NODES) copies of W.
FEW = 1 / 32


def influences(
    clips: Sequence[Embeddings],
    moments: Moments,
    reference: Gaussian,
    progress: Callable[[int], object] | None = None,
) -> Array:
    """The distance of the dataset minus its distance without each clip.

    If fewer than two embeddings would be left, there is no distance without the clip, and its
    influence is the whole distance.

    Parameters
    ----------
    clips
        Embeddings (n, dim) of each clip.
    moments
        The moments of all embeddings, at least two.
    reference
        The reference that the dataset is compared with.
    progress
        Called with the number of clips just done.

    Returns
    -------
    Array
        The influence of each clip, exact up to rounding (about 1e-8 of the terms of the distance).

    Examples
    --------
    >>> clips = [np.eye(3), np.eye(3) + 9.0]
    >>> dataset = Moments.of(np.concatenate(clips))
    >>> near, far = influences(clips, dataset, Gaussian.point(np.zeros(3)))
    >>> bool(near < 0.0 < far)
    True
    """
    without = _Without(Gaussian.of(moments), moments.count, reference)
    found = []
    for clip in clips:
        found.append(without.influence(np.asarray(clip, np.float64)))
        if progress is not None:
            progress(1)
    return np.array(found)


class _Without:
    """A dataset, prepared to compute its distance without some of its embeddings."""

    def __init__(self, own: Gaussian, count: int, reference: Gaussian) -> None:
        self.count, self.mean, self.gap = count, own.mean, own.mean - reference.mean
        _, roots, right = np.linalg.svd(own.factor @ reference.factor.T, full_matrices=False)
        keep = roots > NOISE * roots.max(initial=0.0)
        self.basis = reference.factor.T @ right[keep].T
        self.roots = roots[keep]
        self.trace, self.reference_trace = own.trace, reference.trace
        shift = float(self.gap @ self.gap)
        self.distance = shift + own.trace + reference.trace - 2.0 * float(roots.sum())

    def influence(self, clip: Array) -> float:
        """The distance minus the distance without these embeddings."""
        left = self.count - len(clip)
        if not len(clip):
            return 0.0
        if left < 2:
            return max(0.0, self.distance)
        centre = clip.mean(axis=0)
        shift = centre - self.mean
        # The factor of the removed scatter: within the clip, and between its mean and the others'.
        gone = np.concatenate([clip - centre, shift[None] * np.sqrt(len(clip) * self.count / left)])
        gap = self.gap - shift * (len(clip) / left)
        trace = (self.trace * (self.count - 1) - float(np.square(gone).sum())) / (left - 1)
        scale = np.sqrt((self.count - 1) / (left - 1))
        root = scale * root_trace(self.roots, gone @ self.basis / np.sqrt(self.count - 1))
        without = float(gap @ gap) + trace + self.reference_trace - 2.0 * root
        return float(self.distance - without)


def root_trace(roots: Array, rows: Array) -> float:
    """Tr (diag(roots^2) - rows' rows)^(1/2), for roots > 0 and a semidefinite matrix."""
    if len(rows) > FEW * len(roots):
        values = np.linalg.eigvalsh(np.diag(roots * roots) - rows.T @ rows)
        return float(np.sqrt(np.maximum(values, 0.0)).sum())
    nodes = NODES * roots.max(initial=0.0)
    weights = 1.0 / (roots * roots + np.square(nodes)[:, None])
    inner = np.eye(len(rows)) - (rows * weights[:, None]) @ rows.T
    _, logarithm = np.linalg.slogdet(inner)
    return float(roots.sum() + STEP / np.pi * (nodes @ logarithm))
