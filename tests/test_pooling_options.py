"""Pooling as an option of an entry, from files and from samples, and what a dry run says."""

import numpy as np
import pytest
import soundfile

from fad_onnx.api.dry_run import count_embeddings, estimate
from fad_onnx.audio import sources
from fad_onnx.networks import synthetic
from fad_onnx.networks.pooling import pool
from fad_onnx.networks.preparation import Pooling
from fad_onnx.networks.runtime import Settings
from fad_onnx.networks.selection import select
from fad_onnx.networks.spec import ModelSpec
from fad_onnx.pipeline.batching import Engine
from fad_onnx.pipeline.clip_windows import Policy
from fad_onnx.weights import prepare

from . import toy as toys

LENGTHS = (1000, 100, 1234, 40, 5000)
WINDOWS = {"cover": "windows", "length_samples": 300, "hop_samples": 300, "tail": "pad"}
CROP = {"cover": "crop", "length_samples": 2000, "fill": "zeros", "long": "head"}
LABEL = "toy:pooling={},statistic={}{}"


@pytest.fixture(params=["whole", "windows"])
def toy(request, monkeypatch, tmp_path):
    """The model "toy", with whole clips or with windows of which the last is padded."""
    folder = tmp_path / "graphs"
    folder.mkdir()
    made = {"windows": WINDOWS} if request.param == "windows" else {}
    toys.install(monkeypatch, folder, **made)


@pytest.fixture
def tones(tmp_path):
    folder = tmp_path / "tones"
    folder.mkdir()
    for index, samples in enumerate(LENGTHS):
        clip = synthetic.clip(index, samples)[0]
        soundfile.write(folder / f"{index}.wav", clip, 1000, subtype="FLOAT")
    return folder


def load(label):
    return prepare.load(prepare.Request(ModelSpec.parse(label), settings=Settings("cpu")))


@pytest.mark.parametrize("rules", [{"maximum_samples": 2000}, {"windows": CROP}])
def test_seconds_are_those_of_the_part_that_is_used(rules, monkeypatch, tmp_path, tones):
    (tmp_path / "graphs").mkdir()
    toys.install(monkeypatch, tmp_path / "graphs", **rules)
    model, label = load("toy:output=frames"), "toy:output=frames,pooling=seconds"
    for index, samples in enumerate(LENGTHS):
        clip = synthetic.clip(index, samples)[0]
        every, seconds = model.embed(clip, 1000), min(samples, 2000) / 1000
        expected = pool(Pooling("seconds"), every, seconds, np.ones(len(every)))
        np.testing.assert_array_equal(load(label).embed(clip, 1000), expected)
    used = [min(samples, 2000) for samples in LENGTHS]
    assert estimate([tones], "toy:output=frames")["embeddings"] == sum(-(-n // 100) for n in used)
    assert estimate([tones], label)["embeddings"] == sum(max(1, n // 1000) for n in used)


@pytest.mark.parametrize("output", [pytest.param("", marks=pytest.mark.large), ",output=frames"])
@pytest.mark.parametrize("over", ["frames", "seconds", "clip"])
@pytest.mark.parametrize("statistic", ["mean", "maximum", "weighted"])
def test_files_samples_and_a_dry_run_agree(toy, tones, over, statistic, output):
    label = LABEL.format(over, statistic, output)
    model, plain = load(label), load("toy:output=frames" if output else "toy")
    results = list(Engine([model], Policy(), 2).embed(sources.find(tones)))
    for index, (samples, result) in enumerate(zip(LENGTHS, results, strict=True)):
        clip = synthetic.clip(index, samples)[0]
        np.testing.assert_array_equal(result.embeddings[0], model.embed(clip, 1000))
        every = plain.embed(clip, 1000)
        # The samples of its window that are the clip's own, shared by the window's embeddings.
        size = 300 if model.preparation.windows.cover == "windows" else samples
        own = [min(size, samples - start) for start in range(0, samples, size)]
        counts = [-(-one // toys.FRAME) if output else 1 for one in own]
        weights = np.repeat(np.divide(own, counts), counts)
        expected = pool(Pooling(over, statistic), every, samples / 1000, weights)
        np.testing.assert_array_equal(result.embeddings[0], expected)
    planned = estimate([tones], label)["embeddings"]
    assert planned == sum(len(result.embeddings[0]) for result in results)


def test_a_weighted_mean_counts_a_window_by_the_samples_that_are_its_own(toy):
    clip = np.full(450, 0.5, np.float32)
    model = load("toy:pooling=clip,statistic=weighted")
    (got,) = model.embed(clip, 1000)
    if model.preparation.windows.cover == "whole":
        assert got == 0.5
    else:  # the second window is half its own: 0.5 * 300 / 450 + 0.25 * 150 / 450
        np.testing.assert_allclose(got, 0.5 * 2 / 3 + 0.25 / 3, rtol=1e-6)


def test_seconds_of_a_clip_that_is_cut_are_those_that_are_used(monkeypatch, tmp_path, tones):
    """Of 5 s only 2.5 are used: two whole seconds, from files, from samples and in a dry run."""
    folder = tmp_path / "graphs"
    folder.mkdir()
    toys.install(monkeypatch, folder, maximum_samples=2500)
    model, label = load("toy:pooling=seconds,output=frames"), "toy:output=frames"
    clip = synthetic.clip(4, LENGTHS[4])[0]
    got = model.embed(clip, 1000)
    every = load(label).embed(clip, 1000)
    assert len(every) == 25
    np.testing.assert_allclose(got, every[:20].reshape(2, 10, 1).mean(axis=1), rtol=1e-6)
    results = list(Engine([model], Policy(), 2).embed(sources.find(tones)))
    np.testing.assert_array_equal(results[4].embeddings[0], got)
    counted = estimate([tones], "toy:pooling=seconds,output=frames")["embeddings"]
    assert counted == sum(len(result.embeddings[0]) for result in results)


@pytest.mark.parametrize(("samples", "frames"), [(400, 1), (719, 1), (720, 2), (16_000, 49)])
def test_a_dry_run_counts_complete_frames_alone(samples, frames):
    assert count_embeddings(select("mert-95m"), 1, samples, samples / 24_000) == frames
    assert count_embeddings(select("mert-95m:pooling=clip"), 1, samples, samples / 24_000) == 1
