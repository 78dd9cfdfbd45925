"""The influence of a clip against the distance computed without it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from fad_onnx.metrics.frechet import Gaussian, frechet_distance
from fad_onnx.metrics.influence import influences, root_trace
from fad_onnx.metrics.moments import Moments


def clips(lengths: list[int], dim: int, seed: int = 0, gap: float = 0.3) -> list[np.ndarray]:
    """Clips whose embeddings share half their variance, in float32 as networks give them."""
    random, scale = np.random.RandomState(seed), np.arange(1, dim + 1) ** -1.0
    return [
        ((random.randn(dim) + random.randn(n, dim)) * scale + gap).astype(np.float32)
        for n in lengths
    ]


def moments(files: list[np.ndarray]) -> Moments:
    return Moments.of(np.concatenate(files))


def left_out(files: list[np.ndarray], reference: Gaussian) -> list[float]:
    """The definition: one distance for each clip that is left out."""
    whole = frechet_distance(moments(files), reference)
    rest = [files[:i] + files[i + 1 :] for i in range(len(files))]
    return [whole - frechet_distance(moments(some), reference) for some in rest]


@pytest.mark.parametrize(
    ("lengths", "dim"),
    [
        ([3] * 12, 5),
        ([1, 2, 5, 30, 10] * 6, 64),
        ([1, 1, 2] * 100, 64),  # more embeddings than dimensions, by the integral
        ([1] * 40, 64),  # fewer
        ([1, 2, 10] * 4, 64),
        ([100] * 3, 16),
        ([1, 1, 1], 3),
        ([1, 1, 30], 8),
    ],
)
@pytest.mark.parametrize("reference", ["full", "singular", "constant"])
def test_is_the_distance_minus_that_without_the_clip(lengths, dim, reference):
    counts = {"full": [4] * 100, "singular": [2] * 4, "constant": []}
    own = clips(counts[reference], dim, 1, 0.0) or [np.full((3, dim), 0.25, np.float32)]
    files, against = clips(lengths, dim), Gaussian.of(moments(own))
    direct = left_out(files, against)
    found = influences(files, moments(files), against)
    scale = frechet_distance(moments(files), against) + against.trace
    np.testing.assert_allclose(found, direct, rtol=1e-6, atol=1e-7 * scale)


def test_the_integral_is_the_sum_of_roots():
    random = np.random.RandomState(3)
    for dim, count in ((64, 1), (96, 3), (200, 6)):
        roots = np.sort(random.exponential(1.0, dim) ** 6)[::-1]
        embeddings = random.randn(count, dim) * roots * 0.9 / np.sqrt(dim * count)
        values = np.linalg.eigvalsh(np.diag(roots**2) - embeddings.T @ embeddings)
        assert values[0] > -1e-12
        expected = np.sqrt(np.maximum(values, 0.0)).sum()
        assert root_trace(roots, embeddings) == pytest.approx(expected, rel=1e-7)


def test_what_has_no_distance_without_a_clip_is_the_whole_distance():
    against = Gaussian.of(moments(clips([5] * 10, 4, 1, 0.0)))
    for lengths, whole in (([6], [0]), ([1, 1], [0, 1]), ([1, 6], [1]), ([6, 0], [0])):
        files = clips(lengths, 4)
        found = influences(files, moments(files), against)
        distance = frechet_distance(moments(files), against)
        assert np.isfinite(found).all()
        assert [i for i, one in enumerate(found) if one == pytest.approx(distance)] == whole
    assert found[1] == 0.0  # of a clip without embeddings


def test_duplicates_share_their_influence():
    files = clips([4, 2, 7], 3)
    files += [files[0], files[0]]
    against = Gaussian.of(moments(clips([5] * 10, 3, 1, 0.0)))
    found = influences(files, moments(files), against)
    np.testing.assert_allclose(found, left_out(files, against), rtol=1e-9, atol=1e-12)
    assert found[0] == found[3] == found[4]


def test_constant_sets_have_influences():
    still = [np.full((n, 3), 2.0) for n in (1, 5, 3)]
    for reference in (Gaussian.of(moments(clips([5] * 10, 3))), Gaussian.point(np.zeros(3))):
        found = influences(still, moments(still), reference)
        np.testing.assert_allclose(found, 0.0, atol=1e-12)
    mixed = [*still, *clips([3, 4], 3)]
    against = Gaussian.of(moments(clips([5] * 10, 3, 1)))
    found = influences(mixed, moments(mixed), against)
    np.testing.assert_allclose(found, left_out(mixed, against), rtol=1e-6)


def test_length_alone_is_no_blame():
    """A few clips from another source among harmless ones, most of them shorter."""
    harmless = clips([1, 2, 3, 5, 10] * 20, 32, 1, 0.0)
    guilty = clips([10] * 10, 32, 2, 1.0)
    files = harmless + guilty
    found = influences(files, moments(files), Gaussian.of(moments(clips([5] * 200, 32, 3, 0.0))))
    assert sorted(np.argsort(-found)[:10]) == list(range(100, 110))


def test_progress_is_told():
    told: list[int] = []
    files = clips([2] * 7, 3)
    influences(files, moments(files), Gaussian.point(np.zeros(3)), told.append)
    assert sum(told) == 7


def test_the_simulation_of_mixed_lengths_shows_what_ranking_by_length_misses():
    path = Path(__file__).parents[1] / "benchmarks" / "statistics_simulation.py"
    spec = importlib.util.spec_from_file_location("statistics_simulation", path)
    assert spec and spec.loader
    simulation = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = simulation
    spec.loader.exec_module(simulation)
    found = simulation.ranking(64, 1.0, 200, 2)
    assert found["influence"] >= 0.4 > found["fad"] and found["influence"] > found["mean_distance"]
