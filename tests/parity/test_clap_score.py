"""CLAPScore against the class of frechet-audio-distance 0.3.4 that it takes the place of."""

import inspect

import numpy as np
import pytest

import fad_onnx
from exporters.mocks import stand_ins

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def original():
    with stand_ins():
        from frechet_audio_distance.clap_score import CLAPScore
    return CLAPScore


def embeddings(seed, count, longer=1.0):
    """Of about length one, as the networks of both give them."""
    found = np.random.RandomState(seed).standard_normal((count, 512)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True) * np.float32(longer)


@pytest.mark.parametrize("count", [1, 2, 9, 10, 11, 137])
@pytest.mark.parametrize("longer", [1.0, 0.3])
def test_scores_are_the_originals(original, count, longer):
    theirs, ours = original.__new__(original), fad_onnx.CLAPScore()
    text, audio = embeddings(1, count), embeddings(2, count, longer) + 0.3 * embeddings(1, count)
    expected = theirs.calculate_clap_score(text, audio, 10)
    assert ours.calculate_clap_score(text, audio, 10) == pytest.approx(expected, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("name", ["__init__", "score", "calculate_clap_score",
                                  "get_text_embeddings", "get_audio_embeddings"])  # fmt: skip
def test_arguments_and_defaults_are_the_originals(original, name):
    theirs = inspect.signature(getattr(original, name)).parameters
    ours = inspect.signature(getattr(fad_onnx.CLAPScore, name)).parameters
    assert list(ours)[: len(theirs)] == list(theirs)
    for key, parameter in theirs.items():
        if parameter.default is not parameter.empty:
            assert ours[key].default == parameter.default


def test_every_submodel_of_the_original_is_one_of_ours():
    names = ("630k-audioset", "630k", "music_audioset", "music_speech", "music_speech_audioset")
    plain = [fad_onnx.CLAPScore(submodel_name=name).model.name for name in names]
    fused = [
        fad_onnx.CLAPScore(submodel_name=name, enable_fusion=True).model.name for name in names[:2]
    ]
    assert len({*plain, *fused}) == 7
    assert all(fad_onnx.models()[name].text == 512 for name in (*plain, *fused))
