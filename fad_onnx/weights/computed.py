"""Constants that some releases of a checkpoint hold and others leave out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..networks.network import SlaneyFilters, SwinMask

WINDOW, SHIFT, APART = 8, 4, -100.0
# Slaney's mel scale (Auditory Toolbox, 1998): linear below 1 kHz, above in 27 steps to 6.4 kHz.
LINEAR_HZ, LOG_FROM_HZ, LOG_STEP = 200.0 / 3.0, 1000.0, np.log(6.4) / 27.0


def constant(rule: SwinMask | SlaneyFilters, shape: Sequence[int]) -> NDArray[np.float32]:
    """The tensor of this shape.

    Parameters
    ----------
    rule : SwinMask or SlaneyFilters
    shape : sequence of int

    Returns
    -------
    ndarray of float32
    """
    if isinstance(rule, SwinMask):
        return _swin_mask(round(shape[0] ** 0.5))
    return _filters(rule, *shape)


def _swin_mask(windows: int) -> NDArray[np.float32]:
    """The mask for this many windows per side, as in laion_clap 1.1.7, clap_module/htsat.py:397."""
    side = WINDOW * windows
    places = np.arange(side)
    # The last window holds the part that the shift moved out at the other end.
    parts = (places >= side - WINDOW).astype(int) + (places >= side - SHIFT)
    regions = (3 * parts[:, None] + parts).reshape(windows, WINDOW, windows, WINDOW)
    own = regions.transpose(0, 2, 1, 3).reshape(windows**2, WINDOW**2)
    apart = own[:, :, None] != own[:, None, :]
    return np.where(apart, np.float32(APART), np.float32(0.0))


def _filters(rule: SlaneyFilters, bins: int, bands: int) -> NDArray[np.float32]:
    edges = (_mel(rule.lowest_hz), _mel(rule.highest_hz))
    points = _hertz(np.linspace(*edges, bands + 2))
    distances = points[:, None] - np.linspace(0.0, rule.sample_rate_hz / 2, bins)
    widths = np.diff(points)[:, None]
    rising, falling = -distances[:-2] / widths[:-1], distances[2:] / widths[1:]
    area = 2.0 / (points[2:] - points[:-2])
    found = np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32) * area[:, None]
    return np.ascontiguousarray(found.T, np.float32)


def _mel(hertz: float) -> float:
    if hertz < LOG_FROM_HZ:
        return hertz / LINEAR_HZ
    return float(LOG_FROM_HZ / LINEAR_HZ + np.log(hertz / LOG_FROM_HZ) / LOG_STEP)


def _hertz(mel: NDArray[Any]) -> NDArray[Any]:
    bend = LOG_FROM_HZ / LINEAR_HZ
    above = LOG_FROM_HZ * np.exp(LOG_STEP * (mel - bend))
    return np.where(mel < bend, LINEAR_HZ * mel, above)
