"""How much memory windows and clips need, and how much of it work may take at one time."""

from __future__ import annotations

from ..errors import TooLongError
from .machine import available_bytes
from .network import Network
from .preparation import Preparation
from .selection import Selection

# Below this a clip is never refused, for machines differ too much for the estimate to be a gate.
ALWAYS_BYTES = 512 << 20
# Batches shrink until one for every worker fits into this.
BATCHES_BYTES = 1 << 30


def needed_bytes(network: Network, samples: int) -> int:
    """What a run of the network needs for this many samples per channel, at its peak (measured)."""
    return samples * network.peak_bytes_per_sample


def longest_window(selection: Selection, samples: int) -> int:
    """The samples of the longest window of a clip of this many."""
    rules, tiles = selection.preparation.windows, selection.network.tiles
    if rules.cover != "whole":
        return rules.length_samples or 0
    if tiles:
        samples = min(samples, 2 * tiles.steps * tiles.step_samples)
    return max(samples, rules.length_samples or 0)


def grows(selection: Selection) -> bool:
    """Whether a longer clip needs a longer window, without an end."""
    return selection.preparation.windows.cover == "whole" and not selection.network.tiles


def full_batch(
    network: Network, preparation: Preparation, samples: int, workers: int, accelerator: bool
) -> int:
    """Windows of this many samples in one run of the network."""
    ten_seconds = 10 * preparation.sample_rate_hz
    batch = network.batch.gpu if accelerator else network.batch.cpu
    most = batch * ten_seconds // max(samples, ten_seconds)
    if not accelerator:
        most = min(most, BATCHES_BYTES // (workers * max(1, needed_bytes(network, samples))))
    return max(1, most)


def limit_bytes() -> int:
    """What the batches that run at one time may need together, unless it is a single one.

    Half of the memory: windows of ten seconds on many cores may need more than BATCHES_BYTES.
    """
    available = available_bytes()
    return BATCHES_BYTES if available is None else max(BATCHES_BYTES, available // 2)


def check_fits(selection: Selection, path: str, frames: int, rate_hz: int) -> None:
    """TooLongError if a whole clip of this many frames cannot be computed at once."""
    seconds = frames / rate_hz
    window = longest_window(selection, int(seconds * selection.preparation.sample_rate_hz))
    needed = needed_bytes(selection.network, window)
    available = available_bytes() if needed > ALWAYS_BYTES else None
    if available is not None and needed > available:
        raise TooLongError(path, seconds, needed / 1e9, available / 1e9)
