"""Loudness by ITU-R BS.1770 as descript-audiotools 0.7.2 measures it (core/loudness.py).

The filters are those of pyloudnorm (iirfilter.py, the equalizer cookbook of R. Bristow-Johnson),
with coefficients rounded to float32 as there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
# pyloudnorm/meter.py, K-weighting: Hz, quality, decibels.
SHELF, HIGH_PASS = (1500.0, 1 / math.sqrt(2), 4.0), (38.0, 0.5)
BLOCK_SECONDS, STEP = 0.4, 0.25  # the blocks of the gates, and their step as a part of a block
SHORTEST_SECONDS = 0.5  # shorter clips are padded with zeros
OFFSET = -0.691  # LUFS of a mean square of one
ABSOLUTE_GATE, RELATIVE_GATE, FLOOR = -70.0, -10.0, -70.0
PIECE_FRAMES = 1 << 20  # filtered at a time


def normalised(clip: Samples, rate_hz: int, lufs: float) -> Samples:
    """A clip scaled to a loudness, or less if a magnitude would exceed one.

    AudioSignal.normalize and ensure_max_of_audio of descript-audiotools 0.7.2, core/effects.py.

    Parameters
    ----------
    clip : ndarray of float32, shape (frames, channels)
        The whole clip.
    rate_hz : int
        Its sample rate.
    lufs : float
        The loudness to reach.

    Returns
    -------
    ndarray of float32, shape (frames, channels)
        The clip times one number.
    """
    gain = np.float32(math.exp((lufs - loudness(clip, rate_hz)) * math.log(10) / 20))
    scaled: Samples = clip * gain
    peak = np.abs(scaled).max(axis=0, initial=0.0)
    limited: Samples = scaled * np.where(peak > 1, 1 / np.maximum(peak, 1), 1).astype(np.float32)
    return limited


def loudness(clip: Samples, rate_hz: int) -> float:
    """Integrated loudness in LUFS of a clip (frames, channels), at least -70.

    Examples
    --------
    >>> turns = np.arange(48000, dtype=np.float32) * (997 / 48000)
    >>> round(loudness(np.sin(2 * np.pi * turns)[:, None], 48000), 2)
    -3.05
    """
    energies = _block_energies(clip, rate_hz)
    with np.errstate(divide="ignore"):
        levels = OFFSET + 10 * np.log10(energies)
    loud = levels > ABSOLUTE_GATE
    if not loud.any():
        return FLOOR
    gate = OFFSET + 10 * math.log10(energies[loud].mean()) + RELATIVE_GATE
    # The loudest block is above the mean and therefore above the relative gate.
    kept = energies[loud & (levels > gate)]
    return max(FLOOR, OFFSET + 10 * math.log10(kept.mean()))


def _block_energies(clip: Samples, rate_hz: int) -> NDArray[np.float64]:
    """The mean square of each block after the filters, summed over channels.

    The last block is filled with zeros. Blocks are differences of a running sum, so that a long
    clip is filtered piece by piece.
    """
    size, step = int(BLOCK_SECONDS * rate_hz), int(BLOCK_SECONDS * rate_hz * STEP)
    if (missing := int(SHORTEST_SECONDS * rate_hz) - len(clip)) > 0:
        clip = np.pad(clip, ((0, missing), (0, 0)))
    starts = np.arange(math.ceil((len(clip) - size) / step) + 1) * step
    edges = np.unique(np.concatenate([starts, starts + size]))
    sums, done, total = np.zeros(len(edges)), 0, 0.0
    for piece in _weighted(clip, rate_hz):
        running = total + np.concatenate([[0.0], np.cumsum((piece**2).sum(axis=1))])
        here = (edges >= done) & (edges <= done + len(piece))
        sums[here] = running[edges[here] - done]
        done, total = done + len(piece), float(running[-1])
    sums[edges > done] = total
    found: NDArray[np.float64] = np.diff(
        sums[np.searchsorted(edges, np.stack([starts, starts + size]))], axis=0
    )[0]
    return found / size


def _weighted(clip: Samples, rate_hz: int) -> Iterator[NDArray[np.float64]]:
    """The clip after both filters, in pieces."""
    from scipy.signal import lfilter

    filters = [_shelf(rate_hz, *SHELF), _high_pass(rate_hz, *HIGH_PASS)]
    states = [np.zeros((2, clip.shape[1])) for _ in filters]
    for start in range(0, len(clip), PIECE_FRAMES):
        piece = clip[start : start + PIECE_FRAMES].astype(np.float64)
        for i, (b, a) in enumerate(filters):
            piece, states[i] = lfilter(b, a, piece, axis=0, zi=states[i])
        yield piece


Coefficients = tuple[NDArray[np.float32], NDArray[np.float32]]


def _shelf(rate_hz: int, hertz: float, quality: float, decibels: float) -> Coefficients:
    """The high shelf of iirfilter.py:92."""
    gain, turn = 10 ** (decibels / 40), 2 * math.pi * hertz / rate_hz
    slope, cosine = math.sqrt(gain) * math.sin(turn) / quality, math.cos(turn)
    up, down = gain + 1, gain - 1
    return _scaled(
        [
            gain * (up + down * cosine + slope),
            -2 * gain * (down + up * cosine),
            gain * (up + down * cosine - slope),
        ],
        [up - down * cosine + slope, 2 * (down - up * cosine), up - down * cosine - slope],
    )


def _high_pass(rate_hz: int, hertz: float, quality: float) -> Coefficients:
    """The high pass of iirfilter.py:106."""
    turn = 2 * math.pi * hertz / rate_hz
    width, cosine = math.sin(turn) / (2 * quality), math.cos(turn)
    edge = (1 + cosine) / 2
    return _scaled([edge, -2 * edge, edge], [1 + width, -2 * cosine, 1 - width])


def _scaled(b: list[float], a: list[float]) -> Coefficients:
    """Divided by a[0], then rounded to float32 as descript-audiotools does before it filters."""
    return (np.array(b) / a[0]).astype(np.float32), (np.array(a) / a[0]).astype(np.float32)
