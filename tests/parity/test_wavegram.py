"""The graph of Wavegram-Logmel-CNN14 against the authors' class, on synthetic checkpoints."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from exporters import panns, parity, wavegram
from fad_onnx.errors import CheckpointError, TooShortError
from fad_onnx.networks import frontends, synthetic
from fad_onnx.networks.selection import select
from fad_onnx.networks.spec import ModelSpec
from fad_onnx.weights import prepare
from fad_onnx.weights.binding import external

pytestmark = pytest.mark.parity

NAME, LIMIT, MINIMUM = "pann-wavegram", 1e-4, 10_236
# On either side of where a branch has a step more: multiples of 640, and 320 and 636 above.
BOUNDARIES = (
    MINIMUM, MINIMUM + 1, 10_239, 10_240, 10_559, 10_560, 10_875, 10_876, 20_475, 20_476, 45_017,
)  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A function from a seed to the run time's embedder and the original network."""
    folder, kept = tmp_path_factory.mktemp("graph"), {}

    def build(seed: int):
        if seed not in kept:
            kept.clear()
            tensors = parity.checkpoint(select(NAME), seed)
            ours = parity.embedder(select(NAME), tensors, folder)
            kept[seed] = ours, wavegram.original_network(tensors)
        return kept[seed]

    yield build
    kept.clear()


def errors(pair, seed, lengths):
    """The errors of embeddings and logits of synthetic clips."""
    ours, network = pair(seed)
    logits = replace(ours, selection=select(f"{NAME}:output=logits"))
    for model, theirs in ((ours, panns.embed(network)), (logits, panns.logits(network))):
        yield parity.pooled(parity.compare(model, theirs, lengths, seed)).spread_error


def test_either_side_of_every_boundary(pair):
    assert max(errors(pair, 1, BOUNDARIES)) < LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_clips_of_one_to_twenty_seconds(pair, seed):
    lengths = (32_000, 43_853, 92_813, 320_000, 320_320, 320_636, 640_123)
    assert max(errors(pair, seed, lengths)) < LIMIT


def test_the_shortest_clip(pair):
    ours, network = pair(1)
    assert ours.preparation.minimum_samples == MINIMUM
    with pytest.raises(TooShortError):
        ours.embed(synthetic.clip(1, MINIMUM - 1).T, 32_000)
    with pytest.raises(RuntimeError, match="too small"):
        panns.embed(network)(synthetic.clip(1, MINIMUM - 1))


def test_the_authors_class_fails_where_we_cut():
    plain = panns.original_network(*wavegram.SETTINGS, {})
    assert len(panns.embed(plain)(synthetic.clip(1, 10_559)))
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        panns.embed(plain)(synthetic.clip(1, 10_560))


def test_the_waveform_never_has_more_steps_than_the_spectrum():
    """Over one period of both, after which the steps repeat; the formulas are the modules'."""

    def steps(samples):
        return ((samples - 1) // 5 + 1) // 128, (1 + samples // 320) // 2

    assert {spectrum - wave for wave, spectrum in map(steps, range(640, 1280))} == {0, 1}
    ours = wavegram.WavegramCnn14().to("meta")
    for samples in BOUNDARIES:
        wave = ours.wave(torch.empty(1, 1, samples, device="meta")).shape[2]
        spectrum = ours.spectrum(torch.empty(1, 1 + samples // 320, 513, device="meta")).shape[2]
        assert (wave, spectrum) == steps(samples)


def test_any_batch_gives_what_the_original_gives_one_by_one(pair):
    """Bit for bit whatever the batch, and at lengths that the export did not see."""
    ours, network = pair(1)
    for samples in (MINIMUM, 15_007, 21_129):
        clips = np.stack([synthetic.clip(seed, samples) * 0.25**seed for seed in range(5)])
        inputs = frontends.apply(ours.preparation.frontend, clips.astype(np.float32))
        outputs = "embedding", "logits"
        alone = [ours.session.run([one[i : i + 1] for one in inputs], outputs) for i in range(5)]
        expected = [np.concatenate(one) for one in zip(*alone, strict=True)]
        for batch in (2, 3, 5):
            got = ours.session.run([one[:batch] for one in inputs], outputs)
            for made, wanted in zip(got, expected, strict=True):
                np.testing.assert_array_equal(made, wanted[:batch])
        theirs = np.concatenate([panns.embed(network)(clip) for clip in clips.astype(np.float32)])
        assert parity.spread_error(expected[0], theirs) < LIMIT


def test_the_graph_binds_what_the_original_computes_with():
    tensors = wavegram.original_network({}).state_dict()
    used = {
        key: tuple(value.shape)
        for key, value in tensors.items()
        if not any(part in key for part in ("num_batches_tracked", "stft"))
    }
    bound = external(parity.graph_path(select(NAME)))
    assert {key: info.shape for key, info in bound.items()} == used


def test_a_checkpoint_as_the_authors_saved_it(tmp_path):
    torch.manual_seed(7)
    network = wavegram.original_network({})
    state, file = network.state_dict(), tmp_path / "checkpoint.pth"
    whole = {"iteration": 600_000, "model": state, "sampler": {"indexes": np.arange(1000)}}
    torch.save(whole, file, _use_new_zipfile_serialization=False)
    request = prepare.Request(ModelSpec(NAME, weights={"main": str(file)}))
    lengths = (12_345, 15_555, 20_002)
    compared = parity.compare(prepare.load(request), panns.embed(network), lengths, seed=1)
    assert parity.pooled(compared).spread_error < LIMIT

    state["spectrogram_extractor.stft.conv_imag.weight"][5] *= 1.001
    torch.save(whole, file, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="Fourier"):
        prepare.load(request)
