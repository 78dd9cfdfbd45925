"""What NumPy and SciPy do to a batch of windows before the graph: framing, window, FFT, magnitude.

Mel matrix, logarithm and network are in the graph: a filterbank that lives in a checkpoint
then binds by name like any tensor, and rows do not depend on the host's BLAS, whose matrix
product changes bits with the number of rows and threads. The steps here do not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from .manifest import Frontend

# Frames transformed at once: their complex spectrum stays within the processor's cache.
BLOCK_FRAMES = 256


def apply(frontend: Frontend, windows: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """The inputs of the graph for windows of float32 (batch, channels, samples), in its order."""
    return FRONTENDS[frontend.kind](frontend, windows)


def _samples(frontend: Frontend, windows: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    return (windows,)


def _stft(frontend: Frontend, windows: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    return (spectrogram(frontend, windows[:, 0]),)


FRONTENDS = {"samples": _samples, "stft": _stft}


def hann(frontend: Frontend) -> NDArray[Any]:
    """The periodic Hann window, in the front end's precision.

    torchvggish/mel_features.py periodic_hann, and scipy.signal's 'hann' with fftbins, which
    torchlibrosa takes through librosa.
    """
    assert frontend.frame_samples and frontend.precision
    turns = np.arange(frontend.frame_samples) / frontend.frame_samples
    return (0.5 - 0.5 * np.cos(2 * np.pi * turns)).astype(frontend.precision)


def spectrogram(frontend: Frontend, clips: NDArray[np.float32]) -> NDArray[np.float32]:
    """Magnitude or power of the short-time spectrum: (batch, samples) -> (batch, frames, bins).

    Without padding the frames start at the multiples of the hop and lie within the clip
    (torchvggish/mel_features.py frame); with it, the clip is first reflected by half a frame
    at both ends (torchlibrosa/stft.py, center=True).
    """
    assert frontend.frame_samples and frontend.hop_samples and frontend.fft_samples
    if frontend.padding == "reflect":
        half = frontend.fft_samples // 2
        clips = np.pad(clips, ((0, 0), (half, half)), mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(clips, frontend.frame_samples, axis=-1)
    frames = frames[:, :: frontend.hop_samples]
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


def fourier_kernels(frontend: Frontend) -> tuple[NDArray[Any], NDArray[Any]]:
    """The transform as the two convolution kernels that torchlibrosa stores in a checkpoint.

    Real and imaginary part, each (bins, 1, frame) in float32; torchlibrosa/stft.py STFT.
    """
    assert frontend.fft_samples
    n = frontend.fft_samples
    turns = np.outer(np.arange(n // 2 + 1), np.arange(n)) % n / n
    window = hann(frontend).astype(np.float64)
    real, imaginary = np.cos(2 * np.pi * turns) * window, -np.sin(2 * np.pi * turns) * window
    return real[:, None].astype(np.float32), imaginary[:, None].astype(np.float32)
