"""Two datasets, projected to their first two principal components."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..api.measure import embeddings_of
from ..metrics.clips import joined, taken
from ..metrics.frechet import Gaussian
from ..metrics.moments import Array
from ..pipeline.datasets import Dataset

# Points of each dataset. More points would hide each other, and each takes a hundred bytes.
SHOWN_EMBEDDINGS = 600
# An ellipse of two standard deviations holds 1 - exp(-2) = 86 % of a Gaussian in two dimensions.
DEVIATIONS = 2.0


@dataclass(frozen=True)
class Cloud:
    """One dataset in the plane: points (n, 2), drawn from `count` embeddings, and their Gaussian.

    `points` is empty for statistics without embeddings; `count` is None if it is unknown.
    """

    points: Array
    count: int | None
    mean: Array
    covariance: Array

    def outline(self, points: int = 120) -> Array:
        """The ellipse (points, 2) of DEVIATIONS standard deviations."""
        values, vectors = np.linalg.eigh(self.covariance)
        turns = np.linspace(0.0, 2 * np.pi, points)
        circle = np.stack([np.cos(turns), np.sin(turns)], axis=1)
        axes = vectors * np.sqrt(np.maximum(values, 0.0))
        return np.asarray(self.mean + DEVIATIONS * circle @ axes.T, np.float64)


@dataclass(frozen=True)
class Projection:
    """Both datasets, and the share of the drawn embeddings' variance along each axis."""

    reference: Cloud
    evaluation: Cloud
    shares: tuple[float, float]


def project(reference: Dataset, evaluation: Dataset, seed: int = 0) -> Projection:
    """Principal components of embeddings drawn from both datasets, without replacement.

    The same seed draws the same embeddings with every version of NumPy. A reference without
    embeddings is drawn as its ellipse, in the plane of the evaluation embeddings. Raises
    StatisticsError for an evaluation dataset without embeddings.
    """
    random = np.random.RandomState(seed)
    embeddings_of(evaluation, "a report")
    drawn = [_draw(one, random) for one in (reference, evaluation)]
    pooled = np.concatenate(drawn)
    centre = pooled.mean(axis=0)
    axes, shares = principal_axes(pooled - centre)
    clouds = [
        _cloud(one, embeddings, centre, axes)
        for one, embeddings in zip((reference, evaluation), drawn, strict=True)
    ]
    return Projection(clouds[0], clouds[1], shares)


def principal_axes(centred: Array) -> tuple[Array, tuple[float, float]]:
    """The two orthonormal directions (2, dim) of most variance, and their shares of it.

    Each axis points where its largest component is positive, so that a picture does not flip
    with the library that factors.
    """
    _, values, vectors = np.linalg.svd(centred, full_matrices=False)
    axes = np.zeros((2, centred.shape[1]))
    axes[: min(2, len(vectors))] = vectors[:2]
    largest = np.abs(axes).argmax(axis=1)
    axes *= np.where(axes[[0, 1], largest] < 0.0, -1.0, 1.0)[:, None]
    power = np.zeros(2)
    power[: min(2, len(values))] = values[:2] ** 2
    shares = power / (float(np.square(values).sum()) or 1.0)
    return axes, (float(shares[0]), float(shares[1]))


def _draw(one: Dataset, random: np.random.RandomState) -> Array:
    if one.embeddings_by_file is None:
        return np.zeros((0, one.moments.dim))
    embeddings = joined(one.embeddings_by_file)
    chosen = np.sort(random.permutation(len(embeddings))[:SHOWN_EMBEDDINGS])
    return taken(embeddings, chosen).astype(np.float64)


def _cloud(one: Dataset, drawn: Array, centre: Array, axes: Array) -> Cloud:
    moments = one.moments
    if isinstance(moments, Gaussian):
        factor, count = moments.factor @ axes.T, None
        spread = factor.T @ factor
    else:
        spread, count = axes @ moments.covariance() @ axes.T, moments.count
    return Cloud((drawn - centre) @ axes.T, count, axes @ (moments.mean - centre), spread)
