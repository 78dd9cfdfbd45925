"""The beginning of a clip, as Ogg Vorbis and as a log-mel picture."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from ..audio.blobs import Blob
from ..audio.decoding import Decoder
from ..audio.resampling import Resampler
from ..networks import frontends
from ..networks.preparation import Stft

EXCERPT_SECONDS = 10.0
# Outside these rates, Vorbis is not tuned, and browsers differ in what they play.
LOWEST_PLAYED_HZ, HIGHEST_PLAYED_HZ = 8_000, 48_000
# libsndfile's Vorbis encoder keeps a block on its stack, and long ones have overflowed it.
BLOCK_FRAMES = 1 << 14

# One scale for all pictures, so that they can be compared.
PICTURE_HZ, BANDS, LOWEST_BAND_HZ = 32_000, 80, 40.0
FLOOR_DB = -100.0
PICTURE = Stft(1024, 640, 1024, "reflect", "power", "float32")

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Excerpt:
    """Mono samples (frames,) at a rate that browsers play."""

    samples: Samples
    rate_hz: int

    @property
    def seconds(self) -> float:
        """The length in seconds."""
        return len(self.samples) / self.rate_hz


def read(clip: str | Blob) -> Excerpt:
    """The first ten seconds of a clip, its channels averaged; AudioError if it is unusable."""
    with Decoder(clip) as decoder:
        source = decoder.sample_rate_hz
        wanted = round(EXCERPT_SECONDS * source)
        blocks: list[Samples] = []
        for block in decoder:
            blocks.append(block.mean(axis=1, keepdims=True))
            if decoder.frames >= wanted:
                break
    rate = min(max(source, LOWEST_PLAYED_HZ), HIGHEST_PLAYED_HZ)
    return Excerpt(_at_rate(np.concatenate(blocks)[:wanted], source, rate), rate)


def _at_rate(frames: Samples, source_hz: int, target_hz: int) -> Samples:
    samples: Samples = Resampler(source_hz, target_hz, 1, "mean").push(frames, last=True)[0]
    return samples


def ogg(excerpt: Excerpt) -> bytes:
    """The excerpt as a file that browsers play, about 10 kB per second."""
    target = io.BytesIO()
    samples = np.clip(excerpt.samples, -1.0, 1.0)
    with soundfile.SoundFile(
        target, "w", excerpt.rate_hz, 1, format="OGG", subtype="VORBIS"
    ) as file:
        for start in range(0, len(samples), BLOCK_FRAMES):
            file.write(samples[start : start + BLOCK_FRAMES])
    return target.getvalue()


def log_mel(excerpt: Excerpt) -> NDArray[np.float32]:
    """Decibels (bands, frames) relative to full scale, between FLOOR_DB and 0, 20 ms per frame.

    A sine at full scale is 0 dB in the band it fills. Bands above half the file's rate are at
    the floor.
    """
    assert PICTURE.fft_samples
    samples = _at_rate(excerpt.samples[:, None], excerpt.rate_hz, PICTURE_HZ)
    # Reflection at the ends needs half a frame.
    samples = np.pad(samples, (0, max(0, PICTURE.fft_samples - len(samples))))
    power = frontends.spectrogram(PICTURE, samples[None])[0]
    full_scale = float(np.square(frontends.hann(PICTURE).sum() / 2.0))
    mel = mel_bank() @ power.T / full_scale
    decibels = 10.0 * np.log10(np.maximum(mel, 10.0 ** (FLOOR_DB / 10.0)))
    return np.asarray(np.minimum(decibels, 0.0), np.float32)


def mel_bank() -> NDArray[Any]:
    """Triangles (bands, bins) of peak 1, evenly spaced in mel up to half of PICTURE_HZ."""
    assert PICTURE.fft_samples
    edges = np.linspace(float(mel(LOWEST_BAND_HZ)), float(mel(PICTURE_HZ / 2)), BANDS + 2)
    hz = np.arange(PICTURE.fft_samples // 2 + 1) * (PICTURE_HZ / PICTURE.fft_samples)
    left, peak, right = hertz(edges[:-2]), hertz(edges[1:-1]), hertz(edges[2:])
    rising = (hz - left[:, None]) / (peak - left)[:, None]
    falling = (right[:, None] - hz) / (right - peak)[:, None]
    # A band narrower than the distance of bins takes the bin nearest to its peak.
    bank: NDArray[Any] = np.maximum(np.minimum(rising, falling), 0.0)
    nearest = np.abs(hz - peak[:, None]).argmin(axis=1)
    bank[np.arange(BANDS), nearest] = np.maximum(bank[np.arange(BANDS), nearest], 0.5)
    return bank


def mel(hz: float | NDArray[Any]) -> NDArray[Any]:
    """Hertz to mel, as HTK does (The HTK Book, 5.4)."""
    return np.asarray(2595.0 * np.log10(1.0 + np.asarray(hz) / 700.0))


def hertz(mels: NDArray[Any]) -> NDArray[Any]:
    """The inverse of `mel`."""
    return np.asarray(700.0 * (10.0 ** (mels / 2595.0) - 1.0))
