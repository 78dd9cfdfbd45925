"""How much memory a clip would need, asked before the operating system has to kill anything."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import TooLongError
from .manifest import Model

# Below this a clip is never refused, for machines differ too much for the estimate to be a gate;
# above it, one is computed at a time.
ALWAYS_BYTES = 512 << 20


def available_bytes() -> int | None:
    """Memory that can be taken now, by the kernel's estimate and the control group's limit.

    None where the system does not say (Linux does).
    """
    found = [value for value in (_meminfo(), _cgroup()) if value is not None]
    return min(found) if found else None


def _meminfo() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        pages = os.sysconf_names.get("SC_AVPHYS_PAGES") if hasattr(os, "sysconf_names") else None
        return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE") if pages is not None else None
    facts = dict(line.split(":", 1) for line in lines)
    return int(facts["MemAvailable"].split()[0]) << 10 if "MemAvailable" in facts else None


def _cgroup() -> int | None:
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text("ascii").strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text("ascii").strip()
    except OSError:
        return None
    return None if limit == "max" else max(0, int(limit) - int(used))


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
