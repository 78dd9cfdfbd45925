"""The front end against the definition of the discrete Fourier transform."""

import hashlib
from dataclasses import asdict, replace

import numpy as np
import pytest

from fad_onnx.networks import frontends, synthetic, table
from fad_onnx.networks.preparation import Samples, SamplesAndStft

NONE = replace(
    table.model().preparation.frontend, frame_samples=40, hop_samples=16, fft_samples=64,
)  # fmt: skip
REFLECT = replace(NONE, frame_samples=64, padding="reflect", spectrum="power")
SPEECH = replace(NONE, padding="reflect", spectrum="power", hann="symmetric", pre_emphasis=0.97)
AFTER = replace(NONE, padding="zeros_after", spectrum="magnitude")


def direct(frontend, clip):
    """Frame by frame, bin by bin, in float64."""
    if frontend.pre_emphasis:
        before = frontend.pre_emphasis
        clip = np.array([clip[t] - before * clip[t - 1] for t in range(1, len(clip))])
    if frontend.padding == "reflect":
        half = frontend.frame_samples // 2
        clip = np.concatenate([clip[1 : half + 1][::-1], clip, clip[-half - 1 : -1][::-1]])
    n, fft = frontend.frame_samples, frontend.fft_samples
    window = np.sin(np.pi * np.arange(n) / (n - 1 if frontend.hann == "symmetric" else n)) ** 2
    basis = np.exp(-2j * np.pi * np.outer(np.arange(fft // 2 + 1), np.arange(n)) / fft)
    starts = range(0, len(clip) - n + 1, frontend.hop_samples)
    if frontend.padding == "zeros_after":
        starts = range(0, len(clip), frontend.hop_samples)
        clip = np.concatenate([clip, np.zeros(n)])
    spectrum = np.array([basis @ (clip[s : s + n].astype(np.float64) * window) for s in starts])
    return np.abs(spectrum) ** (2 if frontend.spectrum == "power" else 1)


@pytest.mark.parametrize("base", [NONE, REFLECT, SPEECH, AFTER])
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("samples", [64, 65, 79, 80, 81, 1000, 256 * 16 + 64])
def test_spectrogram_is_the_definition(base, precision, samples):
    frontend = replace(base, precision=precision)
    clips = np.stack([synthetic.clip(seed, samples) for seed in (1, 2, 3)])
    (result,) = frontends.apply(frontend, clips)
    assert result.dtype == np.float32
    for clip, got in zip(clips[:, 0], result, strict=True):
        expected = direct(frontend, clip)
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6 * expected.max())


def test_the_first_frames_of_a_window_can_be_all_that_is_used():
    clip = synthetic.clip(3, 200, 1)
    every = frontends.spectrogram(NONE, clip)
    some = frontends.spectrogram(replace(NONE, most_frames=4), clip)
    assert every.shape[1] > 4
    np.testing.assert_array_equal(some, every[:, :4])


def test_bits_do_not_depend_on_the_batch():
    clips = np.stack([synthetic.clip(seed, 15600) for seed in range(5)])
    frontend = table.model().preparation.frontend
    (together,) = frontends.apply(frontend, clips)
    for index in range(5):
        (alone,) = frontends.apply(frontend, clips[index : index + 1])
        np.testing.assert_array_equal(alone[0], together[index])


def test_a_frame_shorter_than_the_transform_is_centred_as_torch_stft_centres_it():
    """torch.stft pads the clip by half a transform, and the frame's window with zeros."""
    clip, frontend = synthetic.clip(8, 333), replace(SPEECH, pre_emphasis=0.0)
    padded = np.pad(clip[0].astype(np.float64), 32, mode="reflect")
    window = np.pad(np.hanning(40), 12)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 64)[::16]
    expected = np.abs(np.fft.rfft(frames * window)) ** 2
    (got,) = frontends.apply(frontend, clip[None])
    np.testing.assert_allclose(got[0], expected, rtol=1e-5, atol=1e-6 * expected.max())


def test_both_inputs_of_a_network_that_takes_two():
    clips = np.stack([synthetic.clip(seed, 500) for seed in (1, 2)])
    samples, power = frontends.apply(SamplesAndStft(**asdict(REFLECT)), clips)
    assert samples is clips
    np.testing.assert_array_equal(power, frontends.apply(REFLECT, clips)[0])


def test_the_window_of_tensorflow_is_its_own():
    """SHA-256 of tf.signal.hann_window(2048) in TensorFlow 2.21 on x86-64."""
    frontend = replace(NONE, frame_samples=2048, fft_samples=2048, precision="float32")
    window = frontends.hann(replace(frontend, hann="tensorflow"))
    digest = hashlib.sha256(window.astype("<f4").tobytes()).hexdigest()
    assert digest == "e689f7ccf093a825f8c6252e583e432911bd546aa2ae18c9381b891addb455ec"
    exact = frontends.hann(frontend)
    assert 0 < np.abs(window - exact).max() < 3e-7


def test_kernels_are_the_transform():
    clip = synthetic.clip(9, 500)
    real, imaginary = frontends.fourier_kernels(REFLECT)
    padded = np.pad(clip[0], 32, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, 64)[::16]
    power = (frames @ real[:, 0].T) ** 2 + (frames @ imaginary[:, 0].T) ** 2
    (expected,) = frontends.apply(REFLECT, clip[None])
    np.testing.assert_allclose(power, expected[0], rtol=1e-4, atol=1e-5 * expected.max())


def test_samples_are_normalised_in_float64():
    """Whatever their level and offset; a silent window gives zeros, and windows stand alone."""
    tones = synthetic.clip(9, 4_001)[0]
    clips = np.stack([tones, tones * 0.001 + 0.9, np.zeros_like(tones), np.full_like(tones, 0.3)])
    clips = clips[:, None].astype(np.float32)
    (got,) = frontends.apply(Samples(normalise=True), clips)
    assert got.dtype == np.float32 and got.shape == clips.shape
    for clip, found in zip(clips.astype(np.float64), got, strict=True):
        expected = (clip - np.mean(clip)) / np.sqrt(np.var(clip) + 1e-7)
        np.testing.assert_allclose(found, expected, atol=2e-7, rtol=2e-7)
    assert not got[2].any()
    (plain,) = frontends.apply(Samples(), clips)
    np.testing.assert_array_equal(plain, clips)
