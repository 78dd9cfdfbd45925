"""How much memory windows and clips need, and how much of it work may take at one time."""

from __future__ import annotations

from .errors import TooLongError
from .machine import available_bytes
from .manifest import Model, Windows

# Below this a clip is never refused, for machines differ too much for the estimate to be a gate.
ALWAYS_BYTES = 512 << 20
# Batches shrink until one for every worker fits into this.
BATCHES_BYTES = 1 << 30


def needed_bytes(model: Model, samples: int) -> int:
    """What a run of the network needs for so many samples per channel, at its peak (measured)."""
    return samples * model.peak_bytes_per_sample


def longest_window(model: Model, rules: Windows, samples: int) -> int:
    """The samples of the longest window that a clip of so many gives."""
    if rules.cover != "whole":
        return rules.length_samples or 0
    if model.tiles:
        samples = min(samples, 2 * model.tiles.steps * model.tiles.step_samples)
    return max(samples, rules.length_samples or 0)


def grows(model: Model, rules: Windows) -> bool:
    """Whether a longer clip needs a longer window, without an end."""
    return rules.cover == "whole" and not model.tiles


def full_batch(model: Model, samples: int, workers: int, accelerator: bool) -> int:
    """Windows of so many samples in one run of the network."""
    ten_seconds = 10 * model.sample_rate_hz
    batch = model.batch_windows["gpu" if accelerator else "cpu"]
    most = batch * ten_seconds // max(samples, ten_seconds)
    if not accelerator:
        most = min(most, BATCHES_BYTES // (workers * max(1, needed_bytes(model, samples))))
    return max(1, most)


def limit_bytes() -> int:
    """What the batches that run at one time may need together, unless it is a single one.

    Half of the memory: windows of ten seconds on many cores may need more than BATCHES_BYTES.
    """
    available = available_bytes()
    return BATCHES_BYTES if available is None else max(BATCHES_BYTES, available // 2)


def check_fits(model: Model, rules: Windows, path: str, frames: int, rate_hz: int) -> None:
    """TooLongError if a whole clip of so many frames cannot be computed in one piece."""
    seconds = frames / rate_hz
    needed = needed_bytes(model, longest_window(model, rules, int(seconds * model.sample_rate_hz)))
    available = available_bytes() if needed > ALWAYS_BYTES else None
    if available is not None and needed > available:
        raise TooLongError(path, seconds, needed / 1e9, available / 1e9)
