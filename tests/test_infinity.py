"""FAD-infinity: nearer the truth than FAD, repeatable, and plain about its floor."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import fad_onnx
from fad_onnx.errors import StatisticsError
from fad_onnx.metrics.fad_infinity import (
    fad_infinity,
    least_embeddings,
    line_at_infinity,
    subset_sizes,
)
from fad_onnx.metrics.frechet import Gaussian, frechet_distance
from fad_onnx.metrics.moments import Moments


def source(dim: int) -> Gaussian:
    """The standard Gaussian itself, as a reference without sampling error."""
    return Gaussian.of_statistics(np.zeros(dim), np.eye(dim))


@pytest.mark.parametrize(
    ("count", "dim"), [pytest.param(200, 128, marks=pytest.mark.large), (60, 16), (400, 16)]
)
@pytest.mark.parametrize("gap", [0.0, 2.0])
def test_nearer_the_truth_than_fad(count: int, dim: int, gap: float) -> None:
    truth = gap**2
    shift = np.zeros(dim)
    shift[0] = gap
    errors = []
    for seed in range(6):
        x = np.random.RandomState(seed).randn(count, dim) + shift
        found = fad_infinity(source(dim), x)
        assert found.value is not None
        errors.append((found.value - truth, frechet_distance(source(dim), Moments.of(x)) - truth))
    infinity, plain = np.abs(np.mean(errors, axis=0))
    assert infinity < 0.6 * plain


def test_the_last_point_is_the_whole_set() -> None:
    x = np.random.RandomState(0).randn(80, 6)
    found = fad_infinity(source(6), x)
    assert found.sizes[-1] == 80
    assert found.values[-1] == pytest.approx(frechet_distance(source(6), Moments.of(x)), rel=1e-12)
    assert len(found.values) == len(found.sizes)


def test_the_fit_is_numpys() -> None:
    x = np.random.RandomState(1).randn(80, 6)
    found = fad_infinity(source(6), x, seed=3)
    inverse = 1 / np.array(found.sizes)
    _, intercept = np.polyfit(inverse, found.values, 1)
    assert found.value == pytest.approx(intercept, rel=1e-9)
    assert found.r2 == pytest.approx(np.corrcoef(inverse, found.values)[0, 1] ** 2, rel=1e-9)


def test_a_straight_line_is_found_exactly() -> None:
    sizes = np.arange(10.0, 20.0)
    intercept, r2 = line_at_infinity(sizes, 3.0 + 7.0 / sizes)
    assert intercept == pytest.approx(3.0, rel=1e-12)
    assert r2 == pytest.approx(1.0, rel=1e-12)
    assert line_at_infinity(sizes, np.full(10, 2.0)) == (2.0, None)


def test_subsets_are_drawn_without_replacement() -> None:
    # Of embeddings that are all different, the covariance of n of them has rank n - 1 in dim n.
    x = np.random.RandomState(2).randn(60, 8)
    again = np.random.RandomState(5)
    found = fad_infinity(source(8), x, seed=5)
    for size, value in zip(found.sizes, found.values, strict=True):
        subset = x[again.permutation(60)[:size]]
        assert len(np.unique(subset, axis=0)) == size
        assert value == pytest.approx(frechet_distance(source(8), Moments.of(subset)), rel=1e-9)


def test_whole_files_are_drawn_and_the_last_is_cut() -> None:
    lengths = [3, 0, 1, 10, 2, 7, 4, 6, 5, 9, 3, 8, 2]
    owner = np.repeat(np.arange(len(lengths)), lengths)
    x = np.random.RandomState(8).randn(60, 8)
    again = np.random.RandomState(5)
    found = fad_infinity(source(8), x, seed=5, embeddings_per_clip=lengths)
    for size, value in zip(found.sizes, found.values, strict=True):
        order = again.permutation(len(lengths))
        subset = np.concatenate([x[owner == file] for file in order])[:size]
        assert value == pytest.approx(frechet_distance(source(8), Moments.of(subset)), rel=1e-9)


def test_clips_of_one_embedding_are_the_same_as_embeddings() -> None:
    x = np.random.RandomState(9).randn(60, 8)
    by_clips = fad_infinity(source(8), x, embeddings_per_clip=[1] * 60)
    assert by_clips.draw == "clips"
    assert replace(by_clips, draw="embeddings") == fad_infinity(source(8), x)


def test_too_few_clips_are_a_reason_with_the_numbers_and_the_remedy() -> None:
    x = np.random.RandomState(9).randn(60, 8)
    found = fad_infinity(source(8), x, embeddings_per_clip=[6, 0] * 9 + [6, 0])
    assert found.value is not None
    found = fad_infinity(source(8), x, embeddings_per_clip=[6, 0] * 8 + [12, 0])
    assert (found.value, found.sizes, found.draw) == (None, (), "clips")
    assert found.reason is not None
    assert "at least 10 of them, there are 9" in found.reason
    assert "--inf-draw embeddings" in found.reason


def test_files_take_away_the_bias_that_rows_leave() -> None:
    by_rows, by_files = [], []
    for seed in range(6):
        random = np.random.RandomState(seed)
        x = (random.randn(60, 1, 8) + random.randn(60, 5, 8)).reshape(300, 8) / np.sqrt(2)
        by_rows.append(fad_infinity(source(8), x).value)
        by_files.append(fad_infinity(source(8), x, embeddings_per_clip=[5] * 60).value)
    assert abs(np.mean(by_files)) < 0.3 * np.mean(by_rows)


def test_files_that_do_not_add_up() -> None:
    with pytest.raises(StatisticsError, match="60 embeddings, but the clips have 59"):
        fad_infinity(source(8), np.random.RandomState(9).randn(60, 8), embeddings_per_clip=[59])


def test_seeded() -> None:
    x = np.random.RandomState(3).randn(60, 8)
    assert fad_infinity(source(8), x, seed=1) == fad_infinity(source(8), x, seed=1)
    assert fad_infinity(source(8), x, seed=1) != fad_infinity(source(8), x, seed=2)


@pytest.mark.parametrize(
    ("count", "dim", "first"), [(200, 128, 129), (1000, 128, 500), (192, 128, 129), (40, 2, 20)]
)
def test_sizes_follow_the_stated_formula(count: int, dim: int, first: int) -> None:
    sizes = subset_sizes(count, dim)
    assert (sizes[0], sizes[-1]) == (first, count)
    assert list(sizes) == sorted(set(sizes))
    assert len(sizes) <= 25
    assert np.ptp(np.diff(sizes)) <= 1


@pytest.mark.parametrize(("dim", "least"), [(128, 192), (2, 40), (2048, 3072), (27, 41)])
def test_below_the_floor_there_is_a_reason_with_the_numbers(dim: int, least: int) -> None:
    assert least_embeddings(dim) == least
    x = np.random.RandomState(4).randn(least - 1, dim)
    found = fad_infinity(Moments.of(x[:5]), x)
    assert found.value is None
    assert found.reason is not None
    for number in (least, dim, least - 1):
        assert str(number) in found.reason


def test_at_the_floor_it_works() -> None:
    x = np.random.RandomState(4).randn(41, 27)
    assert fad_infinity(source(27), x).value is not None


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    fad_infinity(
        source(4), np.random.RandomState(6).randn(50, 4), progress=lambda *a: told.append(a)
    )
    assert told[-1] == (len(told), len(told))


def test_rows_that_are_none() -> None:
    with pytest.raises(StatisticsError, match="1 of 50 embeddings"):
        fad_infinity(source(4), np.r_[np.zeros((49, 4)), np.full((1, 4), np.nan)])
    with pytest.raises(StatisticsError, match="dimensions"):
        fad_infinity(source(4), np.random.RandomState(7).randn(50, 5))


def test_a_score_with_a_fit_is_of_plain_json_values():
    noise = np.random.RandomState(0).standard_normal((1000, 8))
    wanted = fad_onnx.Wanted(inf=True, inf_draw="embeddings")
    said = fad_onnx.score(noise, noise + 1, wanted=wanted).to_dict()
    assert said["results"][0]["fad_inf_fit"]["sizes"]
    assert json.loads(json.dumps(said)) == said
