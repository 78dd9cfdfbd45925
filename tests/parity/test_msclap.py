"""Microsoft's CLAP of 2023 against msclap 1.3.4: both sides, and the loading of clips."""

import random
from unittest import mock

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from exporters import htsat, msclap, parity
from fad_onnx.networks import synthetic
from fad_onnx.networks.selection import select
from fad_onnx.networks.windows import Windower
from fad_onnx.tools.known_answers import spread_error

pytestmark = pytest.mark.parity
MODEL = "msclap-2023"
LIMIT = 1e-5


def pair(seed, folder):
    one = select(MODEL)
    tensors = parity.checkpoint(one, seed)
    return parity.embedder(one, tensors, folder), parity.original(one, tensors)


def compared(seed, lengths, folder):
    return parity.pooled(parity.compare(*pair(seed, folder), lengths, seed))


def test_embeddings_are_the_originals(tmp_path):
    lengths = (1, 65_773, 154_351, 308_700, 308_701)
    assert compared(0, lengths, tmp_path).spread_error < LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_many_lengths(seed, tmp_path):
    assert compared(seed, msclap.CLIP_SAMPLES[MODEL], tmp_path).spread_error < LIMIT


def test_the_part_of_a_longer_clip_is_one_that_the_original_may_draw():
    """Its own loading, with the middle for what it draws of all places."""
    clip = synthetic.clip(5, 405_371)
    wrapper = msclap.package().CLAPWrapper.__new__(msclap.package().CLAPWrapper)
    wrapper.read_audio = lambda path, resample: (torch.from_numpy(clip), msclap.RATE_HZ)
    spare = clip.shape[1] - msclap.WINDOW_SAMPLES
    with mock.patch.object(random, "randrange", lambda places: places // 2):
        expected = wrapper.load_audio_into_tensor("", 7).numpy()
    np.testing.assert_array_equal(msclap.window(clip), expected)
    np.testing.assert_array_equal(clip[0, spare // 2 :][: msclap.WINDOW_SAMPLES], expected)


def test_stereo_as_av_benchmark_has_it():
    """Its loading flattens (channels, n), so that the left channel precedes the right."""
    clip = synthetic.clip(6, 100_003, 2)
    wrapper = msclap.package().CLAPWrapper.__new__(msclap.package().CLAPWrapper)
    wrapper.read_audio = lambda path, resample: (torch.from_numpy(clip), msclap.RATE_HZ)
    preparation = select(f"{MODEL}:protocol=av-benchmark").preparation
    samples = preparation.resample(msclap.RATE_HZ, 2).push(clip.T, last=True)
    (window,) = Windower(preparation, None, "error").push(samples, last=True)
    expected = wrapper.load_audio_into_tensor("", 7).numpy()
    np.testing.assert_array_equal(window.samples[0], expected)


def test_embeddings_do_not_depend_on_the_batch(tmp_path):
    ours, _ = pair(0, tmp_path)
    noise = np.random.RandomState(0).random_sample((5, msclap.FRAMES, htsat.BINS)) ** 4
    batch = (noise * np.logspace(-3, 2, 5)[:, None, None]).astype(np.float32)
    run = ours.session.run
    alone = np.concatenate([run((one[None],), ("embedding",))[0] for one in batch])
    assert spread_error(alone[:-1], alone[1:]) > 0.1
    for size in (2, 5):
        np.testing.assert_array_equal(run((batch[:size],), ("embedding",))[0], alone[:size])


def test_the_graph_binds_all_that_the_encoder_uses():
    """The rest are the Fourier kernels, the classifier and counters that no inference reads."""
    unused = tuple(
        f"base.htsat.{name}." for name in ("spectrogram_extractor", "tscam_conv", "head")
    )
    tensors = {
        f"audio_encoder.{name}": tuple(tensor.shape)
        for name, tensor in msclap.original_encoder({}).state_dict().items()
        if not name.startswith(unused) and not name.endswith("num_batches_tracked")
    }
    found = parity.checkpoint(select(MODEL), 0)
    assert {name: array.shape for name, array in found.items()} == tensors
