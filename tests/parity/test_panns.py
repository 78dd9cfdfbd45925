"""CNN14's graphs against the original networks, on synthetic checkpoints."""

import itertools
import shutil
from dataclasses import replace
from functools import lru_cache

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from exporters import laion, panns, parity
from exporters.mocks import stand_ins
from exporters.verify import _with_output
from fad_onnx.errors import CheckpointError, TooShortError
from fad_onnx.networks import frontends, synthetic
from fad_onnx.networks.runtime import Session
from fad_onnx.networks.selection import select
from fad_onnx.networks.spec import ModelSpec
from fad_onnx.weights import prepare
from fad_onnx.weights.binding import external

pytestmark = pytest.mark.parity

PANNS = ("pann-8k", "pann-16k", "pann-32k")
ALL = (*PANNS, "clap-cnn14")
LIMIT = 1e-4
HOPS = {"pann-8k": 80, "pann-16k": 160, "pann-32k": 320}


@lru_cache(maxsize=1)  # Each is 0.3 GB.
def checkpoint(name: str, seed: int):
    """Every tensor that the graph binds, none as it was initialised."""
    return parity.checkpoint(select(name), seed)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A function from label and seed to the run time's embedder and the original network."""
    folder, kept = tmp_path_factory.mktemp("graph"), {}

    def build(name: str, seed: int):
        # One at a time: each is 0.3 GB on disk and twice that in memory.
        if (name, seed) not in kept:
            kept.clear()
            selection = select(name)
            tensors = checkpoint(selection.model.name, seed)
            kept[name, seed] = (
                parity.embedder(selection, tensors, folder),
                parity.original(selection, tensors),
            )
        return kept[name, seed]

    yield build
    kept.clear()
    checkpoint.cache_clear()


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", PANNS)
def test_clips_of_one_to_twenty_seconds(pair, name, seed):
    seconds = (1.0, 1.37, 2.113, 5.5, 10.0, 20.0) if seed == 1 else (1.003, 3.3, 7.7)
    for label, width in ((name, 2048), (f"{name}:output=logits", 527)):
        ours, theirs = pair(label, seed)
        rate = ours.preparation.sample_rate_hz
        lengths = [round(s * rate) + i for i, s in enumerate(seconds)]
        compared = parity.pooled(parity.compare(ours, theirs, lengths, seed))
        assert compared.got.shape == (len(lengths), width)
        assert compared.spread_error < LIMIT


@pytest.mark.parametrize("name", PANNS)
def test_a_clip_in_tiles_has_the_logits_of_the_original(pair, name):
    ours, theirs = pair(f"{name}:output=logits", 1)
    tiles = ours.selection.network.tiles
    clip = synthetic.clip(5, 2 * tiles.steps * tiles.step_samples + 1003)
    got = ours.embed(clip.T, ours.preparation.sample_rate_hz)
    assert parity.spread_error(got, theirs(clip)) < LIMIT


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_clap_fills_or_crops_every_clip_to_ten_seconds(pair, seed):
    ours, theirs = pair("clap-cnn14", seed)
    boundaries = (160_000, 160_001, 239_999, 240_000, 240_001, 479_999, 480_000)
    longer = (480_001, 500_002, 960_001)
    lengths = [*boundaries, *longer, 48_017] if seed == 1 else [17, 100_003, 333_333, 480_000]
    compared = parity.pooled(parity.compare(ours, theirs, lengths, seed))
    assert compared.got.shape == (len(lengths), 512)
    assert compared.spread_error < LIMIT
    np.testing.assert_allclose(np.linalg.norm(compared.got, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("name", PANNS)
def test_either_side_of_the_shortest_clip(pair, name):
    ours, theirs = pair(name, 1)
    minimum = ours.preparation.minimum_samples
    assert minimum == 31 * HOPS[name]
    lengths = [minimum, minimum + 1, minimum + HOPS[name] - 1, minimum + HOPS[name]]
    assert parity.pooled(parity.compare(ours, theirs, lengths, 1)).spread_error < LIMIT
    with pytest.raises(TooShortError):
        ours.embed(synthetic.clip(1, minimum - 1).T, ours.preparation.sample_rate_hz)
    with pytest.raises(RuntimeError, match="too small"):  # The original's refusal of 31 frames.
        theirs(synthetic.clip(1, minimum - 1))


def powers(batch: int, frames: int, bins: int):
    """Spectra over eight decades that differ by clip, by frame and by bin."""
    random = np.random.RandomState(frames + batch)
    level = random.uniform(-8, 1, (batch, 1, 1))
    shape = random.uniform(-2, 2, (batch, frames, 1)) + random.uniform(-2, 2, (batch, 1, bins))
    return (10 ** (level + shape)).astype(np.float32)


BOUNDARIES = (*range(32, 67), 95, 96, 97, 127, 128, 129, 159, 160, 161, 191, 192, 193, 255, 257)


@pytest.mark.parametrize(
    "lengths", [BOUNDARIES, pytest.param(range(32, 201), marks=pytest.mark.slow)], ids=len
)
def test_every_number_of_frames_and_batch(pair, lengths):
    """The export saw 3 clips of 101 frames; a size it took for a constant fails here."""
    ours, _ = pair("pann-8k", 1)
    network = panns.original_network(*panns.SETTINGS["pann-8k"], checkpoint("pann-8k", 1))
    network.spectrogram_extractor = torch.nn.Unflatten(1, (1, -1))  # Takes powers as they are.
    got, expected = [], []
    for frames, batch in zip(lengths, itertools.cycle((1, 1, 2, 1, 3, 1, 5))):
        power = powers(batch, frames, 129)
        got.append(ours.session.run((power,), ("embedding", "logits")))
        with torch.inference_mode():
            embedding = network(torch.from_numpy(power))["embedding"]
            expected.append([embedding.numpy(), network.fc_audioset(embedding).numpy()])
        assert [one.shape for one in got[-1]] == [(batch, 2048), (batch, 527)]
    for made, wanted in zip(zip(*got, strict=True), zip(*expected, strict=True), strict=True):
        error = np.linalg.norm(np.concatenate(made) - np.concatenate(wanted), axis=1)
        spread = np.concatenate(wanted).std(axis=0)
        assert error.max() < LIMIT * np.linalg.norm(spread)


@pytest.mark.parametrize("name", ALL)
def test_rows_do_not_depend_on_the_batch(pair, name):
    """Bit for bit, at one step of the last layer, at a few, and in any place of the batch."""
    ours, _ = pair(name, 1)
    for frames in (32, 63, 130, 333):
        power = powers(5, frames, ours.preparation.frontend.fft_samples // 2 + 1)
        for output in ours.selection.network.outputs:
            alone = np.concatenate([ours.session.run((one[None],), (output,))[0] for one in power])
            for batch in (2, 3, 5):
                (got,) = ours.session.run((power[:batch],), (output,))
                np.testing.assert_array_equal(got, alone[:batch])


@pytest.mark.parametrize("name", ALL)
def test_the_log_mel_bands_are_the_originals(pair, name):
    ours, _ = pair(name, 1)
    features = parity.offered("FEATURES")[name]
    clip = synthetic.clip(3, 30_001)
    clip[:, 10_000:20_000] = 0  # Silence, and what is too quiet for half of the bands.
    clip[:, 20_000:] *= 1e-5
    expected = features[1](checkpoint(name, 1))(clip)
    assert expected.shape[1] == panns.BANDS
    fed = parity.up_to(features[0], panns.BANDS, ours)
    cut = replace(fed, session=_with_output(ours.session, features[0]))
    got = cut.embed(clip.T, ours.preparation.sample_rate_hz)
    assert parity.spread_error(got[0] if got.ndim == 3 else got, expected) < 1e-5


@pytest.mark.parametrize("name", ALL)
def test_batch_norm_melts_into_the_convolutions(pair, name, tmp_path):
    ours, _ = pair(name, 1)
    options = onnxruntime.SessionOptions()
    # The level above rewrites convolutions for one processor.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(ours.session.graph, options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(tmp_path / "optimised.onnx", load_external_data=False).graph.node
    kinds = [node.op_type for node in nodes]
    assert kinds.count("FusedConv") == 12
    assert kinds.count("BatchNormalization") == 1  # bn0, before the first convolution
    assert kinds.index("BatchNormalization") < kinds.index("FusedConv")
    assert "Relu" not in kinds


@pytest.mark.parametrize("name", ALL)
def test_the_kernels_of_the_original_are_the_rows(name):
    made = select(name).preparation
    size, hop = made.frontend.fft_samples, made.frontend.hop_samples
    settings = (made.sample_rate_hz, size, hop, panns.BANDS, 50, 14000, 527)
    with stand_ins():
        from frechet_audio_distance.models import pann
    stft = pann.Cnn14(*settings).spectrogram_extractor.stft
    kernels = [stft.conv_real.weight.numpy(), stft.conv_imag.weight.numpy()]
    for stored, ours in zip(kernels, frontends.fourier_kernels(made.frontend), strict=True):
        np.testing.assert_allclose(stored, ours, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_the_graph_binds_what_the_original_computes_with(name):
    """All of the original's tensors but the counters and the Fourier kernels, and of CLAP's the
    classifier.
    """
    if name == "clap-cnn14":
        tensors = laion.module("PANN-14", {}).model.state_dict()
        tensors = {
            key: tensor
            for key, tensor in tensors.items()
            if key.startswith(("audio_b", "audio_p")) and "fc_audioset" not in key
        }
    else:
        tensors = panns.original_network(*panns.SETTINGS[name], {}).state_dict()
    used = {
        key: tuple(value.shape)
        for key, value in tensors.items()
        if not any(part in key for part in ("num_batches_tracked", "stft"))
    }
    bound = external(parity.graph_path(select(name)))
    assert {key: info.shape for key, info in bound.items()} == used
    assert all(info.dtype == np.float32 for info in bound.values())


def in_windows(session, frontend, clip, steps: int, context: int):
    """The last layer's steps of a clip (1, n), computed in windows of so many steps."""
    step = 32 * frontend.hop_samples
    total = (1 + clip.shape[1] // frontend.hop_samples) // 32
    parts = []
    for start in range(0, total, steps):
        first, stop = max(start - context, 0), start + steps
        # A sample less than the next window's first step, lest there be a frame too many.
        end = clip.shape[1] if stop + context >= total else (stop + context) * step - 1
        inputs = frontends.apply(frontend, clip[None, :, first * step : end])
        (found,) = session.run(inputs, ("steps",))
        parts.append(found[0, start - first :][:steps])
    return np.concatenate(parts)


@pytest.mark.parametrize("name", PANNS)
def test_a_long_clip_in_windows_is_the_whole_clip_bit_for_bit(pair, name):
    ours, _ = pair(name, 1)
    session, frontend = ours.session, ours.preparation.frontend
    file = session.graph.with_name(panns.HEAD.path.name)
    shutil.copy(panns.HEAD.path, file)
    head, outputs = Session(file, session.settings), ("embedding", "logits")
    for seconds in (22.7, 15.017):
        samples = round(seconds * ours.preparation.sample_rate_hz)
        clip = synthetic.clip(round(seconds), samples)
        steps, *rows = session.run(frontends.apply(frontend, clip[None]), ("steps", *outputs))
        exact = in_windows(session, frontend, clip, 31, panns.CONTEXT_STEPS)
        np.testing.assert_array_equal(exact, steps[0])
        for got, want in zip(head.run((exact[None],), outputs), rows, strict=True):
            np.testing.assert_array_equal(got, want)
        short = in_windows(session, frontend, clip, 31, panns.CONTEXT_STEPS - 1)
        assert (short != steps[0]).any()


@pytest.mark.parametrize("name", PANNS)
def test_the_head_reads_the_weights_of_the_whole_graph(name):
    """Same place in the same file, so that a copy of the head beside it is ready to run."""
    whole = external(parity.graph_path(select(name)))
    head = external(panns.HEAD.path)
    layers = ("fc1", "fc_audioset")
    assert head.keys() == {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}
    assert all(whole[tensor] == info for tensor, info in head.items())


def as_published(name: str):
    """What the original saves as torch.save takes it, its network, and how it is saved."""
    torch.manual_seed(7)
    if name == "clap-cnn14":
        clap = laion.module("PANN-14", {})
        state = {f"module.{key}": value for key, value in clap.model.state_dict().items()}
        whole = {"epoch": 3, "name": "a", "state_dict": state, "optimizer": {"lr": np.float64(1)}}
        return whole, state, laion.embed(clap), True
    network = panns.original_network(*panns.SETTINGS[name], {})
    state = network.state_dict()
    sampler = {"indexes": np.arange(1000), "state": np.random.RandomState(1).get_state()}
    whole = {"iteration": 600_000, "model": state, "sampler": sampler}
    return whole, state, panns.embed(network), False


@pytest.mark.parametrize("name", ["pann-16k", "clap-cnn14"])
def test_a_checkpoint_as_the_original_saves_it(name, tmp_path):
    whole, state, theirs, zipped = as_published(name)
    file = tmp_path / "checkpoint.pt"
    torch.save(whole, file, _use_new_zipfile_serialization=zipped)
    request = prepare.Request(ModelSpec(name, weights={"main": str(file)}))
    compared = parity.compare(prepare.load(request), theirs, (40_001, 55_555, 70_000), seed=1)
    assert parity.pooled(compared).spread_error < LIMIT

    kernel = next(value for key, value in state.items() if key.endswith("conv_imag.weight"))
    kernel[5] *= 1.001
    torch.save(whole, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="Fourier"):
        prepare.load(request)
