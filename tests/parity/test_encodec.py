"""Encodec's graphs against encodec 0.1.1, on synthetic checkpoints and inputs export never saw."""

from collections import Counter
from functools import cache

import numpy as np
import onnx
import pytest

from exporters import encodec_loop, encodec_scan, parity
from fad_onnx.networks import synthetic
from fad_onnx.networks.preparation import Preparation
from fad_onnx.networks.selection import select

pytestmark = pytest.mark.parity

WHOLE = ("encodec-24k", "encodec-48k")
FIXED = ("encodec-24k-10s", "encodec-48k-10s")
FRAME = 320
LIMIT = 1e-4
# Either side of where the paddings outgrow the signal, at every layer, and of whole embeddings.
BOUNDARIES = (
    *range(1, 13), 15, 16, 17, 40, 41, 63, 64, 65, 80, 81, 120, 121, 319, 320, 321, 639, 640, 641,
    960, 961, 1279, 1280, 1281, 1600, 1601, 1919, 1920, 1921, 2239, 2240, 2241, 2300,
)  # fmt: skip
TILE_SAMPLES = {
    "encodec-24k": encodec_loop.FRAMES * FRAME,
    "encodec-48k": 2 * encodec_scan.TILE_SAMPLES,  # below which nothing is cut
}
# Either side of where a clip becomes one more tile, by few samples and by 1 embedding.
TILES = {
    name: [*range(tile - 1, tile + 10), tile + 40, tile + 320, tile + 321, 3 * tile // 2 - 1,
           3 * tile // 2, 3 * tile // 2 + 1, 2 * tile - 1, 2 * tile, 2 * tile + 1, 4 * tile + 1]
    for name, tile in TILE_SAMPLES.items()
}  # fmt: skip


@cache
def checkpoint(name: str, seed: int):
    """Every tensor that the graph binds, none as it was initialised."""
    return parity.checkpoint(select(name), seed)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A function from model and seed to the run time's embedder and the original network."""

    @cache
    def build(name: str, seed: int):
        selection, tensors = select(name), checkpoint(name, seed)
        folder = tmp_path_factory.mktemp("graph")
        return (
            parity.embedder(selection, tensors, folder),
            parity.original(selection, tensors),
        )

    return build


def clip(preparation: Preparation, samples: int, seed: int = 0):
    return synthetic.clip(seed + samples, samples, preparation.channel_count)


def graph_rows(ours, *clips):
    return ours.session.run((np.stack(clips),), ("embedding",))[0]


def scale(ours, theirs) -> float:
    """The spread of embeddings in a second of sound; short clips have too few of them."""
    embeddings = theirs(clip(ours.preparation, ours.preparation.sample_rate_hz))
    return float(np.sqrt(((embeddings - embeddings.mean(axis=0)) ** 2).sum(axis=1).mean()))


def error(got, expected, spread: float) -> float:
    assert got.shape == expected.shape
    return float(np.sqrt(((got - expected) ** 2).sum(axis=1).mean())) / spread


def worst(ours, theirs, lengths):
    """The largest error over clips of these lengths, and its length."""
    spread = scale(ours, theirs)
    found = []
    for samples in lengths:
        sound = clip(ours.preparation, samples)
        got, expected = ours.embed(sound.T, ours.preparation.sample_rate_hz), theirs(sound)
        assert len(got) == -(-samples // FRAME)
        found.append((error(got, expected, spread), samples))
    return max(found)


@pytest.mark.parametrize("name", WHOLE)
def test_lengths_either_side_of_every_boundary(pair, name):
    assert worst(*pair(name, 1), (*BOUNDARIES, *TILES[name])) < (LIMIT, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_every_short_length(pair, name):
    """From one sample to well past the last length at which a padding outgrows its signal; and
    every short end after a tile.
    """
    tile = TILE_SAMPLES[name]
    assert worst(*pair(name, 2), (*range(1, 2301), *range(tile, tile + 641))) < (LIMIT, 0)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", WHOLE)
def test_clips_of_one_to_twenty_seconds(pair, name, seed):
    ours, theirs = pair(name, seed)
    for seconds in (1.0, 3.3, 10.0, 20.0) if seed == 1 else (1.003, 7.7):
        samples = round(seconds * ours.preparation.sample_rate_hz) + seed
        sound = clip(ours.preparation, samples, seed)
        got, expected = ours.embed(sound.T, ours.preparation.sample_rate_hz), theirs(sound)
        assert parity.spread_error(got, expected) < LIMIT


@pytest.mark.parametrize("samples", [1, 319, 1923, 9601, 33_333])
@pytest.mark.parametrize("batch", [2, 3, 5])
@pytest.mark.parametrize("name", WHOLE)
def test_clips_of_a_batch_do_not_mix(pair, name, batch, samples):
    ours, theirs = pair(name, 1)
    clips = [clip(ours.preparation, samples, seed) for seed in range(batch)]
    spread = scale(ours, theirs)
    for got, sound in zip(graph_rows(ours, *clips), clips, strict=True):
        assert error(got, theirs(sound), spread) < LIMIT


@pytest.mark.parametrize("name", WHOLE)
def test_rows_do_not_depend_on_the_batch(pair, name):
    ours, _ = pair(name, 1)
    clips = [clip(ours.preparation, 24_001, seed) for seed in range(3)]
    alone = np.concatenate([graph_rows(ours, sound) for sound in clips])
    np.testing.assert_array_equal(graph_rows(ours, *clips), alone)


@pytest.mark.parametrize("kind", ["silence", "faint", "offset", "loud"])
@pytest.mark.parametrize("name", WHOLE)
def test_sound_that_strains_the_sums(pair, name, kind):
    ours, theirs = pair(name, 1)
    sound = clip(ours.preparation, 30_001)
    sound = {"silence": 0 * sound, "faint": 1e-4 * sound, "offset": 0.01 * sound + 0.9,
             "loud": np.sign(sound)}[kind].astype(np.float32)  # fmt: skip
    got = ours.embed(sound.T, ours.preparation.sample_rate_hz)
    assert error(got, theirs(sound), scale(ours, theirs)) < LIMIT


@pytest.mark.parametrize("name", [*WHOLE, *FIXED])
def test_the_graph_binds_every_tensor_of_the_encoder(name):
    """The original takes the same names, no fewer and no more, or it raises."""
    parity.original(select(name), checkpoint(name, 1))


@pytest.mark.parametrize("frames", [7, 8, 100, 750])
def test_fixed_window_is_exact_in_complete_rows_at_24k(pair, frames):
    ours, theirs = pair("encodec-24k-10s", 1)
    sound = clip(ours.preparation, frames * FRAME)
    got = ours.embed(sound.T, ours.preparation.sample_rate_hz)
    assert error(got, theirs(sound), scale(ours, theirs)) < LIMIT


def test_fixed_window_is_inexact_in_an_incomplete_row_at_24k(pair):
    ours, theirs = pair("encodec-24k-10s", 1)
    sound = clip(ours.preparation, 100 * FRAME + 17)
    got, expected = ours.embed(sound.T, ours.preparation.sample_rate_hz), theirs(sound)
    spread = scale(ours, theirs)
    assert error(got[:-1], expected[:-1], spread) < LIMIT < error(got[-1:], expected[-1:], spread)


def test_fixed_window_is_exact_for_ten_seconds_at_48k(pair):
    ours, theirs = pair("encodec-48k-10s", 1)
    for samples, exact in ((480_000, True), (479_680, False)):
        sound = clip(ours.preparation, samples)
        got = ours.embed(sound.T, ours.preparation.sample_rate_hz)
        assert (parity.spread_error(got, theirs(sound)) < LIMIT) is exact


@pytest.mark.parametrize("name", FIXED)
def test_a_longer_clip_is_split_and_its_padding_trimmed(pair, name):
    ours, theirs = pair(name, 1)
    window = ours.preparation.windows.length_samples
    sound = clip(ours.preparation, window + 1000)
    got = ours.embed(sound.T, ours.preparation.sample_rate_hz)
    assert got.shape == (window // FRAME + 4, 128)
    assert parity.spread_error(got[: window // FRAME], theirs(sound[:, :window])) < LIMIT


@pytest.mark.parametrize("name", WHOLE)
def test_no_name_in_a_loop_hides_one_outside(name):
    """A body may use the values around it, so an equal name in it would change what it says."""
    path = parity.graph_path(select(name))
    graphs = [onnx.load(path, load_external_data=False).graph]
    names = []
    while graphs:
        graph = graphs.pop()
        names += [value.name for value in (*graph.input, *graph.initializer)]
        names += [output for node in graph.node for output in node.output]
        graphs += [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    assert [name for name, times in Counter(names).items() if times > 1] == []
