"""Kernel distance against loops over pairs, and closed forms for Gaussians."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from fad_onnx.errors import NoBandwidthError, StatisticsError, TooFewEmbeddingsError
from fad_onnx.metrics import kad
from fad_onnx.metrics.kad import KernelReference


def kernel_distance(reference, evaluation, seed=0):
    return KernelReference(reference, seed).distance(evaluation)


def embeddings(count: int, seed: int, dim: int = 5) -> np.ndarray:
    return np.random.RandomState(seed).randn(count, dim)


def by_pairs(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The definition, pair by pair: (distance, bandwidth)."""
    pairs = [(i, j) for i in range(len(x)) for j in range(i + 1, len(x))]
    s = float(np.median([np.linalg.norm(x[i] - x[j]) for i, j in pairs]))

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(-np.square(a - b).sum() / (2 * s * s)))

    xx = np.mean([k(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j])
    yy = np.mean([k(y[i], y[j]) for i in range(len(y)) for j in range(len(y)) if i != j])
    xy = np.mean([k(a, b) for a in x for b in y])
    return float(100 * (xx + yy - 2 * xy)), s


@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 8), (20, 17), (31, 32)])
@pytest.mark.parametrize("block", [1, 7, 1024])
def test_equals_the_definition(n: int, m: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kad, "BLOCK", block)
    x, y = embeddings(n, 1), embeddings(m, 2) * 1.5 + 0.3
    value, bandwidth = by_pairs(x, y)
    found = kernel_distance(x, y)
    assert found.bandwidth == pytest.approx(bandwidth, rel=1e-12)
    assert float(found) == pytest.approx(value, rel=1e-10, abs=1e-10)
    assert (found.embeddings, found.subsampled) == ((n, m), False)


def test_the_bandwidth_is_the_references_alone() -> None:
    x, y = embeddings(30, 1), embeddings(30, 2) * 9
    assert kernel_distance(x, y).bandwidth == kernel_distance(x, x + 100).bandwidth
    assert kernel_distance(y, x).bandwidth != kernel_distance(x, y).bandwidth


def test_the_bandwidth_can_be_the_evaluations() -> None:
    x, y = embeddings(30, 1), embeddings(29, 2) * 9
    own = KernelReference(x, bandwidth_of="evaluation")
    found, swapped = own.distance(y), kernel_distance(y, x)
    assert found.bandwidth == pytest.approx(swapped.bandwidth, rel=1e-12)
    assert float(found) == pytest.approx(float(swapped), rel=1e-10)
    again = own.distance(x + 1)
    assert again.bandwidth == pytest.approx(kernel_distance(x, y).bandwidth, rel=1e-12)
    with pytest.raises(NoBandwidthError):
        own.distance(np.ones((5, 5)))


@pytest.mark.parametrize("count", [2, 3, 4, 60, 61])
def test_the_median_is_numpys_whatever_the_blocks(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    x = embeddings(count, 3)
    monkeypatch.setattr(kad, "BLOCK", 16)
    pairs = [np.linalg.norm(x[i] - x[j]) for i in range(count) for j in range(i)]
    assert kad.median_distance(x) == pytest.approx(np.median(pairs), rel=1e-12)


def test_the_two_middle_distances_may_be_far_apart() -> None:
    x = np.array([[0.0], [0.1], [0.2], [100.0]])
    assert kad.median_distance(x) == pytest.approx((0.2 + 99.8) / 2, rel=1e-12)
    assert kad.median_distance(np.zeros((5, 2))) == 0.0


@pytest.mark.large
def test_distances_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 million of them would be 64 MB."""
    monkeypatch.setattr(kad, "BLOCK", 256)
    x = embeddings(4000, 13)
    tracemalloc.start()
    found = kad.median_distance(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40_000_000
    squares = kad.squared_distances(x, x)[np.triu_indices(len(x), 1)]
    assert found == pytest.approx(np.sqrt(np.median(squares)), rel=1e-6)


@pytest.mark.parametrize("gap", [0.0, 2.0])
def test_two_gaussians_in_closed_form(gap: float) -> None:
    dim, count = 4, 2000
    # Each embedding with its opposite, so that the means are exact.
    x, y = (
        np.r_[half, -half]
        for half in (embeddings(count // 2, 4, dim), embeddings(count // 2, 5, dim))
    )
    y[:, 0] += gap
    found = kernel_distance(x, y)
    # E exp(-|x - y|^2 / (2 s^2)) of unit Gaussians a distance g apart.
    s2 = found.bandwidth**2
    equal = (s2 / (s2 + 2)) ** (dim / 2)
    expected = 200 * equal * (1 - np.exp(-(gap**2) / (2 * (s2 + 2))))
    assert found.value == pytest.approx(expected, abs=0.5)


@pytest.mark.large
def test_unbiased() -> None:
    values = [
        kernel_distance(embeddings(12, 2 * i), embeddings(12, 2 * i + 1)).value for i in range(300)
    ]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error
    assert min(values) < 0


def test_far_from_the_origin_costs_no_digits() -> None:
    x, y = (np.round(embeddings(40, seed) * 1024) / 1024 for seed in (6, 7))
    near, far = kernel_distance(x, y), kernel_distance(x + 2.0**20, y + 2.0**20)
    assert far.value == pytest.approx(near.value, rel=1e-9)


def test_large_sets_are_subsampled_by_seed_and_say_so() -> None:
    x, y = embeddings(50, 8), embeddings(30, 9)

    def found(seed: int) -> kad.Kad:
        return KernelReference(x, seed, limit=20).distance(y)

    assert found(1) == found(1)
    assert found(1) != found(2)
    assert found(1).subsampled
    assert (found(1).embeddings, found(1).embeddings_given) == ((20, 20), (50, 30))
    chosen = np.random.RandomState(1)
    subset = x[np.sort(chosen.permutation(50)[:20])]
    assert found(1).bandwidth == kad.median_distance(subset - subset.mean(axis=0))


def test_a_reference_serves_many() -> None:
    reference = KernelReference(embeddings(30, 10))
    for seed in (11, 12):
        y = embeddings(20, seed)
        assert reference.distance(y) == kernel_distance(embeddings(30, 10), y)


def test_equal_embeddings_leave_no_bandwidth() -> None:
    with pytest.raises(NoBandwidthError, match="silent or constant"):
        KernelReference(np.ones((5, 2)))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("others", [0.0, 1.0])
def test_rounding_is_no_bandwidth(seed: int, others: float) -> None:
    """Equal embeddings are apart by rounding, as seen at many dimensions."""
    random = np.random.RandomState(seed)
    dim, count = random.choice([8, 128, 512]), random.randint(8, 200)
    x = np.tile(random.randn(dim).astype(np.float32), (count, 1)) * 10 ** random.uniform(-3, 3)
    x[: count // 6] += others * random.randn(count // 6, dim)
    with pytest.raises(NoBandwidthError):
        KernelReference(x)
    # The same with the faintest dither that float32 keeps is a reference.
    x += 1e-5 * np.abs(x).max() * random.randn(count, dim)
    assert KernelReference(x).bandwidth > 0.0


def test_what_cannot_be_compared() -> None:
    with pytest.raises(TooFewEmbeddingsError, match="1 embedding"):
        kernel_distance(embeddings(1, 1), embeddings(5, 1))
    with pytest.raises(TooFewEmbeddingsError, match="1 embedding"):
        kernel_distance(embeddings(5, 1), embeddings(1, 1))
    with pytest.raises(StatisticsError, match="3 dimensions"):
        kernel_distance(embeddings(5, 1), embeddings(5, 1, 3))
