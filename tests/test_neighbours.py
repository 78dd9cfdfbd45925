"""Neighbours by products against neighbours by differences."""

import mmap

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from fad_onnx.metrics import kad
from fad_onnx.metrics.neighbours import Pairs, Some, nearest_squared, squared_radii

SHIFTED = 1e6


def normal(random):
    return random.standard_normal((61, 33))


def grid(random):
    """Many equal distances, and equal embeddings."""
    return random.integers(0, 3, (61, 4)).astype(float)


def grid_far_away(random):
    """Products of what is stored would lose most digits."""
    return grid(random) + SHIFTED


def copies(random):
    return np.repeat(random.standard_normal((8, 20)), 8, axis=0)


def single_precision(random):
    return (normal(random) + 1e3).astype(np.float32)


def outlier(random):
    """One embedding whose square hides those of all others."""
    found = normal(random)
    found[5] *= 1e9
    return found


MADE = [normal, grid, grid_far_away, copies, single_precision, outlier]
every_kind = pytest.mark.parametrize("made", MADE)


@pytest.fixture(params=[7, 1024])
def block(request, monkeypatch):
    monkeypatch.setattr(kad, "BLOCK", request.param)


def by_differences(left, right):
    return cdist(left.astype("f8"), right.astype("f8"), "sqeuclidean")


@every_kind
@pytest.mark.parametrize("k", [1, 5, 20])
@pytest.mark.usefixtures("block")
def test_radii_are_those_of_differences(made, k):
    embeddings = made(np.random.default_rng(k))
    squares = by_differences(embeddings, embeddings)
    np.fill_diagonal(squares, np.inf)
    expected = np.sort(squares, axis=1)[:, k - 1]
    np.testing.assert_allclose(squared_radii(Some(embeddings), k), expected, rtol=1e-12)


@every_kind
@pytest.mark.usefixtures("block")
def test_nearest_neighbours_are_those_of_differences(made):
    random = np.random.default_rng(0)
    left, right = made(random), made(random)
    found = nearest_squared(Some(left), Some(right))
    np.testing.assert_allclose(found, by_differences(left, right).min(axis=1), rtol=1e-12)


def test_nobody_has_more_neighbours_than_there_are():
    assert squared_radii(Some(np.zeros((3, 2))), 3).tolist() == [np.inf] * 3


@every_kind
def test_settled_distances_are_compared_as_differences_are(made):
    """Against radii that equal one of the distances: strictly less is decided by the last bit."""
    random = np.random.default_rng(1)
    left, right = made(random), made(random)
    exact = np.square(left[:, None].astype("f8") - right[None].astype("f8")).sum(axis=2)
    limits = exact[np.arange(len(left)), random.integers(len(right), size=len(left))][:, None]
    pairs = Pairs.of(left.astype("f8"), right.astype("f8"))
    assert (np.abs(pairs.squares - exact) <= pairs.margin).all()
    pairs.settle(limits)
    np.testing.assert_array_equal(pairs.squares < limits, exact < limits)


def test_few_distances_need_differences(monkeypatch):
    made = []
    exact = Pairs.make_exact
    monkeypatch.setattr(
        Pairs, "make_exact", lambda own, some: made.append(some.sum()) or exact(own, some)
    )
    squared_radii(Some(np.random.default_rng(2).standard_normal((3000, 16))), 5)
    assert sum(made) < 0.02 * 3000**2


def test_chosen_embeddings_of_a_file_are_the_same_as_of_an_array(tmp_path):
    array = np.random.default_rng(3).standard_normal((500, 8)).astype(np.float32)
    np.save(tmp_path / "a.npy", array)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    chosen = np.arange(3, 500, 7)
    assert isinstance(mapped.base, mmap.mmap)
    for stored in (array, mapped):
        found = squared_radii(Some(stored, chosen), 2)
        np.testing.assert_array_equal(found, squared_radii(Some(array[chosen]), 2))
