"""A long clip in tiles has the bits of one pass, from samples, from a file, and beside others."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile

from fad_onnx import audio, manifest, synthetic
from fad_onnx.binding import publish_synthetic
from fad_onnx.embedder import Embedder
from fad_onnx.engine import Engine
from fad_onnx.loader import Policy
from fad_onnx.session import Network, Settings

TILED = sorted(
    (row for row in manifest.models().values() if row.tiles), key=lambda row: row.sample_rate_hz
)
ROW, STEPS = TILED[0], 11
STEP = ROW.tiles.step_samples
EDGE = 2 * STEPS * STEP


def in_one_pass_and_in_tiles(row, folder):
    """The same network computing in one pass, and in tiles of STEPS."""
    variant = row.variant(row.choose())
    graph = publish_synthetic(row, variant, 0, folder)
    network = Network(graph, variant.output, Settings("cpu"))
    rows = replace(row, tiles=None), replace(row, tiles=replace(row.tiles, steps=STEPS))
    return [Embedder(one, row.choose(), network, {}, "") for one in rows]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return in_one_pass_and_in_tiles(ROW, tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in TILED[1:]])
def test_the_tiles_of_every_row(row, tmp_path):
    """More steps than a tile has context, and a last step that is short."""
    whole, tiled = in_one_pass_and_in_tiles(row, tmp_path)
    clip = synthetic.clip(3, 33 * row.tiles.step_samples - 81, row.channels)
    assert len(tiled.cutter("error").push(clip, last=True)) == 3
    np.testing.assert_array_equal(
        tiled.embed(clip.T, row.sample_rate_hz), whole.embed(clip.T, row.sample_rate_hz)
    )


@pytest.mark.parametrize(
    "samples",
    [EDGE, EDGE + 1, EDGE + STEP - 1, 33 * STEP - 81, 33 * STEP - 80, 33 * STEP, 48 * STEP + 1003],
)
def test_the_bits_of_one_pass(models, samples):
    whole, tiled = models
    clip = synthetic.clip(samples, samples)[0]
    count = len(tiled.cutter("error").push(clip[None], last=True))
    assert (count > 1) == (samples > EDGE)
    np.testing.assert_array_equal(
        tiled.embed(clip, ROW.sample_rate_hz), whole.embed(clip, ROW.sample_rate_hz)
    )


def test_files_of_all_lengths_together(models, tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "BLOCK_SAMPLES", 10_000)
    lengths = [EDGE // 2, 3 * EDGE, EDGE + 7, EDGE // 2, 2 * EDGE + 4321]
    for index, samples in enumerate(lengths):
        clip = synthetic.clip(index, samples)[0]
        soundfile.write(tmp_path / f"{index}.wav", clip, ROW.sample_rate_hz, subtype="FLOAT")
    results = list(Engine([models[1]], Policy(), 2).embed(audio.find(tmp_path)))
    for index, (samples, result) in enumerate(zip(lengths, results, strict=True)):
        clip = synthetic.clip(index, samples)[0]
        expected = models[0].embed(clip, ROW.sample_rate_hz)
        np.testing.assert_array_equal(result.rows[0], expected)
