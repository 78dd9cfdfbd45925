"""How much memory a clip would need, asked before the operating system has to kill anything."""

from __future__ import annotations

from .errors import TooLongError
from .machine import available_bytes
from .manifest import Model

# Below this a clip is never refused, for machines differ too much for the estimate to be a gate;
# above it, one is computed at a time.
ALWAYS_BYTES = 512 << 20


def needed_bytes(model: Model, samples: int) -> int:
    """What the network needs for so many samples per channel, at its peak.

    The row's peak_bytes_per_sample is measured; null means that memory does not grow with the
    length, which counts as nothing.
    """
    return samples * (model.peak_bytes_per_sample or 0)


def is_large(model: Model, samples: int) -> bool:
    """Whether work on so many samples must have the memory to itself."""
    return needed_bytes(model, samples) > ALWAYS_BYTES


def check_fits(model: Model, path: str, frames: int, rate_hz: int) -> None:
    """TooLongError if a whole clip of so many frames cannot be computed in one piece."""
    seconds = frames / rate_hz
    samples = int(seconds * model.sample_rate_hz)
    available = available_bytes() if is_large(model, samples) else None
    needed = needed_bytes(model, samples)
    if available is not None and needed > available:
        raise TooLongError(path, seconds, needed / 1e9, available / 1e9)
