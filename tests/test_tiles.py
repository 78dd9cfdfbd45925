"""A long clip in tiles has the bits of one pass, from samples, from a file, and beside others."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile

from fad_onnx.audio import decoding, sources
from fad_onnx.networks import synthetic, table
from fad_onnx.networks.embedder import Embedder
from fad_onnx.networks.runtime import Session, Settings
from fad_onnx.networks.selection import select, selection_of
from fad_onnx.pipeline.batching import Engine
from fad_onnx.pipeline.clip_windows import Policy
from fad_onnx.weights.binding import publish_synthetic

TILED = sorted(
    (selection_of(model) for model in table.models().values() if model.network.tiles),
    key=lambda one: one.preparation.sample_rate_hz,
)
FIRST, STEPS = TILED[0], 11
STEP, RATE = FIRST.network.tiles.step_samples, FIRST.preparation.sample_rate_hz
EDGE = 2 * STEPS * STEP


def with_tiles(selection, tiles):
    network = replace(selection.network, tiles=tiles)
    return replace(selection, model=replace(selection.model, network=network))


def in_one_pass_and_in_tiles(selection, folder):
    """The same network computing in one pass, and in tiles of STEPS."""
    session = Session(publish_synthetic(selection, 0, folder), Settings("cpu"))
    short = replace(selection.network.tiles, steps=STEPS)
    return [Embedder(with_tiles(selection, tiles), session, {}, "") for tiles in (None, short)]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return in_one_pass_and_in_tiles(FIRST, tmp_path_factory.mktemp("model"))


@pytest.mark.large
@pytest.mark.parametrize("one", [pytest.param(one, id=one.label) for one in TILED[1:]])
def test_the_tiles_of_every_model(one, tmp_path):
    """More steps than a tile has context, and a last step that is short."""
    whole, tiled = in_one_pass_and_in_tiles(one, tmp_path)
    clip = synthetic.clip(3, 33 * one.network.tiles.step_samples - 81)
    rate = one.preparation.sample_rate_hz
    assert len(tiled.windower("error").push(clip, last=True)) == 3
    np.testing.assert_array_equal(tiled.embed(clip.T, rate), whole.embed(clip.T, rate))


@pytest.mark.parametrize(
    "samples",
    [
        EDGE, EDGE + 1, EDGE + STEP - 1,
        *(
            pytest.param(n, marks=pytest.mark.large)
            for n in (33 * STEP - 81, 33 * STEP - 80, 33 * STEP, 48 * STEP + 1003)
        ),
    ],
)  # fmt: skip
def test_the_bits_of_one_pass(models, samples):
    whole, tiled = models
    clip = synthetic.clip(samples, samples)[0]
    count = len(tiled.windower("error").push(clip[None], last=True))
    assert (count > 1) == (samples > EDGE)
    np.testing.assert_array_equal(tiled.embed(clip, RATE), whole.embed(clip, RATE))


@pytest.mark.large
def test_files_of_all_lengths_together(models, tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "BLOCK_SAMPLES", 10_000)
    lengths = [EDGE // 2, 3 * EDGE, EDGE + 7, EDGE // 2, 2 * EDGE + 4321]
    for index, samples in enumerate(lengths):
        clip = synthetic.clip(index, samples)[0]
        soundfile.write(tmp_path / f"{index}.wav", clip, RATE, subtype="FLOAT")
    results = list(Engine([models[1]], Policy(), 2).embed(sources.find(tmp_path)))
    for index, (samples, result) in enumerate(zip(lengths, results, strict=True)):
        clip = synthetic.clip(index, samples)[0]
        expected = models[0].embed(clip, RATE)
        np.testing.assert_array_equal(result.embeddings[0], expected)


@pytest.mark.large
def test_embedding_and_logits_of_tiles_are_one_run(models, tmp_path, monkeypatch):
    """The session gives the steps once, and the head both outputs of them."""
    label = FIRST.model.name
    outputs = ("embedding", "logits")
    both = [
        replace(models[1], selection=with_tiles(select(f"{label}:output={one}"), tiles))
        for one, tiles in zip(outputs, [models[1].selection.network.tiles] * 2, strict=True)
    ]
    clip = synthetic.clip(7, 3 * EDGE + 1234)[0]
    soundfile.write(tmp_path / "a.wav", clip, RATE, subtype="FLOAT")
    alone = [model.embed(clip, RATE) for model in both]
    whole = replace(models[0], selection=with_tiles(select(f"{label}:output=logits"), None))
    np.testing.assert_array_equal(alone[1], whole.embed(clip, RATE))
    asked, original = [], Session.run

    def run(self, inputs, outputs):
        asked.append(tuple(outputs))
        return original(self, inputs, outputs)

    monkeypatch.setattr(Session, "run", run)
    (result,) = Engine(both, Policy(), 1).embed(sources.find(tmp_path))
    assert set(asked) == {("steps",), outputs} and asked.count(outputs) == 1
    for got, want, width in zip(result.embeddings, alone, (2048, 527), strict=True):
        np.testing.assert_array_equal(got, want)
        assert got.shape == (1, width)
