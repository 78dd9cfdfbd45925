"""Clips in memory and single files go through the engine of datasets, with the same numbers."""

import itertools

import numpy as np
import pytest
import soundfile

import fad_onnx
from fad_onnx.errors import AudioError, OptionError, TooShortError
from fad_onnx.networks import embedder

from .conftest import write_clip
from .kit import WEIGHTLESS


@pytest.fixture
def model():
    return fad_onnx.load_model(WEIGHTLESS, provider="cpu")


def clips(count, seed=0):
    """Clips of many lengths, rates, channels and types."""
    random = np.random.RandomState(seed)
    for i in range(count):
        rate = (16000, 44100, 22050)[i % 3]
        samples = random.uniform(-0.5, 0.5, (rate * (2 + i % 4) + i, 1 + i % 2))
        yield (samples if i % 4 else (samples * 32767).astype(np.int16)), rate


def test_many_clips_give_what_each_gives_alone(model):
    for workers in (1, 3):
        found = list(model.embed_many(clips(40), workers=workers))
        assert len(found) == 40
        for embeddings, (samples, rate) in zip(found, clips(40), strict=True):
            np.testing.assert_array_equal(embeddings, model.embed(samples, rate))


def test_clips_are_read_as_they_are_needed(model):
    read = []

    def endless():
        for i in itertools.count():
            read.append(i)
            yield np.full(16000, 0.1 + i % 3 * 0.1), 16000

    found = model.embed_many(endless(), workers=2)
    assert not read
    assert next(found).shape == (1, model.width)
    assert len(read) < 300
    found.close()


def test_a_buffer_may_be_filled_again(model):
    buffer = np.empty(32000)

    def refilled():
        for i in range(30):
            buffer[:] = np.random.RandomState(i).uniform(-1, 1, 32000)
            yield buffer, 16000

    for i, embeddings in enumerate(model.embed_many(refilled())):
        alone = np.random.RandomState(i).uniform(-1, 1, 32000)
        np.testing.assert_array_equal(embeddings, model.embed(alone, 16000))


def test_errors_say_which_clip_it_is(model):
    good = (np.full(32000, 0.1), 16000)
    with pytest.raises(AudioError, match="clip 2: frame 0 is NaN"):
        list(model.embed_many([good, good, (np.full(32000, np.nan), 16000), good]))
    with pytest.raises(TooShortError, match="clip 1"):
        list(model.embed_many([good, (np.zeros(10), 16000)]))
    assert len(next(model.embed_many([(np.full(10, 0.1), 16000)], short="pad"))) == 1
    with pytest.raises(OptionError, match="clip 0 is not"):
        list(model.embed_many([np.zeros(5)]))
    with pytest.raises(OptionError, match="sample_rate: clip 1: 0 is not"):
        list(model.embed_many([good, (np.zeros(32000), 0)]))
    with pytest.raises(AudioError, match="clip 0: not an array"):
        list(model.embed_many([([[1.0], [1.0, 2.0]], 16000)]))
    for workers in (0, 1.5, "2"):
        with pytest.raises(OptionError, match="workers"):
            model.embed_many([good], workers=workers)
    with pytest.raises(OptionError, match="short"):
        list(model.embed_many([good], short="perhaps"))


def test_the_cache_knows_the_same_samples_again(model, monkeypatch):
    first = list(model.embed_many(clips(5), cache=True))
    monkeypatch.setattr(embedder.Group, "run", None)
    for a, b in zip(first, model.embed_many(clips(5), cache=True), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(TypeError):
        list(model.embed_many(clips(5)))  # without the cache, the network runs


def test_a_file_gives_what_a_dataset_gives(model, tmp_path):
    samples = np.random.RandomState(1).uniform(-0.5, 0.5, (100_000, 2))
    soundfile.write(tmp_path / "a.wav", samples, 44100)
    (expected,) = fad_onnx.embed(tmp_path / "a.wav", WEIGHTLESS).values()
    np.testing.assert_array_equal(model.embed_file(tmp_path / "a.wav"), expected)
    with pytest.raises(AudioError, match=r"b\.wav"):
        model.embed_file(tmp_path / "b.wav")


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_a_file_can_be_given_as_bytes(model, cache, suffix, tmp_path):
    path = write_clip(tmp_path / f"a{suffix}", 1, 3, 44100)
    data, expected = path.read_bytes(), model.embed_file(path, cache=cache)
    np.testing.assert_array_equal(model.embed_file(data, cache=cache), expected)
    with pytest.raises(AudioError, match="bytes: "):
        model.embed_file(data[:-1000] if suffix == ".wav" else b"no audio", cache=cache)
    with pytest.raises(OptionError, match="path: list is neither a path nor bytes"):
        model.embed_file([data])


def test_a_streaming_score_takes_many_clips_at_once():
    one, many = (fad_onnx.StreamingFAD(WEIGHTLESS, provider="cpu") for _ in range(2))
    for real, seed in ((True, 1), (False, 2)):
        for samples, rate in clips(12, seed):
            one.update(samples, rate, real=real)
        many.update_many(clips(12, seed), real=real)
    assert many.compute() == one.compute()
