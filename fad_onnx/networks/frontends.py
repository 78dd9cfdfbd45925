"""Preprocessing in NumPy and SciPy before the graph: framing, Hann window, FFT.

The mel matrix and the logarithm are part of the graph. A filterbank in a checkpoint is then bound
by name like any other tensor, and embeddings do not depend on the BLAS of the machine, whose
matrix products change bits with the batch size and the number of threads. The steps here do not.

To add a kind of front end, add a dataclass to `preparation` and a function to `FRONTENDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from .eigen import cosine
from .preparation import Frontend, Samples, SamplesAndStft, Stft

# Frames transformed at once, few enough that their spectrum stays in the processor's cache.
BLOCK_FRAMES = 256
Inputs = tuple[NDArray[np.float32], ...]


def apply(frontend: Frontend, windows: NDArray[np.float32]) -> Inputs:
    """Compute the inputs of a graph.

    Parameters
    ----------
    frontend : Samples, Stft or SamplesAndStft
        The front end and its parameters.
    windows : ndarray of float32, shape (batch, channels, samples)
        Windows of equal length.

    Returns
    -------
    tuple of ndarray
        The inputs, in the order of the graph.
    """
    return FRONTENDS[type(frontend)](frontend, windows)


def _samples(frontend: Samples, windows: NDArray[np.float32]) -> Inputs:
    return (normalised(windows) if frontend.normalise else windows,)


def normalised(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Windows with a mean of zero and a standard deviation of one, computed in float64.

    transformers 4.57.6, feature_extraction_wav2vec2.py, zero_mean_unit_var_norm: 1e-7 is added
    to the variance, so that a silent window gives zeros.
    """
    mean = windows.mean(axis=-1, dtype=np.float64, keepdims=True)
    centred = windows - mean
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    return np.asarray((centred / np.sqrt(variance + 1e-7)).astype(np.float32))


def _stft(frontend: Stft, windows: NDArray[np.float32]) -> Inputs:
    return (spectrogram(frontend, windows[:, 0]),)


def _samples_and_stft(frontend: SamplesAndStft, windows: NDArray[np.float32]) -> Inputs:
    return (*_samples(Samples(), windows), *_stft(frontend, windows))


FRONTENDS: dict[type, Callable[..., Inputs]] = {
    Samples: _samples,
    Stft: _stft,
    SamplesAndStft: _samples_and_stft,
}


def hann(frontend: Stft) -> NDArray[Any]:
    """The Hann window, in the front end's precision.

    The periodic one is periodic_hann in torchvggish/mel_features.py, and scipy.signal's 'hann' with
    fftbins, which torchlibrosa gets from librosa. The symmetric one is torch.hann_window with
    periodic=False. "tensorflow" is tf.signal.hann_window, bit for bit.
    """
    count = frontend.frame_samples
    if frontend.hann == "tensorflow":
        angles = np.float32(2 * np.pi) * np.arange(count, dtype=np.float32) / np.float32(count)
        return np.float32(0.5) - np.float32(0.5) * cosine(angles)
    period = count - (frontend.hann == "symmetric")
    turns = np.arange(count) / period
    return (0.5 - 0.5 * np.cos(2 * np.pi * turns)).astype(frontend.precision)


def spectrogram(frontend: Stft, clips: NDArray[np.float32]) -> NDArray[np.float32]:
    """Magnitude or power of the short-time Fourier transform.

    Without padding, frames start at multiples of the hop and lie within the clip (see frame in
    torchvggish/mel_features.py). With padding "reflect", the clip is first extended at both ends by
    reflecting half a frame (torchlibrosa/stft.py, center=True). torch.stft extends it by half a
    transform and centres a shorter frame in the transform: the same samples in another phase.
    With padding "zeros_after", zeros follow the clip, so that a frame starts at each of its hops
    (tf.signal.stft, pad_end=True).

    Parameters
    ----------
    frontend : Stft
        The parameters.
    clips : ndarray of float32, shape (batch, samples)
        Clips of equal length.

    Returns
    -------
    ndarray of float32, shape (batch, frames, bins)
        The spectrum.
    """
    if frontend.pre_emphasis:
        clips = clips[:, 1:] - np.float32(frontend.pre_emphasis) * clips[:, :-1]
    if frontend.padding == "reflect":
        half = frontend.frame_samples // 2
        clips = np.pad(clips, ((0, 0), (half, half)), mode="reflect")
    if frontend.padding == "zeros_after":
        hops = -(-clips.shape[1] // frontend.hop_samples)
        end = (hops - 1) * frontend.hop_samples + frontend.frame_samples
        clips = np.pad(clips, ((0, 0), (0, max(0, end - clips.shape[1]))))
    frames = np.lib.stride_tricks.sliding_window_view(clips, frontend.frame_samples, axis=-1)
    frames = frames[:, :: frontend.hop_samples][:, : frontend.most_frames]
    bins = frontend.fft_samples // 2 + 1
    result = np.empty((*frames.shape[:2], bins), np.float32)
    window = hann(frontend)
    for clip, out in zip(frames, result, strict=True):
        for start in range(0, len(clip), BLOCK_FRAMES):
            block = slice(start, start + BLOCK_FRAMES)
            spectrum = fft.rfft(clip[block] * window, frontend.fft_samples)
            power = spectrum.real**2 + spectrum.imag**2
            out[block] = np.sqrt(power) if frontend.spectrum == "magnitude" else power
    return result


def fourier_kernels(frontend: Stft) -> tuple[NDArray[Any], NDArray[Any]]:
    """The transform as the two convolution kernels that torchlibrosa stores in checkpoints.

    Returns
    -------
    tuple of two ndarrays of float32, shape (bins, 1, frame)
        The real and the imaginary part, as in STFT of torchlibrosa/stft.py.
    """
    n = frontend.fft_samples
    turns = np.outer(np.arange(n // 2 + 1), np.arange(n)) % n / n
    window = hann(frontend).astype(np.float64)
    real, imaginary = np.cos(2 * np.pi * turns) * window, -np.sin(2 * np.pi * turns) * window
    return real[:, None].astype(np.float32), imaginary[:, None].astype(np.float32)
