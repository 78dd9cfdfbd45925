"""Pooling against loops over what it says."""

import numpy as np
import pytest

import fad_onnx
from fad_onnx.errors import OptionError
from fad_onnx.networks.pooling import pool, pooled_count
from fad_onnx.networks.preparation import Pooling
from fad_onnx.networks.selection import select

from ..kit import with_preparation

RANDOM = np.random.RandomState(0)
EMBEDDINGS = RANDOM.standard_normal((499, 3)).astype(np.float32)
WEIGHTS = RANDOM.uniform(0.5, 1, 499)


@pytest.mark.parametrize("seconds", [0.0, 0.3, 9.99, 10.0, 10.02])
def test_frames_are_kept_as_they_are(seconds):
    assert pool(Pooling(), EMBEDDINGS, seconds, WEIGHTS) is EMBEDDINGS


@pytest.mark.parametrize("statistic", ["mean", "maximum", "weighted"])
def test_one_for_the_clip(statistic):
    (got,) = pool(Pooling("clip", statistic), EMBEDDINGS, 10.0, WEIGHTS)
    wide = EMBEDDINGS.astype(np.float64)
    expected = {
        "mean": wide.mean(axis=0),
        "maximum": wide.max(axis=0),
        "weighted": np.average(wide, axis=0, weights=WEIGHTS),
    }[statistic]
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert got.dtype == np.float32


@pytest.mark.parametrize(("seconds", "size"), [(9.99, 49), (9.98, 50), (1.0, 499), (600.0, 1)])
def test_one_for_each_second_drops_the_rest(seconds, size):
    got = pool(Pooling("seconds"), EMBEDDINGS, seconds, WEIGHTS)
    assert len(got) == 499 // size
    for index, one in enumerate(got):
        part = EMBEDDINGS[index * size : (index + 1) * size].astype(np.float64)
        np.testing.assert_allclose(one, part.mean(axis=0), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("count", "expected"), [(499, 5), (495, 5), (9, 9), (5, 5), (3, 3)])
def test_one_for_each_fifth_whatever_the_length(count, expected):
    got = pool(Pooling("fifths"), EMBEDDINGS[:count], 123.0, WEIGHTS[:count])
    assert len(got) == expected == pooled_count(Pooling("fifths"), count, 123.0)
    size = max(1, count // 5)
    for index, one in enumerate(got):
        part = EMBEDDINGS[index * size : (index + 1) * size].astype(np.float64)
        np.testing.assert_allclose(one, part.mean(axis=0), rtol=1e-6, atol=1e-7)


def test_a_clip_below_a_second_gives_its_mean():
    (got,) = pool(Pooling("seconds"), EMBEDDINGS[:10], 0.2, WEIGHTS[:10])
    np.testing.assert_allclose(got, EMBEDDINGS[:10].mean(axis=0), rtol=1e-6)


def test_numbers_are_embeddings_of_dimension_one():
    got = pool(Pooling("numbers"), EMBEDDINGS, 10.0, WEIGHTS)
    assert got.shape == (499 * 3, 1)
    np.testing.assert_array_equal(got[:3, 0], EMBEDDINGS[0])


def test_a_model_gives_its_numbers_as_embeddings():
    model = fad_onnx.load_model("logmel", provider="cpu")
    numbers = with_preparation(model, pooling=Pooling("numbers"))
    clip = np.random.default_rng(0).uniform(-1, 1, 40_000)
    expected = model.embed(clip, 16_000)
    assert numbers.width == 1
    np.testing.assert_array_equal(numbers.embed(clip, 16_000), expected.reshape(-1, 1))


@pytest.mark.parametrize("given", ["output=decoder", "protocol=fadtk"])
def test_vectors_that_do_not_follow_in_time_are_not_pooled(given):
    for over in ("seconds", "clip"):
        with pytest.raises(OptionError, match=f"pooling={over}: .*decoder is 2 vectors"):
            select(f"whisper-tiny:{given},pooling={over}")
    assert select(f"whisper-tiny:{given},pooling=frames").output_name == "decoder"
