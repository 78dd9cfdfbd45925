"""The memory that windows and clips need, and the limits on it."""

from __future__ import annotations

from ..errors import TooLongError
from .machine import available_bytes
from .network import Network
from .preparation import Preparation
from .selection import Selection

# Clips that need less memory are never refused, because the estimate is not exact enough.
ALWAYS_BYTES = 512 << 20
# Batches shrink until one batch per worker fits into this.
BATCHES_BYTES = 1 << 30


def needed_bytes(network: Network, samples: int) -> int:
    """Peak memory of a run of the network on this many samples per channel (measured)."""
    return samples * network.peak_bytes_per_sample


def longest_window(selection: Selection, samples: int) -> int:
    """The length of the longest window of a clip of `samples` samples."""
    rules, tiles = selection.preparation.windows, selection.network.tiles
    if rules.margins == "reflect":
        return min(samples, rules.length_samples or 0)
    if rules.cover != "whole":
        return rules.length_samples or 0
    if tiles:
        samples = min(samples, 2 * tiles.steps * tiles.step_samples)
    return max(samples, rules.length_samples or 0)


def grows(selection: Selection) -> bool:
    """Whether the length of a window grows with the clip without bound."""
    return selection.preparation.windows.cover == "whole" and not selection.network.tiles


def full_batch(
    network: Network, preparation: Preparation, samples: int, workers: int, accelerator: bool
) -> int:
    """The number of windows of `samples` samples in one run of the network."""
    ten_seconds = 10 * preparation.sample_rate_hz
    batch = network.batch.gpu if accelerator else network.batch.cpu
    most = batch * ten_seconds // max(samples, ten_seconds)
    if not accelerator:
        most = min(most, BATCHES_BYTES // (workers * max(1, needed_bytes(network, samples))))
    return max(1, most)


def limit_bytes() -> int:
    """The memory that concurrent batches may need together; a single batch may need more.

    Half of the available memory, but at least BATCHES_BYTES.
    """
    available = available_bytes()
    return BATCHES_BYTES if available is None else max(BATCHES_BYTES, available // 2)


def check_fits(selection: Selection, path: str, frames: int, rate_hz: int) -> None:
    """Raise TooLongError if a clip of this many frames does not fit into memory."""
    seconds = frames / rate_hz
    used = selection.preparation.used_seconds(seconds)
    window = longest_window(selection, int(used * selection.preparation.sample_rate_hz))
    needed = needed_bytes(selection.network, window)
    available = available_bytes() if needed > ALWAYS_BYTES else None
    if available is not None and needed > available:
        raise TooLongError(path, seconds, needed / 1e9, available / 1e9)
