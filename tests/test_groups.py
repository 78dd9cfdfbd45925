"""One run of a network gives the outputs that several models of a call ask for."""

import numpy as np
import pytest
import soundfile

import fad_onnx
from fad_onnx.audio import sources
from fad_onnx.networks import synthetic
from fad_onnx.networks.group import grouped
from fad_onnx.networks.runtime import Session, Settings
from fad_onnx.networks.spec import ModelSpec
from fad_onnx.networks.windows import Windower
from fad_onnx.pipeline.batching import Engine
from fad_onnx.pipeline.clip_windows import Policy
from fad_onnx.weights import prepare

from .toy import toy

LENGTHS = (1000, 100, 1234, 1000, 5000)
__all__ = ["toy"]


def load(*specs):
    return prepare.load_all(
        prepare.Request(ModelSpec.parse(spec), settings=Settings("cpu")) for spec in specs
    )


@pytest.fixture
def tones(tmp_path):
    folder = tmp_path / "tones"
    folder.mkdir()
    for index, samples in enumerate(LENGTHS):
        clip = synthetic.clip(index, samples)[0]
        soundfile.write(folder / f"{index}.wav", clip, 1000, subtype="FLOAT")
    return folder


def embeddings(folder, models, cache=None):
    results = Engine(models, Policy(), 2, cache).embed(sources.find(folder))
    return [result.embeddings for result in results]


@pytest.fixture
def fetched(monkeypatch):
    """What every run of a session was asked for."""
    asked, original = [], Session.run

    def run(self, inputs, outputs):
        asked.append(tuple(outputs))
        return original(self, inputs, outputs)

    monkeypatch.setattr(Session, "run", run)
    return asked


def test_several_outputs_of_a_network_are_one_run(toy, tones, fetched, monkeypatch):
    cutters = []
    original = Windower.__init__
    monkeypatch.setattr(
        Windower, "__init__", lambda self, *a: (cutters.append(self), original(self, *a))[1]
    )
    specs = ("toy", "toy:output=frames", "toy:output=maximum", "toy:output=frames,pooling=clip")
    models = load(*specs)
    assert len({id(model.session) for model in models}) == 1
    together = embeddings(tones, models)
    assert len(cutters) == len(LENGTHS)
    assert set(fetched) == {("mean", "frames", "maximum")}
    for place, spec in enumerate(specs):
        alone = embeddings(tones, load(spec))
        for got, (want,) in zip(together, alone, strict=True):
            np.testing.assert_array_equal(got[place], want)
    assert [len(every[1]) for every in together] == [-(-n // 100) for n in LENGTHS]


def test_models_of_other_preparations_run_apart_and_keep_their_places(toy, tones, fetched):
    specs = ("toy:output=maximum", "logmel", "toy")
    models = load(*specs)
    other = models[2].decoding("int16")
    assert [group.places for group in grouped([*models, other])] == [(0, 2), (1,), (3,)]
    for got, *alone in zip(
        embeddings(tones, [models[0], other, models[2]]),
        *(embeddings(tones, [one]) for one in (models[0], other, models[2])),
        strict=True,
    ):
        for found, (want,) in zip(got, alone, strict=True):
            np.testing.assert_array_equal(found, want)
    assert set(fetched) == {("maximum", "mean"), ("mean",), ("maximum",)}


def test_the_cache_holds_each_output_and_pooling_apart(toy, tones, tmp_path, fetched):
    cached = {"cache_dir": tmp_path / "cache", "provider": "cpu"}
    pooled = "toy:output=frames,pooling=clip"
    first = fad_onnx.stats(tones, model=pooled, **cached)
    assert fetched
    for model in ("toy", "toy:output=frames", "toy:output=maximum"):
        before = len(fetched)
        fad_onnx.stats(tones, model=model, **cached)
        assert len(fetched) > before
    before = len(fetched)
    again = fad_onnx.stats(tones, model=pooled, **cached)
    assert len(fetched) == before
    assert again.metadata.fingerprint == first.metadata.fingerprint
    np.testing.assert_array_equal(again.moments.mean, first.moments.mean)
