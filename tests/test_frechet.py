"""The distance against closed forms, SciPy's matrix square root, and its own invariants."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy.linalg import sqrtm

from fad_onnx.errors import StatisticsError, TooFewEmbeddingsError
from fad_onnx.metrics.frechet import (
    Gaussian,
    cholesky_rows,
    file_distance,
    float32_distance,
    frechet_distance,
)
from fad_onnx.metrics.moments import Moments


def embeddings(count: int, dim: int, seed: int) -> np.ndarray:
    random = np.random.RandomState(seed)
    return random.randn(count, dim) @ random.randn(dim, dim) + random.randn(dim)


def by_definition(x: np.ndarray, y: np.ndarray) -> float:
    """The formula with SciPy's square root: right for full-rank covariances."""
    sx, sy = (np.atleast_2d(np.cov(z, rowvar=False)) for z in (x, y))
    shift = x.mean(axis=0) - y.mean(axis=0)
    root = np.asarray(sqrtm(sx @ sy)).real
    return float(shift @ shift + np.trace(sx + sy - 2 * root))


def by_rows(x: np.ndarray, y: np.ndarray) -> float:
    """The formula from the centred embeddings: right for any rank."""
    a, b = ((z - z.mean(axis=0)) / np.sqrt(len(z) - 1) for z in (x, y))
    nuclear = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    shift = x.mean(axis=0) - y.mean(axis=0)
    return float(shift @ shift + (a**2).sum() + (b**2).sum() - 2 * nuclear)


@pytest.mark.parametrize("dim", [1, 2, 7, 24])
def test_equals_the_definition_at_full_rank(dim: int) -> None:
    x, y = embeddings(5 * dim + 9, dim, 1), embeddings(4 * dim + 5, dim, 2)
    assert frechet_distance(Moments.of(x), Moments.of(y)) == pytest.approx(
        by_definition(x, y), rel=1e-9
    )


@pytest.mark.parametrize(
    "counts", [(2, 2), (3, 20), (12, 13), (13, 14), (14, 60), (60, 2), (60, 60)]
)
def test_equals_the_rows_at_any_rank(counts: tuple[int, int]) -> None:
    x, y = embeddings(counts[0], 12, 3), embeddings(counts[1], 12, 4)
    found = frechet_distance(Moments.of(x), Moments.of(y))
    assert found == pytest.approx(by_rows(x, y), rel=1e-9)


def test_a_root_in_single_precision_is_near_at_full_rank_and_low_below() -> None:
    def both(count: int) -> tuple[float, float]:
        sides = [Gaussian.of(Moments.of(embeddings(count, 64, seed))) for seed in (1, 2)]
        return float32_distance(*sides), frechet_distance(*sides)

    single, exact = both(500)
    assert single == pytest.approx(exact, rel=5e-5)  # 1.01e-5 with OpenBLAS's kernels for Haswell
    single, exact = both(20)
    assert 1e-5 < 1 - single / exact < 1e-2


def test_a_root_that_is_not_finite_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    side = Gaussian.of(Moments.of(embeddings(20, 5, 1)))
    monkeypatch.setattr("scipy.linalg.sqrtm", lambda _: np.full((5, 5), np.nan))
    with pytest.raises(StatisticsError, match="--fad-root exact"):
        float32_distance(side, side)


@pytest.mark.parametrize("count", [2, 5, 12, 13, 14, 40, 400])
def test_a_set_against_itself_is_zero(count: int) -> None:
    """Whatever processor computes it."""
    moments, again = (Moments.of(embeddings(count, 12, 5)) for _ in range(2))
    assert frechet_distance(moments, moments) == frechet_distance(moments, again) == 0.0


@pytest.mark.parametrize("rank", [1, 5, 12])
def test_a_singular_dense_covariance_against_itself_is_zero(rank: int) -> None:
    random = np.random.RandomState(6)
    moments = Moments.of(random.randn(200, rank) @ random.randn(rank, 12))
    assert moments.factor is None
    assert 0 <= frechet_distance(moments, moments) <= 1e-12 * np.trace(moments.covariance())


@pytest.mark.parametrize("counts", [(5, 30), (30, 31), (4, 7)])
def test_symmetric(counts: tuple[int, int]) -> None:
    a, b = (Moments.of(embeddings(n, 12, n)) for n in counts)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)


@pytest.mark.parametrize("count", [5, 50])
def test_a_shift_adds_its_square(count: int) -> None:
    x, y = embeddings(count, 12, 8), embeddings(40, 12, 9)
    y += x.mean(axis=0) - y.mean(axis=0)
    shift = np.linspace(-2, 3, 12)
    near = frechet_distance(Moments.of(x), Moments.of(y))
    far = frechet_distance(Moments.of(x + shift), Moments.of(y))
    assert far - near == pytest.approx(shift @ shift, rel=1e-10)


def test_commuting_covariances_in_closed_form() -> None:
    random = np.random.RandomState(10)
    basis = np.linalg.qr(random.randn(9, 9))[0]
    a, b = random.uniform(0, 4, 9), random.uniform(0, 4, 9)
    a[:3] = 0
    mean = random.randn(9)
    found = frechet_distance(
        Gaussian.of_statistics(mean, basis * a @ basis.T),
        Gaussian.of_statistics(np.zeros(9), basis * b @ basis.T),
    )
    expected = mean @ mean + np.square(np.sqrt(a) - np.sqrt(b)).sum()
    assert found == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e6])
def test_scales_with_the_square_of_the_units(scale: float) -> None:
    x, y = embeddings(30, 8, 11), embeddings(20, 8, 12)
    expected = frechet_distance(Moments.of(x), Moments.of(y)) * scale**2
    found = frechet_distance(Moments.of(x * scale), Moments.of(y * scale))
    assert found == pytest.approx(expected, rel=1e-10)


def test_a_point_is_the_limit_of_a_narrow_set() -> None:
    x, y = np.array([1.0, 2.0, 3.0]), embeddings(40, 3, 13)
    gaussian = Gaussian.of(Moments.of(y))
    expected = np.square(x - y.mean(axis=0)).sum() + y.var(axis=0, ddof=1).sum()
    assert frechet_distance(Gaussian.point(x), gaussian) == pytest.approx(expected, rel=1e-12)


def test_constant_sets_differ_by_their_means_alone() -> None:
    a, b = Moments.of(np.ones((40, 3))), Moments.of(np.full((2, 3), 3.0))
    assert frechet_distance(a, b) == 12.0


def test_a_factored_reference_gives_the_same_bits() -> None:
    a, b = Moments.of(embeddings(40, 12, 14)), Moments.of(embeddings(9, 12, 15))
    factored = Gaussian.of(a)
    for reference in (factored, pickle.loads(pickle.dumps(factored))):
        assert frechet_distance(reference, b) == frechet_distance(a, b)


@pytest.mark.parametrize("rank", [1, 4, 12])
def test_cholesky_rows_multiply_back(rank: int) -> None:
    half = np.random.RandomState(rank).randn(rank, 12)
    found = cholesky_rows(half.T @ half)
    assert found.shape == (rank, 12)
    np.testing.assert_allclose(found.T @ found, half.T @ half, atol=1e-13 * 12)


def test_negative_definite_is_refused() -> None:
    covariance = np.array([[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(StatisticsError, match="negative eigenvalue"):
        Gaussian.of_statistics(np.zeros(2), covariance)


def test_one_row_has_no_covariance() -> None:
    with pytest.raises(TooFewEmbeddingsError):
        frechet_distance(Moments.of(np.ones((1, 3))), Moments.of(np.eye(3)))


def test_unequal_dimensions() -> None:
    with pytest.raises(StatisticsError, match="3 and 4"):
        frechet_distance(Moments.of(np.eye(3)), Moments.of(np.eye(4)))


def test_immutable() -> None:
    gaussian = Gaussian.of(Moments.of(np.eye(3)))
    with pytest.raises(ValueError, match="read-only"):
        gaussian.factor[0, 0] = 1.0


def test_dimensions_of_small_units_keep_their_digits_beside_large_ones() -> None:
    units = np.logspace(-9, 3, 12)
    covariance = Moments.of(embeddings(60, 12, 17) * units).covariance()
    found = cholesky_rows(covariance)
    assert len(found) == 12
    spread = np.outer(*[np.sqrt(covariance.diagonal())] * 2)
    np.testing.assert_allclose(found.T @ found / spread, covariance / spread, atol=1e-13)


def test_an_indefinite_scatter_is_refused() -> None:
    covariance = np.array([[1.0, 0.2, 0.9], [0.2, 1.0, -0.9], [0.9, -0.9, 1.0]])
    with pytest.raises(StatisticsError, match="negative eigenvalue"):
        Gaussian.of(Moments.of_statistics(np.zeros(3), covariance, 9))


def test_float32_noise_in_foreign_statistics_counts_as_zero() -> None:
    random = np.random.RandomState(16)
    half = random.randn(4, 40)
    clean = half.T @ half
    noise = random.randn(40, 40) * 1e-7
    noisy = clean + noise + noise.T
    assert np.linalg.eigvalsh(noisy)[0] < 0
    found = frechet_distance(
        Gaussian.of_statistics(np.zeros(40), noisy), Gaussian.of_statistics(np.zeros(40), clean)
    )
    assert 0 <= found < 1e-4 * np.trace(clean)


@pytest.mark.parametrize("count", [1, 2, 9, 40])
def test_one_file_against_a_reference(count: int) -> None:
    reference, x = embeddings(60, 12, 18), embeddings(count, 12, 19)
    found = file_distance(Gaussian.of(Moments.of(reference)), Moments.of(x))
    gap = np.linalg.norm(x.mean(axis=0) - reference.mean(axis=0))
    expected = by_rows(x, reference) if count > 1 else gap**2 + reference.var(axis=0, ddof=1).sum()
    assert found.embeddings == count
    assert found.fad == pytest.approx(expected, rel=1e-9)
    assert found.mean_distance == pytest.approx(gap, rel=1e-12)


def test_a_file_without_rows_has_no_distance() -> None:
    with pytest.raises(TooFewEmbeddingsError, match="0 embedding"):
        file_distance(Gaussian.of(Moments.of(np.eye(3))), Moments.empty(3))
