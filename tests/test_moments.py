"""Moments as algebra: any cutting of the embeddings gives the same moments."""

from __future__ import annotations

import dataclasses
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from fad_onnx.errors import StatisticsError, TooFewEmbeddingsError
from fad_onnx.metrics.clips import BLOCK
from fad_onnx.metrics.moments import Moments, MomentsAccumulator

DIM = 6
# Either side of every boundary: nothing, one embedding, factor full, dense, more than a block.
COUNTS = (0, 1, 2, DIM, DIM + 1, DIM + 2, 40, BLOCK + 1)


def embeddings(count: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    random = np.random.RandomState(seed)
    return random.randn(count, dim) @ random.randn(dim, dim) + 3.0 * random.randn(dim)


def assert_same(found: Moments, expected: Moments) -> None:
    assert found.count == expected.count
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-12, atol=1e-13)
    scale = np.abs(expected.dense_scatter()).max() if expected.count else 1.0
    atol = 1e-12 * scale + 1e-300
    np.testing.assert_allclose(found.dense_scatter(), expected.dense_scatter(), rtol=0, atol=atol)


@pytest.mark.parametrize("count", COUNTS)
def test_equals_numpy(count: int) -> None:
    x = embeddings(count)
    moments = Moments.of(x)
    assert (moments.count, moments.dim) == (count, DIM)
    if count >= 1:
        np.testing.assert_allclose(moments.mean, x.mean(axis=0), rtol=1e-12)
    if count >= 2:
        expected = np.cov(x, rowvar=False)
        np.testing.assert_allclose(
            moments.covariance(), expected, rtol=0, atol=1e-13 * expected.max()
        )


@pytest.mark.parametrize("count", COUNTS)
def test_keeps_a_factor_while_it_is_smaller(count: int) -> None:
    moments = Moments.of(embeddings(count))
    if count <= DIM + 1:
        assert moments.factor is not None
        assert moments.factor.shape == (max(count - 1, 0), DIM)
        assert moments.scatter is None
    else:
        assert moments.factor is None
        assert moments.scatter is not None


@pytest.mark.parametrize("cuts", [(0,), (1,), (3, 4), (7,), (8, 9, 30), tuple(range(1, 40))])
def test_any_cutting_gives_the_same_moments(cuts: tuple[int, ...]) -> None:
    x = embeddings(40)
    parts = [Moments.of(piece) for piece in np.split(x, cuts)]
    assert_same(Moments.total(parts), Moments.of(x))
    folded = parts[0]
    for part in parts[1:]:
        folded = folded + part
    assert_same(folded, Moments.of(x))


def test_addition_is_a_commutative_monoid() -> None:
    a, b, c = (Moments.of(embeddings(n, seed)) for seed, n in enumerate((3, 9, 5)))
    assert_same(a + b, b + a)
    assert_same((a + b) + c, a + (b + c))
    for both in (a + Moments.empty(DIM), Moments.empty(DIM) + a):
        assert np.array_equal(both.mean, a.mean)
        assert np.array_equal(both.dense_scatter(), a.dense_scatter())
        assert both.factor is not None
        assert len(both.factor) == a.count - 1


def test_a_sum_keeps_a_factor_while_it_is_smaller() -> None:
    x = embeddings(DIM + 2)
    assert Moments.total(Moments.of(embedding[None]) for embedding in x[:-1]).factor is not None
    assert Moments.total(Moments.of(embedding[None]) for embedding in x).factor is None


def test_total_repeats_to_the_bit() -> None:
    parts = [Moments.of(embeddings(n, n)) for n in (1, 4, 20, 2, 1, 9)]
    first, second = Moments.total(parts), Moments.total(iter(parts))
    assert np.array_equal(first.mean, second.mean)
    assert np.array_equal(first.dense_scatter(), second.dense_scatter())


def test_a_mean_far_from_zero_costs_no_digits() -> None:
    # Multiples of 1/1024 so that the shifted embeddings are exact.
    x = np.round(embeddings(30) * 1024) / 1024
    near, far = Moments.of(x), Moments.of(x + 2.0**30)
    np.testing.assert_allclose(far.covariance(), near.covariance(), rtol=1e-12, atol=1e-12)


def test_float32_rows_are_summed_in_float64() -> None:
    x = embeddings(20_000).astype(np.float32)
    expected = Moments.of(x.astype(np.float64))
    found = Moments.of(x)
    assert np.array_equal(found.mean, expected.mean)
    assert np.array_equal(found.dense_scatter(), expected.dense_scatter())


def test_integers_are_rows_too() -> None:
    x = np.arange(24, dtype=np.uint8).reshape(4, 6)
    assert np.array_equal(Moments.of(x).covariance(), Moments.of(x.astype(float)).covariance())


def test_does_not_change_or_keep_what_it_is_given() -> None:
    x = embeddings(5)
    before = x.copy()
    moments = Moments.of(x)
    assert np.array_equal(x, before)
    mean = moments.mean.copy()
    x[:] = 0
    assert np.array_equal(moments.mean, mean)


@pytest.mark.parametrize("count", [4, 40])
def test_immutable_also_after_pickling(count: int) -> None:
    original = Moments.of(embeddings(count))
    for moments in (original, pickle.loads(pickle.dumps(original)), original + original):
        for array in (moments.mean, moments.factor, moments.scatter):
            if array is not None:
                with pytest.raises(ValueError, match="read-only"):
                    array[0] = 0
        with pytest.raises(dataclasses.FrozenInstanceError):
            moments.count = 3  # type: ignore[misc]
    assert_same(pickle.loads(pickle.dumps(original)), original)


@pytest.mark.parametrize("count", [0, 1, 4, 40])
def test_arrays_round_trip_to_the_bit(count: int) -> None:
    original = Moments.of(embeddings(count))
    back = Moments.from_arrays(original.to_arrays())
    assert back.count == original.count
    assert np.array_equal(back.mean, original.mean)
    assert np.array_equal(back.dense_scatter(), original.dense_scatter())


@pytest.mark.parametrize("count", [0, 1])
def test_no_covariance_below_two_rows(count: int) -> None:
    with pytest.raises(TooFewEmbeddingsError, match=f"{count} embedding"):
        Moments.of(embeddings(count)).covariance()


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e200])
def test_rows_that_are_not_finite_are_counted(bad: float, dtype: type) -> None:
    x = embeddings(9).astype(dtype)
    x[2, 3] = x[7, 0] = bad
    with pytest.raises(StatisticsError, match=r"clip\.wav: 2 of 9 embeddings"):
        Moments.of(x, "clip.wav")


@pytest.mark.parametrize(
    "wrong",
    [np.zeros(3), np.zeros((2, 0)), np.zeros((2, 2), complex), [["a"]], np.zeros((1, 2, 3))],
)
def test_rows_of_another_shape_or_type(wrong: object) -> None:
    with pytest.raises(StatisticsError, match="embeddings must be"):
        Moments.of(wrong)  # type: ignore[arg-type]


def test_unequal_dimensions_do_not_add() -> None:
    with pytest.raises(StatisticsError, match="6 and 5"):
        Moments.of(embeddings(3)) + Moments.of(embeddings(3, dim=5))


def test_statistics_go_in_and_come_out() -> None:
    x = embeddings(50)
    moments = Moments.of_statistics(x.mean(axis=0), np.cov(x, rowvar=False), 50)
    assert_same(moments, Moments.of(x))
    assert_same(
        moments + Moments.of(embeddings(9, 1)), Moments.of(np.vstack([x, embeddings(9, 1)]))
    )


@pytest.mark.parametrize(
    ("mean", "covariance", "count", "match"),
    [
        (np.zeros(2), np.eye(3), 9, "do not match"),
        (np.zeros(2), np.array([[1.0, 0.5], [0.4, 1.0]]), 9, "not symmetric"),
        (np.zeros(2), np.array([[1.0, 0.0], [0.0, -0.1]]), 9, "negative variance"),
        (np.zeros(2), np.array([[1.0, np.nan], [np.nan, 1.0]]), 9, "NaN"),
        (np.array([0, np.inf]), np.eye(2), 9, "infinity"),
        (np.zeros(2), np.eye(2), 1, "1 embedding"),
    ],
)
def test_statistics_that_are_none(
    mean: np.ndarray, covariance: np.ndarray, count: int, match: str
) -> None:
    with pytest.raises((StatisticsError, TooFewEmbeddingsError), match=match):
        Moments.of_statistics(mean, covariance, count)


@pytest.mark.parametrize(
    "change",
    [
        {"count": np.array(7)},
        {"count": np.array(-1)},
        {"count": np.array([4])},
        {"count": np.array(4.0)},
        {"mean": np.zeros(5)},
        {"factor": np.full((3, DIM), np.nan)},
        {"scatter": np.eye(DIM)},
    ],
)
def test_arrays_that_are_none(change: dict[str, np.ndarray]) -> None:
    with pytest.raises(StatisticsError):
        Moments.from_arrays({**Moments.of(embeddings(4)).to_arrays(), **change})


def test_asking_early_does_not_change_later_bits() -> None:
    x = embeddings(60)
    asked, silent = MomentsAccumulator(), MomentsAccumulator()
    for start in range(0, 60, 5):
        part = Moments.of(x[start : start + 5])
        silent.add(part)
        asked.add(part)
        assert_same(asked.result(), Moments.of(x[: start + 5]))
    assert np.array_equal(asked.result().mean, silent.result().mean)
    assert np.array_equal(asked.result().dense_scatter(), silent.result().dense_scatter())


def test_the_sum_of_nothing() -> None:
    assert Moments.total([], 3).count == 0
    with pytest.raises(StatisticsError, match="no dimension"):
        Moments.total([])


THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
PRINT_BITS = """
import hashlib, numpy as np
from fad_onnx.metrics.moments import Moments
x = np.random.RandomState(0).randn(1500, 520).astype(np.float32)
whole = Moments.of(x)
parts = Moments.total(Moments.of(x[i : i + 7]) for i in range(0, 1500, 7))
for m in (whole, parts):
    print(hashlib.sha256(m.mean.tobytes() + m.dense_scatter().tobytes()).hexdigest())
"""


def test_bits_do_not_depend_on_the_number_of_blas_threads() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", PRINT_BITS],
            env={**os.environ, **dict.fromkeys(THREAD_VARIABLES, threads)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(found) == 1
    assert len(set(found.pop().split())) == 2
